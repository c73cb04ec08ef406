"""Resampling: each epoch draws its samples so that rare classes or groups come as often as common ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.weights import drawn_order, label_balanced


@dataclass
class Resample(Method):
    """Resampling: epochs draw all classes or groups equally often, or by a power of their sizes.

    Together the samples of class j have the probability n_j^q / sum_i n_i^q (equation 1), each the same part of it.
    Samples are drawn with replacement, so that an epoch, which draws as many as there are, misses some and repeats
    others.

    Source: Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis, Decoupling Representation and Classifier for Long-Tailed
    Recognition, 2020, section 3, equations 1 and 2.

    Departures: a class without training samples is never drawn, whatever equation 1 says.

    Options:
        by: what is balanced, the `class` (the default) or the `group` (the sensitive attribute).
        q: exponent, from 0 to 1. 0 (the default) draws all classes equally often (class-balanced sampling), 1 in
            proportion to their sizes (instance-balanced sampling, but with replacement), 1/2 in between (square-root
            sampling).
        progressive: whether to go from instance-balanced sampling, in the first epoch, to q, after the last: of T
            epochs, epoch t, from 0, draws by (1 - t/T) of the first and t/T of the second distribution (equation 2,
            with q = 0). Default: no.
    """

    name = "resample"
    stackable = True
    capturable = True

    by: Literal["class", "group"] = "class"
    q: float = 0.0
    progressive: bool = False

    def __post_init__(self) -> None:
        check = Checks(self)
        check.within(0, 1, "q")
        if self.q == 1:
            check.unused("progressive", "q")
        self.uses_groups = self.by == "group"

    def setup(self) -> None:
        label, _ = self.task.labels(self.by)
        self.balanced = label_balanced(label, self.q)

    def batches(self, epoch: int) -> Iterator[Batch]:
        return self.task.batches(epoch, drawn_order(self.probabilities(epoch), self.task.streams, epoch))

    def probabilities(self, epoch: int) -> Tensor:
        """[.., N]: the probability of each sample in an epoch."""
        share = epoch / self.task.epochs if self.progressive else 1.0
        return (1 - share) / self.balanced.shape[-1] + share * self.balanced


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {Resample.name: Resample}
