"""Methods that train from scratch several times."""

import math
from dataclasses import dataclass

import torch

from bench.metrics import Metric, Predictions, confusion
from bench.registry import installed
from bench.training.method import Method


@dataclass
class Trials(Method):
    """A method that trains the whole recipe several times from the same initial weights, in the same order of the data.

    All trainings but the last are preparation. A subclass calls `plan` in its `setup`, and changes between trainings
    what it changes, in `end_trial`.
    """

    def plan(self, trials: int) -> None:
        """So many trainings, and one more: the last, which is evaluated."""
        self.preparation_epochs = trials * self.training_epochs

    def recipe_epoch(self, epoch: int) -> int:
        return epoch % self.training_epochs

    def trial(self, epoch: int) -> int:
        """Which training an epoch belongs to, from 0."""
        return (epoch + self.preparation_epochs) // self.training_epochs

    def end_epoch(self, epoch: int) -> None:
        if epoch < 0 and self.recipe_epoch(epoch) == self.training_epochs - 1:
            self.end_trial(self.trial(epoch))
            self.restart()

    def end_trial(self, trial: int) -> None:
        """After each training but the last; `model` is what it has made."""


def validation_gain(method: Method, metric: str) -> float:
    """A metric of the model as it is on the validation data, negated where less is better.

    Where the metric is undefined or a logit is not finite, the worst value that there is.
    """
    val = method.task.val
    chosen: Metric = installed().find("metrics", metric).value
    logits = method.predict(val)
    p = Predictions(logits, val.y, val.group, len(method.task.groups), torch.equal(val.group, val.y))
    value = chosen.function(p, confusion(p)).item()
    if math.isnan(value) or not logits.isfinite().all():
        value = chosen.worst
    return value if chosen.higher_is_better else -value
