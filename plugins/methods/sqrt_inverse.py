"""Weights by the inverse square root of the frequency."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench import Batch, Method, hookimpl
from bench.training.groups import label_counts


@dataclass
class SqrtInverse(Method):
    """Square-root weights: static, by one over the square root of the number of samples of each class or group.

    A sample of class k has the weight N / (sqrt(n_k) sum_j sqrt(n_j)), which has mean 1 over the N training samples.

    Source: square-root sampling, Mahajan et al., Exploring the Limits of Weakly Supervised Pretraining, 2018, and Kang
    et al., Decoupling Representation and Classifier for Long-Tailed Recognition, 2020, equation 1 with q = 1/2.

    Departures: they draw a class with a probability in proportion to the square root of its count (`resample` at q =
    1/2 does). Here all samples are used, with weights that give the same in expectation.

    Options:
        by: whose samples are counted, `class` (the default) or `group` (the sensitive attribute).
    """

    name = "sqrt_inverse"
    stackable = True
    capturable = True

    by: Literal["class", "group"] = "class"

    def __post_init__(self) -> None:
        self.uses_groups = self.by == "group"

    def setup(self) -> None:
        root = label_counts(self.task, self.by).double().sqrt()
        self.label_weight = (len(self.task.train) / (root * root.sum(-1, keepdim=True))).float()

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.label_weight.gather(-1, batch.label(self.by))


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {SqrtInverse.name: SqrtInverse}
