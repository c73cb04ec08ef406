"""Logistic regression, and the output layer that it shares with the perceptron."""

import math
from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from bench import hookimpl


class TwoLogits(nn.Module):
    """[.., 1] -> [.., 2]: the logits (0, z) of two classes, whose softmax is the sigmoid of z."""

    stackable = True

    def forward(self, z: Tensor) -> Tensor:
        return F.pad(z, (1, 0))


def output_layers(features: int, classes: int) -> list[nn.Module]:
    """[.., features] -> logits [.., classes]: linear; for two classes one weight vector and the logits (0, z)."""
    return [nn.Linear(features, 1), TwoLogits()] if classes == 2 else [nn.Linear(features, classes)]


def logistic(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Linear model on the flattened input: logistic regression, or a linear SVM with the hinge loss.

    For two classes there is one weight vector w and one bias b, as the papers' linear models have it, and the logits
    are (0, z) with z = w x + b: the softmax is sigmoid(z), and the hinge loss is max(0, 1 - z) or max(0, 1 + z).
    Initial weights are PyTorch's, uniform in +-1/sqrt(D).
    """
    return nn.Sequential(nn.Flatten(), *output_layers(math.prod(shape), classes))


@hookimpl
def bench_models() -> Mapping[str, Callable[..., nn.Module]]:
    return {"logistic": logistic}
