"""ERM with a penalty on the difference between groups."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, NotApplicableError, hookimpl
from bench.training.groups import group_counts, group_means, require_two


def spread(mean: Tensor, count: Tensor) -> Tensor:
    """[..]: the largest minus the smallest mean of the groups that have samples; 0 where no group has any.

    Args:
        mean: mean of each group, [.., G].
        count: number of samples of each group, [.., G].
    """
    present = count > 0
    difference = mean.where(present, -torch.inf).amax(-1) - mean.where(present, torch.inf).amin(-1)
    return difference.where(present.any(-1), 0.0)


@dataclass
class GapRegularized(Method):
    """Gap-regularised ERM: the mean loss plus `strength` times the difference between the best and the worst group.

    This is a baseline of the kind "risk plus a measure of unfairness", not one paper's algorithm. Both parts are those
    of the training batch. A group without samples that count in a batch has no part in its penalty, which is 0 where
    only one group is left.

    Source: none; its relatives are these.

    - For losses, Williamson and Menon 2019, Fairness Risk Measures: their objective is the mean of the groups' risks
      plus a deviation between them. Here the first part is the mean over samples, and the deviation is the range.
    - FORML (Yan et al. 2022) descends the same range of losses, on validation data.
    - For rates, Zafar et al. 2017, Fairness Constraints, constrain the covariance between the group and the score, and
      Beutel et al. 2019, Putting Fairness Principles into Practice, penalise their correlation. Here it is the range of
      the groups' mean scores.

    Options:
        penalty: the difference is the largest minus the smallest over the groups, of the mean `loss` (the default) or
            of the mean predicted probability of class 1 (`rate`).
        condition: which samples count in the penalty: `all` (the default), those of the `positive` class 1, or those of
            the `negative` class 0. With `rate` these are demographic parity, equal opportunity, and equal false
            positive rates. `rate`, `positive` and `negative` need a two-class task.
        strength: factor of the penalty; 0 is ERM. Default: 1, our choice.

    Raises:
        NotApplicableError: for a task that has not two classes where two are needed, for `rate` over `all` samples
            where the groups are the classes, and where fewer than two groups have training samples that count.
    """

    name = "gap_regularized"
    stackable = True
    capturable = True
    uses_groups = True

    penalty: Literal["loss", "rate"] = "loss"
    condition: Literal["all", "positive", "negative"] = "all"
    strength: float = 1.0

    def __post_init__(self) -> None:
        Checks(self).at_least(0, "strength")

    def setup(self) -> None:
        train = self.task.train
        classes = self.task.classes
        what = f"gap_regularized with penalty={self.penalty}, condition={self.condition}"
        if len(classes) != 2 and (self.penalty, self.condition) != ("loss", "all"):
            raise NotApplicableError(f"{what} needs two classes, not {len(classes)}")
        if (self.penalty, self.condition) == ("rate", "all") and torch.equal(train.group, train.y):
            raise NotApplicableError(f"{what}: the groups are the classes, which equal rates would not tell apart")
        require_two(what, group_counts(*self.counted(train.y, train.group)), "groups")

    def counted(self, y: Tensor, group: Tensor) -> tuple[Tensor, int]:
        """The groups [.., B] of the samples that count, with -1 for the others, and the number of groups."""
        if self.condition != "all":
            group = group.where(y == (self.condition == "positive"), -1)
        return group, len(self.task.groups)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits = self.model(batch.x)
        losses = self.task.loss(logits, batch.y)
        self.descend(losses.mean(-1) + self.strength * self.gap(batch, logits, losses))
        return losses.detach(), torch.ones_like(losses)

    def gap(self, batch: Batch, logits: Tensor, losses: Tensor) -> Tensor:
        """[..]: the penalty of a batch, from its logits [.., B, C] and losses [.., B]."""
        value = losses if self.penalty == "loss" else logits.softmax(-1)[..., 1]
        return spread(*group_means(value, *self.counted(batch.y, batch.group)))


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {GapRegularized.name: GapRegularized}
