"""One training, and the trainings of a run before the one that is evaluated."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from bench.data.split import Splits
from bench.errors import DataError, DivergedError, NotApplicableError, PluginError
from bench.streams import RandomStreams
from bench.training.history import NoEvaluations
from bench.training.meter import Meter, Watch
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.task import Task


def fit(method: Method, task: Task, meter: Meter) -> None:
    """Train, with the task's GPU the current one; torch's global generator is left as it was.

    Raises PluginError where the method's model is not what was evaluated.
    """
    gpus = [task.device] if task.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), torch.cuda.device(task.device) if gpus else nullcontext():
        model = method.fit(task, meter)
    if model is not method.model or not meter.history or meter.history[-1]["epoch"] != method.training_epochs:
        raise PluginError("`fit` must return self.model after all of meter.epochs(self), which evaluates it")


@dataclass(frozen=True)
class Stage:
    """What a training took that came before the one that is evaluated.

    common: whether it is the same for every method, so that it is no cost of the run's own.
    meta_step: the backends of its look-aheads; none where the whole training was done before an interrupt.
    """

    name: str
    seconds: float
    steps: int
    common: bool
    captured: bool
    meta_step: list[dict[str, Any]]


class Stages:
    """Trains methods before the training that is evaluated, on data that a protocol gives; nothing is evaluated.

    Each stage has a checkpoint of its own, which stays when it is finished: an interrupted run goes on in the stage
    that it was in.

    new_task: the task of a training on splits. streams: the run's. checkpoint: that of the training that is evaluated.
    on_val: whether the run's method trains on the validation data too (`--validation paper`).
    """

    def __init__(
        self,
        new_task: Callable[[Splits], Task],
        streams: RandomStreams,
        checkpoint: Path,
        observer: Observer,
        on_val: bool = False,
    ) -> None:
        self.done: list[Stage] = []
        self.streams = streams
        self.on_val = on_val
        self._new_task = new_task
        self._checkpoint = checkpoint
        self._observer = observer

    def train(
        self, name: str, method: Method, splits: Splits, watch: Watch | None = None, common: bool = False
    ) -> None:
        """Train a method; `name` is one word. Raises what its training raises, with the name of the stage."""
        self._observer.stage(name)
        meter = Meter(NoEvaluations(), self._observer, self._checkpoint.with_suffix(f".{name}.pt"), watch)
        try:
            self.fit(method, self._new_task(splits), meter)
        except (DivergedError, NotApplicableError) as error:
            raise type(error)(f"{name}: {error}") from error
        meter.save()
        choices = meta_steps(method)
        self.done.append(Stage(name, meter.seconds, meter.steps, common, method.capture.captured, choices))

    def fit(self, method: Method, task: Task, meter: Meter) -> None:
        """As `fit`; but data that a stage chose and the method cannot use are no bad input: NotApplicableError."""
        try:
            fit(method, task, meter)
        except DataError as error:
            if not self.done:
                raise
            why = f"{error}; the data were chosen by a training: see the protocol's options"
            raise NotApplicableError(why) from error


def meta_steps(method: Method) -> list[dict[str, Any]]:
    """The backends of its look-aheads, as they were chosen."""
    return [asdict(engine.choice) for engine in method.engines() if engine.choice]
