"""The companion of a training loop: it leads through the epochs, and does what is to be done around them."""

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from bench.data.split import Batch
from bench.errors import DivergedError, NotApplicableError, PluginError
from bench.meta import warning
from bench.streams import seed_global_generators
from bench.training.checkpoints import Checkpoints
from bench.training.diagnostics import Samples, SampleWatch, finite_runs, mean_losses
from bench.training.history import EvaluatedModel, Evaluator, TrainingValues
from bench.training.method import Method
from bench.training.observer import Observer
from bench.trees import instances

if TYPE_CHECKING:
    import numpy as np

OTHER_DATA = (
    "the method has put other data into self.task, by which its samples can no longer be told: let `training_data` "
    "return the training data that it makes"
)
"""The message for a task whose data are not those that the method began with."""


class Stopwatch:
    """The seconds of training alone.

    The time that look-aheads take to choose and check their backends is left out, because they do so once in a run: it
    is no cost of a step.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started_at = 0.0
        self._choosing_before = 0.0

    def start(self, method: Method) -> None:
        """Start to measure, when the device is done with its work."""
        self._started_at = method.task.now()
        self._choosing_before = _choosing(method)

    def stop(self, method: Method) -> None:
        """Add the seconds since `start`, when the device is done with its work."""
        seconds = method.task.now() - self._started_at
        self.seconds += seconds - (_choosing(method) - self._choosing_before)


class Meter:
    """The companion of one training, of a single run or of several stacked runs.

    Args:
        evaluator: evaluates the model after the epochs that the recipe names.
        observer: told how the training goes.
        checkpoint: file to resume from and to save to, at the end of epochs (`Checkpoints` decides when); None: there
            are no checkpoints.
        watch: sees the weights and losses of every sample. It takes no part in the seconds.

    Attributes:
        seconds: of the epochs alone, without evaluations and checkpoints. If the recipe averages the parameters, that
            is included, with a pass over the training data before each evaluation if the model has BatchNorm.
        outside_seconds: seconds of the training outside of its epochs: `setup`, from the call of the method's `setup`
            to the first epoch, and `end`, from the last epoch to the return of `fit`.
        evaluated: what was evaluated last; None before.
        about: what the method says of itself after the training (`Method.about`).
        steps: number of updates.
        samples: number of samples in these updates, of each run.
        history: one row for each evaluation.
        diverged: for each run, whether its loss or one of its parameters was ever not finite.
    """

    SHOW_SECONDS = 1.0

    def __init__(
        self,
        evaluator: Evaluator,
        observer: Observer | None = None,
        checkpoint: Path | None = None,
        watch: SampleWatch | None = None,
    ) -> None:
        self.steps = 0
        self.samples = 0
        self.outside_seconds: dict[str, float] = {}
        self.evaluated: nn.Module | None = None
        self.about: dict[str, str] = {}
        self.history: list[dict[str, Any]] = []
        self.diverged: list[bool] = []
        self._evaluator = evaluator
        self._observer = observer or Observer()
        self._watch = watch
        self._stopwatch = Stopwatch()
        self._evaluated_model = EvaluatedModel()
        self._training_values = TrainingValues()
        self._checkpoints = Checkpoints(checkpoint, self._observer)
        self._seen: list[Samples] = []  # the steps of this epoch
        self._warned: set[str] = set()
        self._begun = False
        self._epoch = 0
        self._shown_at = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds of training alone."""
        return self._stopwatch.seconds

    def epochs(self, method: Method) -> Iterator[int]:
        """Lead through the epochs of a training: what a method's `fit` iterates over.

        Before each epoch the learning rate and the random state are set. If the learning rate changes with each update,
        `step` sets that of the next update.

        Args:
            method: the one that is trained; it has begun.

        Yields:
            The number of each epoch that is left to train. Preparation epochs have numbers below 0.

        Raises:
            DivergedError: once no run is finite any more.
            PluginError: for a second training, because this meter holds the epochs and evaluations of one.
        """
        if self._begun:
            raise PluginError("a method may go through meter.epochs only once")
        self._begun = True
        self._method = method
        _check_epochs(method)
        self._train = method.task.train
        self.outside_seconds["setup"] = method.task.now() - method.began_at
        self._epoch = -method.preparation_epochs
        self.diverged = [False] * len(method.task.streams.seeds)
        own_rate = type(method).learning_rate is not Method.learning_rate
        self._rate_by_step = own_rate or method.task.recipe.schedule == "cyclical"
        self._evaluated_model.begin(method)
        self._checkpoints.begin(method.model)
        self._resume()
        self._observer.begin(method, self._epoch)
        while self._epoch < method.training_epochs:
            set_learning_rate(method, self._epoch)
            method.task.rates.check_schedules(instances(LRScheduler, vars(method)))
            # For dropout, and for what libraries draw: a resumed run draws the same numbers.
            seed_global_generators(method.task.streams.seed("train", method.recipe_epoch(self._epoch)))
            self._stopwatch.start(method)
            yield self._epoch
            self._epoch += 1
            evaluated = self._evaluated_model.after(method, self._epoch)
            self._stopwatch.stop(method)
            self._note_warnings()
            self._close_epoch(evaluated)
        self._ended_at = method.task.now()

    def end(self) -> None:
        """After the return of `fit`.

        Raises:
            PluginError: for an `about` that is no dictionary.
        """
        method = self._method
        self.outside_seconds["end"] = method.task.now() - self._ended_at
        of_its_own = method.about()
        if not isinstance(of_its_own, Mapping):
            raise PluginError(f"`about` must return a dictionary, name -> words, not {type(of_its_own).__name__}")
        about = Method.about(method) | dict(of_its_own)
        self.about = {str(name): str(value) for name, value in about.items()}

    def step(self, batch: Batch, losses: Tensor, weights: Tensor) -> None:
        """Note a step. Until the epoch ends nothing is computed, and the device is not waited for.

        Args:
            batch: that the update used.
            losses: [.., B], unweighted.
            weights: [.., B], detached.

        Raises:
            PluginError: for losses or weights that are not one for each sample, and for weights with a gradient.
        """
        if not losses.shape == weights.shape == batch.y.shape or weights.requires_grad:
            raise PluginError(
                f"losses {list(losses.shape)} and weights {list(weights.shape)} must be {list(batch.y.shape)}, one for "
                f"each sample, and the weights detached"
            )
        self.steps += 1
        self.samples += batch.y.shape[-1]
        self._seen.append(Samples.of(batch, losses, weights))
        if self._rate_by_step and not self._is_last_step:
            set_learning_rate(self._method, self._epoch, len(self._seen))
        time_now = time.perf_counter()
        if time_now - self._shown_at > self.SHOW_SECONDS:
            self._shown_at = time_now
            loss = float(losses.detach().mean()) if losses.device.type == "cpu" else None
            self._observer.step(self._epoch, len(self._seen), loss)

    @property
    def _is_last_step(self) -> bool:
        """Whether the epoch is known to have no further step. With batches of its own a method may make any number."""
        method = self._method
        own = type(method).batches is not Method.batches
        return not own and len(self._seen) >= method.task.steps_of(method.recipe_epoch(self._epoch))

    def note(self, text: str) -> None:
        """Tell the user something about this training that does not stop it."""
        self._observer.note(text)

    def _note_warnings(self) -> None:
        """Tell the user once of each look-ahead whose meta-gradient is poor."""
        texts = {warning(engine.choice) for engine in self._method.engines() if engine.choice}
        for text in sorted(texts - self._warned - {""}):
            self.note(text)
        self._warned |= texts

    def _close_epoch(self, evaluated: nn.Module | None) -> None:
        """Do everything that follows an epoch and is not part of the seconds of training."""
        method = self._method
        if method.task.train is not self._train:
            raise PluginError(OTHER_DATA)
        if self._rate_by_step and method.task.rates.stepped and not self.steps:
            raise PluginError("the learning rate changes from step to step, so `fit` must tell meter.step of each")
        method.task.rates.check()
        if self._epoch > 0:
            self._note_divergence()
        if all(self.diverged):
            if not self._seen:
                raise DivergedError(f"a parameter is not finite after epoch {self._epoch}")
            loss = mean_losses(self._seen)[0]
            told = f"the training loss is {loss:g} in epoch {self._epoch}, or a weight or a parameter is not finite"
            raise DivergedError(told)
        if self._watch and self._epoch > 0:
            self._show_samples(self._watch)
        if evaluated is None:
            self._seen.clear()
        else:
            self._evaluate(evaluated)
        if self._checkpoints.due:
            self.save()

    def _show_samples(self, watch: SampleWatch) -> None:
        if not self._seen:
            raise NotApplicableError("the protocol looks at the samples of each step, and the method makes none")
        samples = Samples.cat(self._seen).of_origin(self._method.task.train)
        if not samples.index.numel():
            raise NotApplicableError(
                "the protocol looks at the given training samples, and the method uses none of them"
            )
        watch(samples)

    def _note_divergence(self) -> None:
        """Note the runs of which the mean loss, a weight or a parameter is not finite."""
        losses = mean_losses(self._seen) if self._seen else [0.0] * len(self.diverged)  # without steps
        parameters_finite = finite_runs(self._method.model, len(self.diverged))
        for run, (loss, finite) in enumerate(zip(losses, parameters_finite, strict=True)):
            if not (finite and math.isfinite(loss)):
                self.diverged[run] = True

    def _evaluate(self, model: nn.Module) -> None:
        """Evaluate the model and add a row to the history."""
        training_values = self._training_values(self._method, self._seen)
        self._seen.clear()  # an evaluation may need this memory
        self._observer.evaluating(self._epoch)
        self.evaluated = model
        row = {"epoch": self._epoch, "step": self.steps, "train": training_values}
        row |= self._evaluator(model, self._epoch)
        self.history.append(row)
        self._observer.evaluated(row, self.samples / self.seconds if self.seconds else 0.0)

    def arrays(self, run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """The arrays that are stored beside a run's record: the weights of the training samples, if they differ."""
        return self._training_values.arrays(self._method, run)

    def save(self) -> None:
        """Write a checkpoint now, at the end of an epoch."""
        if self._checkpoints.path is None:
            return
        self._checkpoints.save(
            {
                "epoch": self._epoch,
                "seconds": self.seconds,
                "outside_seconds": self.outside_seconds,
                "stepped": self._method.task.rates.stepped,
                "steps": self.steps,
                "samples": self.samples,
                "history": self.history,
                "diverged": self.diverged,
                "method": self._method.state_dict(),
                "average": self._evaluated_model.state_dict(),
                "diagnostics": self._training_values.state_dict(),
                "evaluator": self._evaluator.state_dict(),
                "watch": self._watch.state_dict() if self._watch else {},
            }
        )

    def _resume(self) -> None:
        """Go on where the checkpoint was written, if there is one."""
        state = self._checkpoints.load(self._method.task.device)
        if state is None:
            return
        self._epoch = state["epoch"]
        self._stopwatch.seconds = state["seconds"]
        self.outside_seconds = state["outside_seconds"]  # as in a run without a break
        self.steps = state["steps"]
        self.samples = state["samples"]
        self.history = state["history"]
        self.diverged = state["diverged"]
        self._method.load_state_dict(state["method"])
        self._method.task.rates.adopt()
        self._method.task.rates.stepped |= state["stepped"]
        self._evaluated_model.load_state_dict(state["average"], self._method.evaluated())
        if self.history:  # a training that had ended is not evaluated again, but its models may be examined
            self.evaluated = self._method.evaluated()
        self._training_values.load_state_dict(state["diagnostics"])
        self._evaluator.load_state_dict(state["evaluator"])
        if self._watch:
            self._watch.load_state_dict(state["watch"])


def set_learning_rate(method: Method, epoch: int, step: int = 0) -> None:
    """Give the optimisers of the method's task the learning rate of an update; the first one of an epoch is step 0."""
    method.task.rates.set(method.learning_rate(epoch, step), method.task.recipe.lr)


def _check_epochs(method: Method) -> None:
    """Raises PluginError for numbers of epochs that are none, and for a task with other data than `begin` has made."""
    numbers = {"preparation_epochs": method.preparation_epochs, "training_epochs": method.training_epochs}
    for (name, number), least in zip(numbers.items(), (0, 1), strict=True):
        if not isinstance(number, int) or number < least:
            raise PluginError(f"{name} must be a whole number of at least {least}, not {number!r}")
    if method.task.train is not method.begun_task.train or method.task.val is not method.begun_task.val:
        raise PluginError(OTHER_DATA)


def _choosing(method: Method) -> float:
    """The seconds that a method's look-aheads have taken so far to choose and check their backends."""
    return sum(engine.choice.seconds for engine in method.engines() if engine.choice)
