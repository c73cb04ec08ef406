"""Logit adjustment."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from bench import Batch, Checks, Method, hookimpl
from bench.training.groups import log_class_counts
from bench.training.losses import require_cross_entropy


@dataclass
class LogitAdjustment(Method):
    """Logit adjustment: tau times the log class priors is added to logits in the loss, or subtracted after training.

    The priors are the class frequencies of the training data; a class without samples counts as if it had one. The logs
    of the counts are used in place of those of the priors: they differ by a constant, which no softmax or argmax sees.

    Source: Menon et al., Long-Tail Learning via Logit Adjustment, 2021, equations 9 (post hoc) and 10 (loss).

    Options:
        tau: factor of the log priors. 1 (the default) is consistent for the balanced error; 0 is ERM.
        how: `loss` (the default): the cross-entropy of the logits plus tau log prior, which at tau = 1 is the loss of
            `balanced_softmax`. `post_hoc`: ERM, whose evaluated logits are the model's minus tau log prior. They are so
            at every evaluation, so that selection on the validation data sees them too; the training and its losses
            stay those of ERM.

    Raises:
        NotApplicableError: for another loss than cross-entropy.
    """

    name = "logit_adjustment"
    stackable = True
    capturable = True

    tau: float = 1.0
    how: Literal["loss", "post_hoc"] = "loss"

    def __post_init__(self) -> None:
        Checks(self).at_least(0, "tau")

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        shift = self.tau * log_class_counts(self.task)
        if self.how == "post_hoc":
            self.model.register_buffer("shift", shift)  # so that it is in the state of what is evaluated
            self.model.register_forward_hook(_less_shift)
        self.shift = shift if self.how == "loss" else torch.zeros_like(shift)

    def losses(self, batch: Batch) -> Tensor:
        return self.task.loss(self.model(batch.x) + self.shift, batch.y)


def _less_shift(model: nn.Module, inputs: object, logits: Tensor) -> Tensor:
    return logits if model.training else logits - model.get_buffer("shift")


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {LogitAdjustment.name: LogitAdjustment}
