"""Logit adjustment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.groups import log_class_counts
from bench.training.losses import require_cross_entropy


@dataclass
class LogitAdjustment(Method):
    """Logit adjustment: tau times the log of the class priors is added in the loss, or taken off after training.

    Source: Menon et al., Long-Tail Learning via Logit Adjustment, 2021, equations 9 (post hoc) and 10 (loss). The
    priors are the class frequencies of the training data; a class without samples counts as one with one. Their logs
    are those of the counts up to a constant, which no softmax or argmax sees.

    Options:
        tau: 1 is consistent for the balanced error; 0 is ERM.
        how: `loss`: the cross-entropy of the logits plus tau log prior, at tau = 1 that of `balanced_softmax`.
            `post_hoc`: ERM, whose evaluated logits are the model's minus tau log prior, at every evaluation, so that
            selection on the validation data sees them too. What is trained and its losses stay those of ERM.
    """

    name = "logit_adjustment"
    capturable = True

    tau: float = 1.0
    how: Literal["loss", "post_hoc"] = "loss"

    def __post_init__(self) -> None:
        Checks(self).at_least(0, "tau")

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        shift = self.tau * log_class_counts(self.task)
        if self.how == "post_hoc":
            self.model.register_forward_hook(lambda model, inputs, logits: logits if model.training else logits - shift)
        self.shift = shift if self.how == "loss" else torch.zeros_like(shift)

    def losses(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model(batch.x) + self.shift, batch.y)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {LogitAdjustment.name: LogitAdjustment}
