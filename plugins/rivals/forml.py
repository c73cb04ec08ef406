"""FORML's step by double backward, written from the textbook; and what all rivals of FORML share."""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench import Batch, Method, OptionError, hookimpl
from bench_plugins.methods.forml import FORML


def library(name: str, install: str) -> Any:
    """A rival's library, imported when it is first needed. Raises ImportError that says how to `install` it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{name} cannot be imported ({error}); to install it: {install}") from error


@dataclass
class RivalOfFORML(FORML):
    """FORML's losses and weights for another implementation of its update, at FORML's default options alone."""

    stackable = False
    rival_of: ClassVar[str] = "forml"

    def setup(self) -> None:
        if self != type(self)():
            raise OptionError(f"{type(self).__name__} runs at FORML's default options: leave the options out")
        super().setup()


@dataclass
class DoubleBackward(RivalOfFORML, ABC):
    """FORML by differentiating through its virtual step, in the way that a subclass has it.

    As its users have it, the model sees the batch twice: in the look-ahead, where BatchNorm's statistics are a copy's,
    and in training. With dropout the two have different masks, where FORML's have the same; without, results are equal.
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
        self.descend(self.objective(batch, losses, weights))
        return losses.detach(), weights

    @abstractmethod
    def look_ahead_loss(self, batch: Batch, val: Batch, w: Tensor, lr: float) -> Tensor:
        """The validation loss after a plain gradient step on the batch weighted by its w [B], differentiable in w."""


@dataclass
class NaiveFORML(DoubleBackward):
    """FORML by double backward: `torch.func.functional_call` and `create_graph=True`, with torch alone."""

    def look_ahead_loss(self, batch: Batch, val: Batch, w: Tensor, lr: float) -> Tensor:
        parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        losses = self.task.loss(functional_call(self.model, {**parameters, **buffers}, (batch.x,)), batch.y)
        inner = (self.sample_weights(w, batch.index) * losses).mean()
        gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
        moved = {name: p - lr * g for (name, p), g in zip(parameters.items(), gradients, strict=True)}
        logits = functional_call(self.model, {**moved, **buffers}, (val.x,))
        return self.validation_loss(self.task.loss(logits, val.y), val.group)


@hookimpl
def bench_rivals() -> Mapping[str, type[Method]]:
    return {"naive_forml": NaiveFORML}
