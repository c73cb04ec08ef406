"""The focal loss."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench import Batch, Checks, Method, Step, hookimpl
from bench.training.losses import require_cross_entropy


def focal_loss(loss: Tensor, gamma: float) -> Tensor:
    """The focal loss [..] from cross-entropies.

    Args:
        loss: cross-entropies -log p of the right class, [..]; each is multiplied by (1 - p)^gamma.
        gamma: exponent, at least 0.
    """
    other = -torch.expm1(-loss)  # 1 - p, exact also where p is almost 1
    return other.clamp_min(torch.finfo(loss.dtype).tiny) ** gamma * loss  # below gamma = 1 the slope at 0 is infinite


@dataclass
class Focal(Method):
    """Focal loss: the cross-entropy times (1 - p)^gamma, so that samples that are already right count for little.

    p is the softmax probability of the sample's class. The loss takes weight from easy samples, not from frequent
    classes: on a small problem with classes 20:1 it neither raises nor lowers the worst recall of a class.

    Source: Lin, Goyal, Girshick, He, Dollár, Focal Loss for Dense Object Detection, 2017, equations 4 and 5.

    Departures:

    - The paper has one sigmoid for each class of an anchor box; here there is one softmax.
    - The loss is averaged over the batch, not divided by the number of boxes with an object.
    - The last layer's initial bias is the model's own, without the prior of section 3.3.

    Options:
        gamma: exponent. 0 is the cross-entropy; the higher it is, the less a sample counts that is already right.
            Default: 2.
        alpha: a factor for each class (equation 5), which is reported as the weight. Default: empty, a factor of 1 for
            all. The paper has 0.25 for objects and 0.75 for background.

    Raises:
        NotApplicableError: for another loss than cross-entropy.
    """

    name = "focal"
    stackable = True
    capturable = True

    gamma: float = 2.0
    alpha: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "gamma")
        check.proportions("alpha")

    def setup(self) -> None:
        require_cross_entropy(self.name, self.task.recipe)
        classes = self.task.classes
        Checks(self).one_for_each(classes, "alpha")
        self.class_weight = torch.tensor(self.alpha or (1.0,) * len(classes), device=self.task.device)

    def losses(self, batch: Step) -> Tensor:
        return focal_loss(super().losses(batch), self.gamma)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        return self.class_weight[batch.y]


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {Focal.name: Focal}
