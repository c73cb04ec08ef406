"""The training loop's companion: it counts epochs and time, has the model evaluated, and takes checkpoints."""

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from bench.data.split import Batch
from bench.errors import DivergedError, PluginError
from bench.models.averaging import Average
from bench.training.diagnostics import Diagnostics, Samples, gradient_norm
from bench.training.observer import Observer

if TYPE_CHECKING:
    import numpy as np

    from bench.training.method import Method

Values = dict[str, list[float]]
"""Numbers by name, one for each of the stacked runs (one alone where runs are not stacked)."""


class Evaluator(Protocol):
    """Evaluates a model after an epoch: metrics by set. Its own state belongs to the checkpoint."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NoEvaluations:
    """The evaluator of a training whose model nobody looks at."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class Watch(Protocol):
    """Sees the samples of each epoch of a training but those of preparation. Its state belongs to the checkpoint."""

    def __call__(self, epoch: Samples) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Meter:
    """Companion of one training of one run, or of several stacked ones.

    seconds, steps, samples: of training alone; evaluation and checkpoints are outside. Where the recipe averages the
        parameters, the seconds include that, and a pass over the training data before each evaluation if there is
        BatchNorm.
    history: one row for each evaluation.
    diverged: for each run, whether its loss or a parameter was ever not finite.
    checkpoint: file to resume from, and to save to, always at an epoch's end: at most every CHECKPOINT_SECONDS, and at
        the beginning after FIRST_CHECKPOINT_SECONDS, twice as many, four times as many, ... A model whose parameters
        are large begins with a second for every CHECKPOINT_BYTES of them; and up to CHECKPOINT_SECONDS saving takes no
        more than a CHECKPOINT_SHARE of the time.
    watch: sees the weights and losses of every sample; outside the seconds.
    """

    CHECKPOINT_SECONDS = 30.0
    FIRST_CHECKPOINT_SECONDS = 1.0
    CHECKPOINT_BYTES = 5_000_000
    CHECKPOINT_SHARE = 0.05
    SHOW_SECONDS = 1.0

    def __init__(
        self,
        evaluator: Evaluator,
        observer: Observer | None = None,
        checkpoint: Path | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.seconds, self.steps, self.samples = 0.0, 0, 0
        self.history: list[dict[str, Any]] = []
        self.diverged: list[bool] = []
        self._evaluator, self._observer, self._checkpoint = evaluator, observer or Observer(), checkpoint
        self._watch = watch
        self._seen: list[Samples] = []
        self._begun, self._epoch = False, 0
        self._average, self._diagnostics = Average(), Diagnostics()
        self._saved_at = self._shown_at = time.perf_counter()
        self._save_after = self.FIRST_CHECKPOINT_SECONDS

    def epochs(self, method: "Method") -> Iterator[int]:
        """The epochs that are left to train, those of preparation below 0, each with the learning rate of its first
        update and its random state set. Where the rate changes with each update, `step` sets that of the next.

        Raises DivergedError once no run is finite any more, and PluginError for a second training: epochs and
        evaluations are those of one.
        """
        task = method.task
        if self._begun:
            raise PluginError("a method may go through meter.epochs once")
        self._begun, self._method, self._epoch = True, method, -method.preparation_epochs
        self.diverged = [False] * len(task.streams.seeds)
        self._save_after = max(self._save_after, _bytes(method.model) / self.CHECKPOINT_BYTES)
        self._resume()
        self._observer.begin(method, self._epoch)
        while self._epoch < method.training_epochs:
            self._set_lr(0)
            seed = task.streams.seed("train", method.recipe_epoch(self._epoch))
            torch.manual_seed(seed)  # dropout; a resumed run draws the same
            start = self._now(task.device)
            chosen = _choosing(method)
            yield self._epoch
            self._epoch += 1
            self._add_to_average()
            evaluated = self._to_evaluate()
            self.seconds += self._now(task.device) - start - (_choosing(method) - chosen)
            self._close_epoch(evaluated)

    def step(self, batch: Batch, losses: Tensor, weights: Tensor) -> None:
        """Note a step. Nothing is computed and no device waited for until the epoch ends.

        Raises PluginError for losses or weights that are not one for each sample, and for weights with a gradient.
        """
        if not losses.shape == weights.shape == batch.y.shape or weights.requires_grad:
            raise PluginError(
                f"losses {list(losses.shape)} and weights {list(weights.shape)} must be {list(batch.y.shape)}, one for "
                f"each sample, and the weights detached"
            )
        self.steps += 1
        self.samples += batch.y.shape[-1]
        self._seen.append(Samples.of(batch, losses, weights))
        if self._method.task.recipe.schedule == "cyclical":
            self._set_lr(len(self._seen))
        if (now := time.perf_counter()) - self._shown_at > self.SHOW_SECONDS:
            self._shown_at = now
            loss = float(losses.detach().mean()) if losses.device.type == "cpu" else None
            self._observer.step(self._epoch, len(self._seen), loss)

    def note(self, text: str) -> None:
        """Tell the user something about this training that does not stop it."""
        self._observer.note(text)

    def _set_lr(self, step: int) -> None:
        """The learning rate of an update of this epoch."""
        lr = self._method.task.lr(self._method.recipe_epoch(self._epoch), step)
        for group in self._method.optimizer.param_groups:
            group["lr"] = lr

    @property
    def _averages(self) -> bool:
        """Whether the recipe averages the parameters at the end of this epoch."""
        start = self._method.task.recipe.average_from
        return start is not None and self._epoch > 0 and self._epoch / self._method.training_epochs >= start

    def _add_to_average(self) -> None:
        if self._averages:
            self._average.add(self._method.model)

    def _to_evaluate(self) -> nn.Module | None:
        """What is evaluated after this epoch, if anything: the model, or the average where the recipe asks for it."""
        task, recipe, done = self._method.task, self._method.task.recipe, self._epoch
        planned = done > 0 and (done % recipe.evaluate_every == 0 or done in recipe.evaluate_at)
        if done != self._method.training_epochs and not planned:
            return None
        if not self._averages:
            return self._method.model
        return self._average.model(task.train.epoch(recipe.batch_size, task.streams, done - 1, task.augment))

    def _close_epoch(self, evaluated: nn.Module | None) -> None:
        method, task, done = self._method, self._method.task, self._epoch
        losses = _runs(torch.cat([step.losses for step in self._seen], -1).mean(-1))
        healthy = _finite_runs(method.model, task.streams.stacked)
        for run, (loss, finite) in enumerate(zip(losses, healthy, strict=True)):
            self.diverged[run] |= done > 0 and not (finite and math.isfinite(loss))  # one of many trials may diverge
        if all(self.diverged):
            raise DivergedError(f"the training loss is {losses[0]:g} in epoch {done}, or a parameter not finite")
        if self._watch and done > 0:
            self._watch(Samples.cat(self._seen))
        train = {} if evaluated is None else self._train_values()
        self._seen.clear()
        if evaluated is not None:
            self._observer.evaluating(done)
            row = {"epoch": done, "step": self.steps, "train": train}
            row |= self._evaluator(evaluated, done)
            self.history.append(row)
            self._observer.evaluated(row, self.samples / self.seconds)
        self._save()

    def _train_values(self) -> Values:
        """Of an evaluated epoch: the diagnostics, the norm of the gradient of its last update, and the method's own."""
        method, task = self._method, self._method.task
        found = self._diagnostics(self._seen, task)
        found["gradient_norm"] = gradient_norm(method.model, task.streams.stacked)
        values = torch.stack([value.double() for value in found.values()])  # one transfer
        columns = values.reshape(len(found), -1).tolist()
        return dict(zip(found, columns, strict=True)) | {n: _runs(value) for n, value in method.diagnostics().items()}

    def kept(self, run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """What is to be kept beside the record of a run: the weights of the training samples, where they differ."""
        return self._diagnostics.arrays(self._method.task.train, run)

    def _now(self, device: torch.device) -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def _save(self) -> None:
        if time.perf_counter() - self._saved_at >= min(self._save_after, self.CHECKPOINT_SECONDS):
            self.save()

    def save(self) -> None:
        """Take a checkpoint now, at the end of an epoch."""
        if self._checkpoint is None:
            return
        state = {
            "epoch": self._epoch,
            "seconds": self.seconds,
            "steps": self.steps,
            "samples": self.samples,
            "history": self.history,
            "diverged": self.diverged,
            "method": self._method.state_dict(),
            "average": self._average.state_dict(),
            "diagnostics": self._diagnostics.state_dict(),
            "evaluator": self._evaluator.state_dict(),
            "watch": self._watch.state_dict() if self._watch else {},
        }
        part, begun = self._checkpoint.with_suffix(".part"), time.perf_counter()
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            torch.save(state, part)
            os.replace(part, self._checkpoint)
            self._observer.saved(self._epoch)
        except (OSError, RuntimeError) as error:  # a full disk is no reason to stop
            self._observer.note(f"no checkpoint at epoch {self._epoch}: {error}")
        finally:
            part.unlink(missing_ok=True)
        self._saved_at = time.perf_counter()
        self._save_after = max(2 * self._save_after, (self._saved_at - begun) / self.CHECKPOINT_SHARE)

    def _resume(self) -> None:
        if self._checkpoint is None or not self._checkpoint.exists():
            return
        method = self._method
        try:
            state = torch.load(self._checkpoint, map_location=method.task.device, weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            self._observer.note(f"{self._checkpoint} cannot be read, starting from the beginning: {error}")
            return
        self._epoch, self.seconds = state["epoch"], state["seconds"]
        self.steps, self.samples = state["steps"], state["samples"]
        self.history, self.diverged = state["history"], state["diverged"]
        method.load_state_dict(state["method"])
        self._average.load_state_dict(state["average"], method.model)
        self._diagnostics.load_state_dict(state["diagnostics"])
        self._evaluator.load_state_dict(state["evaluator"])
        if self._watch:
            self._watch.load_state_dict(state["watch"])


def _choosing(method: "Method") -> float:
    """Seconds that its look-aheads have taken to choose and check their backends: once a run, so no cost of a step."""
    return sum(engine.choice.seconds for engine in method.engines() if engine.choice)


def _bytes(model: nn.Module) -> int:
    """Of its parameters."""
    return sum(p.numel() * p.element_size() for p in model.parameters())


def _runs(value: Tensor) -> list[float]:
    """[..] -> one number for each run."""
    return value.double().reshape(-1).tolist()


def _finite_runs(model: nn.Module, stacked: bool) -> list[bool]:
    """Whether all parameters are finite, for each run."""
    finite = [p.isfinite().flatten(1 if stacked else 0).all(-1) for p in model.parameters()]
    return torch.stack(finite).all(0).reshape(-1).tolist()
