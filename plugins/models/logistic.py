"""Logistic regression."""

import math
from collections.abc import Callable, Mapping

from torch import nn

from bench import hookimpl
from bench.models.heads import output_layers


def logistic(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Linear model on the flattened input: logistic regression, or a linear SVM with the hinge loss.

    For two classes there is one weight vector w and one bias b, as in the papers' linear models, and the logits are (0,
    z) with z = w x + b: the softmax is sigmoid(z), and the hinge loss is max(0, 1 - z) or max(0, 1 + z). Initial
    weights are PyTorch's, uniform in +-1/sqrt(D).

    Args:
        shape: of an input; its D values are flattened.
        classes: number of classes.
    """
    return nn.Sequential(nn.Flatten(), *output_layers(math.prod(shape), classes))


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"logistic": logistic}
