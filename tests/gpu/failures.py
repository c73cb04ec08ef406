"""Captures that fail: the training goes on without, and what is trained next is none the worse for it.

They are a group of their own: before torch 2.12 they leave a process in which nothing is captured any more.
"""

from dataclasses import replace

import torch
from torch import Tensor

from bench import Batch, Method
from bench.runs.experiment import Experiment
from bench.training.capture.update import FAILED
from bench.training.observer import Observer
from tests.gpu.common import batch, compare, dataset, exact, experiment, small, trained


class Looking(Method):
    """Says wrongly that it can be captured: it looks at a value."""

    capturable = True

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return torch.ones_like(losses) * (1.0 if float(losses.detach().mean()) > 0 else 0.5)


class Notes(Observer):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


def made(device: torch.device, **options: object) -> Experiment:
    """Three epochs of two batches and a small one."""
    data = dataset(device, 2 * batch(device) + batch(device) // 2)
    return small(experiment(data, recipe__epochs=3, **options), device)


def failing(device: torch.device) -> str:
    """A training whose capture fails is the same without."""
    given, notes = replace(made(device), method=Looking, method_name="looking"), Notes()
    tried, _ = trained(given, device, observer=notes)
    plain, _ = trained(given, device, eager=True)
    if device.type == "cuda":
        assert (why := tried.costs.eager_because).startswith(FAILED), why
        assert "earlier" in why or [FAILED in text for text in notes.texts] == [True], notes.texts
    assert not tried.costs.captured
    return compare(tried, plain, 1e-3)


def check_a_training_goes_on_without_a_capture(device: torch.device) -> str:
    with exact():
        return failing(device)


def check_the_next_training_is_recorded_or_says_why_not(device: torch.device) -> str:
    with exact():
        failing(device)
        next_one, _ = trained(made(device), device)
        plain, _ = trained(made(device), device, eager=True)
    reason = next_one.costs.eager_because
    assert next_one.costs.captured == (device.type == "cuda" and not reason)
    return f"{compare(next_one, plain, 1e-3)}, {reason or 'captured'}"


def check_the_next_training_draws_random_numbers_as_ever(device: torch.device) -> str:
    """From the device's own generator, which a capture holds."""
    with exact():
        before, _ = trained(made(device, method="augmix"), device)
        failing(device)
        return compare(trained(made(device, method="augmix"), device)[0], before, 1e-3)
