"""Normalisation of inputs inside the model, so that everything outside of it sees values in [0, 1]."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bench.errors import BenchError

Values = Sequence[float] | Tensor


class Normalize(nn.Module):
    """(x - mean) / std, for each channel of images [.., B, C, H, W] or each feature of vectors [.., B, D].

    There is at most one leading dimension, that of stacked runs: an input of four or five dimensions is images, one of
    two or three dimensions is vectors. The module has no parameters.

    Args:
        mean, std: one value for each channel or feature, [C]; of stacked runs that differ in them, [R, C].

    Raises:
        BenchError: if they differ in number, or a standard deviation is not positive.
    """

    stackable = True
    mean: Tensor
    std: Tensor

    def __init__(self, mean: Values, std: Values) -> None:
        super().__init__()
        means, stds = torch.as_tensor(mean), torch.as_tensor(std)
        if means.shape != stds.shape or (stds <= 0).any():
            least = stds.min().item() if stds.numel() else None
            raise BenchError(
                f"normalisation needs as many positive standard deviations as means, not {means.numel()} means and "
                f"{stds.numel()} standard deviations, of which the least is {least}"
            )
        self.register_buffer("mean", means.clone())
        self.register_buffer("std", stds.clone())

    def layer(self, run: int) -> "Normalize":
        """The normalisation of one of stacked runs."""
        alike = self.mean.dim() == 1
        return Normalize(self.mean, self.std) if alike else Normalize(self.mean[run], self.std[run])

    def forward(self, x: Tensor) -> Tensor:
        pixels = (1, 1) if x.dim() > 3 else ()
        shape = (-1, *pixels)
        if self.mean.dim() > 1:
            shape = (len(self.mean), 1, *shape)  # a run, all of its samples
        return (x - self.mean.view(shape)) / self.std.view(shape)


def normalized(model: nn.Module, mean: Values, std: Values) -> nn.Module:
    """The model with a normalisation of its input before it, or the model itself if `mean` is empty."""
    return nn.Sequential(Normalize(mean, std), model) if len(mean) else model
