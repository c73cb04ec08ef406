"""Stochastic weight averaging: what is evaluated is the mean of the parameters at the ends of the last epochs."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from bench.data.split import Batch


class Average:
    """The mean of a model's parameters at several times, as a model of its own; the model itself is not touched.

    Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, Averaging Weights Leads to Wider Optima and Better
    Generalization, 2018, Algorithm 1; the parameters that the averaging begins at are the first in the mean, as there.
    Works on stacked models too: all their runs are averaged at once.
    """

    def __init__(self) -> None:
        self._mean: AveragedModel | None = None

    def add(self, model: nn.Module) -> None:
        self._mean = self._mean or AveragedModel(model)
        self._mean.update_parameters(model)

    def model(self, batches: Iterable[Batch]) -> nn.Module:
        """The model with the mean parameters.

        If it has BatchNorm, the running statistics are first made anew: the plain mean of those of the batches.
        """
        assert self._mean, "nothing was added"
        update_bn(batches, self._mean.module)
        return self._mean.module

    def state_dict(self) -> dict[str, Any]:
        return self._mean.state_dict() if self._mean else {}

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """`model`: of the architecture that is averaged."""
        if state:
            self._mean = AveragedModel(model)
            self._mean.load_state_dict(state)
