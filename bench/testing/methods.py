"""The contract of a method."""

import copy
import dataclasses
import pickle
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.split import Split
from bench.data.step import Step
from bench.errors import DivergedError, NotApplicableError, PluginError
from bench.models.predict import predict
from bench.models.stack import unstack
from bench.streams import seed_global_generators
from bench.testing.common import documented, equal, same, usable
from bench.testing.toys import toy_split, toy_task
from bench.training.capture.update import CaptureOutcome
from bench.training.checkpoints import Checkpoints
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.state import lost
from bench.training.task import Task


class Interrupted(Meter):
    """Interrupts a training halfway.

    Attributes:
        raised: whether it has. A library that leads through the training may keep the interrupt to itself.
    """

    raised = False

    def epochs(self, method: Method) -> Iterator[int]:
        whole = method.preparation_epochs + method.training_epochs
        for number, epoch in enumerate(super().epochs(method)):
            if number == whole // 2:
                self.raised = True
                raise KeyboardInterrupt
            yield epoch


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
    trained = method(**given)
    state = _outcome(trained, task())
    _check_evaluated(trained)
    assert all(v.isfinite().all() for v in state.values()), "training ran into values that are not finite"
    equal(state, _outcome(method(**given), task()), "two trainings with one seed differ")
    of_other_seed = method(**given)
    assert not same(state, _outcome(of_other_seed, task([5]))), "the seed does not matter"
    _check_state_of_evaluated(trained, of_other_seed)
    if not method.uses_val:
        other = _outcome(method(**given), task(val_seed=2))
        equal(state, other, "it declares uses_val = False, and training changes with the validation data")
    if not method(**given).uses_groups:
        other = _outcome(method(**given), task(regroup=True))
        equal(state, other, "it declares uses_groups = False, and training changes with the groups of the samples")
    if method.capturable:
        _check_capture(method, given, task())
        if method.stackable:
            _check_capture(method, given, task((0, 1), stacked=True))
    _check_resume(method, given, task, state)
    if method.stackable:
        _check_stacked(method, given, task)


def find_out(method: type[Method], options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Find out what a method could declare, whatever it declares: whether runs can be stacked, and updates captured.

    Args:
        method: the class.
        options: of it.

    Returns:
        `stackable` and `capturable` -> the reason why it is not; empty where it is, on a small task.
    """
    given = dict(options or {})
    task = _task_for(method(**given))
    checks = {
        "stackable": lambda: _check_stacked(method, given, task),
        "capturable": lambda: _check_captured(_capturable(method), given, task()),
    }
    return {name: _why_not(check) for name, check in checks.items()}


def _why_not(check: Callable[[], None]) -> str:
    try:
        check()
    except AssertionError as error:
        return str(error)
    return ""


def _capturable(method: type[Method]) -> type[Method]:
    """The same method, but for what it declares."""
    return type(method.__name__, (method,), {"capturable": True})


def _task_for(method: Method) -> Tasks:
    reasons = []
    for task in (toy_task, partial(toy_task, images=True)):
        try:
            method.begin(task())
            return task
        except NotApplicableError as error:
            reasons.append(str(error))
    raise AssertionError(f"it is not applicable to the small tasks of two classes and two groups: {'; '.join(reasons)}")


def _outcome(method: Method, task: Task, checkpoint: Path | None = None) -> dict[str, Tensor]:
    """What a training ends with: the tensors of the evaluated model, and its logits for the same inputs each time."""
    model = train(method, task, checkpoint)
    images = task.train.x.dim() - task.train.y.dim() > 1
    logits = predict(model, toy_split(30, 99, images), 30)
    return _tensors(model.state_dict()) | {"logits": logits}


def _check_weights(method: Method, task: Task) -> None:
    """Weights and losses have one entry for each sample, and no gradient goes through the weights."""
    original = method.weights

    def checked(batch: Step, losses: Tensor) -> Tensor:
        weights = original(batch, losses)
        assert losses.shape == batch.y.shape, f"losses have shape {list(losses.shape)}, the batch {list(batch.y.shape)}"
        assert weights.shape == losses.shape, f"weights have shape {list(weights.shape)}, losses {list(losses.shape)}"
        assert not weights.requires_grad, "weights must be detached"
        return weights

    method.weights = checked  # type: ignore[method-assign]
    train(method, task)


def _check_evaluated(method: Method) -> None:
    """What is evaluated has a gradient unless the method says otherwise: protocols attack it."""
    if not method.differentiable:
        return
    x = method.task.train.batch(torch.arange(4)).x.requires_grad_()
    logits = method.evaluated().eval()(x)
    assert isinstance(logits, Tensor) and logits.requires_grad, (
        "the logits of evaluated() have no gradient with respect to the inputs: declare differentiable = False"
    )


def _check_state_of_evaluated(method: Method, other: Method) -> None:
    """The `state_dict` of what is evaluated makes the same model of that of another training: protocols keep it."""
    model, copied = method.evaluated(), copy.deepcopy(other.evaluated())
    copied.load_state_dict(model.state_dict())
    inputs = toy_split(30, 99, images=method.task.train.x.dim() > 2)
    assert torch.equal(predict(model, inputs, 30), predict(copied, inputs, 30)), (
        "the logits of evaluated() depend on more than its state_dict: register buffers, or use get_extra_state"
    )


def _check_resume(method: type[Method], options: dict[str, Any], task: Tasks, expected: Mapping[str, Tensor]) -> None:
    """Interrupted halfway and resumed from the checkpoint, it ends at the same parameters."""
    meters: list[Interrupted] = []

    def interrupted(*given: Any) -> Interrupted:
        meters.append(Interrupted(*given))
        return meters[-1]

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(folder, "checkpoint.pt")
        seconds = Checkpoints.SECONDS
        Checkpoints.SECONDS = 0.0
        try:
            with suppress(KeyboardInterrupt):
                train(method(**options), task(), checkpoint, interrupted)
            assert meters[0].raised, "its fit does not go through meter.epochs: it is neither evaluated nor resumed"
            resumed = _outcome(method(**options), task(), checkpoint)
        finally:
            Checkpoints.SECONDS = seconds
    changed = _changed(method, options, task)
    not_kept = ", ".join(f"self.{name} ({kind})" for name, kind in changed.items())
    kept = "numbers, texts, tensors, numpy arrays, what has a state_dict, and containers of these; no gradients"
    why = f"a checkpoint does not keep {not_kept}, but {kept}" if changed else f"a checkpoint keeps attributes: {kept}"
    equal(expected, resumed, f"a resumed training ends elsewhere: {why}")
    assert not changed, f"what changes in a training would be lost: {why}"


def _changed(method: type[Method], options: dict[str, Any], task: Tasks) -> dict[str, str]:
    """Attributes that no checkpoint keeps and that are other ones after a training: name -> the type in the way."""
    begun, trained = method(**options), method(**options)
    begun.begin(task())
    train(trained, task())
    after = lost(vars(trained))
    before = {name: _fingerprint(vars(begun).get(name)) for name in after}
    return {name: kind for name, kind in after.items() if _fingerprint(vars(trained)[name]) != before[name]}


def _fingerprint(value: Any) -> bytes:
    """The same bytes for equal values. Empty for a value that cannot be pickled, of which nothing can be told."""
    try:
        return pickle.dumps(value)
    except Exception:  # as many kinds as there are types
        return b""


def _check_captured(method: type[Method], options: dict[str, Any], task: Task) -> None:
    """Its updates are captured, and replayed they end where they end made one by one."""
    outcome = _check_capture(method, options, task)
    assert outcome.captured, f"no update was captured: {outcome.eager_because}"


def _check_capture(method: type[Method], options: dict[str, Any], task: Task) -> CaptureOutcome:
    """Where updates are captured, they end replayed where they end made one by one."""
    plain, captured = method(**options), method(**options)
    model = train(plain, task)
    try:
        replayed = train(captured, dataclasses.replace(task, capture=True))
    except Exception as error:  # whatever a replay runs into that makes other operations than the update would
        reason = f"replayed, its updates fail with {type(error).__name__}: {error}: leave out capturable = True"
        raise AssertionError(reason) from error
    assert not captured.capture.failed, (
        f"{captured.capture.eager_because}: leave values of tensors on the device, or declare capturable = False"
    )
    why = "replayed, its updates end elsewhere: it changes state not in place, or depends on changing Python numbers"
    equal(_tensors(model.state_dict()), _tensors(replayed.state_dict()), why)
    equal(_tensors(plain.state_dict()), _tensors(captured.state_dict()), why)
    equal(plain.diagnostics(), captured.diagnostics(), why)
    return captured.capture


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state, which may hold other values too: a module can have extra state of any kind."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _check_stacked(method: type[Method], options: dict[str, Any], task: Tasks) -> None:
    """Trained at once, runs end where they end one by one, up to rounding."""
    seeds = (0, 1, 2)
    mend = "write losses and weights along the last dimension, or leave out stackable = True"
    together = method(**options)
    try:
        stacked = unstack(train(together, task(seeds, stacked=True)))
    except Exception as error:  # whatever the code of a method raises that was written for a single run
        raise AssertionError(f"stacked runs fail with {type(error).__name__}: {error}: {mend}") from error
    inputs = toy_split(30, 99, images=together.task.train.x.dim() > 3)
    logits = predict(together.evaluated(), Split.stack([inputs] * len(seeds)), 30)
    for run, (seed, model) in enumerate(zip(seeds, stacked, strict=True)):
        alone = method(**options)
        single = train(alone, task([seed])).get_parameter
        found: dict[str, tuple[Tensor, Tensor]] = {}
        found |= {name: (value, single(name)) for name, value in model.named_parameters()}
        found["the logits of evaluated()"] = logits[run], predict(alone.evaluated(), inputs, 30)
        for name, (value, expected) in found.items():
            assert torch.allclose(value, expected, rtol=1e-3, atol=1e-4), (
                f"stacked runs differ from single ones in {name} (seed {seed}): {mend}"
            )
