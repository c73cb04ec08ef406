"""A single training, and stages: the trainings of a run before the one that is evaluated."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch

from bench.data.split import Splits
from bench.errors import DataError, DivergedError, NotApplicableError, PluginError
from bench.parts import Running
from bench.records.sections import MetaStep, StageCosts
from bench.streams import RandomStreams
from bench.training.diagnostics import SampleWatch
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.task import Task


def run_training(method: Method, task: Task, meter: Meter) -> None:
    """Train a method on a task.

    Within the training the task's GPU is the current one. Afterwards torch's global generators are as before.

    Raises:
        PluginError: if the method does not go through all epochs, or returns another model than the evaluated one.
        Exception: whatever the training raises.
    """
    gpus = [task.device] if task.device.type == "cuda" else []
    with torch.random.fork_rng(gpus), torch.cuda.device(task.device) if gpus else nullcontext():
        model = method.fit(task, meter)
        if not meter.history or meter.history[-1]["epoch"] != method.training_epochs:
            raise PluginError("`fit` must go through all of meter.epochs(self), which evaluates the model")
        meter.end()
    if model not in (method.model, meter.evaluated, method.evaluated()):
        raise PluginError("`fit` must return self.evaluated(), the model that meter.epochs(self) has evaluated last")


class Stages:
    """Trains methods before the training that is evaluated, on splits that a protocol chooses. They are not evaluated.

    Each stage has its own checkpoint, which stays when the stage is finished: an interrupted run goes on in the stage
    that it was in.

    Args:
        new_task: splits -> the task of a training on them.
        streams: the run's.
        checkpoint: file of the training that is evaluated; the files of stages are named after it.
        observer: told how the trainings go.
        on_val: whether the run's method trains on the validation data too (`--validation paper`).
        running: gives the context in which each of these trainings is made (`bench.guards.guard`).

    Attributes:
        done: the stages that are finished.
    """

    def __init__(
        self,
        new_task: Callable[[Splits], Task],
        streams: RandomStreams,
        checkpoint: Path,
        observer: Observer,
        on_val: bool = False,
        running: Running = lambda kind: nullcontext(),
    ) -> None:
        self.done: list[StageCosts] = []
        self.streams = streams
        self.on_val = on_val
        self._running = running
        self._new_task = new_task
        self._checkpoint = checkpoint
        self._observer = observer

    def train(
        self, name: str, method: Method, splits: Splits, watch: SampleWatch | None = None, common: bool = False
    ) -> None:
        """Train a method as a stage.

        Args:
            name: of the stage, one word.
            method: has not begun.
            splits: what it is trained on.
            watch: sees the weights and losses of every sample.
            common: whether the training is the same for every method.

        Raises:
            DivergedError, NotApplicableError: as the training does; the message begins with the name of the stage.
        """
        self._observer.stage(name)
        meter = Meter(NoEvaluations(), self._observer, self._checkpoint.with_suffix(f".{name}.pt"), watch)
        try:
            with self._running("method"):
                self.run(method, self._new_task(splits), meter)
        except (DivergedError, NotApplicableError) as error:
            raise type(error)(f"{name}: {error}") from error
        meter.save()
        choices = meta_steps(method)
        seconds = meter.seconds + sum(meter.outside_seconds.values())
        self.done.append(StageCosts(name, seconds, meter.steps, common, method.capture.captured, choices))

    def run(self, method: Method, task: Task, meter: Meter) -> None:
        """Train a method as the function `fit` does.

        Raises:
            NotApplicableError: also in place of DataError after a stage: then the data were chosen by a training, so
                they are no mistake of the user.
        """
        try:
            run_training(method, task, meter)
        except DataError as error:
            if not self.done:
                raise
            reason = f"{error}; the data were chosen by a training: see the protocol's options"
            raise NotApplicableError(reason) from error


def meta_steps(method: Method) -> list[MetaStep]:
    """The choice of a backend of each of a method's look-aheads, for the record."""
    return [engine.choice for engine in method.engines() if engine.choice]
