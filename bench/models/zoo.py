"""For authors of models: building models of other libraries for the inputs and classes of a data set."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from bench.checks import Checks
from bench.errors import BenchError, OptionError


def build_for_input(
    what: str,
    shape: tuple[int, ...],
    classes: int,
    build: Callable[..., nn.Module],
    dropout: Mapping[str, float | None],
    **size: Any,
) -> nn.Module:
    """Build a model of another library for inputs of a shape, and try it.

    Args:
        what: the model's name, with which messages begin.
        shape: of one input, such as (3, 32, 32).
        classes: number of logits.
        build: gives the model when it is called with the dropout and the size.
        dropout: name of the argument of `build` -> probability, or None for the default of the model.
        size: arguments of `build` for the size of the input; they are left out if the model does not take them.

    Returns:
        The model, which has mapped a batch [2, *shape] to logits [2, classes].

    Raises:
        OptionError: for a dropout that is not in [0, 1), or that the model does not take.
        BenchError: with the reason, if the model cannot be built or run.
    """
    probabilities = {argument: p for argument, p in dropout.items() if p is not None}
    for p in probabilities.values():
        Checks.of("model.", dropout=p).within(0, 1, "dropout", closed="left")
    try:
        try:
            model = build(**probabilities, **size)
        except TypeError as error:
            if not any(argument in str(error) for argument in size):
                raise
            model = build(**probabilities)
    except Exception as error:
        if any(f"unexpected keyword argument '{argument}'" in str(error) for argument in probabilities):
            raise OptionError(f"{what} takes no dropout") from error
        raise BenchError(f"{what} cannot be built for inputs of shape {shape}: {_reason(error)}") from error
    _try(model, what, shape, classes)
    return model


def _try(model: nn.Module, what: str, shape: tuple[int, ...], classes: int) -> None:
    """Run a copy of the model in training mode. Neither the model's statistics nor the random stream change."""
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = copy.deepcopy(model).train()(torch.zeros(2, *shape))
    except Exception as error:
        raise BenchError(f"{what} cannot take inputs of shape {shape}: {_reason(error)}") from error
    if not isinstance(logits, torch.Tensor) or logits.shape != (2, classes):
        raise BenchError(f"{what} cannot be trained here: it does not give one logit for each of {classes} classes")


def _reason(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    first_line = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first_line}"
