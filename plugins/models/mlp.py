"""Multi-layer perceptrons."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Literal

from torch import nn

from bench import Checks, hookimpl
from bench.models.heads import output_layers

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def mlp(
    shape: tuple[int, ...],
    classes: int,
    *,
    hidden: tuple[int, ...] = (50,),
    activation: Literal["relu", "sigmoid", "tanh"] = "relu",
    dropout: float = 0.0,
) -> nn.Module:
    """Multi-layer perceptron on the flattened input.

    784-d-10 with `activation=sigmoid` is FORML's for MNIST (section 4.2.1, where d is 10 to 50); `hidden=64
    activation=relu` is that of Zha, Gao, Ma, Xu (section 3.1). Two classes have the logits (0, z), with one weight
    vector instead of two, as the sigmoid output of that report has. Initial weights are PyTorch's; no paper gives its
    own.

    Args:
        shape: of an input; its values are flattened.
        classes: number of classes.
        hidden: width of each hidden layer. Default: one layer of 50.
        activation: `relu` (the default), `sigmoid` or `tanh`, after each hidden layer.
        dropout: probability, after the activation of each hidden layer. Default: 0.

    Raises:
        OptionError: for a width below 1 or a dropout outside [0, 1).
    """
    check = Checks.of("model.", hidden=hidden, dropout=dropout)
    check.at_least(1, "hidden")
    check.within(0, 1, "dropout", closed="left")
    widths = (math.prod(shape), *hidden)
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, *output_layers(widths[-1], classes))


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"mlp": mlp}
