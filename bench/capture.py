"""A method's update, recorded once and replayed: on a GPU as a CUDA graph, on a CPU as a flat list of operations.

A replay skips all Python and the building of autograd graphs, which is most of the time of a small model's update and,
on a GPU, of many a large one's. It makes the same operations on the same tensors, so that its results are bit for bit
those of the update itself. What is recorded must not depend on the value of a tensor, and state must be changed in
place: a method says that this is so by `capturable = True`, and the contract tests check it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data import Batch, Stream
from bench.errors import BenchError
from bench.trees import instances

if TYPE_CHECKING:
    from bench.method import Method

Result = tuple[Tensor, Tensor]
"""Losses and weights of an update."""
Function = Callable[..., tuple[Tensor, ...]]
"""Of the tensors of the training batch and of the validation batches, in order; gives losses, weights and gradients."""


class Captured:
    """The update of one method. The first ones of each shape of batch are made as they are, then one is recorded.

    An update that draws random numbers (dropout) is never recorded: a replay would not draw those of the run's seed.
    A replay leaves the gradients of the parameters as the update does, until the next one. In recorded updates nobody
    looks for gradients that are not finite; the end of the epoch tells.
    Raises BenchError for an update that cannot be recorded.
    """

    WARM_UP = 3

    def __init__(self, method: "Method") -> None:
        self._method, self._optimizers = method, list(instances(torch.optim.Optimizer, vars(method)))
        self._recorder = _CudaGraphs(method.task.device) if method.task.device.type == "cuda" else _Operations()
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[Function, list[Stream]]] = {}
        self._settings: list[Any] = []
        self._streams: list[Stream] = []
        self._parameters: list[nn.Parameter] = []
        self._draws = False

    def __call__(self, batch: Batch) -> Result:
        if self._draws:
            return self._method.update(batch)
        settings = [{k: v for k, v in g.items() if k != "params"} for o in self._optimizers for g in o.param_groups]
        if settings != self._settings:  # they are numbers in what is recorded
            self._settings = settings
            self._recorded.clear()
        shape = tuple(t.shape for t in batch)
        if shape not in self._recorded:
            self._calls[shape] = self._calls.get(shape, 0) + 1
            if self._calls[shape] <= self.WARM_UP:
                return self._observed(batch)
            return self._record(shape, batch)
        replay, streams = self._recorded[shape]
        losses, weights, *gradients = replay(*batch, *(t for stream in streams for t in stream.draw()))
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return losses, weights

    @property
    def recorded(self) -> bool:
        """Whether updates are replayed by now."""
        return bool(self._recorded)

    def _observed(self, batch: Batch) -> Result:
        """An update as it is, noting what it draws."""
        seeded, self._streams = _Seeded(), []

        def tap(stream: Stream) -> Batch:
            self._streams.append(stream)
            with seeded.paused():  # a stream has generators of its own
                return stream.draw()

        with self._recorder.warm_up(self._optimizers), _tapped(tap), seeded:
            result = self._method.update(batch)
        self._draws = seeded.found
        return result

    def _record(self, shape: Any, batch: Batch) -> Result:
        tensors = [*batch, *(t for stream in self._streams for t in stream.draw())]
        engines = self._method.engines()
        self._parameters = [p for p in self._method.model.parameters() if p.grad is not None]
        try:
            for engine in engines:
                engine.watched = False
            function, (losses, weights, *_) = self._recorder.record(self._update, tensors)
        except RuntimeError as error:
            raise BenchError(
                f"an update of {type(self._method).__name__} with this model cannot be recorded, give --eager "
                f"(capture=False): {str(error).splitlines()[0]}"
            ) from error
        finally:
            for engine in engines:
                engine.watched = True
        self._recorded[shape] = function, self._streams
        return losses, weights

    def _update(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The update as a function of its data."""
        batches = iter([Batch(*tensors[i : i + 4]) for i in range(0, len(tensors), 4)])
        own, streams = next(batches), iter(self._streams)

        def tap(stream: Stream) -> Batch:
            if next(streams, None) is not stream:
                raise BenchError(
                    f"{type(self._method).__name__} draws other validation batches in every update: --eager"
                )
            return next(batches)

        with _tapped(tap):
            losses, weights = self._method.update(own)
        return losses, weights, *(p.grad for p in self._parameters if p.grad is not None)


class _Seeded(TorchDispatchMode):
    """Whether an operator draws from a generator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found, self._counts = False, True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.found |= self._counts and torch.Tag.nondeterministic_seeded in func.tags
        return func(*args, **(kwargs or {}))

    @contextmanager
    def paused(self) -> Iterator[None]:
        self._counts = False
        yield
        self._counts = True


class _Operations:
    """Records the operations of an update on the CPU. To be recorded, it is made."""

    def warm_up(self, optimizers: Sequence[torch.optim.Optimizer]) -> AbstractContextManager[None]:
        return nullcontext()

    def record(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
        from torch.fx.experimental.proxy_tensor import make_fx  # takes a while, and few need it

        results = []

        def noting(*tensors: Tensor) -> tuple[Tensor, ...]:
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


class _CudaGraphs:
    """Records the kernels of an update, with data in fixed places. All graphs share their memory: what one replay
    leaves there nobody needs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream, self._pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    @contextmanager
    def warm_up(self, optimizers: Sequence[torch.optim.Optimizer]) -> Iterator[None]:
        """Kernels have to have run once on the stream that they are recorded on, and optimisers to count on the GPU."""
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                if "capturable" in group and not group["capturable"]:
                    group["capturable"] = True
                    for p in group["params"]:
                        if "step" in optimizer.state.get(p, {}):  # of a checkpoint
                            optimizer.state[p]["step"] = optimizer.state[p]["step"].to(p.device)
            optimizer._warned_capturable_if_run_uncaptured = True  # as it is to be here
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
        fixed = [t.clone() for t in tensors]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            losses, weights, *gradients = update(*fixed)

        def replay(*tensors: Tensor) -> tuple[Tensor, ...]:
            torch._foreach_copy_(fixed, list(tensors))
            graph.replay()
            return losses.clone(), weights.clone(), *gradients

        return replay, replay(*tensors)


@contextmanager
def _tapped(tap: Callable[[Stream], Batch]) -> Iterator[None]:
    Stream.tap = tap
    try:
        yield
    finally:
        Stream.tap = None
