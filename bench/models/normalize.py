"""Normalisation of inputs inside the model, so that everything outside of it sees values in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError


class Normalize(nn.Module):
    """(x - mean) / std, for each channel of images [.., B, C, H, W] or each feature of vectors [.., B, D].

    There is at most one leading dimension, that of stacked runs: an input of four or five dimensions is images, one of
    two or three dimensions is vectors. The module has no parameters.

    Args:
        mean, std: one value for each channel or feature.

    Raises:
        BenchError: if they differ in number, or a standard deviation is not positive.
    """

    stackable = True
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std, default=1) <= 0:
            raise BenchError(
                f"normalisation needs as many positive standard deviations as means, not {len(mean)} means and "
                f"{len(std)} standard deviations, of which the least is {min(std, default=None)}"
            )
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, 1, 1) if x.dim() > 3 else (-1,)
        return (x - self.mean.view(shape)) / self.std.view(shape)


def normalized(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """The model with a normalisation of its input before it, or the model itself if `mean` is empty."""
    return nn.Sequential(Normalize(mean, std), model) if mean else model
