"""Balanced softmax."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bench import Batch, Method, hookimpl
from bench.training.groups import log_class_counts
from bench.training.losses import require_cross_entropy


@dataclass
class BalancedSoftmax(Method):
    """Balanced softmax: the training loss is that of a model whose classes are as frequent as in the training data.

    Source: Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, 2020, equations 3 and 4: the
    cross-entropy of the logits plus log n_y, the log of each class's number of training samples. The evaluated logits
    are the model's own, for data whose classes are balanced. The paper's meta sampler is not part of this. The loss is
    that of `logit_adjustment` at tau = 1.
    """

    name = "balanced_softmax"
    capturable = True

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        self.shift = log_class_counts(self.task)

    def losses(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model(batch.x) + self.shift, batch.y)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {BalancedSoftmax.name: BalancedSoftmax}
