"""Resampling: each epoch draws its samples so that rare classes or groups come as often as common ones."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.weights import drawn_order, label_balanced


@dataclass
class Resample(Method):
    """Resampling: classes or groups are drawn alike, or by a power of their sizes.

    Source: Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis, Decoupling Representation and Classifier for Long-Tailed
    Recognition, 2020, section 3, equation 1 (a sample of class j has probability n_j^q / sum_i n_i^q) and equation 2.
    Samples are drawn with replacement, so that an epoch, which draws as many as there are, misses some and repeats
    others. A class without training samples is never drawn, whatever equation 1 says.

    Options:
        by: what is balanced, the `class` or the `group` (the sensitive attribute).
        q: 0 draws all alike (class-balanced sampling), 1 in proportion to their sizes (instance-balanced sampling, but
            with replacement), 1/2 in between (square-root sampling).
        progressive: from instance-balanced sampling, in the first epoch, to q, after the last: of T epochs, epoch t,
            from 0, draws by (1 - t/T) of the first and t/T of the second distribution (equation 2, with q = 0).
    """

    name = "resample"
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
        """[.., N] of the samples in an epoch."""
        share = epoch / self.task.epochs if self.progressive else 1.0
        return (1 - share) / self.balanced.shape[-1] + share * self.balanced


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {Resample.name: Resample}
