"""What a corruption consists of: constants, a random draw, and a function of images that uses both."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Generator, Tensor

from bench.errors import DataError, OptionError

C = TypeVar("C")
D = TypeVar("D")

CIFAR, IMAGENET_64, IMAGENET = 32, 64, 224
"""The sizes that the public constants are made for, in pixels."""

CHUNK = 2**18
"""Values that are corrupted at once, 1 MiB of floats: with what is made of them they stay in a core's cache. Draws are
made by the chunk, so it is part of what a generator gives."""


@dataclass(frozen=True)
class Corruption(Generic[C, D]):
    """A corruption of images, called as `corruption(x, severity, generator)`.

    Values are rounded down to bytes, as in the published data. Equal states of the generator give equal images.

    Attributes:
        constants: size of images in pixels -> the constants of each severity.
        draw: (images, constants, generator) -> everything that is random.
        apply: (images, constants, result of `draw`) -> images, whose values are then clamped to [0, 1]. The images that
            it takes are floats in [0, 1], and must not be changed.
    """

    constants: Mapping[int, tuple[C, ...]]
    draw: Callable[[Tensor, C, Generator], D]
    apply: Callable[[Tensor, C, D], Tensor]

    def __call__(self, x: Tensor, severity: int, generator: Generator) -> Tensor:
        """Corrupt images.

        Args:
            x: [N, C, H, W] uint8, where C is 3, or 1 for grey images.
            severity: 1 to 5.
            generator: on the device of x.

        Returns:
            [N, C, H, W] uint8, on the device of x.

        Raises:
            OptionError: for another severity.
            DataError: for another kind of x.
        """
        if severity not in range(1, 6):
            raise OptionError(f"the severity of a corruption is 1, 2, 3, 4 or 5, not {severity}")
        if x.dim() != 4 or x.shape[1] not in (1, 3) or x.dtype != torch.uint8 or not x.numel():
            raise DataError(
                f"corruptions need images [N, C, H, W] as uint8, with C 1 or 3, not {list(x.shape)} {x.dtype}"
            )
        constants = self.constants[nominal_size(x)][severity - 1]
        corrupted = torch.empty_like(x)
        chunk = max(CHUNK // x[0].numel(), 1)
        for part, done in zip(x.split(chunk), corrupted.split(chunk), strict=True):
            images = part.float().mul_(1 / 255)
            changed = self.apply(images, constants, self.draw(images, constants, generator))
            done.copy_(to_levels(changed, out=changed))  # less memory, so more of it is in the cache
        return corrupted


def nominal_size(x: Tensor) -> int:
    """The size of images, in pixels, whose constants are used for images of a given size.

    Args:
        x: [.., H, W].

    Returns:
        The smallest of CIFAR, IMAGENET_64 and IMAGENET that the longer side does not exceed; IMAGENET for larger
        images.
    """
    longest = max(x.shape[-2:])
    return next((size for size in (CIFAR, IMAGENET_64) if longest <= size), IMAGENET)


def to_levels(x: Tensor, out: Tensor | None = None) -> Tensor:
    """The levels, 0 to 255, of values in [0, 1]: 255 times the value, rounded down.

    A value that is less than 1/10,000 below a level counts as that level, because bytes / 255 * 255 is not exact. Torch
    turns int16 into bytes three times as fast as floats.

    Args:
        x: floats of any shape; values outside [0, 1] are clamped.
        out: a tensor of this shape and type that is written over, such as x itself; None (the default) for a new one.

    Returns:
        int16 in 0..255, of the shape of x.
    """
    a_little = torch.full((), 1e-4, dtype=x.dtype, device=x.device)
    return torch.add(a_little, x, alpha=255, out=out).clamp_(0, 255).short()


def nearest(x: Tensor) -> Tensor:
    """Round values to the nearest integers, in place; halves are rounded upwards.

    Args:
        x: floats of any shape, which are changed.

    Returns:
        x itself.
    """
    return x.add_(0.5).floor_()


def nothing(x: Tensor, constants: object, generator: Generator) -> None:
    """The draw of a corruption that is not random: it draws nothing.

    Args:
        x, constants, generator: as for every draw; not used.
    """
