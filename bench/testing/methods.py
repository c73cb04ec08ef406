"""The contract of a method."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.split import Split
from bench.errors import NotApplicableError, PluginError
from bench.models.predict import predict
from bench.models.stack import unstack
from bench.testing.common import documented, equal, same, usable
from bench.testing.resuming import check_resume, differing
from bench.testing.toys import toy_split, toy_task
from bench.testing.trainings import Tasks, check_training, train
from bench.training.capture.update import CaptureOutcome
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.task import Task


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
    steps = check_training(method(**given), task())
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
    check_resume(method, given, task, trained, steps)
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
        except PluginError as error:
            raise AssertionError(str(error)) from error
    raise AssertionError(f"it is not applicable to the small tasks of two classes and two groups: {'; '.join(reasons)}")


def _outcome(method: Method, task: Task) -> dict[str, Tensor]:
    """What a training ends with: the tensors of the evaluated model, and its logits for the same inputs each time."""
    model = train(method, task)
    images = task.train.x.dim() - task.train.y.dim() > 1
    logits = _logits(model, toy_split(30, 99, images))
    return _tensors(model.state_dict()) | {"logits": logits}


def _check_evaluated(method: Method) -> None:
    """What is evaluated has a gradient unless the method says otherwise: protocols attack it."""
    if not method.differentiable:
        return
    mend = "the logits of evaluated() have no gradient with respect to the inputs: declare differentiable = False"
    batch = method.task.train.batch(torch.arange(4))
    x = (batch.x if batch.x.is_floating_point() else batch.x.float()).requires_grad_()
    try:
        logits = method.evaluated().eval()(x)
        gradient = torch.autograd.grad(logits.sum(), x, allow_unused=True)[0]
    except Exception as error:  # whatever a library raises
        raise AssertionError(f"{mend} ({type(error).__name__}: {error})") from error
    assert gradient is not None and gradient.any(), mend
    classes = len(method.task.classes)
    assert logits.shape[-1] == classes, f"evaluated() gives {logits.shape[-1]} logits, and there are {classes} classes"


def _check_state_of_evaluated(method: Method, other: Method) -> None:
    """The `state_dict` of what is evaluated makes the same model of that of another training: protocols keep it."""
    model, copied = method.evaluated(), copy.deepcopy(other.evaluated())
    copied.load_state_dict(model.state_dict())
    inputs = toy_split(30, 99, images=method.task.train.x.dim() > 2)
    assert torch.equal(_logits(model, inputs), _logits(copied, inputs)), (
        "the logits of evaluated() depend on more than its state_dict: register buffers, or use get_extra_state"
    )


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
    reason = captured.capture.eager_because
    mend = (
        ""
        if "capturable = False" in reason
        else ": leave values of tensors on the device, or declare capturable = False"
    )
    assert not captured.capture.failed, f"{reason}{mend}"
    why = "replayed, its updates end elsewhere: it changes state not in place, or depends on changing Python numbers"
    equal(_tensors(model.state_dict()), _tensors(replayed.state_dict()), why)
    differs = differing(plain, captured)
    assert not differs, f"{why}; {differs} differs"
    equal(plain.diagnostics(), captured.diagnostics(), why)
    return captured.capture


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a state, which may hold other values too: a module can have extra state of any kind."""
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _check_stacked(method: type[Method], options: dict[str, Any], task: Tasks) -> None:
    """Trained at once, runs end where they end one by one, up to rounding."""
    seeds = (0, 1, 2)
    mend = "write losses and weights along the last dimension, or leave out stackable = True"
    try:
        together, norms = _trained(method(**options), task(seeds, stacked=True))
        stacked = unstack(together.model)
        inputs = toy_split(30, 99, images=together.task.train.x.dim() > 3)
        logits = predict(together.evaluated(), Split.stack([inputs] * len(seeds)), 30)
    except Exception as error:  # whatever the code of a method raises that was written for a single run
        raise AssertionError(f"stacked runs fail with {type(error).__name__}: {error}: {mend}") from error
    for run, (seed, model) in enumerate(zip(seeds, stacked, strict=True)):
        alone, norm = _trained(method(**options), task([seed]))
        found: dict[str, tuple[Tensor, Tensor]] = {}
        found |= {name: (value, alone.model.get_parameter(name)) for name, value in model.named_parameters()}
        found["the logits of evaluated()"] = logits[run], predict(alone.evaluated(), inputs, 30)
        for name, (value, expected) in found.items():
            assert torch.allclose(value, expected, rtol=1e-3, atol=1e-4), (
                f"stacked runs differ from single ones in {name} (seed {seed}): {mend}"
            )
        # Some optimisers, such as Adam, hide a factor of the whole objective.
        assert not any(abs(a - b) > 0.05 * b for a, b in zip(norms[run:], norm, strict=False)), (
            f"stacked runs have other gradients than single ones (seed {seed}): do not average over runs"
        )


def _trained(method: Method, task: Task) -> tuple[Method, list[float]]:
    """The method after a training, and the norms of the last gradients, of each run; empty without steps."""
    meters: list[Meter] = []

    def new(*given: Any) -> Meter:
        meters.append(Meter(*given))
        return meters[-1]

    train(method, task, meter=new)
    return method, meters[0].history[-1]["train"].get("gradient_norm", [])


def _logits(model: nn.Module, inputs: Split) -> Tensor:
    """Raises AssertionError for a model that fails."""
    try:
        return predict(model, inputs, 30)
    except Exception as error:  # whatever the code of a method raises
        raise AssertionError(f"what is evaluated fails with {type(error).__name__}: {error}") from error
