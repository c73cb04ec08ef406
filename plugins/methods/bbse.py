"""BBSE: black box shift estimation."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench import Batch, Method, NotApplicableError, Trials, hookimpl


@dataclass
class BBSE(Trials):
    """BBSE: black box shift estimation, class weights from how often a first model predicts each class of the target.

    A first training, without weights, gives a classifier. C is the joint distribution of its predictions (rows) and the
    classes (columns) on the validation data; mu is the distribution of its predictions on the unlabelled inputs of the
    target. Under label shift C w = mu has the solution w = p_target(y) / p_source(y). These are the weights of a second
    training from scratch, which is the one that is evaluated.

    Source: Lipton, Wang, Smola, Detecting and Correcting for Label Shift with Black Box Predictors, 2018, Algorithm 1.

    Departures, and what the paper leaves open:

    - Negative weights become 0, as in the paper.
    - Where C is singular, the least-squares solution of least norm is taken; the paper has no weights at all there.
    - The predictions are hard ones.
    - The validation data stand for the source, so they must come from the same distribution as the training data.

    Raises:
        NotApplicableError: where the task has no unlabelled inputs of the target.
    """

    name = "bbse"
    uses_val = True
    stackable = True

    def setup(self) -> None:
        if self.task.target is None:
            raise NotApplicableError(
                "bbse needs unlabelled inputs of the target: those of --protocol label_shift with protocol.prior or "
                "protocol.dirichlet"
            )
        lead = self.task.train.y.shape[:-1]
        self.class_weight = torch.ones(*lead, len(self.task.classes), device=self.task.device)
        self.plan(1)

    def end_trial(self, trial: int) -> None:
        """Compute the class weights from the first model's predictions."""
        assert self.task.target
        val = self.task.val
        classes = len(self.task.classes)
        joint = self.frequencies(self.predict(val).argmax(-1) * classes + val.y, classes**2)
        mu = self.frequencies(self.predict(self.task.target).argmax(-1), classes)
        inverse = torch.linalg.pinv(joint.unflatten(-1, (classes, classes)))
        self.class_weight.copy_((inverse @ mu.unsqueeze(-1)).squeeze(-1).clamp_min(0))

    def frequencies(self, values: Tensor, n: int) -> Tensor:
        """[.., n] float64: the fraction of the values [.., N] that equals each of 0 to n - 1."""
        each = torch.full(values.shape, 1 / values.shape[-1], dtype=torch.float64, device=values.device)
        return each.new_zeros(*values.shape[:-1], n).scatter_add_(-1, values, each)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.class_weight.gather(-1, batch.y)

    def diagnostics(self) -> dict[str, Tensor]:
        return {"largest_class_weight": self.class_weight.amax(-1)}


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {BBSE.name: BBSE}
