"""What the library Betty makes of FORML's problem."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from bench import Batch, Method, Task, hookimpl
from bench.throughput.rivals import LearnedWeights, library

INSTALL = "pip install betty-ml, with pip < 24.1: later ones refuse its metadata"


class Table(nn.Module):
    """A table with one number for each training sample, w [N]."""

    def __init__(self, w: Tensor) -> None:
        super().__init__()
        self.w = nn.Parameter(w)

    def forward(self, index: Tensor) -> Tensor:
        return self.w[index]


@dataclass
class BettyFORML(LearnedWeights):
    """FORML's two losses with the library Betty: another algorithm than FORML's, so it is timed and its results differ.

    A step moves the parameters with the weights as they are, then w by a central finite difference of two further
    passes over the batch. So weights act one step late, nothing is differentiated twice, and the gradient is
    approximate and without the learning rate.

    In Betty 0.1.1 `darts` does not put the parameters back after the second pass (`p.data.add`, which is not in place):
    each step leaves them shifted by -eps v. BatchNorm's statistics move in all three passes over the batch.

    Source: Choe et al., Betty: An Automatic Differentiation Library for Multilevel Optimization, 2023, with its default
    gradient, `darts`, after Liu et al., DARTS, 2019, equation 8.

    Raises:
        ImportError: where betty is not installed.
    """

    rival_of: ClassVar[str] = "forml"
    exact: ClassVar[bool] = False

    def begin(self, task: Task) -> None:
        library("betty", INSTALL)
        super().begin(task)
        self.table = Table(self.w)
        self.driver = self._engine()

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        self.batch = batch
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.step_on_w.param_groups[0]["lr"] = self.optimizer.param_groups[0]["lr"]
        self.driver.global_step += 1
        self.driver.train_step()  # Engine.run is this in a loop
        return self.seen[0]

    def inner_loss(self, batch: Batch) -> Tensor:
        """The weighted loss of a batch. The losses and weights of the pass are added to `seen`."""
        losses = self.task.loss(self.model(batch.x), batch.y)
        weights = self.sample_weights(self.table(batch.index), batch.index)
        self.seen.append((losses.detach(), weights.detach()))
        return (weights * losses).mean()

    def outer_loss(self, val: Batch) -> Tensor:
        return self.validation_loss(self.task.loss(self.model(val.x), val.y), val.group)

    def _engine(self) -> Any:
        library("betty.logging.logger_base", INSTALL).get_logger().setLevel(logging.WARNING)  # it writes to stdout
        self.step_on_w = torch.optim.SGD(self.table.parameters(), self.task.recipe.lr)
        inner = self._problem("inner", self.model, self.optimizer, lambda: self.batch, self.inner_loss)
        outer = self._problem("outer", self.table, self.step_on_w, lambda: next(self.val), self.outer_loss)
        both = {"u2l": {outer: [inner]}, "l2u": {inner: [outer]}}
        return library("betty.engine", INSTALL).Engine([inner, outer], dependencies=both)

    def _problem(
        self,
        name: str,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: Callable[[], Batch],
        loss: Callable[[Batch], Tensor],
    ) -> Any:
        """A level of the problem: Betty takes batches and losses from a subclass of its base class."""
        base = library("betty.problems", INSTALL).ImplicitProblem
        config = library("betty.configs", INSTALL).Config
        attributes = {"get_batch": lambda _: batch(), "training_step": lambda _, current: loss(current)}
        return type(name, (base,), attributes)(name, config(type="darts"), module, optimizer, device=self.task.device)


@hookimpl
def bench_rivals() -> Mapping[str, type[Method]]:
    return {"betty": BettyFORML}
