"""L2RW: Learning to Reweight Examples for Robust Deep Learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Method, hookimpl
from bench.meta import VirtualStep, virtual_step
from bench.training.weights import mean_one


@dataclass
class L2RW(Method):
    """L2RW: each sample of a batch is weighted by how much a step on it would lower the loss on validation data.

    One step of Algorithm 1 consists of

    - weights eps = 0 on the losses of the batch (line 5),
    - a virtual step on their weighted sum (6-7),
    - the gradient of the mean loss of a validation batch with respect to eps, through that step (8-10),
    - the weights w = max(-gradient, 0), divided by their sum (11),
    - and the real step on sum_i w_i l_i (12-14).

    Where no sample would lower the validation loss all weights are 0, and only momentum and weight decay move the
    parameters. Weights are not carried over to the next step.

    From eps = 0 a plain virtual step does not move, so it is not made: the gradient is taken at the parameters
    themselves. The step size alpha is a common factor of the weights, which cancels in the division by their sum.

    Source: Ren, Zeng, Yang, Urtasun, Learning to Reweight Examples for Robust Deep Learning, 2018, Algorithm 1.

    What the paper leaves open is an option, or is decided here:

    - The weights are reported times the batch size, so that equal ones are 1. The loss that is descended is the
      paper's.
    - The validation pass has BatchNorm in training mode and moves no running statistic. Its batch has `min_per_group`
      samples of each group (the recipe's), and there is no augmentation.

    Options:
        start: the weights that eps adds to in the virtual step. `zero` (the default): none, as in Algorithm 1 and the
            authors' code. `uniform`: 1/B each, so that the gradient is taken after a step of ERM. Some
            re-implementations do that, because a virtual step that moves nothing looks like a mistake.
        look_ahead: the virtual step. `gradient` (the default): a plain step with the model's current learning rate
            (line 7). `optimizer`: what the recipe's optimiser would do. Momentum and weight decay move the parameters
            even where the gradient is 0, so under `optimizer` the virtual step has to be made from `zero` too, at its
            full price.
    """

    name = "l2rw"
    uses_val = True
    stackable = True
    capturable = True

    start: Literal["zero", "uniform"] = "zero"
    look_ahead: Literal["gradient", "optimizer"] = "gradient"

    def setup(self) -> None:
        self.val = self.task.val_batches()
        self.engine = self.task.look_ahead(self.model)

    def losses(self, batch: Batch) -> Tensor:
        return self.engine.outputs(batch.x, lambda logits: self.task.loss(logits, batch.y))

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """The weights of the batch, [.., B], with mean 1 or all 0."""
        val = next(self.val)
        start = torch.full_like(losses, 0.0 if self.start == "zero" else 1 / losses.shape[-1], requires_grad=True)
        (gradient,) = self.engine.gradient(
            lambda value, hyper: (hyper[0] * value).sum(-1),
            [start],
            lambda net: self.task.loss(net(val.x), val.y).mean(-1),
            self.virtual_step(),
        )
        return mean_one((-gradient).clamp_min(0))

    def virtual_step(self) -> VirtualStep | None:
        if self.start == "zero" and self.look_ahead == "gradient":
            return None
        return virtual_step(self.look_ahead, self.optimizer)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {L2RW.name: L2RW}
