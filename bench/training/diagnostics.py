"""Diagnostics: the weights and losses of the training samples in one epoch, and how the weights change.

In shapes, `..` are stacked runs, n is the number of samples that an epoch has drawn, in the order of its steps and with
repetitions, and N is the number of training samples. Everything is computed on the device, at the end of an epoch that
is evaluated.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from bench.data.split import ORIGIN, Batch, Split
from bench.predictions import MOST, whole_numbers

if TYPE_CHECKING:
    import numpy as np

    from bench.training.task import Task

MAX_LABELS = 20
"""The most classes (groups) whose values are recorded one by one, because each value is a column of the record."""


class Samples(NamedTuple):
    """The samples of a step or of an epoch.

    Attributes:
        losses, weights: detached, [.., B] for a step or [.., n] for an epoch.
        y, group, index: as in `Batch`, of the same shape.
    """

    losses: Tensor
    weights: Tensor
    y: Tensor
    group: Tensor
    index: Tensor  # type: ignore[assignment]  # as in Batch

    @classmethod
    def of(cls, batch: Batch, losses: Tensor, weights: Tensor) -> "Samples":
        """The samples of a step."""
        return cls(losses.detach(), weights.detach(), batch.y, batch.group, batch.index)

    @classmethod
    def cat(cls, steps: Sequence["Samples"]) -> "Samples":
        """The samples of the steps of an epoch."""
        return cls(*(torch.cat(parts, -1) for parts in zip(*steps, strict=True)))

    def of_origin(self, train: Split) -> "Samples":
        """The samples with their positions in the data that the method was given; without those that it has made.

        Args:
            train: the training data, with their origin where the method has made them (`Method.training_data`).
        """
        if ORIGIN not in train.columns:
            return self
        origin = train.columns[ORIGIN].gather(-1, self.index)
        given = origin >= 0
        return Samples(*(field[given] for field in self._replace(index=origin)))


class SampleWatch(Protocol):
    """Sees the samples of each epoch of a training, except preparation epochs. Checkpoints hold its state."""

    def __call__(self, epoch: Samples) -> None: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Diagnostics:
    """The diagnostics of one training.

    Attributes:
        weights: [.., N] float32, the weight of each training sample in the last evaluated epoch that has drawn it (the
            mean, if it was drawn several times); NaN for a sample that was not drawn yet. None before the first
            evaluation.
    """

    def __init__(self) -> None:
        self.weights: Tensor | None = None

    def __call__(self, steps: Sequence[Samples], task: "Task") -> dict[str, Tensor]:
        """Compute the diagnostics of an epoch that is evaluated.

        Args:
            steps: the samples of each step.
            task: the method's.

        Returns:
            Name -> [..], with these names:

            - loss: the mean unweighted loss.
            - loss_first_tenth, loss_last_tenth: the same over the first and the last tenth of the steps.
            - effective_sample_size: Kish's effective sample size of the weights, as a fraction of the samples.
            - largest_weight: relative to the mean weight.
            - weight_entropy: see `entropy`.
            - weight_loss_correlation: see `correlation`.
            - weight_churn: see `churn`, since the evaluation before; NaN at the first one.
            - weight_share/class0, ...: share of each class in the sum of the weights.
            - loss/class0, ...: mean unweighted loss of each class, NaN if none of its samples was drawn.
            - weight_share/group0, loss/group0, ...: the same for groups, if they are not the classes.

            The values of classes (groups) are left out if there are more than MAX_LABELS of them.
        """
        epoch = Samples.cat(steps)
        losses, weights = epoch.losses, epoch.weights
        by_step = [step.losses.mean(-1) for step in steps]
        tenth = math.ceil(len(steps) / 10)
        weights_before = self.weights
        self.weights = self._latest(epoch, task.train)
        mean = weights.mean(-1)
        if weights_before is None:
            weight_churn = torch.full_like(mean, math.nan)
        else:
            weight_churn = churn(weights_before, self.weights)
        values = {
            "loss": losses.mean(-1),
            "loss_first_tenth": torch.stack(by_step[:tenth]).mean(0),
            "loss_last_tenth": torch.stack(by_step[-tenth:]).mean(0),
            "effective_sample_size": mean.square() / weights.square().mean(-1),
            "largest_weight": weights.amax(-1) / mean,
            "weight_entropy": entropy(weights),
            "weight_loss_correlation": correlation(weights, losses),
            "weight_churn": weight_churn,
        }
        labels = {"class": (epoch.y, len(task.classes))}
        if task.groups != task.classes:
            labels["group"] = epoch.group, len(task.groups)
        for what, (label, number) in labels.items():
            if number <= MAX_LABELS:
                values |= _by_label(epoch, label, what, number)
        return values

    def _latest(self, epoch: Samples, train: Split) -> Tensor:
        """The weight of each training sample after this epoch, [.., N]: samples that it has not drawn keep theirs."""
        known = self.weights
        if known is None:
            known = torch.full(train.y.shape, math.nan, dtype=torch.float32, device=train.device)
        return known.scatter_reduce(-1, epoch.index, epoch.weights.float(), "mean", include_self=False)

    def arrays(self, train: Split, run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """The arrays that are stored beside the record of a run.

        Args:
            train: the training data.
            run: its number in the stack; 0 if runs are not stacked.

        Returns:
            `train/weight` (float16; one beyond its range is the largest that it holds), `train/y` and `train/group`
            (the smallest type of integers that holds them), [N] in the order of the split, and `train/origin` if the
            method has made its training data. Nothing if all weights are equal.
        """
        if self.weights is None:
            return {}
        weights, y, group = (t.view(-1, len(train))[run].cpu() for t in (self.weights, train.y, train.group))
        known_weights = weights[~weights.isnan()]
        if not len(known_weights) or known_weights.min() == known_weights.max():
            return {}
        weights = weights.clamp(-MOST, MOST).half()
        arrays = {
            "train/weight": weights.numpy(),
            "train/y": whole_numbers(y),
            "train/group": whole_numbers(group),
        }
        if ORIGIN in train.columns:
            arrays["train/origin"] = train.columns[ORIGIN].view(-1, len(train))[run].cpu().numpy()
        return arrays

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights = state["weights"]


def entropy(weights: Tensor) -> Tensor:
    """The entropy of weights as a distribution over samples, divided by log n.

    Args:
        weights: [.., n].

    Returns:
        [..] float64: 1 if all weights are equal, 0 if one sample has all the weight, NaN if a weight is negative or all
        are 0.
    """
    p = weights.double() / weights.double().sum(-1, keepdim=True)
    return -torch.xlogy(p, p).sum(-1) / math.log(p.shape[-1])


def correlation(weights: Tensor, losses: Tensor) -> Tensor:
    """Pearson's correlation of weights and losses.

    Args:
        weights, losses: [.., n] each.

    Returns:
        [..] float64, NaN if the weights or the losses do not vary.
    """
    a = _centred(weights)
    b = _centred(losses)
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def _centred(values: Tensor) -> Tensor:
    """Values less their mean, in float64; exactly 0 if they do not vary, because the first one is subtracted first."""
    from_first = values.double() - values[..., :1].double()
    return from_first - from_first.mean(-1, keepdim=True)


def churn(before: Tensor, after: Tensor) -> Tensor:
    """The share of the weight that has gone to other samples: the total variation of two distributions, which is half
    the sum of their absolute differences.

    Args:
        before, after: weights, [.., N] each. Samples without a weight (NaN) in either are left out.

    Returns:
        [..] float64.
    """
    known = before.isfinite() & after.isfinite()
    p = before.double().where(known, 0.0)
    q = after.double().where(known, 0.0)
    return (p / p.sum(-1, keepdim=True) - q / q.sum(-1, keepdim=True)).abs().sum(-1) / 2


def _by_label(epoch: Samples, label: Tensor, what: str, number: int) -> dict[str, Tensor]:
    """The share in the weights and the mean loss of each class or group.

    There is a masked sum for each, because adding up by index is not deterministic on CUDA.
    """
    weights = epoch.weights.double()
    losses = epoch.losses.double()
    total = weights.sum(-1)
    values = {}
    for i in range(number):
        member = label == i
        values[f"weight_share/{what}{i}"] = weights.where(member, 0.0).sum(-1) / total
        values[f"loss/{what}{i}"] = losses.where(member, 0.0).sum(-1) / member.sum(-1)
    return values


def gradient_norm(model: nn.Module, stacked: bool) -> Tensor:
    """The Euclidean norm of the gradients that the parameters hold: those of the last update, without weight decay.

    Args:
        model: the model, or the stack of models.
        stacked: whether it is a stack.

    Returns:
        [..] float64, NaN if there are no gradients.
    """
    gradients = [p.grad.flatten(1 if stacked else 0) for p in model.parameters() if p.grad is not None]
    if not gradients:
        first = next(model.parameters(), torch.zeros(()))  # a model may have none
        return torch.full(first.shape[:1] if stacked else (), math.nan, device=first.device)
    norms = [torch.linalg.vector_norm(g, dim=-1, dtype=torch.float64) for g in gradients]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(norms), dim=0)
    return norm


def mean_losses(steps: Sequence[Samples]) -> list[float]:
    """The mean loss over all samples of an epoch, for each run; NaN if one of their weights is not finite."""
    losses = torch.cat([step.losses for step in steps], -1).mean(-1)
    finite = torch.cat([step.weights for step in steps], -1).isfinite().all(-1)
    return losses.double().where(finite, math.nan).reshape(-1).tolist()


def finite_runs(model: nn.Module, runs: int) -> list[bool]:
    """Whether all parameters are finite, for each run."""
    finite = [p.isfinite().reshape(runs, -1).all(-1) for p in model.parameters()]
    return torch.stack(finite).all(0).tolist() if finite else [True] * runs
