"""Blurs: out of focus, through glass, in motion, zoomed, Gaussian."""

from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bench.images.corruptions.base import CIFAR, IMAGENET, IMAGENET_64, Corruption, nearest, nothing, to_levels
from bench.images.corruptions.filters import blur_along, correlate, gaussian, separable, zoom_matrix

# Defocus


@cache
def disc(radius: float, sigma: float) -> Tensor:
    """A disc that is smoothed by a Gaussian, as a kernel whose sum is 1.

    As in the public code, it is a disc of whole pixels on a square of at least 17, smoothed by a Gaussian of 3 pixels
    (5 where the radius is above 8), with the edges mirrored without the pixels at the edge.

    Args:
        radius: of the disc, in pixels.
        sigma: standard deviation of the Gaussian, in pixels.

    Returns:
        [k, k] float64 with odd k, without the zeros around the disc. It is shared, so nobody may write to it.
    """
    half, reach = (8, 1) if radius <= 8 else (int(radius), 2)
    place = torch.arange(-half, half + 1, dtype=torch.float64)
    whole = (place**2 + place.unsqueeze(1) ** 2 <= radius**2).double()
    line = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    line /= line.sum()
    padded = F.pad(whole[None, None] / whole.sum(), (reach,) * 4, mode="reflect")
    smooth = F.conv2d(F.conv2d(padded, line.view(1, 1, 1, -1)), line.view(1, 1, -1, 1))[0, 0]
    zeros = half - int(place[(smooth > 1e-9).any(0)].abs().max())
    return smooth[zeros : len(smooth) - zeros, zeros : len(smooth) - zeros]


def defocus(x: Tensor, constants: tuple[float, float], _: None) -> Tensor:
    """Blur out of focus: each pixel becomes the mean over a smoothed disc around it.

    Outside the image is its mirror image, without the pixels at the edge.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: radius of the disc, and standard deviation of its smoothing, in pixels.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    kernel = disc(*constants)
    start = -(len(kernel) // 2)
    return correlate(x, kernel.expand(len(x), -1, -1), (start, start), "reflect")


# Glass


def neighbours(x: Tensor, constants: tuple[float, int, int], generator: Generator) -> Tensor:
    """Draw the neighbour that each pixel takes, in each iteration.

    Args:
        x: [B, C, H, W], the images.
        constants: standard deviation of the blurs (not used), delta (how far neighbours are), and the number of
            iterations.
        generator: on the device of x.

    Returns:
        [iterations, B, 2, H', W'] int64: rows down and columns right to the neighbour, each from -delta to delta - 1.
        H' and W' count the pixels that have such neighbours, from delta + 1 to H - delta and to W - delta.
    """
    _, delta, iterations = constants
    inner = [max(n - 2 * delta, 0) for n in x.shape[-2:]]
    return torch.randint(-delta, delta, (iterations, len(x), 2, *inner), generator=generator, device=x.device)


def glass(x: Tensor, constants: tuple[float, int, int], offsets: Tensor) -> Tensor:
    """Blur the images, shuffle their pixels, and blur them again, as if seen through glass.

    From the last pixel to the first, each is replaced by one of its neighbours, as that is by then. The public code
    says that the two are swapped, but its rows are views of one array, so the neighbour stays as it is; here too.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: standard deviation of the blurs in pixels, how far neighbours are, and the number of iterations.
        offsets: what `neighbours` gives.

    Returns:
        [B, C, H, W].
    """
    sigma, delta, _ = constants
    x = to_levels(gaussian(x, sigma)) / 255
    source = torch.stack([final_sources(o, delta, x.shape[-2], x.shape[-1]) for o in offsets])
    for index in source:
        x = x.flatten(2).gather(2, index.unsqueeze(1).expand(-1, x.shape[1], -1)).view_as(x)
    return gaussian(x, sigma)


def final_sources(offsets: Tensor, delta: int, height: int, width: int) -> Tensor:
    """Find the pixel whose value ends up at each pixel when pixels take their neighbours' values one after the other.

    A pixel takes a neighbour's first content if that neighbour is replaced later, or never, and else what the neighbour
    got itself. So follow the neighbours that come earlier to the last of them, doubling the steps each time, and take
    its neighbour.

    Args:
        offsets: [B, 2, H', W'], one iteration of what `neighbours` gives.
        delta: how far neighbours are, in pixels.
        height, width: of the images, in pixels.

    Returns:
        [B, H * W] int64, positions in the flattened image.
    """
    place = torch.arange(height * width, device=offsets.device).view(height, width)
    neighbour = place.repeat(len(offsets), 1, 1)
    inner = slice(delta + 1, height - delta + 1), slice(delta + 1, width - delta + 1)
    neighbour[:, *inner] += width * offsets[:, 0] + offsets[:, 1]
    inside = torch.zeros_like(place, dtype=torch.bool)
    inside[inner] = True
    neighbour, place, inside = neighbour.flatten(1), place.flatten(), inside.flatten()
    follow = neighbour.where((neighbour > place) & inside[neighbour], place)
    for _ in range((height * width).bit_length() if delta > 1 else 0):  # with delta 1, neighbours all come later
        follow = follow.gather(1, follow)
    return neighbour.gather(1, follow)


# Motion, zoom


def directions(x: Tensor, constants: object, generator: Generator) -> Tensor:
    """Draw the direction in which each image moves.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B] degrees, uniform in -45 to 45.
    """
    return 90 * torch.rand(len(x), generator=generator, device=x.device) - 45


def motion(x: Tensor, constants: tuple[int, float], degrees: Tensor) -> Tensor:
    """Blur by motion: smear each image along its direction, rounded to the nearest byte as ImageMagick does.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: radius and standard deviation of the smear, in pixels.
        degrees: [B], the direction of each image.

    Returns:
        [B, C, H, W].
    """
    radius, sigma = constants
    return nearest(blur_along(x, degrees, radius, sigma).mul_(255)).div_(255)


def zoom(x: Tensor, constants: tuple[float, float], _: None) -> Tensor:
    """Blur by zooming: the mean of the image and of its enlargements by 1, 1 + step and so on.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: the factor at which enlargements end (its rounding decides whether it is one of them), and the step.
        _: nothing is drawn.

    Returns:
        [B, C, H, W].
    """
    stop, step = constants
    factors = np.arange(1, stop, step).tolist()  # its rounding says whether the last factor is one of them
    total = x.clone()
    for factor in factors:
        rows, columns = (zoom_matrix(n, factor).to(x) for n in x.shape[-2:])
        total += separable(x, rows, columns)
    return total.div_(len(factors) + 1)


DEFOCUS_BLUR = Corruption(
    {
        CIFAR: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)),
        IMAGENET_64: ((0.5, 0.6), (1.0, 0.1), (1.5, 0.1), (2.5, 0.01), (3.0, 0.1)),
        IMAGENET: ((3.0, 0.1), (4.0, 0.5), (6.0, 0.5), (8.0, 0.5), (10.0, 0.5)),
    },
    nothing,
    defocus,
)
"""Constants: radius of the disc, and standard deviation of its smoothing."""

GLASS_BLUR = Corruption(
    {
        CIFAR: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        IMAGENET_64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        IMAGENET: ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
    },
    neighbours,
    glass,
)
"""Constants: standard deviation of the blurs, how far neighbours are, and how often pixels are shuffled."""

MOTION_BLUR = Corruption(
    {
        CIFAR: ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5)),
        IMAGENET_64: ((10, 1.0), (10, 1.5), (10, 2.0), (10, 2.5), (12, 3.0)),
        IMAGENET: ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)),
    },
    directions,
    motion,
)
"""Constants: radius and standard deviation, as ImageMagick has them."""

ZOOM_BLUR = Corruption(
    {
        CIFAR: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        IMAGENET_64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        IMAGENET: ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
    },
    nothing,
    zoom,
)
"""Constants: where the factors end, and their step."""

GAUSSIAN_BLUR = Corruption(
    {
        CIFAR: (0.4, 0.6, 0.7, 0.8, 1.0),
        IMAGENET_64: (0.5, 0.75, 1.0, 1.25, 1.5),
        IMAGENET: (1.0, 2.0, 3.0, 4.0, 6.0),
    },
    nothing,
    lambda x, sigma, _: gaussian(x, sigma),
)
"""Constants: standard deviation in pixels."""
