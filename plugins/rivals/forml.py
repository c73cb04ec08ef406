"""FORML's step by double backward, written from the textbook."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from bench import Batch, Method, hookimpl
from bench.throughput.rivals import DoubleBackward


@dataclass
class NaiveFORML(DoubleBackward):
    """FORML by double backward with torch alone: `torch.func.functional_call` and `create_graph=True`."""

    rival_of: ClassVar[str] = "forml"

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
