"""Normalisation of inputs, inside the model: what stands before it sees values in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError


class Normalize(nn.Module):
    """(x - mean) / std, for each channel of images [.., B, C, H, W] or each feature of vectors [.., B, D].

    At most one leading dimension, of stacked runs: an input of four or five dimensions is images, of two or three
    vectors. mean, std: one value for each channel or feature. No parameters.
    Raises BenchError if they differ in number or a standard deviation is not positive.
    """

    stackable = True
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std, default=1) <= 0:
            raise BenchError(
                f"normalisation needs as many means as positive standard deviations, not {len(mean)} means and "
                f"{len(std)} standard deviations, the least {min(std, default=None)}"
            )
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, x: Tensor) -> Tensor:
        shape = (-1, 1, 1) if x.dim() > 3 else (-1,)
        return (x - self.mean.view(shape)) / self.std.view(shape)


def normalized(model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> nn.Module:
    """The model behind a normalisation of its input, or the model itself where `mean` is empty."""
    return nn.Sequential(Normalize(mean, std), model) if mean else model
