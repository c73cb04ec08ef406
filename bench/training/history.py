"""The evaluations of a training: after which epochs, of which model, and the row that is kept of each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from bench.models.averaging import Average
from bench.training.diagnostics import Diagnostics, Samples, gradient_norm

if TYPE_CHECKING:
    import numpy as np

    from bench.training.method import Method

Values = dict[str, list[float]]
"""Numbers by name, one for each of the stacked runs (one alone where runs are not stacked)."""


class Evaluator(Protocol):
    """Evaluates a model after an epoch: metrics by set. Its own state belongs to the checkpoint."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]: ...
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NoEvaluations:
    """The evaluator of a training whose model nobody looks at."""

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


def evaluates_after(method: "Method", epochs: int) -> bool:
    """Whether the recipe asks for an evaluation after so many epochs; after the last epoch there always is one."""
    recipe = method.task.recipe
    if epochs == method.training_epochs:
        return True
    return epochs > 0 and (epochs % recipe.evaluate_every == 0 or epochs in recipe.evaluate_at)


def averages_after(method: "Method", epochs: int) -> bool:
    """Whether the recipe averages the parameters that a model has after so many epochs."""
    start = method.task.recipe.average_from
    return start is not None and epochs > 0 and epochs / method.training_epochs >= start


class EvaluatedModel:
    """The model of a training that is evaluated: the trained model itself, or where the recipe averages parameters
    (`Recipe.average_from`), the model with their mean.
    """

    def __init__(self) -> None:
        self._average = Average()

    def after(self, method: "Method", epochs: int) -> nn.Module | None:
        """The model to evaluate after so many epochs, or None where the recipe asks for no evaluation then. To be
        called after every epoch, because the parameters are added to the average here.
        """
        averages = averages_after(method, epochs)
        if averages:
            self._average.add(method.model)
        if not evaluates_after(method, epochs):
            return None
        if not averages:
            return method.model
        task = method.task
        return self._average.model(task.train.epoch(task.recipe.batch_size, task.streams, epochs - 1, task.augment))

    def state_dict(self) -> dict[str, Any]:
        return self._average.state_dict()

    def load_state_dict(self, state: dict[str, Any], model: nn.Module) -> None:
        """`model`: of the architecture that is averaged."""
        self._average.load_state_dict(state, model)


class TrainingValues:
    """What is computed of the training itself for the row of an evaluated epoch."""

    def __init__(self) -> None:
        self._diagnostics = Diagnostics()

    def __call__(self, method: "Method", steps: Sequence[Samples]) -> Values:
        """The diagnostics of the steps of the epoch, the norm of the gradient of its last update, and the method's own
        diagnostics.
        """
        stacked = method.task.streams.stacked
        values = self._diagnostics(steps, method.task)
        values["gradient_norm"] = gradient_norm(method.model, stacked)
        table = torch.stack([value.double() for value in values.values()])  # one transfer
        columns = table.reshape(len(values), -1).tolist()
        of_method = {name: value.double().reshape(-1).tolist() for name, value in method.diagnostics().items()}
        return dict(zip(values, columns, strict=True)) | of_method

    def arrays(self, method: "Method", run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """What is to be kept beside the record of a run: the weights of the training samples, where they differ."""
        return self._diagnostics.arrays(method.task.train, run)

    def state_dict(self) -> dict[str, Any]:
        return self._diagnostics.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._diagnostics.load_state_dict(state)
