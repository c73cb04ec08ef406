"""A method's update, recorded once and replayed: on a GPU as a CUDA graph, on a CPU as a flat list of operations.

A replay skips all Python and the building of autograd graphs, which is most of the time of a small model's update and,
on a GPU, of many a large one's. It makes the same operations on the same tensors, so that its results are bit for bit
those of the update itself. What is recorded must not depend on the value of a tensor, and state must be changed in
place: a method says that this is so by `capturable = True`, and the contract tests check it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.data import Batch, Stream

if TYPE_CHECKING:
    from bench.method import Method

Result = tuple[Tensor, Tensor]
"""Losses and weights of an update."""
Function = Callable[..., Result]
"""Of the tensors of the training batch and of the validation batches, in order."""


class Captured:
    """The update of one method. The first ones of each shape of batch are made as they are, then one is recorded.

    An update that draws random numbers (dropout) is never recorded: a replay would not draw those of the run's seed.
    """

    WARM_UP = 3

    def __init__(self, method: "Method") -> None:
        self._method = method
        self._feeds = [_Feed(method, name) for name, v in vars(method).items() if isinstance(v, Stream)]
        self._optimizers = [v for v in vars(method).values() if isinstance(v, torch.optim.Optimizer)]
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, Function] = {}
        self._rates: list[float] = []
        self._draws = False

    def __call__(self, batch: Batch) -> Result:
        if self._draws:
            return self._method.update(batch)
        rates = [group["lr"] for optimizer in self._optimizers for group in optimizer.param_groups]
        if rates != self._rates:  # they are numbers in what is recorded
            self._rates = rates
            self._recorded.clear()
        shape = tuple(t.shape for t in batch)
        if shape not in self._recorded:
            self._calls[shape] = self._calls.get(shape, 0) + 1
            if self._calls[shape] <= self.WARM_UP:
                return self._observed(batch)
        tensors = [*batch, *(t for feed in self._feeds for b in feed.draw() for t in b)]
        if replay := self._recorded.get(shape):
            return replay(*tensors)
        record = _cuda_graph if batch.y.device.type == "cuda" else _operations
        self._recorded[shape], result = record(self._update, tensors, self._optimizers)
        return result

    def _observed(self, batch: Batch) -> Result:
        """An update as it is, noting what it draws."""
        for feed in self._feeds:
            feed.count = 0
        before = _generator_state(batch.y.device)
        with _side_stream(batch.y.device), _attributes([(self._method, feed.name, feed) for feed in self._feeds]):
            result = self._method.update(batch)
        self._draws = not torch.equal(before, _generator_state(batch.y.device))
        return result

    def _update(self, *tensors: Tensor) -> Result:
        """The update as a function of its data."""
        batches = iter([Batch(*tensors[i : i + 4]) for i in range(0, len(tensors), 4)])
        own = next(batches)
        changed: list[tuple[Any, str, Any]] = [
            (self._method, feed.name, iter([next(batches) for _ in range(feed.count)])) for feed in self._feeds
        ]
        changed += [(engine, "watched", False) for engine in self._method.engines()]
        with _attributes(changed):
            losses, weights = self._method.update(own)
        return losses.detach(), weights


class _Feed:
    """Stands in for a method's stream, and counts how many batches an update takes from it."""

    def __init__(self, method: "Method", name: str) -> None:
        self.name, self.count = name, 0
        self._stream: Stream = getattr(method, name)

    def __next__(self) -> Batch:
        self.count += 1
        return next(self._stream)

    def draw(self) -> list[Batch]:
        return [next(self._stream) for _ in range(self.count)]


def _operations(update: Function, tensors: Sequence[Tensor], _: Any) -> tuple[Function, Result]:
    """The operations of an update, and its result: to be recorded, it is made."""
    from torch.fx.experimental.proxy_tensor import make_fx  # takes a while, and few need it

    results = []

    def noting(*tensors: Tensor) -> Result:
        results.append(update(*tensors))
        return results[-1]

    module = make_fx(noting)(*tensors)
    for node in reversed(module.graph.nodes):
        name = str(node.target)
        if name == "aten.detach.default":  # there is no graph to be detached from
            node.replace_all_uses_with(node.args[0])
        if name == "aten.detach.default" or name.startswith("profiler."):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return torch.no_grad()(module.forward), results[0]


def _cuda_graph(
    update: Function, tensors: Sequence[Tensor], optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[Function, Result]:
    """The kernels of an update, with data in fixed places, and its result by a first replay."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            if "capturable" in group:
                group["capturable"] = True
    fixed = [t.clone() for t in tensors]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        losses, weights = update(*fixed)

    def replay(*tensors: Tensor) -> Result:
        torch._foreach_copy_(fixed, list(tensors))
        graph.replay()
        return losses.clone(), weights.clone()

    return replay, replay(*tensors)


def _generator_state(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


@contextmanager
def _side_stream(device: torch.device) -> Iterator[None]:
    """Before a CUDA graph is recorded, its kernels have to have run on a stream other than the default one."""
    if device.type != "cuda":
        yield
        return
    stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(current)
    with torch.cuda.stream(stream):
        yield
    current.wait_stream(stream)


@contextmanager
def _attributes(changed: Sequence[tuple[Any, str, Any]]) -> Iterator[None]:
    """The objects with other values of these attributes."""
    before = [(target, name, getattr(target, name)) for target, name, _ in changed]
    for target, name, value in changed:
        setattr(target, name, value)
    try:
        yield
    finally:
        for target, name, value in before:
            setattr(target, name, value)
