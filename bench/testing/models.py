"""The contract of a model factory."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bench.data.split import Split
from bench.models import rules
from bench.testing.common import rules_hold, usable


def check_model(build: Callable[..., nn.Module], shape: Sequence[int], classes: int = 3, **options: Any) -> None:
    """All contracts of a model factory, for inputs of this shape."""
    assert (inspect.getdoc(build) or "").strip(), "the factory needs a docstring; its first line is listed"
    usable("models", build)

    def built() -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            return rules.check_module(f"model {name}", build(tuple(shape), classes, **options))

    name = getattr(build, "__name__", type(build).__name__)
    nothing = torch.zeros(4, dtype=torch.int64)
    rows = Split(torch.rand(4, *shape), nothing, nothing)
    with rules_hold():
        rules.check_model(name, built, rows, classes)
    model = built().train()
    model(rows.x).square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"parameters that no gradient reaches: {without}"
