"""The operators of a pass through a model, counted: calls, FLOPs, and how often they make the host wait for a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
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


def flops(step: Callable[[], object]) -> int:
    """Floating-point operations of what `step` does."""
    found = Operators()
    with found:
        step()
    return found.flops
