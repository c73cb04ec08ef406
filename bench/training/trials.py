"""The base of methods that train from scratch several times."""

import math
from dataclasses import dataclass

import torch

from bench.metrics import Metric
from bench.predictions import Predictions, confusion
from bench.registry import installed
from bench.training.method import Method


@dataclass
class Trials(Method):
    """The base of methods that train the whole recipe several times.

    Each training begins at the same initial weights and sees the samples in the same order. All trainings but the last
    are preparation. A subclass calls `plan` in its `setup`, and overrides `end_trial` to change something between
    trainings.
    """

    def plan(self, trials: int) -> None:
        """Set the number of trainings before the last one, which is evaluated."""
        self.preparation_epochs = trials * self.training_epochs

    def recipe_epoch(self, epoch: int) -> int:
        return epoch % self.training_epochs

    def trial(self, epoch: int) -> int:
        """The number of the training that an epoch belongs to, from 0."""
        return (epoch + self.preparation_epochs) // self.training_epochs

    def end_epoch(self, epoch: int) -> None:
        if epoch < 0 and self.recipe_epoch(epoch) == self.training_epochs - 1:
            self.end_trial(self.trial(epoch))
            self.restart()

    def end_trial(self, trial: int) -> None:
        """Called after each training but the last, while `model` is the trained model."""


def validation_gain(method: Method, metric: str) -> float:
    """How good a method's present model is on the validation data; more is better.

    Args:
        method: a single run.
        metric: name of the metric.

    Returns:
        The metric, negated if less is better. If it is undefined or a logit is not finite, its worst value.
    """
    val = method.task.val
    definition: Metric = installed().find("metrics", metric).value
    logits = method.predict(val)
    p = Predictions(logits, val.y, val.group, len(method.task.groups), torch.equal(val.group, val.y))
    value = definition.function(p, confusion(p)).item()
    if math.isnan(value) or not logits.isfinite().all():
        value = definition.worst
    return value if definition.higher_is_better else -value
