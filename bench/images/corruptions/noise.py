"""Noise on each value by itself."""

import torch
from torch import Generator, Tensor

from bench.images.corruptions.base import CIFAR, IMAGENET, IMAGENET_64, Corruption


def standard_normal(x: Tensor, constants: object, generator: Generator) -> Tensor:
    """Draw a number of the standard normal distribution for each value.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, C, H, W], on the device of x.
    """
    return torch.randn(x.shape, generator=generator, device=x.device)


def uniform(x: Tensor, constants: object, generator: Generator) -> Tensor:
    """Draw a number uniform in [0, 1) for each value.

    Args:
        x: [B, C, H, W], the images.
        constants: not used.
        generator: on the device of x.

    Returns:
        [B, C, H, W], on the device of x.
    """
    return torch.rand(x.shape, generator=generator, device=x.device)


def counts(x: Tensor, photons: float, generator: Generator) -> Tensor:
    """Draw how many of the photons that each value stands for are counted: a Poisson variable.

    Args:
        x: [B, C, H, W], the images.
        photons: the number of photons that a value of 1 stands for.
        generator: on the device of x.

    Returns:
        [B, C, H, W], whole numbers as floats.
    """
    return torch.poisson(x * photons, generator=generator)


def set_to_extremes(x: Tensor, share: float, u: Tensor) -> Tensor:
    """Salt and pepper: replace a share of the values by extremes, half of them by 1 and half by 0.

    Args:
        x: [B, C, H, W] in [0, 1].
        share: the probability that a value is replaced.
        u: [B, C, H, W], uniform in [0, 1).

    Returns:
        [B, C, H, W]. Replaced values are at least 1 or at most 0, and are clamped later.
    """
    return (u - 0.5).mul_(2 / (1 - share)).trunc_().add_(x)


GAUSSIAN_NOISE = Corruption(
    {
        CIFAR: (0.04, 0.06, 0.08, 0.09, 0.10),
        IMAGENET_64: (0.04, 0.08, 0.12, 0.15, 0.18),
        IMAGENET: (0.08, 0.12, 0.18, 0.26, 0.38),
    },
    standard_normal,
    lambda x, std, z: torch.add(x, z, alpha=std),
)
"""Constants: standard deviation."""

SHOT_NOISE = Corruption(
    {
        CIFAR: (500.0, 250.0, 100.0, 75.0, 50.0),
        IMAGENET_64: (250.0, 100.0, 50.0, 30.0, 15.0),
        IMAGENET: (60.0, 25.0, 12.0, 5.0, 3.0),
    },
    counts,
    lambda x, photons, counted: counted / photons,
)
"""Constants: photons that a value of 1 stands for."""

IMPULSE_NOISE = Corruption(
    {
        CIFAR: (0.01, 0.02, 0.03, 0.05, 0.07),
        IMAGENET_64: (0.01, 0.02, 0.05, 0.08, 0.14),
        IMAGENET: (0.03, 0.06, 0.09, 0.17, 0.27),
    },
    uniform,
    set_to_extremes,
)
"""Constants: share of the values that are replaced."""

SPECKLE_NOISE = Corruption(
    {
        CIFAR: (0.06, 0.1, 0.12, 0.16, 0.2),
        IMAGENET_64: (0.15, 0.2, 0.25, 0.3, 0.35),
        IMAGENET: (0.15, 0.2, 0.35, 0.45, 0.6),
    },
    standard_normal,
    lambda x, std, z: torch.addcmul(x, x, z, value=std),
)
"""Constants: standard deviation, relative to the value."""
