"""Importance weighting by a known ratio of target to source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, OptionError, hookimpl
from bench.training.groups import label_counts
from bench.training.weights import mean_one


@dataclass
class ImportanceWeighted(Method):
    """Importance weighting: each loss is multiplied by the known ratio p_target / p_source of its class or group.

    Source: Shimodaira 2000; as a study object Byrd and Lipton 2019, What is the Effect of Importance Weighting in Deep
    Learning?, section 3.

    Options:
        target: target probability of each class (group), which is divided by its frequency in the training data (the
            source). Default: empty, uniform.
        ratio: the ratios themselves, where they are known; used as given: 10,1 weights class 0 ten times. Default:
            empty, they follow from `target`.
        by: what the values belong to, `class` (the default) or `group`.
        normalize: whether to divide by the batch's mean weight, as `nn.CrossEntropyLoss(weight=...)` does. Default: no.

    Raises:
        OptionError: where both `target` and `ratio` are given, or not one value for each class (group).
    """

    name = "importance_weighted"
    stackable = True
    capturable = True

    target: tuple[float, ...] = ()
    ratio: tuple[float, ...] = ()
    by: Literal["class", "group"] = "class"
    normalize: bool = False

    def __post_init__(self) -> None:
        Checks(self).proportions("target", "ratio")
        if self.target and self.ratio:
            raise OptionError("importance_weighted: give target or ratio, not both")
        self.uses_groups = self.by == "group"

    def setup(self) -> None:
        label, names = self.task.labels(self.by)
        Checks(self).one_for_each(names, "target", "ratio", by=self.by)
        if self.ratio:
            ratio = torch.tensor(self.ratio, device=label.device).repeat(*label.shape[:-1], 1)
        else:
            target = torch.tensor(self.target or (1.0,) * len(names), device=label.device)
            source = label_counts(self.task, self.by) / label.shape[-1]
            ratio = (target / target.sum() / source).where(source > 0, 0.0)
        self.label_weight = ratio

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        w = self.label_weight.gather(-1, batch.label(self.by))
        return mean_one(w) if self.normalize else w


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {ImportanceWeighted.name: ImportanceWeighted}
