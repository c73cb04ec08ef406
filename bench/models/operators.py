"""Counts of a pass through a model: calls of operators, FLOPs, and how often the host would wait for a GPU."""

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
"""Operators whose result, or the size of whose result, the host has to know."""
INDEXING = {aten.index, aten.index_put, aten.index_put_}


class Operators(TorchDispatchMode):
    """Counts what happens within this context.

    FLOPs are counted by the registry of torch's `FlopCounterMode`: of matrix products, convolutions and attention, with
    a multiplication and an addition as two. The mode itself is not used, because it also tracks modules and fails on a
    module that is called under `no_grad`.

    Attributes:
        calls: calls of operators that are not views.
        waits: calls that would make the host wait for a GPU. A boolean mask as an index is one of them: the size of the
            result is the number of its true values.
        flops: floating-point operations.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls = self.waits = self.flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        operator = func.overloadpacket
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.calls += not func.is_view and func.namespace != "profiler"
        self.waits += waits_for_a_gpu(func, args)
        if operator in flop_registry:
            self.flops += flop_registry[operator](*args, **kwargs, out_val=out)
        return out


def waits_for_a_gpu(func: Any, args: Sequence[Any]) -> bool:
    """Whether a call of this operator makes the host wait if its tensors are on a GPU."""
    operator = func.overloadpacket
    return operator in WAITING or (operator in INDEXING and any(map(_is_mask, args[1])))


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def flops(step: Callable[[], object]) -> int:
    """The number of floating-point operations of a step."""
    operators = Operators()
    with operators:
        step()
    return operators.flops
