"""Class-balanced weights by the effective number of samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.groups import label_counts
from bench.training.weights import effective_number_weights


@dataclass
class ClassBalanced(Method):
    """Class-balanced loss: static weights by the effective number of samples of each class or group.

    Source: Cui et al. 2019, equation 7, with beta as FORML uses it (section 4.1, "Proportion").

    Options:
        beta: 0 gives all samples the same weight; towards 1, weights are in inverse proportion to the counts. Default:
            0.9999.
        by: whose samples are counted, `class` (the default) or `group` (the sensitive attribute).
    """

    name = "class_balanced"
    stackable = True
    capturable = True

    beta: float = 0.9999
    by: Literal["class", "group"] = "class"

    def __post_init__(self) -> None:
        Checks(self).within(0, 1, "beta", closed="left")
        self.uses_groups = self.by == "group"

    def setup(self) -> None:
        self.class_weight = effective_number_weights(label_counts(self.task, self.by), self.beta).float()

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.class_weight.gather(-1, batch.label(self.by))


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {ClassBalanced.name: ClassBalanced}
