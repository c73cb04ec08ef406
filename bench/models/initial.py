"""The models that runs begin with."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from bench.models.normalize import Values, normalized
from bench.models.stack import stack
from bench.streams import RandomStreams, derive


def initial_model(
    build: Callable[[], nn.Module],
    mean: Values,
    std: Values,
    streams: RandomStreams,
    device: torch.device,
) -> nn.Module:
    """Build the model of a run, or the stack of the models of stacked runs.

    Args:
        build: builds the model; its initial weights come from torch's global generator.
        mean, std: of each channel or feature, [C], which the model normalises its input with; [R, C] where stacked runs
            differ in them; empty: it does not.
        streams: the run's; the initial weights are drawn by the purpose `init`.
        device: where the model is put.
    """
    models = []
    for seed in streams.seeds:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive(seed, "init"))
            models.append(build())
    model = stack(models) if streams.stacked else models[0]
    return normalized(model, mean, std).to(device)


def initial_perceptron(hidden: int, generator: Generator) -> Tensor:
    """Initial parameters of a network with one input, one hidden layer and one output, drawn as `nn.Linear` draws them.

    Args:
        hidden: width of the hidden layer.
        generator: on the CPU; torch's global generator does not change.

    Returns:
        [3 hidden + 1]: weights and biases of the hidden layer, then of the output, uniform in +-1 / sqrt(inputs).
    """
    parameters = 2 * torch.rand(3 * hidden + 1, generator=generator) - 1
    parameters[2 * hidden :] /= hidden**0.5
    return parameters
