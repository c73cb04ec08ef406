"""Linear filters: separable ones as matrices, [out, in] along one side of an image, and those with a kernel.

A side of n pixels has matrices of n * n, so a separable filter is two matrix products for all images, whatever its
width. A matrix is made once, and shared: nobody may write to it. Where torch is set to TF32 products, results are off
by up to a level of 255.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


def separable(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Apply a separable linear filter to images.

    Args:
        x: [.., H, W].
        rows: [H', H], the filter down the image.
        columns: [W', W], the filter across it.

    Returns:
        [.., H', W'].
    """
    return rows @ (x @ columns.T)


def gaussian(x: Tensor, sigma: float, edge: str = "nearest", truncate: float = 4.0) -> Tensor:
    """Gaussian blur, as `scipy.ndimage.gaussian_filter` and scikit-image have it.

    Args:
        x: [.., H, W].
        sigma: standard deviation, in pixels.
        edge: `nearest` (the default) repeats the pixels at the edge; `reflect` mirrors the image, edge pixels included.
        truncate: the filter ends at round(truncate * sigma) pixels. Default: 4.

    Returns:
        [.., H, W]; x itself where the filter is a single pixel.
    """
    if int(truncate * sigma + 0.5) == 0:
        return x
    rows, columns = (gaussian_matrix(n, sigma, edge, truncate).to(x) for n in x.shape[-2:])
    return separable(x, rows, columns)


@cache
def gaussian_matrix(size: int, sigma: float, edge: str, truncate: float) -> Tensor:
    """The Gaussian blur along one side of an image, as a matrix.

    Args:
        size: length of the side, in pixels.
        sigma, edge, truncate: as for `gaussian`.

    Returns:
        [size, size] float64, shared.
    """
    radius = int(truncate * sigma + 0.5)
    offsets = torch.arange(-radius, radius + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    sources = torch.arange(size).unsqueeze(1) + offsets
    if edge == "nearest":
        sources = sources.clamp(0, size - 1)
    else:
        sources = sources % (2 * size)
        sources = torch.minimum(sources, 2 * size - 1 - sources)
    matrix = torch.zeros(size, size, dtype=torch.float64)
    return matrix.scatter_add_(1, sources, (weights / weights.sum()).expand(size, -1))


@cache
def zoom_matrix(size: int, factor: float) -> Tensor:
    """The enlargement of the middle of a side to its whole length, as a matrix.

    The middle ceil(size / factor) pixels are stretched with linear interpolation, first pixel to first and last to
    last, to round(that * factor) pixels, whose middle is kept: `clipped_zoom` of the public code.

    Args:
        size: length of the side, in pixels.
        factor: of the enlargement, at least 1.

    Returns:
        [size, size] float64, shared.
    """
    middle = math.ceil(size / factor)
    enlarged = round(middle * factor)
    first, trim = (size - middle) // 2, (enlarged - size) // 2
    position = (torch.arange(size, dtype=torch.float64) + trim) * (middle - 1) / max(enlarged - 1, 1)
    below = position.floor().clamp_max(max(middle - 2, 0))
    matrix = torch.zeros(size, size + 1, dtype=torch.float64)  # a column to spare where only one pixel is kept
    at = (below.long() + first).unsqueeze(1)
    matrix.scatter_(1, at, (1 - (position - below)).unsqueeze(1))
    matrix.scatter_(1, at + 1, (position - below).unsqueeze(1))
    return matrix[:, :size]


@cache
def box_matrix(size: int, new: int) -> Tensor:
    """The box filter of PIL's `resize` along one side of an image, as a matrix.

    Args:
        size: length of the side, in pixels.
        new: length after the change of size.

    Returns:
        [new, size] float64, shared.
    """
    scale = size / new
    support = 0.5 * max(scale, 1.0)
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * scale
    pixel = torch.arange(size, dtype=torch.float64)
    first = (centre - support + 0.5).floor().clamp_min(0).unsqueeze(1)
    end = (centre + support + 0.5).floor().clamp_max(size).unsqueeze(1)
    distance = (pixel - centre.unsqueeze(1) + 0.5) / max(scale, 1.0)
    inside = (pixel >= first) & (pixel < end) & (distance > -0.5) & (distance <= 0.5)
    return inside / inside.sum(1, keepdim=True)


def correlate(x: Tensor, kernels: Tensor, corner: tuple[int, int], mode: str) -> Tensor:
    """Weight the pixels around each pixel by the kernel of its image, and sum them.

    Args:
        x: [B, C, H, W].
        kernels: [B, k, l], one for each image.
        corner: rows down and columns right of a pixel at which its kernel begins: at most 0, and so far that the kernel
            holds the pixel.
        mode: what is outside the image, in the words of `torch.nn.functional.pad`.

    Returns:
        [B, C, H, W].
    """
    images, channels = x.shape[:2]
    (down, right), (height, width) = corner, kernels.shape[1:]
    x_padded = F.pad(x, (-right, width - 1 + right, -down, height - 1 + down), mode=mode)
    each = kernels.to(x).repeat_interleave(channels, 0).unsqueeze(1)
    return F.conv2d(x_padded.flatten(0, 1).unsqueeze(0), each, groups=images * channels).view_as(x)


def blur_along(x: Tensor, degrees: Tensor, radius: int, sigma: float) -> Tensor:
    """Smear each image along its direction, with one half of a Gaussian.

    As `MagickMotionBlurImage` of ImageMagick: a pixel is the mean of those on a line from it, with weights exp(-i^2 / 2
    sigma^2) for the one at distance i, each rounded to the nearest pixel; the pixels at the edge are repeated. Pixels
    that weigh less than 1e-6 are left out.

    Args:
        x: [B, C, H, W].
        degrees: [B], the direction of each image.
        radius: the line has 2 radius + 1 pixels.
        sigma: standard deviation of the Gaussian, in pixels.

    Returns:
        [B, C, H, W].
    """
    distance = torch.arange(2 * radius + 1, dtype=torch.float64, device=x.device)
    weights = torch.exp(-0.5 * (distance / sigma) ** 2)
    weights /= weights.sum()
    reach = math.floor(sigma * (2 * math.log(1e6 * float(weights[0]))) ** 0.5)
    distance, weights = distance[: reach + 1], weights[: reach + 1]
    angle = degrees.double().deg2rad().unsqueeze(1)
    down, right = ((part * distance - 0.5).ceil().long() for part in (angle.sin(), angle.cos()))
    (top, bottom), (left, far) = ((int(to.min()), int(to.max())) for to in (down, right))
    height, width = bottom - top + 1, far - left + 1
    kernels = torch.zeros(len(x), height * width, dtype=torch.float64, device=x.device)
    kernels.scatter_add_(1, (down - top) * width + right - left, weights.expand(len(x), -1))
    return correlate(x, kernels.view(-1, height, width), (top, left), "replicate")
