"""What one step does, counted: calls, FLOPs, and how often it makes the host wait for a GPU."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
WAITING = {
    aten._local_scalar_dense,
    aten.nonzero,
    aten.masked_select,
    aten.equal,
    aten.unique_dim,
    aten._unique2,
    aten.unique_consecutive,
    aten.bincount,
    aten._linalg_check_errors,
}
"""Operators whose result, or its size, the host has to know."""
INDEXING = {aten.index, aten.index_put, aten.index_put_}


class Counts(NamedTuple):
    """Of one step. calls: kernels, copies and fills on a GPU, operators that are no views elsewhere."""

    calls: int
    waits: int
    flops: int


class Operators(TorchDispatchMode):
    """Counts calls of operators that are no views, calls that would wait for a GPU, and floating-point operations.

    A boolean mask as an index waits too: the number of its true values is the size of the result. FLOPs are those of
    torch's `FlopCounterMode` (matrix products, convolutions and attention, where a multiplication and an addition are
    two), by its registry: the mode itself also tracks modules, and fails on a module that is called under `no_grad`.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = self.waits = self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator, kwargs = func.overloadpacket, kwargs or {}
        out = func(*args, **kwargs)
        self.calls += not func.is_view and func.namespace != "profiler"
        self.waits += waits_for_a_gpu(func, args)
        if operator in flop_registry:
            self.flops += flop_registry[operator](*args, **kwargs, out_val=out)
        return out


def waits_for_a_gpu(func: Any, args: Sequence[Any]) -> bool:
    """Whether a call of this operator makes the host wait, where its tensors are on a GPU."""
    operator = func.overloadpacket
    return operator in WAITING or (operator in INDEXING and any(map(_is_mask, args[1])))


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def counts(step: Callable[[], object], eager: Callable[[], object], device: torch.device) -> Counts:
    """Count what `step` does; FLOPs, which a replay on a GPU does not tell, by `eager`, the same without replays."""
    if device.type == "cuda":
        return Counts(_kernels(step, device), _waits(step), flops(eager))
    with Operators() as found:
        step()
    return Counts(found.calls, found.waits, flops(eager))


def flops(step: Callable[[], object]) -> int:
    found = Operators()
    with found:
        step()
    return found.flops


def _kernels(step: Callable[[], object], device: torch.device) -> int:
    torch.cuda.synchronize(device)
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        step()
        torch.cuda.synchronize(device)
    return sum(e.device_type.name == "CUDA" and not e.is_user_annotation for e in profiled.events())


def _waits(step: Callable[[], object]) -> int:
    """Torch's own count of calls that wait for the GPU."""
    with warnings.catch_warnings(record=True) as caught, sync_debug_mode("warn"):
        warnings.simplefilter("always")
        step()
    return sum("called a synchronizing CUDA operation" in str(w.message) for w in caught)


@contextmanager
def sync_debug_mode(mode: str) -> Iterator[None]:
    """Within, calls that wait for a GPU do what torch calls this mode: `default`, `warn` or `error`."""
    before = torch.cuda.get_sync_debug_mode()
    try:
        _set_sync_debug_mode(mode)
        yield
    finally:
        _set_sync_debug_mode(before)


def _set_sync_debug_mode(mode: int | str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype", UserWarning)
        torch.cuda.set_sync_debug_mode(mode)
