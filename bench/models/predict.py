"""The logits of a model for the samples of a split."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from bench.data.split import Split

GPU_NUMBERS = 2**23
"""Numbers in the inputs of one batch on a GPU (2,730 images of CIFAR). With small batches a GPU waits for the host."""


@torch.no_grad()
def predict(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    """Compute the logits of all samples. The model is put into evaluation mode and stays in it.

    Args:
        model: the model.
        split: the samples, stacked if the model is.
        batch_size: samples of each run in a batch. On a GPU it is the least number, and batches of small inputs are
            larger if the memory allows it.

    Returns:
        [.., N, C] float32, in the order of the split.
    """
    model.eval()
    if split.device.type == "cuda":
        larger = _gpu_batch_size(split, batch_size)
        if larger > batch_size:
            with suppress(torch.OutOfMemoryError):
                return _logits(model, split, larger)
    return _logits(model, split, batch_size)


def _logits(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    return torch.cat([model(batch.x).float() for batch in split.in_order(batch_size)], -2)


def _gpu_batch_size(split: Split, least: int) -> int:
    """How many samples have GPU_NUMBERS numbers together, in all stacked runs; `least` or more."""
    numbers_per_sample = split.x.numel() // max(len(split), 1)
    return max(least, GPU_NUMBERS // max(numbers_per_sample, 1))
