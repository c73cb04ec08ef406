"""What tests of methods that train several times share."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bench import Method, Task, Trials
from bench.testing import toy_task, train
from bench.training.checkpoints import Checkpoints

State = dict[str, Tensor]


def with_dropout(task: Task) -> Task:
    plain = task.new_model
    return dataclasses.replace(task, new_model=lambda: nn.Sequential(*plain()[:2], nn.Dropout(), plain()[2]))


def trainings(method: Trials, task: Task) -> list[State]:
    """What each training made, the last one last."""
    ends, end_trial = [], method.end_trial

    def noted(trial: int) -> None:
        ends.append({name: value.clone() for name, value in method.model.state_dict().items()})
        end_trial(trial)

    method.end_trial = noted  # type: ignore[method-assign]
    last = train(method, task).state_dict()
    return [*ends, last]


def same(a: State, b: State) -> bool:
    return all(torch.equal(a[name], b[name]) for name in b)


def check_resumed(make: Callable[[], Method], epoch: int, folder: Path) -> Method:
    """Interrupted at the beginning of this epoch, with two in each training, and resumed, it ends as it would have.

    Trainings are told apart by their calibration, of which no two are equal.
    """
    task, checkpoint = toy_task(epochs=2, select="ece"), folder / "checkpoint.pt"
    whole, stopped, again = make(), make(), make()
    train(whole, task)
    seen: list[int] = []

    def watch(method: Method, stop: int | None = None) -> None:
        batches = method.batches

        def watched(e: int) -> Any:
            if e == stop:
                raise KeyboardInterrupt
            seen.append(e)
            return batches(e)

        method.batches = watched  # type: ignore[method-assign]

    watch(stopped, epoch)
    watch(again)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            train(stopped, task, checkpoint)
    train(again, task, checkpoint)
    assert seen == list(range(-whole.preparation_epochs, whole.training_epochs))  # no epoch twice
    assert same(again.model.state_dict(), whole.model.state_dict())
    expected = {name: v for name, v in whole.state_dict().items() if isinstance(v, Tensor)}
    assert same(again.state_dict(), expected)
    return whole
