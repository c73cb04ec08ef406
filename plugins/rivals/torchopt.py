"""FORML's step with the library TorchOpt."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from bench import Batch, Method, Task, hookimpl
from bench.throughput.rivals import DoubleBackward, library


@dataclass
class TorchOptFORML(DoubleBackward):
    """FORML by double backward with the library TorchOpt, written as the differentiable loop of its documentation.

    `torchopt.MetaSGD` puts the moved parameters into the model, whose state is extracted before and recovered after.
    The gradient is that of w alone.

    Source: Ren et al., TorchOpt: An Efficient Library for Differentiable Optimization, 2023.

    Raises:
        ImportError: where torchopt is not installed.
    """

    rival_of: ClassVar[str] = "forml"

    def begin(self, task: Task) -> None:
        self.torchopt = library("torchopt", "pip install 'reweight-bench[rivals]'")
        super().begin(task)

    def look_ahead_loss(self, batch: Batch, val: Batch, w: Tensor, lr: float) -> Tensor:
        state = self.torchopt.extract_state_dict(self.model, by="reference", detach_buffers=True)
        losses = self.task.loss(self.model(batch.x), batch.y)
        self.torchopt.MetaSGD(self.model, lr).step((self.sample_weights(w, batch.index) * losses).mean())
        val_loss = self.validation_loss(self.task.loss(self.model(val.x), val.y), val.group)
        self.torchopt.recover_state_dict(self.model, state)
        return val_loss


@hookimpl
def bench_rivals() -> Mapping[str, type[Method]]:
    return {"torchopt": TorchOptFORML}
