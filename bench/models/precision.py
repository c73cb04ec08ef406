"""The numbers and the memory format that a model computes in."""

import torch
from torch import Tensor, nn

from bench.errors import DeviceError


class MixedPrecision(nn.Module):
    """A model whose passes run under bfloat16 autocast: [.., B, ...] -> logits in float32, as the losses want them.

    Its parameters stay what they are.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        # A weight is used once in a pass, and cast weights that outlive it would be wrong for the next parameters.
        with torch.autocast(x.device.type, torch.bfloat16, cache_enabled=False):
            logits: Tensor = self.model(x)
        return logits.float() if logits.dtype == torch.bfloat16 else logits


class ChannelsLast(nn.Module):
    """A model that gets images [B, C, H, W] in the memory format channels_last, and has its convolutions in it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)
        return logits


def in_precision(model: nn.Module, precision: str, channels_last: bool = False) -> nn.Module:
    """The model computing in `fp32` as it is, or in `bf16`.

    Raises DeviceError for bf16 on a GPU without it.
    """
    device = next(model.parameters()).device
    if precision == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise DeviceError(f"{torch.cuda.get_device_name(device)} has no bfloat16: use fp32")
    if channels_last:
        model = ChannelsLast(model)
    return MixedPrecision(model) if precision == "bf16" else model
