"""Resampling against expected frequencies."""

import math

import pytest
import torch
from torch import Tensor

from bench import OptionError, Split, Task
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.resample import Resample
from tests.claims import gains, worst_group_accuracy

LABELS = torch.tensor([0] * 16 + [1] * 4 + [3])  # no sample has label 2


def orders(method: Resample, task: Task, epochs: int) -> Tensor:
    """[epochs, N] positions in the order drawn."""
    method.begin(task)
    return torch.stack([torch.cat([batch.index for batch in method.batches(epoch)]) for epoch in range(epochs)])


@pytest.mark.parametrize(("by", "q"), [("class", 0.0), ("group", 0.0), ("class", 0.5), ("class", 1.0)])
def test_classes_or_groups_come_as_often_as_expected(by, q):
    """200 epochs of 70 samples: the bounds are four standard errors away."""
    task = toy_task(epochs=200)
    drawn = orders(Resample(by, q), task, 200)
    assert drawn.shape == (200, 70)
    label = task.train.y if by == "class" else task.train.group
    power = label.bincount().double() ** q
    expected = (power / power.sum())[1].item()
    found = label[drawn].double().mean().item()
    assert found == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / drawn.numel()))
    seen = drawn.flatten().bincount(minlength=70)[label == 1]
    mean = drawn.numel() * expected / len(seen)
    assert ((seen - mean).abs() < 4.5 * math.sqrt(mean)).all()  # each sample of a label alike


def test_progressive_resampling_goes_from_the_training_data_to_balance():
    """Equation 2: in epoch t of T, (1 - t/T) of the classes' own frequencies and t/T of the balanced ones."""
    method, task = Resample(progressive=True), toy_task(epochs=4)
    method.begin(task)
    own = task.train.y.double().mean().item()
    for epoch in range(4):
        found = method.probabilities(epoch)[task.train.y == 1].sum().item()
        assert found == pytest.approx((1 - epoch / 4) * own + epoch / 4 * 0.5)


def test_an_order_depends_on_the_seed_and_the_epoch_alone():
    drawn = orders(Resample(), toy_task(), 3)
    assert torch.equal(drawn, orders(Resample(), toy_task(), 3))
    assert not torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn, orders(Resample(), toy_task([1]), 3))


def test_where_all_samples_are_drawn_alike_it_is_training_on_a_bootstrap():
    task = toy_task(epochs=1)
    model = train(Resample(q=1.0), task)
    order = orders(Resample(q=1.0), task, 1)[0]
    drawn = Split(task.train.x[order], task.train.y[order], task.train.group[order])

    class InOrder(ERM):
        def batches(self, epoch):
            return drawn.in_order(task.recipe.batch_size)

    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), train(InOrder(), task).parameters(), strict=True))


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_a_power_outside_its_range_is_refused(q):
    with pytest.raises(OptionError, match=r"resample: q must be in \[0, 1\], not"):
        Resample(q=q)


def test_progressive_without_a_change_is_refused():
    with pytest.raises(OptionError, match=r"^resample: progressive has no effect with q=1$"):
        Resample(progressive=True, q=1.0)


@pytest.mark.parametrize(("by", "uses_groups"), [("group", True), ("class", False)])
def test_it_says_whether_it_uses_groups(by, uses_groups):
    assert Resample(by=by).uses_groups == uses_groups


@pytest.mark.parametrize("options", [{}, {"by": "group", "q": 0.5}, {"progressive": True}], ids=str)
def test_it_keeps_the_contract(options):
    check_method(Resample, options)


@pytest.mark.parametrize(("by", "kind"), [("group", "spurious"), ("class", "imbalance")])
def test_it_helps_the_worst_group_and_the_rare_class(by, kind):
    found = gains(lambda: Resample(by=by), kind, worst_group_accuracy)
    assert found.mean() > 0
    assert (found > 0).sum() >= 4
