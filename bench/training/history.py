"""The evaluations of a training: after which epochs, of which model, and what the row of each holds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from bench.data.batches import training_batches
from bench.errors import PluginError
from bench.models.averaging import ParameterAverage, check_averageable
from bench.training.diagnostics import Diagnostics, Samples, gradient_norm

if TYPE_CHECKING:
    import numpy as np

    from bench.training.method import Method

Values = dict[str, list[float]]
"""Name -> one number for each of the stacked runs (a single number if runs are not stacked)."""


class Evaluator(Protocol):
    """Evaluates a model after an epoch, and returns the values of metrics by set. Checkpoints hold its state."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NoEvaluations:
    """The evaluator of a training whose model is not evaluated."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


def evaluates_after(method: "Method", epochs: int) -> bool:
    """Whether the model is evaluated after this number of epochs: by the recipe, and always after the last epoch."""
    recipe = method.task.recipe
    if epochs == method.training_epochs:
        return True
    return epochs > 0 and (epochs % recipe.evaluate_every == 0 or epochs in recipe.evaluate_at)


def averages_after(method: "Method", epochs: int) -> bool:
    """Whether the recipe takes the parameters after this number of epochs into the average."""
    start = method.task.recipe.average_from
    return start is not None and epochs > 0 and epochs / method.training_epochs >= start


class EvaluatedModel:
    """The model that is evaluated in a training: what the method says (`Method.evaluated`), or a model with the mean of
    its parameters if the recipe averages them (`Recipe.average_from`).
    """

    def __init__(self) -> None:
        self._average = ParameterAverage()

    def begin(self, method: "Method") -> None:
        """Raises NotApplicableError if the recipe averages parameters and what is evaluated has no mean."""
        if method.task.recipe.average_from is not None:
            check_averageable(method.evaluated())

    def after(self, method: "Method", epochs: int) -> nn.Module | None:
        """The model to evaluate after this number of epochs; None if the recipe asks for no evaluation then.

        It has to be called after every epoch, because it also adds the parameters to the average.
        """
        averages = averages_after(method, epochs)
        if averages:
            self._average.add(method.evaluated())
        if not evaluates_after(method, epochs):
            return None
        if not averages:
            return method.evaluated()
        task = method.task
        return self._average.model(
            training_batches(task.train, task.recipe.batch_size, task.streams, epochs - 1, task.augment)
        )

    def state_dict(self) -> dict[str, Any]:
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """Restore the average; `model` is any model of the architecture that is averaged."""
        self._average.load_state_dict(state, model)


class TrainingValues:
    """The values that the row of an evaluated epoch holds of the training itself."""

    def __init__(self) -> None:
        self._diagnostics = Diagnostics()

    def __call__(self, method: "Method", steps: Sequence[Samples]) -> Values:
        """Compute the values of an epoch.

        Args:
            method: the one that is trained.
            steps: the samples of each step of the epoch.

        Returns:
            The diagnostics of the steps, the norm of the gradient of the last update, and the method's own diagnostics,
            which are all that there is for an epoch without steps.
        """
        of_method = _of_method(method)
        if not steps:
            return of_method
        values = self._diagnostics(steps, method.task)
        values["gradient_norm"] = gradient_norm(method.model, method.task.streams.stacked)
        table = torch.stack([value.double() for value in values.values()])  # so that there is one transfer
        columns = table.reshape(len(values), -1).tolist()
        if taken := sorted(values.keys() & of_method.keys()):
            raise PluginError(f"`diagnostics` must not return {taken[0]!r}: the record has a value of that name")
        return dict(zip(values, columns, strict=True)) | of_method

    def arrays(self, method: "Method", run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """The arrays that are stored beside a run's record: the weights of the training samples, if they differ."""
        return self._diagnostics.arrays(method.task.train, run)

    def state_dict(self) -> dict[str, Any]:
        return self._diagnostics.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._diagnostics.load_state_dict(state)


def _of_method(method: "Method") -> Values:
    """The method's own diagnostics, a number for each run. Raises PluginError where they are others."""
    runs = len(method.task.streams.seeds)
    values = method.diagnostics()
    if not isinstance(values, Mapping) or any(not isinstance(v, Tensor) or v.numel() != runs for v in values.values()):
        raise PluginError(
            "`diagnostics` must return a dictionary, name -> tensor [..] with one number, or one for each stacked run"
        )
    return {str(name): value.double().reshape(-1).tolist() for name, value in values.items()}
