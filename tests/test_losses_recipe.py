"""Losses against loops and torch; schedule and budget of a recipe as a task sees them."""

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench import Recipe, Split, Streams, Task
from bench.losses import LOSSES, cross_entropy, hinge

LOGITS = torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(14).view(2, 7) % 4


def task(n: int, **recipe: object) -> Task:
    zeros = torch.zeros(n).long()
    split = Split(torch.zeros(n, 1), zeros, zeros)
    return Task(split, split, ("a",), ("a",), Recipe(**recipe), lambda: nn.Linear(1, 1), Streams((0,)))


def test_cross_entropy_is_torchs_also_stacked():
    expected = [F.cross_entropy(z, y, reduction="none") for z, y in zip(LOGITS, Y, strict=True)]
    assert torch.equal(cross_entropy(LOGITS[0], Y[0]), expected[0])
    torch.testing.assert_close(cross_entropy(LOGITS, Y), torch.stack(expected))


def test_hinge_equals_a_loop():
    for run in range(2):
        for z, y, found in zip(LOGITS[run].tolist(), Y[run].tolist(), hinge(LOGITS, Y)[run].tolist(), strict=True):
            worst = max(value for k, value in enumerate(z) if k != y)
            assert found == pytest.approx(max(0.0, 1 - (z[y] - worst)), abs=1e-6)


@pytest.mark.parametrize("z", [-3.0, -0.5, 0.0, 0.5, 1.0, 3.0])
def test_hinge_of_two_classes_is_the_usual_one(z):
    logits = torch.tensor([[0.0, z]])
    assert hinge(logits, torch.tensor([1])).item() == max(0.0, 1 - z)
    assert hinge(logits, torch.tensor([0])).item() == max(0.0, 1 + z)


def test_hinge_has_the_gradient_of_the_margin():
    logits = torch.tensor([[1.0, 0.5, -2.0], [5.0, 0.0, 0.0]], requires_grad=True)
    hinge(logits, torch.tensor([0, 0])).sum().backward()
    assert logits.grad is not None
    assert logits.grad.tolist() == [[-1, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize("name", LOSSES)
def test_a_task_takes_its_recipes_loss(name):
    found: Tensor = task(4, loss=name).loss(LOGITS, Y)
    assert torch.equal(found, {"cross_entropy": cross_entropy, "hinge": hinge}[name](LOGITS, Y))


def test_the_learning_rate_falls_at_60_120_and_160_of_200_epochs():
    t = task(4, epochs=200, lr=0.1, milestones=(0.3, 0.6, 0.8))
    expected = {0: 0.1, 59: 0.1, 60: 0.01, 119: 0.01, 120: 1e-3, 159: 1e-3, 160: 1e-4, 199: 1e-4}
    assert {epoch: t.lr(epoch) for epoch in expected} == pytest.approx(expected)


def test_a_shorter_training_keeps_the_shape_of_the_schedule():
    t = task(4, epochs=10, lr=1.0, milestones=(0.3, 0.6, 0.8), gamma=0.5)
    assert [t.lr(epoch) for epoch in range(10)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125]


@pytest.mark.parametrize("epochs", [1, 7, 100, 300])
def test_milestones_fall_on_the_exact_epoch(epochs):
    """Also where rounding is in the way: 0.55 * 100 = 55.00000000000001."""
    for percent in range(1, 100):
        t = task(4, epochs=epochs, lr=1.0, milestones=(percent / 100,))
        first = math.ceil(Fraction(percent, 100) * epochs)
        assert [e for e in range(epochs) if t.lr(e) < 1][:1] == ([first] if first < epochs else [])


def test_the_budget_in_epochs():
    t = task(10, epochs=3, batch_size=4)  # 4 + 4 + 2
    assert (t.steps, t.epochs) == (9, 3)
    assert [[len(b.y) for b in t.batches(epoch)] for epoch in range(3)] == [[4, 4, 2]] * 3


def test_a_budget_in_steps_ends_inside_the_last_epoch():
    t = task(10, epochs=None, steps=7, batch_size=4)
    assert (t.steps, t.epochs) == (7, 3)
    assert [[len(b.y) for b in t.batches(epoch)] for epoch in range(3)] == [[4, 4, 2], [4, 4, 2], [4]]


@pytest.mark.parametrize(("steps", "epochs"), [(1, 1), (3, 1), (4, 2), (6, 2)])
def test_epochs_of_a_budget_in_steps(steps, epochs):
    t = task(10, epochs=None, steps=steps, batch_size=4)
    assert t.epochs == epochs
    assert sum(len(list(t.batches(epoch))) for epoch in range(epochs)) == steps


def test_a_tail_of_one_is_no_step():
    t = task(9, epochs=2, batch_size=4)  # 4 + 4, and one left out
    assert (t.steps, t.epochs, len(list(t.batches(1)))) == (4, 2, 2)


@pytest.mark.parametrize(
    ("recipe", "kind", "settings"),
    [
        ({"optimizer": "sgd", "momentum": 0.9, "nesterov": True}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        ({"optimizer": "adam"}, torch.optim.Adam, {"betas": (0.9, 0.999)}),
        ({"optimizer": "adamw"}, torch.optim.AdamW, {"betas": (0.9, 0.999)}),
    ],
)
def test_the_optimiser_is_the_recipes(recipe, kind, settings):
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    optimizer = task(4, lr=0.5, weight_decay=0.25, **recipe).optimizer(model)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {name: group[name] for name in settings} == settings
    assert (group["lr"], group["weight_decay"], group["params"]) == (0.5, 0.25, [model.weight])
