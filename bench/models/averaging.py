"""Stochastic weight averaging: the evaluated model has the mean of the parameters at the ends of the last epochs."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from bench.data.split import Batch
from bench.errors import NotApplicableError


def check_averageable(model: nn.Module) -> None:
    """Check that there is a mean of a model.

    Args:
        model: what is to be averaged.

    Raises:
        NotApplicableError: if it has no parameters, or a state that is no tensor (`get_extra_state`).
    """
    name = type(model).__name__
    if not any(True for _ in model.parameters()):
        raise NotApplicableError(f"the recipe averages parameters (average_from), and {name} has none")
    if any(type(module).get_extra_state is not nn.Module.get_extra_state for module in model.modules()):
        raise NotApplicableError(
            f"the recipe averages parameters (average_from), and {name} has other state too, of which there is no mean "
            f"(get_extra_state)"
        )


class ParameterAverage:
    """The mean of a model's parameters at several times, as a separate model.

    The trained model itself is not changed. Stacked models are averaged too, all their runs at once.

    Source: Izmailov, Podoprikhin, Garipov, Vetrov, Wilson, Averaging Weights Leads to Wider Optima and Better
    Generalization, 2018, Algorithm 1. As in the algorithm, the parameters at which averaging begins are the first in
    the mean.
    """

    def __init__(self) -> None:
        self._mean: AveragedModel | None = None

    def add(self, model: nn.Module) -> None:
        """Take the present parameters of a model into the mean."""
        self._mean = self._mean or AveragedModel(model)
        self._mean.update_parameters(model)

    def model(self, batches: Iterable[Batch]) -> nn.Module:
        """The model with the mean parameters.

        Args:
            batches: if the model has BatchNorm, its running statistics become the plain mean of the statistics of these
                batches.
        """
        assert self._mean, "nothing was added"
        update_bn(batches, self._mean.module)
        return self._mean.module

    def state_dict(self) -> dict[str, Any]:
        return self._mean.state_dict() if self._mean else {}

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """Restore the mean.

        Args:
            state: what `state_dict` gave.
            model: any model of the architecture that is averaged.
        """
        if state:
            self._mean = AveragedModel(model)
            self._mean.load_state_dict(state)
