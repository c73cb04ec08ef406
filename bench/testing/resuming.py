"""The contract of a method's checkpoints: interrupted and resumed, it ends where it ends without a break."""

import math
import pickle
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.testing.trainings import Tasks, train
from bench.training.checkpoints import Checkpoints
from bench.training.meter import Meter
from bench.training.method import Method
from bench.training.state import lost
from bench.trees import instances

KEPT = "numbers, texts, tensors, numpy arrays, what has a state_dict, and containers of these; no gradients"
FEW = 6  # epochs; a longer training is interrupted once, in its middle
LONGEST = 200  # characters of a text that is compared: a pickled object is longer, and equal ones can differ in it


class Interrupted(Meter):
    """Interrupts a training before an epoch.

    Attributes:
        before: the number of epochs that are made.
        raised: whether it has interrupted. A library that leads through the training may keep that to itself.
    """

    before: float = 0
    raised = False

    def epochs(self, method: Method) -> Iterator[int]:
        for number, epoch in enumerate(super().epochs(method)):
            if number == self.before:
                self.raised = True
                raise KeyboardInterrupt
            yield epoch


def check_resume(method: type[Method], options: dict[str, Any], task: Tasks, whole: Method, steps: int) -> None:
    """Interrupted before any epoch and resumed from the checkpoint, it ends where it ended without a break.

    Args:
        method, options: the class, and how it is made.
        task: makes the task.
        whole: the method after a training without a break.
        steps: that were told in it.
    """
    changed = _changed(method, options, task)
    not_kept = ", ".join(f"self.{name} ({kind})" for name, kind in changed.items())
    why = f"a checkpoint does not keep {not_kept}, but {KEPT}" if changed else f"a checkpoint keeps attributes: {KEPT}"
    epochs = whole.preparation_epochs + whole.training_epochs
    for before in range(1, epochs) if epochs <= FEW else [epochs // 2]:
        resumed, done, told = _resumed(method, options, task, before)
        assert told == steps, (
            f"the resumed fit made {told - done} steps where {steps - done} were left: go through the epochs that "
            f"meter.epochs(self) gives, which begin later in a resumed training"
        )
        differs = differing(whole, resumed)
        where = f"{differs} differs, interrupted after {before} of the epochs"
        assert not differs, f"a resumed training ends elsewhere: {why}; {where}"
    assert not changed, f"what changes in a training would be lost: {why}"


def _resumed(method: type[Method], options: dict[str, Any], task: Tasks, before: int) -> tuple[Method, int, int]:
    """The method after a training that was interrupted and resumed, and the steps told before that and in all."""
    meters: list[Interrupted] = []

    def interrupting(after: float) -> Callable[..., Meter]:
        def new(*given: Any) -> Meter:
            meters.append(Interrupted(*given))
            meters[-1].before = after
            return meters[-1]

        return new

    resumed = method(**options)
    seconds = Checkpoints.SECONDS
    Checkpoints.SECONDS = 0.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder, "checkpoint.pt")
            try:
                train(method(**options), task(), checkpoint, interrupting(before))
            except (Exception, KeyboardInterrupt, SystemExit):  # a library may make anything of an interrupt
                if not meters[0].raised:
                    raise
            assert meters[0].raised, "its fit ends before all epochs of meter.epochs are made"
            train(resumed, task(), checkpoint, interrupting(math.inf))
    finally:
        Checkpoints.SECONDS = seconds
    return resumed, meters[0].steps, meters[1].steps


def differing(one: Method, other: Method) -> str:
    """The first attribute whose state differs after two trainings, with its type; empty if none does.

    Both are left in evaluation mode, and the first one has loaded its own state.
    """
    for method in (one, other):
        for module in instances(nn.Module, vars(method)):
            module.eval()  # because evaluations leave it so
    one.load_state_dict(one.state_dict())  # as the other one was: an optimiser may add settings when it is loaded
    states = [method.state_dict() for method in (one, other)]
    for name in {**states[0], **states[1]}:
        if name != "began_at" and not _alike(states[0].get(name), states[1].get(name)):
            return f"self.{name} ({type(getattr(one, name, None)).__name__})"
    return ""


def _alike(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        same = one.shape == other.shape and one.dtype == other.dtype
        return same and (torch.equal(one, other) or (one.is_floating_point() and _equal_with_nan(one, other)))
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_alike(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if isinstance(one, str | bytes) and isinstance(other, str | bytes) and min(len(one), len(other)) > LONGEST:
        return True
    return bool(one == other) or (one != one and other != other)


def _equal_with_nan(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)


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
