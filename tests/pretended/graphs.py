"""Pretended CUDA graphs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes

from tests.pretended.device import Device, Storages, address, tensors


class Pool:
    """A memory pool of graphs: how many there are, and what lies in it."""

    def __init__(self) -> None:
        self.graphs, self.there = 0, Storages()


class Graph:
    """A CUDA graph: operators, to be run again on the same tensors. `device` is set in a subclass.

    A capture has to run the operators once, to know what they make; at its end everything is as it was before, and
    what was made has no value until the first replay.
    """

    device: Device

    def __init__(self, keep_graph: bool = False) -> None:
        self._pool: Pool | None = None
        self._steps: list[tuple[Any, Any, Any, list[Tensor | None]]] = []  # operator, its arguments, what it makes
        self._own = Storages()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # whole storages, and what was in them
        self.broken = False

    def capture_begin(self, pool: Pool | None = None, capture_error_mode: str = "global") -> None:
        if self.device.stuck:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED: a capture that failed has not ended")
        self._pool = pool or Pool()
        if not self._pool.graphs and self._pool.there.alive:
            self._pool = None
            raise RuntimeError("it->second->use_count > 0 INTERNAL ASSERT FAILED: tensors lie in a pool without graphs")
        self._pool.graphs += 1
        self.device.recording = self

    def capture_end(self) -> None:
        self.device.recording = None
        with _without_modes():
            for storage, value in self._before.values():
                storage.copy_(value)
            for tensor in [t for *_, made in self._steps for t in made if t is not None]:
                tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor.zero_()
        self._before.clear()
        if self.broken:
            self.device.stuck = self.device.keeps_failing
            self.reset()
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")

    def record(self, func: Any, args: Any, kwargs: Any) -> Any:
        if kwargs.get("generator"):
            raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode.")
        assert self._pool
        given = tensors(args, kwargs)
        for tensor in given:
            if tensor not in self._own and address(tensor) not in self._before and not tensor._is_zerotensor():
                whole = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
                self._before[address(tensor)] = whole, whole.clone()
        known = set(map(address, given))
        # What lies on the CPU is a number in the graph; and nothing here keeps what autograd keeps.
        args, kwargs = _mapped((args, kwargs), lambda t: t.detach() if t in self.device.there else t.clone())
        out = self.device.run(func, args, kwargs)
        made = [None if address(t) in known or t._is_zerotensor() else t.detach() for t in tensors(out)]
        for tensor in made:
            if tensor is not None:
                self._own.add(tensor)
                self._pool.there.add(tensor)
        if not func.is_view:
            self._steps.append((func, args, kwargs, made))
        return out

    def replay(self) -> None:
        with _without_modes():
            for func, args, kwargs, made in self._steps:
                out = self.device.run(func, args, kwargs)
                for place, value in zip(made, tensors(out), strict=True):
                    if place is not None:
                        place.copy_(value)

    def pool(self) -> Pool | None:
        return self._pool

    def reset(self) -> None:
        self._steps.clear()
        if self._pool:
            self._pool.graphs -= 1
        self._pool = None

    __del__ = reset


@contextmanager
def _without_modes() -> Iterator[None]:
    with _disable_current_modes(), torch._C.DisableTorchFunction(), torch.no_grad():
        yield


def _mapped(tree: Any, f: Callable[[Tensor], Tensor]) -> Any:
    """Arguments with every tensor replaced."""
    if isinstance(tree, Tensor):
        return f(tree)
    if isinstance(tree, list | tuple):
        return [_mapped(branch, f) for branch in tree]
    return {key: _mapped(branch, f) for key, branch in tree.items()} if isinstance(tree, dict) else tree
