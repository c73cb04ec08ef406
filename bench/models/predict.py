"""The logits of a model for the samples of a split."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from bench.data.split import Split
from bench.errors import PluginError

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

    Raises:
        PluginError: where the model gives something else than floating-point logits for each sample of a batch.
    """
    model.eval()
    if split.device.type == "cuda":
        larger = _gpu_batch_size(split, batch_size)
        if larger > batch_size:
            with suppress(torch.OutOfMemoryError):
                return _logits(model, split, larger)
    return _logits(model, split, batch_size)


def _logits(model: nn.Module, split: Split, batch_size: int) -> Tensor:
    return torch.cat([_checked(model(batch.x), batch.y) for batch in split.in_order(batch_size)], -2)


def _checked(logits: object, y: Tensor) -> Tensor:
    """A copy, as a model may return the same buffer for the next batch."""
    if not isinstance(logits, Tensor):
        got = type(logits).__name__
        raise PluginError.of("model", f"the model returns {got} in evaluation, expected its logits as one tensor")
    if logits.shape[:-1] != y.shape or not logits.is_floating_point():
        raise PluginError.of(
            "model",
            f"the model returns {logits.dtype} of {list(logits.shape)} in evaluation for {list(y.shape)} samples, "
            f"expected floating-point logits, one for each sample and class",
        )
    return logits.to(torch.float32, copy=True)


def _gpu_batch_size(split: Split, least: int) -> int:
    """How many samples have GPU_NUMBERS numbers together, in all stacked runs; `least` or more."""
    numbers_per_sample = split.x.numel() // max(len(split), 1)
    return max(least, GPU_NUMBERS // max(numbers_per_sample, 1))
