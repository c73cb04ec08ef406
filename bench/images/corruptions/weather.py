"""Snow, frost and fog."""

import torch
from torch import Generator, Tensor

from bench.images.corruptions.base import CIFAR, IMAGENET, IMAGENET_64, Corruption, nearest, to_levels
from bench.images.corruptions.filters import blur_along, separable, zoom_matrix

# Fog


def plasma(u: Tensor, decay: float) -> Tensor:
    """Fractal landscapes by the diamond-square algorithm of the public code, on a torus.

    Args:
        u: [B, M, M] in [0, 1], where M is a power of two: how far each place is from the mean of its neighbours.
        decay: that range falls by decay^2 with each halving of the distance.

    Returns:
        [B, M, M], with least value 0 and greatest value 1.
    """
    side = u.shape[-1]
    land, range_, step = torch.zeros_like(u), 100.0**2, side

    def fill(rows: slice, columns: slice, neighbours: Tensor) -> None:
        land[:, rows, columns] = neighbours / 4 + range_ * (2 * u[:, rows, columns] - 1)

    while step >= 2:
        at, between = slice(0, side, step), slice(step // 2, side, step)
        corners = land[:, at, at]
        square = corners + corners.roll(-1, 1)
        fill(between, between, square + square.roll(-1, 2))
        middles = land[:, between, between]
        fill(at, between, middles + middles.roll(1, 1) + corners + corners.roll(-1, 2))
        fill(between, at, middles + middles.roll(1, 2) + corners + corners.roll(-1, 1))
        range_, step = range_ / decay**2, step // 2
    land -= land.amin((1, 2), keepdim=True)
    return land / land.amax((1, 2), keepdim=True)


def heights(x: Tensor, constants: object, generator: Generator) -> Tensor:
    """Draw the random part of a fractal landscape that covers the images.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, M, M], uniform in [0, 1), where M is the next power of two of the longest side, at least 2.
    """
    side = 1 << max(max(x.shape[-2:]) - 1, 1).bit_length()
    return torch.rand(len(x), side, side, generator=generator, device=x.device)


def fog(x: Tensor, constants: tuple[float, float], u: Tensor) -> Tensor:
    """Mix a fractal mist into images, scaled so that no value exceeds the brightest one of its image.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: the greatest amount of mist, and how fast its roughness falls.
        u: [B, M, M], what `heights` gives.

    Returns:
        [B, C, H, W].
    """
    amount, decay = constants
    brightest = x.amax((1, 2, 3), keepdim=True)
    mist = plasma(u, decay)[:, None, : x.shape[-2], : x.shape[-1]]
    return (x + amount * mist) * brightest / (brightest + amount)


# Frost

FROSTS = torch.tensor(
    [  # mean of red, green and blue, their standard deviation within a crop, and that of the means of crops
        [0.30, 0.58, 0.65, 0.09, 0.05, 0.05, 0.04],
        [0.78, 0.79, 0.83, 0.07, 0.07, 0.07, 0.04],
        [0.78, 0.79, 0.83, 0.07, 0.07, 0.07, 0.04],
        [0.56, 0.62, 0.67, 0.10, 0.10, 0.10, 0.04],
        [0.40, 0.45, 0.49, 0.14, 0.14, 0.13, 0.06],
    ]
)
"""The photographs of the public code, as it scales and crops them for CIFAR-10-C. It uses five of its six."""
SMOOTH, DECAY = 0.45, 1.2
"""How much of the variance is a plasma's and not each pixel's, and its decay: so that pixels correlate about as in
those crops, by 0.36 next to each other and 0.12 at a distance of eight pixels."""


def texture(x: Tensor, constants: object, generator: Generator) -> Tensor:
    """Draw the ice: a fractal landscape and noise, in the colours of one of the photographs.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, 3, H, W] in [0, 1].
    """
    which = torch.randint(len(FROSTS), (len(x),), generator=generator, device=x.device)
    mean, std, shift = FROSTS.to(x.device)[which, :, None, None].split((3, 3, 1), 1)
    smooth = plasma(heights(x, constants, generator), DECAY)[:, None, : x.shape[-2], : x.shape[-1]]
    smooth = smooth - smooth.mean((2, 3), keepdim=True)
    smooth *= (SMOOTH / smooth.square().mean((2, 3), keepdim=True)).sqrt()
    rough = torch.randn(smooth.shape, generator=generator, device=x.device).mul_((1 - SMOOTH) ** 0.5)
    light = torch.randn(shift.shape, generator=generator, device=x.device)
    ice: Tensor = mean + shift * light + std * (smooth + rough)
    return ice.clamp_(0, 1)


def frost(x: Tensor, constants: tuple[float, float], ice: Tensor) -> Tensor:
    """Lay ice over images.

    Departure: the ice is a procedural texture with the colours, the contrast and the grain of the public code's
    photographs, which are not ours to give away. So numbers for frost are not those of the published data.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: weights of the image and of the ice.
        ice: [B, 3, H, W], what `texture` gives.

    Returns:
        [B, C, H, W].
    """
    of_image, of_ice = constants
    return (of_image * x).add_(ice if x.shape[1] == 3 else luma(ice), alpha=of_ice)


# Snow


def luma(x: Tensor) -> Tensor:
    """The grey of images, as ITU-R BT.601 weights red, green and blue.

    Args:
        x: [B, 3, H, W], or [B, 1, H, W], which is returned as it is.

    Returns:
        [B, 1, H, W].
    """
    if x.shape[1] == 1:
        return x
    grey: Tensor = 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]
    return grey


def flakes(x: Tensor, constants: object, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draw the flakes, and the direction in which they fall.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, 1, H, W] of the standard normal distribution, and [B] degrees, uniform in -135 to -45.
    """
    noise = torch.randn(len(x), 1, *x.shape[-2:], generator=generator, device=x.device)
    return noise, 90 * torch.rand(len(x), generator=generator, device=x.device) - 135


def snow(
    x: Tensor, constants: tuple[float, float, float, float, int, float, float], noise_and_degrees: tuple[Tensor, Tensor]
) -> Tensor:
    """Let it snow on images, which are whitened.

    Noise is enlarged, and what exceeds a threshold is smeared and added twice, once as it is and once upside down. This
    layer is in bytes, as in the public code: rounded down before it is smeared, and to the nearest byte after.

    Args:
        x: [B, C, H, W] in [0, 1].
        constants: mean and standard deviation of the noise, its enlargement, the threshold, radius and standard
            deviation of the smear in pixels, and the part of the image that is not whitened.
        noise_and_degrees: what `flakes` gives.

    Returns:
        [B, C, H, W].
    """
    mean, std, factor, threshold, radius, sigma, keep = constants
    noise, degrees = noise_and_degrees
    rows, columns = (zoom_matrix(n, factor).to(x) for n in x.shape[-2:])
    layer = mean + std * separable(noise, rows, columns)  # rows of the matrices sum to 1
    layer = to_levels(layer.masked_fill_(layer < threshold, 0)) / 255
    layer = nearest(blur_along(layer, degrees, radius, sigma).mul_(255)).div_(255)
    white = torch.maximum(x, 1.5 * luma(x) + 0.5)
    return torch.lerp(white, x, keep).add_(layer + layer.flip(2, 3))


SNOW = Corruption(
    {
        CIFAR: (
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
        ),
        IMAGENET_64: (
            (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.8),
            (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.6),
        ),
        IMAGENET: (
            (0.1, 0.3, 3.0, 0.5, 10, 4.0, 0.8),
            (0.2, 0.3, 2.0, 0.5, 12, 4.0, 0.7),
            (0.55, 0.3, 4.0, 0.9, 12, 8.0, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8.0, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12.0, 0.55),
        ),
    },
    flakes,
    snow,
)
"""Constants: mean and standard deviation of the noise, its enlargement, the threshold, radius and standard deviation of
the smear, and the part of the image that is not whitened."""

FROST = Corruption(
    {
        CIFAR: ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        IMAGENET_64: ((1.0, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        IMAGENET: ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
    },
    texture,
    frost,
)
"""Constants: weights of the image and of the ice."""

FOG = Corruption(
    {
        CIFAR: ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)),
        IMAGENET_64: ((0.4, 3.0), (0.7, 3.0), (1.0, 2.5), (1.5, 2.0), (2.0, 1.75)),
        IMAGENET: ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)),
    },
    heights,
    fog,
)
"""Constants: the greatest amount of mist, and how fast its roughness falls."""
