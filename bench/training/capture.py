"""A method's update, captured once and replayed: on a GPU as a CUDA graph, on a CPU as a flat list of operations.

A replay skips all Python and the building of autograd graphs, which is most of the time of a small model's update and,
on a GPU, of many a large one's. It makes the same operations on the same tensors, so that its results are those of the
update itself: bit for bit on a CPU, and on a GPU but for kernels that add up in an order of the moment (gathers and
some convolutions, backward). What is captured must not depend on the value of a tensor, and state must be changed in
place: a method says that this is so by `capturable = True`, and the contract tests check it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.data.batches import BalancedBatches
from bench.data.split import Batch
from bench.training.capture_backends import VALUE, CudaGraphs, Function, Operations, Seeded
from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.method import Method

Result = tuple[Tensor, Tensor]
"""Losses and weights of an update."""
FAILED = "capturing an update failed"


@dataclass(frozen=True)
class Capture:
    """Whether the updates of a training were replayed, for its record.

    captured: whether they were, from some update on. eager_because: if not, the reason. memory_bytes: what capturing
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
        if update.captured:
            return cls(True, memory_bytes=update.memory)
        few = f"too few updates: the first {Captured.WARM_UP} of each size are made as they are"
        return cls(eager_because=update.eager_because or few)

    @property
    def failed(self) -> bool:
        """Whether capturing was tried in vain."""
        return self.eager_because.startswith(FAILED)


class Captured:
    """The update of one method. The first ones of each shape of batch are made as they are, then one is captured.

    An update that draws random numbers (dropout) is never captured: a replay would not draw those of the run's seed.
    A replay leaves the gradients of the parameters as the update does, until the next one. In captured updates nobody
    looks for gradients that are not finite; the end of the epoch tells.

    Where capturing fails, for whatever reason, the method's attributes, tensors and what a checkpoint holds are as they
    were before, and this update and all later ones are made as they are: an error of the update itself shows then.

    eager_because: why updates are made as they are; empty as long as they may be captured.
    """

    WARM_UP = 3

    def __init__(self, method: "Method", note: Callable[[str], None] = lambda text: None) -> None:
        """note: told, in a sentence, that capturing failed."""
        self._method = method
        self._optimizers = list(instances(torch.optim.Optimizer, vars(method)))
        self._backend = CudaGraphs(method.task.device) if method.task.device.type == "cuda" else Operations()
        self.eager_because = self._backend.unable
        self._note = note
        self._calls: dict[Any, int] = {}
        self._captures: dict[Any, tuple[Function, list[BalancedBatches]]] = {}
        self._settings: list[Any] = []
        self._drawn: list[BalancedBatches] = []  # those that an update draws from, in order
        self._parameters: list[nn.Parameter] = []

    def __call__(self, batch: Batch) -> Result:
        if self.eager_because:
            return self._method.update(batch)
        settings = [{k: v for k, v in g.items() if k != "params"} for o in self._optimizers for g in o.param_groups]
        if settings != self._settings:  # they are numbers in what is captured
            self._settings = settings
            self._forget()
        shape = tuple(t.shape for t in batch)
        if shape not in self._captures:
            self._calls[shape] = self._calls.get(shape, 0) + 1
            if self._calls[shape] <= self.WARM_UP:
                return self._observed(batch)
            return self._capture(shape, batch)
        replay, drawn = self._captures[shape]
        losses, weights, *gradients = replay(*batch, *(t for batches in drawn for t in batches.draw()))
        for parameter, gradient in zip(self._parameters, gradients, strict=True):
            parameter.grad = gradient
        return losses, weights

    @property
    def captured(self) -> bool:
        """Whether updates are replayed by now."""
        return bool(self._captures)

    @property
    def memory(self) -> int | None:
        """Bytes of the GPU that capturing has reserved so far; None on a CPU."""
        return self._backend.memory

    def _forget(self) -> None:
        """Drop what is captured."""
        self._captures.clear()
        self._backend.begin_anew()

    def _observed(self, batch: Batch) -> Result:
        """An update as it is, noting what it draws."""
        seeded = Seeded()
        self._drawn = []

        def note_and_draw(batches: BalancedBatches) -> Batch:
            self._drawn.append(batches)
            with seeded.paused():  # they have generators of their own
                return batches.draw()

        with self._backend.warm_up(self._optimizers), self._drawing(note_and_draw), seeded:
            result = self._method.update(batch)
        self.eager_because = "an update draws random numbers" if seeded.found else ""
        return result

    def _capture(self, shape: Any, batch: Batch) -> Result:
        put_back = self._backend.snapshot(self._method)
        positions = [batches.state_dict() for batches in self._drawn]
        tensors = [*batch, *(t for batches in self._drawn for t in batches.draw())]
        self._parameters = [p for p in self._method.model.parameters() if p.grad is not None]
        try:
            with self._unwatched():
                function, (losses, weights, *_) = self._backend.capture(self._update, tensors)
        except Exception as error:  # of many kinds, and none of them says anything about the update itself
            self._give_up(error)
        else:
            self._captures[shape] = function, self._drawn
            return losses, weights
        put_back()
        for batches, position in zip(self._drawn, positions, strict=True):
            batches.load_state_dict(position)
        return self._method.update(batch)

    @contextmanager
    def _drawing(self, by: Callable[[BalancedBatches], Batch]) -> Iterator[None]:
        """Have the method's validation batches drawn by this function: those of its task, and those that it made itself
        and holds.
        """
        draws = self._method.task.draws
        for batches in instances(BalancedBatches, vars(self._method)):
            batches.draws = draws
        with draws.replaced(by):
            yield

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Look-aheads do not look at the values of their gradients: what looks cannot be captured."""
        engines = self._method.engines()
        try:
            for engine in engines:
                engine.watched = False
            yield
        finally:
            for engine in engines:
                engine.watched = True

    def _give_up(self, error: Exception) -> None:
        """Leave nothing of the capture behind, and say why there is none."""
        self._forget()
        for parameter in self._method.model.parameters():
            parameter.grad = None  # it may lie where the capture was
        self.eager_because = f"{FAILED}: {_first_reason(error)}"
        self._backend.give_up(self.eager_because)
        self._note(
            f"updates of {type(self._method).__name__} are made one by one, as with --eager: {self.eager_because}"
        )

    def _update(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The update as a function of its data."""
        given = iter([Batch(*tensors[i : i + 4]) for i in range(0, len(tensors), 4)])
        training_batch = next(given)
        expected = iter(self._drawn)

        def next_given(batches: BalancedBatches) -> Batch:
            if next(expected, None) is not batches:
                raise RuntimeError("it draws other validation batches in every update")
            return next(given)

        with self._drawing(next_given):
            losses, weights = self._method.update(training_batch)
        return losses, weights, *(p.grad for p in self._parameters if p.grad is not None)


def _first_reason(error: BaseException) -> str:
    """In a line. The end of a CUDA capture fails after its content, which is what counts."""
    if "captur" in str(error) and error.__context__:
        error = error.__context__
    if "_local_scalar_dense" in str(error):  # the operator behind item(), float(), bool()
        return VALUE
    return (str(error).strip() or type(error).__name__).splitlines()[0]
