"""The contract of a model factory."""

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from bench.testing.common import equal, usable


def check_model(build: Callable[..., nn.Module], shape: Sequence[int], classes: int = 3, **options: Any) -> None:
    """All contracts of a model factory, for inputs of this shape."""
    assert (inspect.getdoc(build) or "").strip(), "the factory needs a docstring; its first line is listed"
    usable("models", build)
    models = []
    for _ in range(2):
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            models.append(build(tuple(shape), classes, **options))
    equal(
        models[0].state_dict(), models[1].state_dict(), "initial weights must come from torch's global generator alone"
    )
    model = models[0].train()
    x = torch.rand(4, *shape)
    logits = model(x)
    assert logits.shape == (4, classes), f"logits have shape {list(logits.shape)}, expected {[4, classes]}"
    assert logits.isfinite().all(), "logits of the initial model are not finite"
    logits.square().sum().backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, f"parameters that no gradient reaches: {without}"
    model.eval()
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        together, alone = model(x), torch.cat([model(row.unsqueeze(0)) for row in x])
    assert torch.allclose(together, alone, rtol=1e-3, atol=1e-4), "evaluated, a sample's logits depend on the others"
    equal(before, model.state_dict(), "evaluation changes the model's state")
