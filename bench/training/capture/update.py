"""A method's update, captured once and replayed: on a GPU as a CUDA graph, on a CPU as a flat list of operations.

A replay skips all Python code and the building of autograd graphs, which take most of the time of a small model's
update and, on a GPU, of many a large model's. It makes the same operations on the same tensors, so its results are
those of the update itself: bit for bit on a CPU; on a GPU except for kernels that add up in no fixed order (the
backward passes of gathers and some convolutions). An update that is captured must not depend on the value of a tensor,
and must change its state in place. A method declares by `capturable = True` that this is so, and the contract tests
check it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.data.batches import BalancedBatches
from bench.data.split import Batch
from bench.data.step import Step
from bench.errors import PluginError
from bench.training.capture.backends import VALUE, CudaGraphs, Function, Operations, Seeded
from bench.training.capture.python_values import changed, plain_names, python_values, settings
from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.method import Method

Result = tuple[Tensor, Tensor]
"""The losses and the weights of an update."""
FAILED = "capturing an update failed"


@dataclass(frozen=True)
class CaptureOutcome:
    """Whether the updates of a training were replayed, for its record.

    Attributes:
        captured: whether updates were replayed, from some update on.
        eager_because: the reason, if they were not.
        memory_bytes: what capturing has reserved on the GPU; None on a CPU.
    """

    captured: bool = False
    eager_because: str = ""
    memory_bytes: int | None = None

    @classmethod
    def of(cls, update: "CapturedUpdate | None", capturable: bool) -> "CaptureOutcome":
        """What became of the capture in a training that has ended.

        Args:
            update: the training's; None: its updates were not to be captured.
            capturable: whether the method declares that its updates can be captured.
        """
        if update is None:
            return cls(eager_because="" if capturable else "the method does not say that it can be captured")
        if update.captured:
            return cls(True, memory_bytes=update.memory)
        few = f"too few updates: the first {CapturedUpdate.WARM_UP} of each size are made as they are"
        return cls(eager_because=update.eager_because or few)

    @property
    def failed(self) -> bool:
        """Whether capturing was tried and failed."""
        return self.eager_because.startswith(FAILED)


class CapturedUpdate:
    """The update of one method. For each shape of batch, the first updates are made one by one, then one is captured.

    An update that draws random numbers (dropout) is never captured, because a replay would not draw the numbers of the
    run's seed. A replay leaves the gradients of the parameters as the update does, until the next replay. Look-aheads
    do not check for gradients that are not finite in captured updates; the end of the epoch does.

    A capture holds as constants what the update reads in Python (`bench.training.capture.python_values`). Where any of
    it changes between two epochs, or a setting between two updates, such as a learning rate, all is captured anew.
    Where something changes before each of several updates, they are made one by one, because a capture takes longer
    than an update. An update that changes it itself, or that reads its epoch or its number, cannot be captured.

    If capturing fails, for whatever reason, the method's attributes, its tensors and its state for checkpoints are put
    back as they were before, and this update and all later ones are made one by one. So an error of the update itself
    is raised then.

    Args:
        method: has begun.
        note: told, in a sentence, that capturing failed.

    Attributes:
        eager_because: why updates are made one by one; empty as long as they may be captured.
    """

    WARM_UP = 3

    def __init__(self, method: "Method", note: Callable[[str], None] = lambda text: None) -> None:
        self._method = method
        self._backend = CudaGraphs(method.task.device) if method.task.device.type == "cuda" else Operations()
        self.eager_because = self._backend.unable
        self._note = note
        self._calls: dict[Any, int] = {}
        self._captures: dict[Any, tuple[Function, list[BalancedBatches], list[nn.Parameter]]] = {}
        self._plain: list[str] = []  # attributes with plain values, and the optimisers, found anew in each epoch
        self._held: list[torch.optim.Optimizer] = []
        self._settings: dict[str, Any] = {}
        self._values: dict[str, Any] = {}
        self._changes = 0  # how many updates in a row had something changed before them
        self._sources: list[BalancedBatches] = []  # what an update draws validation batches from, in order
        self._parameters: list[nn.Parameter] = []  # those to which an update gives a gradient

    def __call__(self, batch: Batch) -> Result:
        if self.eager_because:
            return self._method.update(batch)
        self._look_for_changes(first_of_epoch=isinstance(batch, Step) and batch.number == 0)
        if self.eager_because:
            return self._method.update(batch)
        shape = tuple(t.shape for t in batch)
        if shape not in self._captures:
            self._calls[shape] = self._calls.get(shape, 0) + 1
            if self._calls[shape] <= self.WARM_UP:
                return self._observed(batch)
            return self._capture(shape, batch)
        replay, sources, parameters = self._captures[shape]
        losses, weights, *gradients = replay(*batch, *_next_tensors(sources))
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        return losses, weights

    @property
    def captured(self) -> bool:
        """Whether an update has been captured, so that updates are replayed."""
        return bool(self._captures)

    @property
    def memory(self) -> int | None:
        """Bytes that capturing has reserved on the GPU so far; None on a CPU."""
        return self._backend.memory

    def _look_for_changes(self, first_of_epoch: bool) -> None:
        """Drop all captures if something has changed that they hold; capture no more if it does again and again."""
        attributes = vars(self._method)
        if first_of_epoch or not self._plain:
            self._plain, self._held = plain_names(attributes), self._optimizers()
        now = settings(attributes, self._plain, self._held)
        names, self._settings = changed(self._settings, now), now
        if first_of_epoch:
            names += self._changed_values()
        if not names:
            self._changes = 0
            return
        self._forget()
        self._changes += 1
        if self._changes > self.WARM_UP + 1:
            self.eager_because = f"{_described(names)} changes before every update, so that captures would not pay"

    def _changed_values(self) -> list[str]:
        """The attributes that hold something else than when this was called last, in whatever depth."""
        now = python_values(vars(self._method), self._optimizers())
        names, self._values = changed(self._values, now), now
        return names

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        """The optimisers that the method holds in its attributes, and those that its task has made."""
        held = instances(torch.optim.Optimizer, vars(self._method))
        return list(dict.fromkeys([*held, *self._method.task.rates]))

    def _forget(self) -> None:
        """Drop all captures."""
        self._captures.clear()
        self._backend.begin_anew()

    def _observed(self, batch: Batch) -> Result:
        """Make an update without a capture, and note what it draws."""
        seeded = Seeded()
        self._sources = []

        def note_and_draw(batches: BalancedBatches) -> Batch:
            self._sources.append(batches)
            with seeded.paused():  # batches draw from their own generators
                return batches.draw()

        with self._backend.warm_up(self._optimizers()), self._drawing(note_and_draw), seeded:
            result = self._method.update(batch)
        self.eager_because = "an update draws random numbers" if seeded.draws else ""
        return result

    def _capture(self, shape: Any, batch: Batch) -> Result:
        """CaptureOutcome an update for batches of this shape; if that fails, make it without a capture."""
        if self._changed_values():
            self._forget()
        put_back = self._backend.snapshot(self._method)
        positions = [batches.state_dict() for batches in self._sources]
        tensors = [*batch, *_next_tensors(self._sources)]
        try:
            with self._unwatched():
                function, (losses, weights, *_) = self._backend.capture(self._update, tensors)
        except Exception as error:  # torch raises many kinds, and none of them means that the update itself is wrong
            self._give_up(error)
        else:
            self._captures[shape] = function, self._sources, self._parameters
            return losses, weights
        put_back()
        for batches, position in zip(self._sources, positions, strict=True):
            batches.load_state_dict(position)
        return self._method.update(batch)

    def _check_unchanged(self) -> None:
        """Refuse an update that has changed what a replay would not change.

        Raises:
            PluginError: with the names of the attributes.
        """
        if names := self._changed_values():
            raise PluginError(
                f"the update changes {_described(names)} not in place: keep it in a tensor that is changed in place "
                f"(`copy_`, `add_`), or declare capturable = False"
            )

    @contextmanager
    def _drawing(self, by: Callable[[BalancedBatches], Batch]) -> Iterator[None]:
        """Let a function draw the method's validation batches: those of its task, and those that the method holds."""
        draws = self._method.task.draws
        for batches in instances(BalancedBatches, vars(self._method)):
            batches.draws = draws
        with draws.replaced(by):
            yield

    @contextmanager
    def _unwatched(self) -> Iterator[None]:
        """Keep look-aheads from checking their gradients within this context: reading a value cannot be captured."""
        engines = self._method.engines()
        try:
            for engine in engines:
                engine.watched = False
            yield
        finally:
            for engine in engines:
                engine.watched = True

    def _give_up(self, error: Exception) -> None:
        """Remove what a failed capture has left, and note the reason."""
        self._forget()
        for parameter in self._method.model.parameters():
            parameter.grad = None  # its memory may belong to the capture
        self.eager_because = f"{FAILED}: {_first_reason(error)}"
        self._backend.give_up(self.eager_because)
        self._note(
            f"updates of {type(self._method).__name__} are made one by one, as with --eager: {self.eager_because}"
        )

    def _update(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The update as a function of the tensors of its batches: four of the training batch, then of the others."""
        batches_of_update = iter([Batch(*tensors[i : i + 4]) for i in range(0, len(tensors), 4)])
        method = self._method
        training_batch = Step.of(next(batches_of_update), method._outputs, None, None)  # they would be constants
        expected_sources = iter(self._sources)

        def next_batch(source: BalancedBatches) -> Batch:
            if next(expected_sources, None) is not source:
                raise RuntimeError("it draws other validation batches in every update")
            return next(batches_of_update)

        with self._drawing(next_batch):
            losses, weights = method.update(training_batch)
        self._check_unchanged()
        self._parameters = [p for p in method.model.parameters() if p.grad is not None]
        return losses, weights, *(p.grad for p in self._parameters if p.grad is not None)


def _described(names: Sequence[str]) -> str:
    """Attributes by these names; the empty one stands for optimisers."""
    return ", ".join(f"self.{name}" if name else "a setting of an optimiser" for name in dict.fromkeys(names))


def _next_tensors(sources: Sequence[BalancedBatches]) -> list[Tensor]:
    """The tensors of the next batch of each of these sources, one after the other."""
    tensors: list[Tensor] = []
    for batches in sources:
        tensors += batches.draw()
    return tensors


def _first_reason(error: BaseException) -> str:
    """The first error in one line: after an error within a CUDA capture, the end of the capture fails too."""
    if "captur" in str(error) and error.__context__ and not isinstance(error, PluginError):
        error = error.__context__
    if "_local_scalar_dense" in str(error):  # the operator behind item(), float(), bool()
        return VALUE
    return (str(error).strip() or type(error).__name__).splitlines()[0]
