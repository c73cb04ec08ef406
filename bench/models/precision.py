"""The precision and the memory format that a model computes in."""

import torch
from torch import Tensor, nn

from bench.errors import DeviceError


class MixedPrecision(nn.Module):
    """A model whose passes run under bfloat16 autocast: [.., B, ...] -> logits in float32, which the losses need.

    Its parameters keep their type.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        # No cache: a weight is used once in a pass, and a cast weight that outlives the pass would be wrong once the
        # parameters have changed.
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            logits: Tensor = self.model(x)
        return logits.float() if logits.dtype == torch.bfloat16 else logits


class ChannelsLast(nn.Module):
    """A model with its images [B, C, H, W] and its convolutions in the memory format channels_last."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)
        return logits


def in_precision(model: nn.Module, precision: str, channels_last: bool = False) -> nn.Module:
    """The model, made to compute in a precision.

    Args:
        model: on its device.
        precision: `fp32`, in which the model stays as it is, or `bf16`.
        channels_last: whether images are in the memory format channels_last.

    Raises:
        DeviceError: for `bf16` on a GPU that does not have it.
    """
    device = next(model.parameters()).device
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bfloat16: use fp32")
    if channels_last:
        model = ChannelsLast(model)
    return MixedPrecision(model) if precision == "bf16" else model
