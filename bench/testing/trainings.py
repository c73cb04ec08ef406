"""Trainings for the contract of a method, and what a run asks of one."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.data.split import Batch, Split
from bench.data.step import Step
from bench.errors import BenchError, DivergedError, PluginError
from bench.streams import seed_global_generators
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.stages import run_training
from bench.training.task import Task

Tasks = Callable[..., Task]
"""Makes tasks, as `toy_task` does."""


class Strict(Observer):
    """Does not accept a checkpoint that cannot be written or read."""

    def note(self, text: str) -> None:
        assert "cannot be read" not in text and not text.startswith("no checkpoint"), text


def train(method: Method, task: Task, checkpoint: Path | None = None, meter: Callable[..., Meter] = Meter) -> nn.Module:
    """The trained model, without evaluation or records. Raises AssertionError for a training that fails.

    What a method refuses passes through: an option, the data, or the task.
    """
    try:
        with torch.random.fork_rng([]):
            seed_global_generators(secrets.randbits(63))  # nothing may depend on what the process drew before
            return method.fit(task, meter(NoEvaluations(), Strict(), checkpoint))
    except (DivergedError, PluginError) as error:
        raise AssertionError(str(error)) from error


class Asked(Meter):
    """Knows whether it was asked for epochs."""

    asked = False

    def epochs(self, method: Method) -> Iterator[int]:
        self.asked = True
        yield from super().epochs(method)


def check_training(method: Method, task: Task) -> int:
    """A training goes as a run needs it.

    Each weight and loss belongs to a sample, no gradient goes through the weights, every step is told, what is
    evaluated is one module, and the given data stay as they are.

    Returns:
        The number of steps that were told.
    """
    given = [(split, _copies(split)) for split in (task.train, task.val)]
    handed = _watched(method)
    meter = Asked(NoEvaluations(), Strict())
    try:
        run_training(method, task, meter)
    except BenchError as error:
        if not isinstance(error, DivergedError | PluginError):
            raise
        assert meter.asked, "its fit does not go through meter.epochs: it is neither evaluated nor resumed"
        _check_module(method)
        raise AssertionError(str(error)) from error
    except AssertionError:
        raise
    except Exception as error:  # whatever the code of a method raises
        _check_module(method)
        raise AssertionError(f"its training fails with {type(error).__name__}: {error}") from error
    _check_module(method)
    assert meter.steps in (0, len(handed)) or not handed, (
        f"meter.step was told of {meter.steps} steps, and {len(handed)} batches were handed out: tell it of each"
    )
    for split, copies in given:
        assert all(map(torch.equal, _copies(split), copies)), "it writes into the data that it may only read: copy them"
    return meter.steps


def _watched(method: Method) -> list[Batch]:
    """Let a method check its weights and what it tells of itself; gives the batches that it hands out."""
    weights, batches, about = method.weights, method.batches, method.about
    handed: list[Batch] = []

    def checked(batch: Step, losses: Tensor) -> Tensor:
        found = weights(batch, losses)
        assert losses.shape == batch.y.shape, f"losses have shape {list(losses.shape)}, the batch {list(batch.y.shape)}"
        assert found.shape == losses.shape, f"weights have shape {list(found.shape)}, losses {list(losses.shape)}"
        assert not found.requires_grad, "weights must be detached"
        assert found.is_floating_point(), f"weights must be numbers with a point, not {found.dtype}: use `.float()`"
        return found

    def counted(epoch: int) -> Iterator[Batch]:
        for batch in batches(epoch):
            handed.append(batch)
            yield batch

    def told() -> dict[str, str]:
        used = about()
        assert isinstance(used, dict), f"about() must return a dictionary, name -> words, not a {type(used).__name__}"
        return used

    method.weights, method.batches, method.about = checked, counted, told  # type: ignore[method-assign]
    return handed


def _check_module(method: Method) -> None:
    """What is evaluated is one module, if there is a model at all."""
    if not hasattr(method, "model"):
        return
    module = method.evaluated()
    assert isinstance(module, nn.Module), f"evaluated() must return a module of torch, not {type(module).__name__}"
    assert module is method.evaluated(), "evaluated() must return the same module each time: make it in `setup`"


def _copies(split: Split) -> list[Tensor]:
    return [split.x.clone(), split.y.clone(), split.group.clone()]
