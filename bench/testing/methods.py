"""The contract of a method."""

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.split import Batch
from bench.errors import DivergedError, NotApplicableError
from bench.models.stack import unstack
from bench.testing.common import documented, equal, same, usable
from bench.testing.toys import toy_task
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.task import Task


class Interrupted(Meter):
    """Interrupts a training halfway."""

    def epochs(self, method: Method) -> Iterator[int]:
        whole = method.preparation_epochs + method.training_epochs
        for number, epoch in enumerate(super().epochs(method)):
            if number == whole // 2:
                raise KeyboardInterrupt
            yield epoch


def train(method: Method, task: Task, checkpoint: Path | None = None, meter: Callable[..., Meter] = Meter) -> nn.Module:
    """The trained model, without evaluation or records. Raises AssertionError for a training that diverges."""
    try:
        with torch.random.fork_rng([]):
            return method.fit(task, meter(NoEvaluations(), checkpoint=checkpoint))
    except DivergedError as error:
        raise AssertionError(str(error)) from error


Tasks = Callable[..., Task]
"""Makes tasks, as `toy_task` does."""


def check_method(method: type[Method], options: Mapping[str, Any] | None = None) -> None:
    """All contracts of a method, on a small task; one of images for a method that is not applicable to features."""
    given = dict(options or {})
    assert issubclass(method, Method), f"{method.__name__} is no subclass of bench.Method"
    assert dataclasses.is_dataclass(method) and "__dataclass_params__" in vars(method), (
        f"{method.__name__} needs @dataclass: its fields are its options"
    )
    documented(method)
    usable("methods", method)

    task = _task_for(method(**given))
    _check_weights(method(**given), task())
    state = train(method(**given), task()).state_dict()
    assert all(v.isfinite().all() for v in state.values()), "training ran into values that are not finite"
    equal(state, train(method(**given), task()).state_dict(), "two trainings with one seed differ")
    assert not same(state, train(method(**given), task([5])).state_dict()), "the seed does not matter"
    if not method.uses_val:
        other = train(method(**given), task(val_seed=2)).state_dict()
        equal(state, other, "it declares uses_val = False, and training changes with the validation data")
    if not method(**given).uses_groups:
        other = train(method(**given), task(regroup=True)).state_dict()
        equal(state, other, "it declares uses_groups = False, and training changes with the groups of the samples")
    if method.capturable:
        _check_capture(method, given, task())
        if method.stackable:
            _check_capture(method, given, task((0, 1), stacked=True))
    _check_resume(method, given, task, state)
    if method.stackable:
        _check_stacked(method, given, task)


def _task_for(method: Method) -> Tasks:
    reasons = []
    for task in (toy_task, partial(toy_task, images=True)):
        try:
            method.begin(task())
            return task
        except NotApplicableError as error:
            reasons.append(str(error))
    raise AssertionError(f"it is not applicable to the small tasks of two classes and two groups: {'; '.join(reasons)}")


def _check_weights(method: Method, task: Task) -> None:
    """Weights and losses have one entry for each sample, and no gradient goes through the weights."""
    original = method.weights

    def checked(batch: Batch, losses: Tensor) -> Tensor:
        weights = original(batch, losses)
        assert losses.shape == batch.y.shape, f"losses have shape {list(losses.shape)}, the batch {list(batch.y.shape)}"
        assert weights.shape == losses.shape, f"weights have shape {list(weights.shape)}, losses {list(losses.shape)}"
        assert not weights.requires_grad, "weights must be detached"
        return weights

    method.weights = checked  # type: ignore[method-assign]
    train(method, task)


def _check_resume(method: type[Method], options: dict[str, Any], task: Tasks, expected: Mapping[str, Tensor]) -> None:
    """Interrupted halfway and resumed from the checkpoint, it ends at the same parameters."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.pt")
        seconds = Checkpoints.SECONDS
        Checkpoints.SECONDS = 0.0
        try:
            train(method(**options), task(), checkpoint, Interrupted)
            raise AssertionError("its fit does not go through meter.epochs: it is neither evaluated nor resumed")
        except KeyboardInterrupt:
            resumed = train(method(**options), task(), checkpoint).state_dict()
            equal(expected, resumed, "a resumed training ends elsewhere: run state must be attributes of the method")
        finally:
            Checkpoints.SECONDS = seconds


def _check_capture(method: type[Method], options: dict[str, Any], task: Task) -> None:
    """CapturedUpdate and replayed, its updates end where they end made one by one."""
    plain, captured = method(**options), method(**options)
    model, replayed = train(plain, task), train(captured, dataclasses.replace(task, capture=True))
    assert not captured.capture.failed, (
        f"{captured.capture.eager_because}: leave values of tensors on the device, or declare capturable = False"
    )
    why = "replayed, its updates end elsewhere: it changes state not in place, or depends on changing Python numbers"
    equal(model.state_dict(), replayed.state_dict(), why)
    equal(_tensors(plain), _tensors(captured), why)


def _tensors(method: Method) -> dict[str, Tensor]:
    return {name: v for name, v in method.state_dict().items() if isinstance(v, Tensor)} | method.diagnostics()


def _check_stacked(method: type[Method], options: dict[str, Any], task: Tasks) -> None:
    """Trained at once, runs end where they end one by one, up to rounding."""
    seeds = (0, 1, 2)
    stacked = unstack(train(method(**options), task(seeds, stacked=True)))
    for seed, model in zip(seeds, stacked, strict=True):
        single = train(method(**options), task([seed])).state_dict()
        for name, value in model.state_dict().items():
            assert torch.allclose(value, single[name], rtol=1e-3, atol=1e-4), (
                f"stacked runs differ from single ones in {name} (seed {seed}): write losses and weights along the "
                f"last dimension, or declare stackable = False"
            )
