"""FORML: Fairness Optimized Reweighting via Meta-Learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench import Batch, Checks, Method, OptionError, Step, hookimpl
from bench.meta import gradient_step, virtual_step
from bench.training.groups import group_maxima, group_means


@dataclass
class FORML(Method):
    """FORML: a weight for each training sample, learned by descending a fairness loss on validation data.

    Weights w [N] are global, one for each training sample, and start at 0, where all samples count alike. One step
    consists of

    - a virtual SGD step on the weighted batch (Algorithm 1, lines 5-7),
    - the gradient of the meta loss on a validation batch with respect to the weights, through that step (8-9),
    - a step on the weights (10),
    - and the real step with the new weights (11-12).

    Source: Yan, Seto, Apostoloff, FORML: Learning to Reweight Data for Fairness, 2022, Algorithm 1.

    What the paper leaves open is an option, or is decided here:

    - Line 12 prints eta_f and an undefined gradient. The real step follows the gradient of line 11, with the recipe's
      optimiser.
    - BatchNorm is in training mode in the virtual step and in the validation pass, and no running statistic moves
      there. Lines 5 and 11 see the same augmented batch.
    - The validation batch has `min_per_group` samples of each group (the recipe's). The paper does not give its size.

    Options:
        meta_loss: the loss of the worst group minus that of the best. The paper does not say how the losses of samples
            make the loss of a group; its two names are read as follows. `max_loss_discrepancy` (the default): the
            largest (section 4.2.1: "between samples from the best and worst performing groups").
            `mean_loss_discrepancy`: the mean (section 4.3.1: "between the best and worst groups as in" FairBatch, which
            takes means; it is also the plain reading of section 3.1's definition of the former).
            `pairwise_loss_discrepancy`: the mean absolute difference of the groups' means over all pairs, a third
            reading. `cross_entropy`: the mean of the recipe's loss (Table 8).
        condition: which validation samples count. `all` (the default): our reading of section 3.1. `positive`: those of
            the positive class only (equality of opportunity, as FairBatch does it). `negative`: those of the negative
            class only (equal false positive rates). The last two need a two-class task.
        weighting: what is weighted, and how. `loss` (the default): softmax(w) multiplies the losses. `logits`:
            softmax(w) multiplies the logits inside the loss. `inverse_square_l1`: 1 / w^2, normalised like the softmax,
            multiplies the losses, with w starting at 1 and an L1 penalty on the w of each batch (after HALO; the paper
            gives no formula). |w| counts as at least 1e-3, without gradient below.
        normalize: what the softmax runs over, the `batch` (the default) or the whole training `set`. The paper does not
            give the range of the sum.
        scale: `sum` (the default): the sum of the normalised weighted losses, so that equal weights train exactly as
            ERM does. `mean`: lines 6 and 11 taken literally, which divides the gradients by the batch (or set) size,
            and so shrinks the virtual step and, under SGD, the real one.
        weight_lr: learning rate of w. None (the default): the model's learning rate, following its schedule (section
            4.2), which is tiny where that is 1e-3.
        l1: penalty on |w| under `inverse_square_l1`. None (the default): 1e-3, our choice.
        look_ahead: the virtual step. `gradient` (the default): a plain step with the model's current learning rate
            (line 7). `optimizer`: what the recipe's optimiser would do with that gradient.
        reverse_model: whether the virtual step ascends (Table 6). The appendix says that the main results use it,
            Algorithm 1 that they do not. Default: no.
        reverse_weights: whether the step on w ascends (Table 7). Default: no.

    Raises:
        OptionError: for `condition` `positive` or `negative` on a task that has not two classes.
    """

    name = "forml"
    uses_val = True
    stackable = True
    capturable = True

    meta_loss: Literal[
        "max_loss_discrepancy", "mean_loss_discrepancy", "pairwise_loss_discrepancy", "cross_entropy"
    ] = "max_loss_discrepancy"
    condition: Literal["all", "positive", "negative"] = "all"
    weighting: Literal["loss", "logits", "inverse_square_l1"] = "loss"
    normalize: Literal["batch", "set"] = "batch"
    scale: Literal["sum", "mean"] = "sum"
    weight_lr: float | None = None
    l1: float | None = None
    look_ahead: Literal["gradient", "optimizer"] = "gradient"
    reverse_model: bool = False
    reverse_weights: bool = False

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "weight_lr", "l1")
        if self.weighting != "inverse_square_l1":
            check.unused("l1", "weighting")
        if self.reverse_model and self.look_ahead == "optimizer":
            raise OptionError("forml: with reverse_model the virtual step is a plain one: it needs look_ahead=gradient")

    def setup(self) -> None:
        task = self.task
        if self.condition != "all" and len(task.classes) != 2:
            raise OptionError(f"forml: condition={self.condition} needs two classes, not {len(task.classes)}")
        positive = {"positive": 1, "negative": 0}.get(self.condition)
        self.val = task.val_batches(None if positive is None else task.val.y == positive)
        self.engine = task.look_ahead(self.model)
        start = torch.ones if self.weighting == "inverse_square_l1" else torch.zeros
        self.w = start(task.train.y.shape, device=task.device)

    def forward(self, x: Tensor) -> Tensor:
        return self.engine.outputs(x, lambda logits: logits)

    def losses(self, batch: Step) -> Tensor:
        if self.weighting == "logits":
            return super().losses(batch)
        return self.engine.outputs(batch.x, lambda logits: self.task.loss(logits, batch.y))

    def objective(self, batch: Step, losses: Tensor, weights: Tensor) -> Tensor:
        return self._weighted(batch.logits if self.weighting == "logits" else losses, batch, weights)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """Take one step on w by the meta-gradient; returns the weights of the batch with the new w."""
        lr = self.optimizer.param_groups[0]["lr"]
        w = (self.w if self.normalize == "set" else self.w.gather(-1, batch.index)).detach().requires_grad_()
        val = next(self.val)
        (gradient,) = self.engine.gradient(
            lambda value, hyper: self._weighted(value, batch, self.sample_weights(hyper[0], batch.index)),
            [w],
            lambda net: self.validation_loss(self.task.loss(net(val.x), val.y), val.group),
            gradient_step(-lr) if self.reverse_model else virtual_step(self.look_ahead, self.optimizer),
        )
        with torch.no_grad():
            step = lr if self.weight_lr is None else self.weight_lr
            l1 = 1e-3 if self.l1 is None else self.l1
            penalty = step * l1 * w.sign() if self.weighting == "inverse_square_l1" else 0
            w = w.detach() - (-step if self.reverse_weights else step) * gradient - penalty
            self.w.copy_(w) if self.normalize == "set" else self.w.scatter_(-1, batch.index, w)
            return self.sample_weights(w, batch.index)

    def _weighted(self, value: Tensor, batch: Batch, weights: Tensor) -> Tensor:
        """[..]: the weighted loss of a batch, from its losses [.., B] or, if logits are weighted, logits [.., B, C]."""
        if self.weighting == "logits":
            return self.task.loss(weights.unsqueeze(-1) * value, batch.y).mean(-1)
        return (weights * value).mean(-1)

    def sample_weights(self, w: Tensor, index: Tensor) -> Tensor:
        """The weights of the batch at `index`, [.., B].

        Args:
            w: those of the batch, [.., B]; where they are normalised over the set, all of them, [.., N].
            index: positions of the batch in the training data, [.., B].
        """
        score = -2 * w.abs().clamp_min(1e-3).log() if self.weighting == "inverse_square_l1" else w
        weights = score.softmax(-1) * (1 if self.scale == "mean" else w.shape[-1])
        return weights.gather(-1, index) if self.normalize == "set" else weights

    def validation_loss(self, losses: Tensor, group: Tensor) -> Tensor:
        """[..]: the meta loss from validation losses [.., B] and their groups [.., B]."""
        if self.meta_loss == "cross_entropy":
            return losses.mean(-1)
        groups = len(self.task.groups)
        if self.meta_loss == "max_loss_discrepancy":
            by_group = group_maxima(losses, group, groups)
        else:
            by_group, _ = group_means(losses, group, groups)
        if self.meta_loss == "pairwise_loss_discrepancy":
            differences = (by_group.unsqueeze(-1) - by_group.unsqueeze(-2)).abs()
            return differences.sum((-1, -2)) / (groups * (groups - 1))
        return by_group.amax(-1) - by_group.amin(-1)

    def diagnostics(self) -> dict[str, Tensor]:
        return {"largest_abs_w": self.w.abs().amax(-1)}


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {FORML.name: FORML}
