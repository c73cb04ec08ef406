"""Virtual steps against the steps of the real optimisers, and their slopes against autograd, in float64."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import grad
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from bench.errors import MetaStepError
from bench.meta import gradient_step, optimizer_step
from tests.literal import NothingRead, descend

SETTINGS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {}),
    (SGD, {"weight_decay": 0.1}),
    (SGD, {"momentum": 0.9}),
    (SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    (SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1, "maximize": True}),
    (Adam, {}),
    (Adam, {"betas": (0.7, 0.8), "eps": 0.1, "weight_decay": 0.1}),
    (Adam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    (Adam, {"weight_decay": 0.1, "maximize": True}),
    (AdamW, {}),
    (AdamW, {"weight_decay": 0.1, "betas": (0.7, 0.8), "maximize": True}),
]


def randn(*shapes: tuple[int, ...]) -> list[Tensor]:
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


@pytest.fixture(params=SETTINGS, ids=lambda setting: f"{setting[0].__name__} {setting[1]}")
def setting(request) -> tuple[type[Optimizer], dict[str, Any]]:
    return request.param


def after(steps: int, kind: type[Optimizer], options: dict[str, Any]) -> tuple[list[Tensor], Optimizer]:
    """Parameters in two groups, and their optimiser after these steps."""
    torch.manual_seed(0)
    parameters = [p.requires_grad_() for p in randn((3, 4), (5,), (2, 2))]
    groups = [{"params": parameters[:2]}, {"params": parameters[2:], "lr": 0.01}]
    optimizer = kind(groups, lr=0.1, **options)
    for _ in range(steps):
        descend(optimizer, parameters, randn((3, 4), (5,), (2, 2)))
    return parameters, optimizer


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("fused", [False, True])
def test_moves_to_where_the_real_step_goes_and_leaves_the_state(setting, steps, fused):
    parameters, optimizer = after(steps, setting[0], setting[1] | {"fused": fused})
    gradient = randn((3, 4), (5,), (2, 2))
    before = copy.deepcopy(optimizer.state_dict())
    start = [p.detach().clone() for p in parameters]
    with torch.no_grad(), NothingRead():
        moved, _ = optimizer_step(optimizer)(parameters, gradient)
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(parameters, start, strict=True))
    descend(optimizer, parameters, gradient)
    for found, expected in zip(moved, parameters, strict=True):
        torch.testing.assert_close(found, expected.detach(), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_slope_is_the_derivative_of_the_moved_parameters(setting, steps):
    parameters, optimizer = after(steps, *setting)
    gradient = [g.requires_grad_() for g in randn((3, 4), (5,), (2, 2))]
    moved, slope = optimizer_step(optimizer)(parameters, gradient)
    assert isinstance(slope, list) and not any(s.requires_grad for s in slope)
    expected = grad([p.sum() for p in moved], gradient)
    for found, derivative in zip(slope, expected, strict=True):
        assert derivative.abs().max() > 0
        torch.testing.assert_close(found.expand_as(derivative), derivative, rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
def test_slope_of_adams_first_step(kind, dtype, tolerance):
    """Of -lr * g / (|g| + eps): it nearly vanishes, but for g = 0."""
    parameter = torch.zeros(4, dtype=dtype)
    gradient = torch.tensor([0.0, 1e-9, -1e-3, 2.0], dtype=dtype, requires_grad=True)
    (moved,), (slope,) = optimizer_step(kind([parameter], 0.1, weight_decay=0.0))([parameter], [gradient])
    expected = -0.1 * 1e-8 / (gradient.detach().double().abs() + 1e-8) ** 2
    torch.testing.assert_close(slope.double(), expected, rtol=tolerance, atol=0)
    assert grad(moved.sum(), gradient)[0][0].item() == pytest.approx(-0.1 / 1e-8)


@pytest.mark.parametrize("lr", [0.3, -0.3])
def test_a_gradient_step_moves_against_the_gradient(lr):
    parameters, gradient = randn((3, 4), (5,)), randn((3, 4), (5,))
    moved, slope = gradient_step(lr)(parameters, gradient)
    assert slope == -lr
    for p, g, found in zip(parameters, gradient, moved, strict=True):
        torch.testing.assert_close(found, p - lr * g, rtol=1e-15, atol=1e-16)


class Unknown(SGD):
    """Nobody knows how it steps."""


@pytest.mark.parametrize(
    ("kind", "options", "name"),
    [
        (RMSprop, {}, "RMSprop"),
        (Adam, {"amsgrad": True}, "Adam with amsgrad"),
        (AdamW, {"amsgrad": True}, "AdamW with amsgrad"),
        (Unknown, {}, "Unknown"),
    ],
)
def test_no_virtual_step_is_known_for_other_optimisers(kind, options, name):
    with pytest.raises(MetaStepError, match=f"no virtual step is known for {name}: take SGD, Adam or AdamW"):
        optimizer_step(after(0, kind, options)[1])


def test_a_read_value_is_found():
    with pytest.raises(AssertionError, match="reads a value"), NothingRead():
        float(torch.ones(()))
