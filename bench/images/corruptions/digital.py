"""Brightness, contrast and saturation, elastic transformations, pixelation and JPEG."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.images.corruptions.base import CIFAR, IMAGENET, IMAGENET_64, Corruption, nearest, nothing
from bench.images.corruptions.filters import box_matrix, gaussian
from bench.images.corruptions.jpeg import jpeg

# Colours. With hue and saturation kept, red, green and blue are in proportion to the value, their maximum


def brighten(x: Tensor, by: float, _: None) -> Tensor:
    """Add to the value, in the colour space HSV; hue and saturation stay, and black becomes grey.

    Args:
        x: [B, C, H, W] in [0, 1].
        by: what is added.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    value = x.amax(1, keepdim=True)
    brighter = (value + by).clamp_max(1)
    return (x * (brighter / value.clamp_min(1e-6))).where(value > 0, brighter)


def saturate(x: Tensor, constants: tuple[float, float], _: None) -> Tensor:
    """Multiply the saturation, in the colour space HSV, by a factor and add an offset; the result is clamped to [0, 1].

    Pixels without colour have the hue of red, as in the public code. Grey images, of one channel, stay as they are.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: the factor and the offset.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    factor, offset = constants
    if x.shape[1] == 1:
        return x
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    span = value - least
    saturation = span / value.clamp_min(1e-6)
    red = torch.tensor([0.0, 1.0, 1.0], device=x.device).view(1, 3, 1, 1)
    below = (value - x).div_(span.clamp_min(1e-6)).addcmul_(red, (span == 0).to(x.dtype))  # in parts of the span
    return torch.addcmul(value, value * (factor * saturation + offset).clamp_(0, 1), below, value=-1)


def flatten(x: Tensor, factor: float, _: None) -> Tensor:
    """Lower the contrast: multiply the differences from the mean of each channel by a factor.

    Args:
        x: [B, C, H, W] in [0, 1].
        factor: 1 leaves the image as it is, and 0 leaves the mean alone.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    return torch.lerp(x.mean((2, 3), keepdim=True), x, factor)


# Elastic


def bends(x: Tensor, constants: object, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw how far three points of each image move, and each of its pixels, relative to the greatest displacement.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, 3, 2] for the points and [B, 2, H, W] for the pixels, uniform in -1 to 1: to the right, then down.
    """
    points = torch.empty(len(x), 3, 2, device=x.device).uniform_(-1, 1, generator=generator)
    pixels = torch.empty(len(x), 2, *x.shape[-2:], device=x.device).uniform_(-1, 1, generator=generator)
    return points, pixels


def elastic(x: Tensor, constants: tuple[float, float, float], shifts: tuple[Tensor, Tensor]) -> Tensor:
    """Bend images: an affine map that moves three points of the image, then a smooth displacement of each pixel.

    Outside the image is its mirror image: for the affine map without the pixels at the edge, for the displacement with
    them.

    Departure: the public code computes the affine map at positions rounded to 1/32 pixel; here they are not rounded.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: in pixels, the greatest displacement before it is smoothed, the standard deviation of its smoothing,
            and the greatest displacement of the three points.
        shifts: what `bends` gives.

    Returns:
        [B, C, H, W].
    """
    amount, sigma, corner = constants
    by, pixels = shifts
    height, width = x.shape[-2:]
    size, side = torch.tensor([width, height], device=x.device), min(height, width) // 3
    offsets = torch.tensor([[side, side], [side, -side], [-side, -side]], device=x.device)
    points = 2 * (torch.tensor([height // 2, width // 2], device=x.device) + offsets) / (size - 1) - 1
    affine = affine_map(points + 2 * corner / (size - 1) * by, points)
    grid = F.affine_grid(affine, list(x.shape), align_corners=True)
    x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=True)
    same = F.affine_grid(torch.eye(2, 3, device=x.device).unsqueeze(0), [1, *x.shape[1:]], align_corners=False)
    moves = gaussian(pixels, sigma, "reflect", truncate=3.0).permute(0, 2, 3, 1)
    grid = torch.addcmul(same, moves, 2 * amount / size)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def affine_map(sources: Tensor, targets: Tensor) -> Tensor:
    """The affine maps that take three points to three others.

    Args:
        sources: [B, 3, 2], three points of each image that are not on one line.
        targets: [3, 2], the points that they go to.

    Returns:
        [B, 2, 3].
    """
    (to_0, to_1), end = (targets[:2] - targets[2]), targets[2]
    (from_0, from_1), start = (sources[:, :2] - sources[:, 2:]).unbind(1), sources[:, 2]
    area = from_0[:, :1] * from_1[:, 1:] - from_0[:, 1:] * from_1[:, :1]
    across = (to_0 * from_1[:, 1:] - to_1 * from_0[:, 1:]) / area
    down = (to_1 * from_0[:, :1] - to_0 * from_1[:, :1]) / area
    return torch.stack([across, down, end - across * start[:, :1] - down * start[:, 1:]], 2)


# Pixels, JPEG


def pixelate(x: Tensor, factor: float, _: None) -> Tensor:
    """Shrink images and enlarge them again with the box filter of PIL's `resize`.

    Each time it filters across, then down, and rounds to bytes after each.

    Args:
        x: [B, C, H, W] in [0, 1].
        factor: sides of the small image, relative to those of the image.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    height, width = x.shape[-2:]
    low, narrow = max(int(height * factor), 1), max(int(width * factor), 1)
    x = nearest(255 * x)
    for rows, columns in (
        (box_matrix(height, low), box_matrix(width, narrow)),
        (box_matrix(low, height), box_matrix(narrow, width)),
    ):
        x = nearest(rows.to(x) @ nearest(x @ columns.to(x).T))
    return x.div_(255)


def compress(x: Tensor, quality: int, _: None) -> Tensor:
    """Save each image as JPEG and read it back.

    Args:
        x: [B, C, H, W] in [0, 1].
        quality: of the JPEG, 1 to 100.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    return jpeg(x, quality)


BRIGHTNESS = Corruption(
    {
        CIFAR: (0.05, 0.1, 0.15, 0.2, 0.3),
        IMAGENET_64: (0.1, 0.2, 0.3, 0.4, 0.5),
        IMAGENET: (0.1, 0.2, 0.3, 0.4, 0.5),
    },
    nothing,
    brighten,
)
"""Constants: what is added."""

CONTRAST = Corruption(
    {
        CIFAR: (0.75, 0.5, 0.4, 0.3, 0.15),
        IMAGENET_64: (0.4, 0.3, 0.2, 0.1, 0.05),
        IMAGENET: (0.4, 0.3, 0.2, 0.1, 0.05),
    },
    nothing,
    flatten,
)
"""Constants: the factor."""

ELASTIC_TRANSFORM = Corruption(
    {
        CIFAR: ((0.0, 0.0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
        IMAGENET_64: ((0.0, 0.0, 5.12), (3.2, 19.2, 3.84), (6.4, 5.12, 3.84), (6.4, 1.92, 1.92), (10.24, 1.92, 1.28)),
        IMAGENET: (
            (488.0, 170.8, 24.4),
            (488.0, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
    },
    bends,
    elastic,
)
"""Constants, in pixels: greatest displacement before it is smoothed, standard deviation of the smoothing, and greatest
displacement of the three points."""

PIXELATE = Corruption(
    {
        CIFAR: (0.95, 0.9, 0.85, 0.75, 0.65),
        IMAGENET_64: (0.9, 0.8, 0.7, 0.6, 0.5),
        IMAGENET: (0.6, 0.5, 0.4, 0.3, 0.25),
    },
    nothing,
    pixelate,
)
"""Constants: sides of the small image, relative to those of the image."""

JPEG_COMPRESSION = Corruption(
    {
        CIFAR: (80, 65, 58, 50, 40),
        IMAGENET_64: (65, 58, 50, 40, 25),
        IMAGENET: (25, 18, 15, 10, 7),
    },
    nothing,
    compress,
)
"""Constants: quality."""

SATURATE = Corruption(
    {
        CIFAR: ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2)),
        IMAGENET_64: ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (30.0, 0.2)),
        IMAGENET: ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2)),
    },
    nothing,
    saturate,
)
"""Constants: factor and offset of the saturation."""
