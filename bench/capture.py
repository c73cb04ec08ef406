"""A method's update, recorded once and replayed: on a GPU as a CUDA graph, on a CPU as a flat list of operations.

A replay skips all Python and the building of autograd graphs, which is most of the time of a small model's update and,
on a GPU, of many a large one's. It makes the same operations on the same tensors, so that its results are those of the
update itself: bit for bit on a CPU, and on a GPU but for kernels that add up in an order of the moment (gathers and
some convolutions, backward). What is recorded must not depend on the value of a tensor, and state must be changed in
place: a method says that this is so by `capturable = True`, and the contract tests check it.
"""

import copy
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bench.data import Batch, Stream
from bench.trees import instances

if TYPE_CHECKING:
    from bench.method import Method

Result = tuple[Tensor, Tensor]
"""Losses and weights of an update."""
FAILED = "recording an update failed"
Function = Callable[..., tuple[Tensor, ...]]
"""Of the tensors of the training batch and of the validation batches, in order; gives losses, weights and gradients."""


@dataclass(frozen=True)
class Capture:
    """Whether the updates of a training were replayed, for its record.

    captured: whether they were, from some update on. eager_because: if not, the reason. memory_bytes: what recording
    has reserved on the GPU.
    """

    captured: bool = False
    eager_because: str = ""
    memory_bytes: int | None = None

    @classmethod
    def of(cls, update: "Captured | None", capturable: bool) -> "Capture":
        """Of the update that a training ended with; None where it was not to be captured.

        capturable: whether the method says that its updates can be.
        """
        if update is None:
            return cls(eager_because="" if capturable else "the method does not say that it can be captured")
        if update.recorded:
            return cls(True, memory_bytes=update.memory)
        few = f"too few updates: the first {Captured.WARM_UP} of each size are made as they are"
        return cls(eager_because=update.eager_because or few)

    @property
    def failed(self) -> bool:
        """Whether recording was tried in vain."""
        return self.eager_because.startswith(FAILED)


class Captured:
    """The update of one method. The first ones of each shape of batch are made as they are, then one is recorded.

    An update that draws random numbers (dropout) is never recorded: a replay would not draw those of the run's seed.
    A replay leaves the gradients of the parameters as the update does, until the next one. In recorded updates nobody
    looks for gradients that are not finite; the end of the epoch tells.

    Where recording fails, for whatever reason, the method is as it was before, and this update and all later ones are
    made as they are: an error of the update itself shows then.

    eager_because: why updates are made as they are; empty as long as they may be recorded.
    """

    WARM_UP = 3

    def __init__(self, method: "Method", note: Callable[[str], None] = lambda text: None) -> None:
        """note: told, in a sentence, that recording failed."""
        self._method, self._optimizers = method, list(instances(torch.optim.Optimizer, vars(method)))
        self._recorder = _CudaGraphs(method.task.device) if method.task.device.type == "cuda" else _Operations()
        self.eager_because = self._recorder.unable
        self._note = note
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, tuple[Function, list[Stream]]] = {}
        self._settings: list[Any] = []
        self._streams: list[Stream] = []
        self._parameters: list[nn.Parameter] = []

    def __call__(self, batch: Batch) -> Result:
        if self.eager_because:
            return self._method.update(batch)
        settings = [{k: v for k, v in g.items() if k != "params"} for o in self._optimizers for g in o.param_groups]
        if settings != self._settings:  # they are numbers in what is recorded
            self._settings = settings
            self._forget()
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

    @property
    def memory(self) -> int | None:
        """Bytes of the GPU that recording has reserved so far; None on a CPU."""
        return self._recorder.memory

    def _forget(self) -> None:
        """Drop what is recorded."""
        self._recorded.clear()
        self._recorder.begin_anew()

    def _observed(self, batch: Batch) -> Result:
        """An update as it is, noting what it draws."""
        seeded, self._streams = _Seeded(), []

        def tap(stream: Stream) -> Batch:
            self._streams.append(stream)
            with seeded.paused():  # a stream has generators of its own
                return stream.draw()

        with self._recorder.warm_up(self._optimizers), _tapped(tap), seeded:
            result = self._method.update(batch)
        self.eager_because = "an update draws random numbers" if seeded.found else ""
        return result

    def _record(self, shape: Any, batch: Batch) -> Result:
        put_back = self._recorder.snapshot(self._method)
        positions = [stream.state_dict() for stream in self._streams]
        tensors = [*batch, *(t for stream in self._streams for t in stream.draw())]
        self._parameters = [p for p in self._method.model.parameters() if p.grad is not None]
        try:
            with self._unwatched():
                function, (losses, weights, *_) = self._recorder.record(self._update, tensors)
        except Exception as error:  # of many kinds, and none of them says anything about the update itself
            self._give_up(error)
        else:
            self._recorded[shape] = function, self._streams
            return losses, weights
        put_back()
        for stream, position in zip(self._streams, positions, strict=True):
            stream.load_state_dict(position)
        return self._method.update(batch)

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Look-aheads do not look at the values of their gradients: what looks cannot be recorded."""
        engines = self._method.engines()
        try:
            for engine in engines:
                engine.watched = False
            yield
        finally:
            for engine in engines:
                engine.watched = True

    def _give_up(self, error: Exception) -> None:
        """Leave nothing of the recording behind, and say why there is none."""
        self._forget()
        for parameter in self._method.model.parameters():
            parameter.grad = None  # it may lie where the recording was
        self.eager_because = f"{FAILED}: {_first_reason(error)}"
        self._recorder.give_up(self.eager_because)
        self._note(
            f"updates of {type(self._method).__name__} are made one by one, as with --eager: {self.eager_because}"
        )

    def _update(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The update as a function of its data."""
        batches = iter([Batch(*tensors[i : i + 4]) for i in range(0, len(tensors), 4)])
        own, streams = next(batches), iter(self._streams)

        def tap(stream: Stream) -> Batch:
            if next(streams, None) is not stream:
                raise RuntimeError("it draws other validation batches in every update")
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

    memory: int | None = None
    unable = ""

    def begin_anew(self) -> None:
        """Nothing is shared by what is recorded."""

    def give_up(self, reason: str) -> None:
        """A recording that failed leaves nothing behind."""

    def snapshot(self, method: "Method") -> Callable[[], None]:
        """A function that undoes what was changed since."""
        before = copy.deepcopy(method.state_dict())
        return lambda: method.load_state_dict(before)

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

    unable: ClassVar[str] = ""
    """Why nothing more can be recorded in this process."""

    def __init__(self, device: torch.device) -> None:
        self.memory: int | None = 0
        self._device, self._stream = device, torch.cuda.Stream(device)
        self.begin_anew()

    def begin_anew(self) -> None:
        """Take another memory pool: one whose graphs are all gone cannot be recorded into as long as a tensor lies in
        it, and the gradients do.
        """
        self._pool = torch.cuda.graph_pool_handle()

    def give_up(self, reason: str) -> None:
        """Before torch 2.12 a capture that fails does not end for the allocator, where the next one fails in an
        assertion (pytorch/pytorch#180395), nor for the generator, which draws nothing until it has another state.
        """
        if torch.__version__ < (2, 12):  # type: ignore[operator]  # it is a TorchVersion, which compares with tuples
            _CudaGraphs.unable = f"{reason} (earlier in this process; torch {torch.__version__} cannot try again)"
            index = self._device.index if self._device.index is not None else torch.cuda.current_device()
            generator = torch.cuda.default_generators[index]
            generator.graphsafe_set_state(generator.clone_state())

    def snapshot(self, method: "Method") -> Callable[[], None]:
        """As of `_Operations`: kernels are not run while they are recorded, so that there is nothing to undo."""
        return lambda: None

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
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def record(self, update: Function, tensors: Sequence[Tensor]) -> tuple[Function, tuple[Tensor, ...]]:
        fixed = [t.clone() for t in tensors]
        graph = torch.cuda.CUDAGraph()
        with _no_collection(), torch.cuda.graph(graph, pool=self._pool, stream=self._stream):
            reserved = torch.cuda.memory_reserved(self._device)
            losses, weights, *gradients = update(*fixed)
        self.memory = (self.memory or 0) + max(torch.cuda.memory_reserved(self._device) - reserved, 0)

        def replay(*tensors: Tensor) -> tuple[Tensor, ...]:
            torch._foreach_copy_(fixed, list(tensors))
            graph.replay()
            return losses.clone(), weights.clone(), *gradients

        return replay, replay(*tensors)


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage is collected: what it frees of CUDA, such as another graph, would end a capture."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _first_reason(error: BaseException) -> str:
    """The first line of the error that the others followed from: the end of a CUDA capture fails after its content."""
    while error.__context__:
        error = error.__context__
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def _tapped(tap: Callable[[Stream], Batch]) -> Iterator[None]:
    Stream.tap = tap
    try:
        yield
    finally:
        Stream.tap = None
