"""LDAM: the label-distribution-aware margin loss, with deferred re-weighting."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from bench import Batch, Checks, Method, NotApplicableError, hookimpl
from bench.models.heads import Head, head_of
from bench.training.groups import label_counts
from bench.training.losses import require_cross_entropy
from bench.training.weights import effective_number_weights, mean_one


def margins(counts: Tensor, largest: float) -> Tensor:
    """Margins [.., C] in proportion to n^(-1/4), scaled so that the largest is as given; 0 for a class without samples.

    Args:
        counts: number of training samples of each class, [.., C].
        largest: the margin of the rarest class.

    Source: Cao et al. 2019, section 3.2.
    """
    proportion = counts.double().pow(-0.25).where(counts > 0, 0.0)
    return largest * proportion / proportion.amax(-1, keepdim=True)


def use_cosines(head: Head, scale: float) -> None:
    """Change a model so that its logits are `scale` times the cosines between features and the weights of the classes.

    The features are the inputs of the head.
    """

    def cosines(layer: Head, inputs: tuple[Tensor], logits: Tensor) -> Tensor:
        return scale * F.normalize(inputs[0], dim=-1) @ F.normalize(layer.weight, dim=-1).mT

    head.register_forward_hook(cosines)


@dataclass
class LDAM(Method):
    """LDAM: the rarer a class, the larger the margin by which its logit must win; DRW (deferred weights) is an option.

    The loss is the cross-entropy of the logits after the margin C / n_y^(1/4) is subtracted from the logit of the
    sample's class. As in the paper, features and class weights of the last layer are normalised: the given model is
    changed there, in training and in evaluation, and the bias of that layer is not used. The evaluated logits are the
    cosines times the scale too; the predictions are those of the cosines.

    Deferred re-weighting (DRW, Algorithm 1): from some epoch on, the losses are weighted by class and divided by the
    batch's sum of weights, which is the re-normalised learning rate there.

    The scale makes the gradients larger than those of ERM. On a small problem with classes 20:1, SGD and no warm-up,
    LDAM alone raises the worst recall of a class at learning rate 0.01 and lowers it at 0.1. With DRW it raises it at
    both.

    Source: Cao, Wei, Gaidon, Arechiga, Ma, Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss,
    2019, section 3.2 and Algorithm 1.

    Departures:

    - The weights of DRW are those of `class_balanced`, as in the authors' code; Algorithm 1 has 1 / n.
    - The learning rate falls where the recipe says, not where the weights begin.

    Options:
        largest_margin: margin of the rarest class, on cosines; C follows from it. Default: 0.5.
        scale: factor of cosines and margins. Default: 30.
        reweight_from: fraction of the epochs after which losses are weighted. Default: 1, never. LDAM-DRW in the
            authors' code has 0.8, epoch 160 of 200.
        beta: of the weights of DRW, see `class_balanced`. None (the default): 0.9999, as in the authors' code.

    Raises:
        NotApplicableError: for another loss than cross-entropy, and for a model whose logits do not come from its last
            linear layer, one output for each class.
    """

    name = "ldam"
    stackable = True
    capturable = True

    largest_margin: float = 0.5
    scale: float = 30.0
    reweight_from: float = 1.0
    beta: float | None = None

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "largest_margin")
        check.above(0, "scale")
        check.within(0, 1, "reweight_from")
        check.within(0, 1, "beta", closed="left")
        if self.reweight_from == 1:
            check.unused("beta", "reweight_from")

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        head = head_of(self.model, self.task.train)
        classes = len(self.task.classes)
        if head.weight.shape[-2] != classes:
            raise NotApplicableError(f"ldam needs a model whose last layer has {classes} outputs, one for each class")
        use_cosines(head, self.scale)
        self.counts = label_counts(self.task)
        self.margins = margins(self.counts, self.scale * self.largest_margin).float()
        self.class_weight = torch.ones_like(self.margins)
        self.reweight(epoch=0)

    def losses(self, batch: Batch) -> Tensor:
        y = batch.y.unsqueeze(-1)
        margin = self.margins.gather(-1, batch.y).unsqueeze(-1)
        return self.task.loss(self.model(batch.x).scatter_add(-1, y, -margin), batch.y)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return mean_one(self.class_weight.gather(-1, batch.y))

    def end_epoch(self, epoch: int) -> None:
        self.reweight(epoch + 1)

    def reweight(self, epoch: int) -> None:
        """Weight the losses by class from this epoch on, if it is time."""
        if epoch / self.task.epochs >= self.reweight_from:
            beta = 0.9999 if self.beta is None else self.beta
            self.class_weight.copy_(effective_number_weights(self.counts, beta))


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {LDAM.name: LDAM}
