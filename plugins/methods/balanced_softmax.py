"""Balanced softmax."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from bench import Batch, Method, hookimpl
from bench.training.groups import log_class_counts
from bench.training.losses import require_cross_entropy


@dataclass
class BalancedSoftmax(Method):
    """Balanced softmax: cross-entropy of logits shifted by the log class counts, for test data with balanced classes.

    The training loss is the cross-entropy of the logits plus log n_y, the log of each class's number of training
    samples: the loss of a model that predicts for classes as frequent as in the training data. The evaluated logits are
    the model's own, without that shift, for data whose classes are balanced. The loss equals that of `logit_adjustment`
    at tau = 1.

    Source: Ren et al., Balanced Meta-Softmax for Long-Tailed Visual Recognition, 2020, equations 3 and 4.

    Departures: the paper's meta sampler is not part of this method.

    Raises:
        NotApplicableError: for another loss than cross-entropy.
    """

    name = "balanced_softmax"
    stackable = True
    capturable = True

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        self.shift = log_class_counts(self.task)

    def losses(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model(batch.x) + self.shift, batch.y)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {BalancedSoftmax.name: BalancedSoftmax}
