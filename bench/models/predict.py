"""What a model says of the samples of a split."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from bench.data.split import Split

GPU_NUMBERS = 2**23
"""Numbers in the inputs of one batch on a GPU, 2,730 images of CIFAR. In small batches it waits for the host."""


@torch.no_grad()
def predict(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    """Logits [.., N, C] of all samples in order, float32, in evaluation mode, in which the model is left.

    batch_size: samples of each run in a batch; on a GPU the least, and more where they are small and memory allows it.
    """
    model.eval()
    larger = _gpu_batch_size(split, batch_size) if split.device.type == "cuda" else batch_size
    if larger > batch_size:
        with suppress(torch.OutOfMemoryError):
            return _logits(model, split, larger)
    return _logits(model, split, batch_size)


def _logits(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    return torch.cat([model(batch.x).float() for batch in split.in_order(batch_size)], -2)


def _gpu_batch_size(split: Split, least: int) -> int:
    """Of inputs that have GPU_NUMBERS together, over all stacked runs."""
    of_a_sample = split.x.numel() // max(len(split), 1)
    return max(least, GPU_NUMBERS // max(of_a_sample, 1))
