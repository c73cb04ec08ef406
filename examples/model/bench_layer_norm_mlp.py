"""A perceptron with layer normalisation."""

import math

from torch import nn

from bench import Checks, hookimpl


def layer_norm_mlp(shape, classes, *, width: int = 64, depth: int = 2):
    """Perceptron whose hidden layers are normalised sample by sample (Ba, Kiros, Hinton 2016, section 3).

    width: of each of the `depth` hidden layers, which are linear, normalised, scaled, shifted and rectified.
    """
    Checks.of("model.", width=width, depth=depth).at_least(1, "width", "depth")
    layers = [nn.Flatten()]
    inputs = math.prod(shape)
    for _ in range(depth):
        layers += [nn.Linear(inputs, width), nn.LayerNorm(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))


@hookimpl
def bench_models():
    return {"layer_norm_mlp": layer_norm_mlp}
