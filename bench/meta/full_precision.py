"""Passes in float32, whatever precision a model asks for: what the run's precision is compared with."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from bench.meta.tape import DROPOUT, drops


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute without autocast, without TF32 and with the mathematical kernel of attention, within this context.

    Attention with dropout keeps its kernel, because another kernel would draw another mask.

    Args:
        device: where the passes run.
    """
    with _WithoutAutocast(device.type), _without_tf32() if device.type == "cuda" else nullcontext():
        yield


class _WithoutAutocast(TorchFunctionMode):
    """Runs each function outside of every autocast, also of one that the model enters by itself."""

    def __init__(self, device_type: str) -> None:
        super().__init__()
        self._device_type = device_type

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Another kernel draws another mask of dropout, so that the comparison would be one of masks.
        attention = function in DROPOUT and not drops(function, args, kwargs)
        kernel = sdpa_kernel(SDPBackend.MATH) if attention else nullcontext()
        with torch.autocast(self._device_type, enabled=False), kernel:
            return function(*args, **kwargs)


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Let neither matrix products nor convolutions of float32 compute in TF32 within this context."""
    settings: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    try:
        for setting in settings:
            setting.fp32_precision = "ieee"
        yield
    finally:
        for setting, precision in zip(settings, before, strict=True):
            setting.fp32_precision = precision
