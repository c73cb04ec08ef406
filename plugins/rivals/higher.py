"""FORML's step with the library higher."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench import Batch, Method, Task, hookimpl
from bench.throughput.rivals import DoubleBackward, library


@dataclass
class HigherFORML(DoubleBackward):
    """FORML by double backward with the library higher, written as the differentiable inner loop of its documentation.

    `higher.innerloop_ctx` with SGD makes a functional copy of the model, its buffers included, in every step. The
    gradient is that of w alone.

    Source: Grefenstette et al., Generalized Inner Loop Meta-Learning, 2019.

    Raises:
        ImportError: where higher is not installed.
    """

    rival_of: ClassVar[str] = "forml"

    def begin(self, task: Task) -> None:
        self.higher = library("higher", "pip install 'reweight-bench[rivals]'")
        super().begin(task)
        self.virtual = torch.optim.SGD(self.model.parameters(), task.recipe.lr)

    def look_ahead_loss(self, batch: Batch, val: Batch, w: Tensor, lr: float) -> Tensor:
        self.virtual.param_groups[0]["lr"] = lr
        with self.higher.innerloop_ctx(self.model, self.virtual) as (model, optimizer):
            losses = self.task.loss(model(batch.x), batch.y)
            optimizer.step((self.sample_weights(w, batch.index) * losses).mean())
            return self.validation_loss(self.task.loss(model(val.x), val.y), val.group)


@hookimpl
def bench_rivals() -> Mapping[str, type[Method]]:
    return {"higher": HigherFORML}
