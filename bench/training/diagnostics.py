"""What a method does to its training samples: their weights and losses in one epoch, and how the weights change.

Shapes: `..` are stacked runs, `n` the samples of an epoch in the order of its steps, as often as they were drawn, and N
the training samples. Everything is computed at the end of an epoch that is evaluated, on the device.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from bench.data.split import Batch, Split

if TYPE_CHECKING:
    import numpy as np

    from bench.training.task import Task

MAX_LABELS = 20
"""Values by class (group) are recorded where there are at most so many: every one is a column of the record."""


class Samples(NamedTuple):
    """The samples of a step, [.., B] each, or of an epoch, [.., n]."""

    losses: Tensor
    weights: Tensor
    y: Tensor
    group: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Batch

    @classmethod
    def of(cls, batch: Batch, losses: Tensor, weights: Tensor) -> "Samples":
        return cls(losses.detach(), weights.detach(), batch.y, batch.group, batch.index)

    @classmethod
    def cat(cls, steps: Sequence["Samples"]) -> "Samples":
        """The samples of an epoch."""
        return cls(*(torch.cat(parts, -1) for parts in zip(*steps, strict=True)))


class Diagnostics:
    """The diagnostics of one training.

    weights: [.., N] float32, the weight of each training sample when it was last drawn in an evaluated epoch (the mean
        of those of that epoch), NaN before; None before the first evaluation.
    """

    def __init__(self) -> None:
        self.weights: Tensor | None = None

    def __call__(self, steps: Sequence[Samples], task: "Task") -> dict[str, Tensor]:
        """[..] by name, of an evaluated epoch.

        loss: mean unweighted loss; `loss_first_tenth`, `loss_last_tenth`: of the first and the last tenth of the steps.
        effective_sample_size: of the weights as a fraction of the samples (Kish). largest_weight: relative to the mean.
        weight_entropy: see `entropy`. weight_loss_correlation: see `correlation`. weight_churn: see `churn`, since the
            evaluation before.
        weight_share/class0, ...: share of the class in the sum of the weights. loss/class0, ...: its mean unweighted
            loss, NaN where none was drawn. .../group0, ...: the same of the groups, where they are not the classes.
            Neither for more than MAX_LABELS classes (groups).
        """
        epoch = Samples.cat(steps)
        losses, weights = epoch.losses, epoch.weights
        by_step = [step.losses.mean(-1) for step in steps]
        tenth = -(-len(steps) // 10)
        before, self.weights = self.weights, self._latest(epoch, task.train)
        mean = weights.mean(-1)
        found = {
            "loss": losses.mean(-1),
            "loss_first_tenth": torch.stack(by_step[:tenth]).mean(0),
            "loss_last_tenth": torch.stack(by_step[-tenth:]).mean(0),
            "effective_sample_size": mean.square() / weights.square().mean(-1),
            "largest_weight": weights.amax(-1) / mean,
            "weight_entropy": entropy(weights),
            "weight_loss_correlation": correlation(weights, losses),
            "weight_churn": torch.full_like(mean, math.nan) if before is None else churn(before, self.weights),
        }
        labels = {"class": (epoch.y, len(task.classes))}
        if task.groups != task.classes:
            labels["group"] = epoch.group, len(task.groups)
        for what, (label, number) in labels.items():
            if number <= MAX_LABELS:
                found |= _by_label(epoch, label, what, number)
        return found

    def _latest(self, epoch: Samples, train: Split) -> Tensor:
        """[.., N]"""
        known = self.weights
        if known is None:
            known = torch.full(train.y.shape, math.nan, dtype=torch.float32, device=train.device)
        return known.scatter_reduce(-1, epoch.index, epoch.weights.float(), "mean", include_self=False)

    def arrays(self, train: Split, run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """To be kept beside the record of one run: weight (float32), class and group of each training sample, in the
        order of the split. Nothing where all weights are equal.
        """
        if self.weights is None:
            return {}
        weights, y, group = (t.view(-1, len(train))[run].cpu() for t in (self.weights, train.y, train.group))
        drawn = weights[~weights.isnan()]
        if not len(drawn) or drawn.min() == drawn.max():
            return {}
        return {"train/weight": weights.numpy(), "train/y": y.short().numpy(), "train/group": group.short().numpy()}

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = state["weights"]


def entropy(weights: Tensor) -> Tensor:
    """[..] entropy of the weights [.., n] as a distribution, divided by log n: 1 where all are equal, 0 where all is on
    one sample; NaN for a negative weight, or none that is not 0.
    """
    p = weights.double() / weights.double().sum(-1, keepdim=True)
    return -torch.xlogy(p, p).sum(-1) / math.log(p.shape[-1])


def correlation(weights: Tensor, losses: Tensor) -> Tensor:
    """[..] Pearson's, of weights and losses [.., n] each; NaN where either does not vary."""
    a, b = (t.double() - t[..., :1].double() for t in (weights, losses))  # what does not vary is 0 without rounding
    a, b = (t - t.mean(-1, keepdim=True) for t in (a, b))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def churn(before: Tensor, after: Tensor) -> Tensor:
    """[..] share of the sum of the weights [.., N] that has gone to other samples: half the sum of the absolute
    differences of the two distributions (total variation), among the samples that are known (not NaN) in both.
    """
    known = before.isfinite() & after.isfinite()
    p, q = (w.double().where(known, 0.0) for w in (before, after))
    return (p / p.sum(-1, keepdim=True) - q / q.sum(-1, keepdim=True)).abs().sum(-1) / 2


def _by_label(epoch: Samples, label: Tensor, what: str, number: int) -> dict[str, Tensor]:
    """Share of the weights and mean loss of each class or group.

    A masked sum for each: adding up by index is not deterministic on CUDA.
    """
    weights, losses = epoch.weights.double(), epoch.losses.double()
    total, found = weights.sum(-1), {}
    for i in range(number):
        member = label == i
        found[f"weight_share/{what}{i}"] = weights.where(member, 0.0).sum(-1) / total
        found[f"loss/{what}{i}"] = losses.where(member, 0.0).sum(-1) / member.sum(-1)
    return found


def gradient_norm(model: nn.Module, stacked: bool) -> Tensor:
    """[..] Euclidean norm of the gradients that its parameters hold: those of the last update, without weight decay.
    NaN where there are none.
    """
    gradients = [p.grad.flatten(1 if stacked else 0) for p in model.parameters() if p.grad is not None]
    if not gradients:
        first = next(model.parameters())
        return torch.full(first.shape[:1] if stacked else (), math.nan, device=first.device)
    norms = [torch.linalg.vector_norm(g, dim=-1, dtype=torch.float64) for g in gradients]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return norm
