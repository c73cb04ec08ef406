"""JPEG compression and decompression as libjpeg does it by default, which PIL uses, without the lossless part."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.images.corruptions.base import nearest
from bench.images.corruptions.filters import separable

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Quantisation steps at quality 50: ITU-T T.81, tables K.1 and K.2."""


YCC = torch.tensor([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
RGB = torch.tensor([[1, 0, 1.402], [1, -0.344136286, -0.714136286], [1, 1.772, 0]])
GREY = torch.tensor([[0.0], [128.0], [128.0]])


def jpeg(x: Tensor, quality: int) -> Tensor:
    """Images after JPEG compression and decompression.

    Args:
        x: [B, C, H, W] in [0, 1], where C is 3, or 1 for grey images.
        quality: 1 to 100.

    Returns:
        [B, C, H, W] in [0, 1], whole multiples of 1/255.

    Source: ITU-T T.81 and JFIF, with the choices of libjpeg: colours at half the resolution in both directions,
    enlarged with weights 3/4 and 1/4 (its `fancy` upsampling), values rounded to bytes after each step, and within the
    cosine transforms where libjpeg rounds.

    Departure: libjpeg's cosines have 13 bits; here they are floats, so that now and then a value is rounded otherwise.
    """
    height, width = x.shape[-2:]
    x = (255 * x).round_()
    if x.shape[1] == 1:
        return quantised(x[:, 0], LUMINANCE, quality).unsqueeze(1) / 255
    x, grey = padded(x, height % 2, -width % 16), GREY.to(x)
    ycc = nearest((YCC.to(x) @ x.flatten(2)).add_(grey * (1 - 2**-20))).view_as(x)  # halves of colours downwards
    ycc[:, 0] = quantised(ycc[:, 0], LUMINANCE, quality)
    colours = quantised(halved(ycc[:, 1:].flatten(0, 1)), CHROMINANCE, quality)
    colours = doubled(colours[..., : (width + 1) // 2]).unflatten(0, (-1, 2))
    ycc = torch.cat([ycc[:, :1, :height, :width], colours[..., :height, :width]], 1)
    return nearest(RGB.to(x) @ ycc.flatten(2).sub_(grey)).clamp_(0, 255).div_(255).view_as(ycc)


def quantised(plane: Tensor, table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """Planes after the cosine transform of each 8 x 8 block, its quantisation, and the way back.

    Args:
        plane: [B, H, W], bytes as floats.
        table: [8, 8], quantisation steps at quality 50, such as LUMINANCE.
        quality: 1 to 100.

    Returns:
        [B, H, W], bytes as floats.
    """
    batch, height, width = plane.shape
    plane = padded(plane, -height % 8, -width % 8)
    rows, columns = plane.shape[1] // 8, plane.shape[2] // 8
    blocks = plane.reshape(batch, rows, 8, columns, 8).transpose(2, 3).reshape(-1, 8, 8)
    cosines, step = cosine_transform().to(plane), 8 * steps(table, quality).to(plane)
    across = nearest(4 * (blocks - 128) @ cosines.T)
    ratio = nearest((cosines @ across).div_(4)).div_(step)  # coefficients times 8, as whole numbers
    whole = nearest(ratio.abs()).copysign_(ratio).mul_(step)  # halves away from zero
    down = nearest((cosines.T @ whole).div_(2))
    blocks = nearest((down @ cosines).div_(32).add_(128)).clamp_(0, 255)
    return blocks.view(batch, rows, columns, 8, 8).transpose(2, 3).reshape_as(plane)[:, :height, :width]


def cosine_transform() -> Tensor:
    """The cosine transform of 8 values as a matrix: sqrt(8) times the orthonormal one.

    Returns:
        [8, 8] float64.
    """
    k = torch.arange(8, dtype=torch.float64)
    cosines = 2**0.5 * torch.cos(torch.pi / 8 * k.unsqueeze(1) * (k + 0.5))
    cosines[0] = 1
    return cosines


def steps(table: tuple[tuple[int, ...], ...], quality: int) -> Tensor:
    """The quantisation steps of a quality.

    Args:
        table: [8, 8], steps at quality 50.
        quality: 1 to 100.

    Returns:
        [8, 8] int64 in 1..255.
    """
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * percent + 50) // 100).clamp(1, 255)


def halved(plane: Tensor) -> Tensor:
    """Halve both sides of planes by means of 2 x 2 pixels; halves are rounded down in even columns, and up in odd ones.

    Args:
        plane: [B, H, W] with even sides, bytes as floats.

    Returns:
        [B, H / 2, W / 2].
    """
    rows, columns = (torch.eye(n // 2).repeat_interleave(2, 1).to(plane) for n in plane.shape[1:])
    bias = 1 + torch.arange(len(columns), device=plane.device) % 2
    return separable(plane, rows, columns).add_(bias).div_(4).floor_()


def doubled(plane: Tensor) -> Tensor:
    """Double both sides of planes: each new pixel is 9/16 its own, 3/16 of two neighbours and 1/16 of the third.

    Args:
        plane: [B, H, W], bytes as floats.

    Returns:
        [B, 2 H, 2 W].
    """
    rows, columns = (spread(n).to(plane) for n in plane.shape[1:])
    bias = 8 - torch.arange(len(columns), device=plane.device) % 2
    return separable(plane, rows, columns).add_(bias).div_(16).floor_()


def spread(size: int) -> Tensor:
    """The doubling of a side as a matrix, times 4: three times each pixel, and once the one before it, or after it.

    Args:
        size: length of the side, in pixels. At its ends a pixel is its own neighbour.

    Returns:
        [2 size, size].
    """
    pixel = torch.arange(2 * size)
    beside = (pixel // 2 + 2 * (pixel % 2) - 1).clamp(0, size - 1)
    one = torch.eye(size)
    return 3 * one[pixel // 2] + one[beside]


def padded(plane: Tensor, below: int, right: int) -> Tensor:
    """Planes with their last row and their last column repeated.

    Args:
        plane: [.., H, W].
        below: number of rows added.
        right: number of columns added.

    Returns:
        [.., H + below, W + right]; `plane` itself where nothing is added.
    """
    return F.pad(plane, (0, right, 0, below), mode="replicate") if below or right else plane
