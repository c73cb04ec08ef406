"""For authors of rivals: what other implementations of a method that learns weights have in common."""

import importlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.data.split import Batch
from bench.training.groups import group_maxima
from bench.training.method import Method


def library(name: str, install: str) -> Any:
    """A rival's library, imported when it is first needed.

    Args:
        name: of the module.
        install: the command that installs it, for the message.

    Raises:
        ImportError: where it is missing, with the way to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} cannot be imported ({error}); to install it: {install}") from error


@dataclass
class LearnedWeights(Method):
    """A weight for each training sample, learned by descending the loss gap between groups on validation data.

    What is learned is w [N], which starts at 0. A rival overrides `update`.

    Source: Yan, Seto, Apostoloff, FORML: Learning to Reweight Data for Fairness, 2022, Algorithm 1, with the weights
    normalised over the batch, and with the loss of a group as its largest one.
    """

    uses_val = True

    def setup(self) -> None:
        self.val = self.task.val_batches()
        self.w = torch.zeros(self.task.train.y.shape, device=self.task.device)

    def sample_weights(self, w: Tensor, index: Tensor) -> Tensor:
        """Weights of the samples of a batch.

        Args:
            w: [B], those of the batch.
            index: [B], positions of the samples in the training data.

        Returns:
            [B], of mean 1: the softmax of w times B.
        """
        return w.shape[-1] * w.softmax(-1)

    def validation_loss(self, losses: Tensor, group: Tensor) -> Tensor:
        """The loss gap between groups.

        Args:
            losses: [B], of validation samples.
            group: [B], of the same samples.

        Returns:
            []: the largest loss of the worst group minus the largest loss of the best.
        """
        by_group = group_maxima(losses, group, len(self.task.groups))
        return by_group.amax(-1) - by_group.amin(-1)


@dataclass
class DoubleBackward(LearnedWeights, ABC):
    """Learned weights by differentiating through the virtual step, in the way that a subclass has it.

    As users of such libraries have it, the model sees the batch twice: in the look-ahead, where BatchNorm's statistics
    are a copy's, and in training. With dropout the two have different masks; without it the results are those of a
    method that sees the batch once.
    """

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        lr = self.optimizer.param_groups[0]["lr"]
        w = self.w[batch.index].requires_grad_()
        with sdpa_kernel(SDPBackend.MATH):
            val_loss = self.look_ahead_loss(batch, next(self.val), w, lr)
        (gradient,) = torch.autograd.grad(val_loss, w)
        with torch.no_grad():
            self.w[batch.index] = w - lr * gradient
            weights = self.sample_weights(self.w[batch.index], batch.index)
        losses = self.task.loss(self.model(batch.x), batch.y)
        self.descend(self.objective(self.as_step(batch), losses, weights))
        return losses.detach(), weights

    @abstractmethod
    def look_ahead_loss(self, batch: Batch, val: Batch, w: Tensor, lr: float) -> Tensor:
        """The validation loss after a plain gradient step on the weighted losses of the batch.

        Args:
            batch: of the training data.
            val: of the validation data.
            w: [B], what the weights of the batch are made of; the result is differentiable with respect to it.
            lr: the size of the step.

        Returns:
            [].
        """
