"""Models as runs begin with them."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from bench.models.normalize import normalized
from bench.models.stack import stack
from bench.streams import RandomStreams, derive


def initial_model(
    build: Callable[[], nn.Module],
    mean: Sequence[float],
    std: Sequence[float],
    streams: RandomStreams,
    device: torch.device,
) -> nn.Module:
    """The model with initial weights drawn by the purpose `init`, normalising its input; one of all stacked runs."""
    models = []
    for seed in streams.seeds:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(derive(seed, "init"))
            models.append(normalized(build(), mean, std))
    return (stack(models) if streams.stacked else models[0]).to(device)
