"""Resampling against expected frequencies and a slow inversion of the distribution function."""

import math

import pytest
import torch
from torch import Tensor

from bench import OptionError, RandomStreams, Split, Task
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.resample import Resample, drawn_order, label_balanced
from tests.claims import gains, worst_group_accuracy

LABELS = torch.tensor([0] * 16 + [1] * 4 + [3])  # no sample has label 2


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, [1 / 3, 1 / 3, 1 / 3]), (0.5, [4 / 7, 2 / 7, 1 / 7]), (1.0, [16 / 21, 4 / 21, 1 / 21])]
)
def test_labels_are_as_likely_as_a_power_of_their_sizes(q, expected):
    p = label_balanced(LABELS, q)
    assert [p[k == LABELS].sum().item() for k in (0, 1, 3)] == pytest.approx(expected)
    assert all(len(p[k == LABELS].unique()) == 1 for k in (0, 1, 3))
    stacked = label_balanced(torch.stack([LABELS, 3 - LABELS, LABELS * 0]), q)
    assert torch.equal(stacked[:2], torch.stack([p, p]))
    assert stacked[2].tolist() == pytest.approx([1 / 21] * 21)


def test_an_order_inverts_the_distribution_function_at_the_seeds_numbers():
    p, streams = torch.tensor([0.1, 0.0, 0.4, 0.3, 0.2], dtype=torch.float64), RandomStreams((7,))
    uniform = torch.rand(5, generator=streams.generators("method", 3)[0], dtype=torch.float64)
    expected = []
    for u in uniform.tolist():
        position, left = 0, u - p[0].item()
        while left >= 0:
            position += 1
            left -= p[position].item()
        expected.append(position)
    assert drawn_order(p, streams, 3).tolist() == expected


def test_a_sample_without_weight_is_never_drawn():
    """Not even at a number where two samples meet."""

    class Given(RandomStreams):
        def draw(self, sample, *purpose, device="cpu"):
            return torch.tensor([[0.0, 0.25, 0.5, 0.75], [0.0, 0.25, 0.5, 0.75]], dtype=torch.float64)

    weight = torch.tensor([[1.0, 0.0, 1.0, 2.0], [0.0, 8.0, 8.0, 0.0]], dtype=torch.float64)
    assert drawn_order(weight, Given((0, 1), stacked=True), 0).tolist() == [[0, 2, 3, 3], [1, 1, 2, 2]]


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
