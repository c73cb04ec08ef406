"""Losses and weights for imbalanced classes: their formulas written out sample by sample, and what they gain."""

import dataclasses
import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from bench import Batch, Method, NotApplicableError, OptionError, RandomStreams, Recipe, Split, Task
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.balanced_softmax import BalancedSoftmax
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.focal import Focal
from bench_plugins.methods.ldam import LDAM, margins
from bench_plugins.methods.logit_adjustment import LogitAdjustment
from bench_plugins.methods.sqrt_inverse import SqrtInverse
from tests.claims import gains, worst_group_accuracy

LOGITS = ((2.0, -1.0, 0.5), (0.0, 3.0, -2.0), (-1.5, -4.0, 7.0), (1.0, 1.0, 1.0))
Y = (0, 0, 2, 1)
COUNTS = (9, 4, 1)
LONG_TAIL = torch.tensor([int(500 * 0.01 ** (i / 99)) for i in range(100)])  # CIFAR-100, imbalance factor 100


def task_of(counts: Sequence[int], group: Sequence[int] = (), **recipe: object) -> Task:
    """A task with so many samples of each class, and a linear model that gives its inputs back as logits."""
    classes = len(counts)
    y = torch.arange(classes).repeat_interleave(torch.tensor(counts))
    split = Split(torch.zeros(len(y), classes), y, torch.tensor(group) if group else y)
    names = tuple(f"class {i}" for i in range(classes))
    return Task(split, split, names, names, Recipe(**recipe), lambda: identity(classes), RandomStreams((0,)))  # type: ignore[arg-type]


def identity(size: int) -> nn.Module:
    layer = nn.Linear(size, size)
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def begun(method: Method, counts: Sequence[int] = COUNTS) -> Method:
    method.begin(task_of(counts))
    return method


def batch() -> Batch:
    y = torch.tensor(Y)
    return Batch(torch.tensor(LOGITS), y, y, torch.arange(len(y)))


def losses(method: Method) -> list[float]:
    found: list[float] = begun(method).losses(batch()).tolist()
    return found


def weights(method: Method, task: Task) -> Tensor:
    """Those of the whole training split."""
    method.begin(task)
    whole = task.train.batch(torch.arange(len(task.train)))
    return method.weights(whole, torch.zeros(len(task.train)))


def softmax(z: Sequence[float], y: int) -> float:
    return math.exp(z[y]) / sum(math.exp(other) for other in z)


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


# Focal loss


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_the_focal_loss_is_equation_4(gamma):
    p = [softmax(z, y) for z, y in zip(LOGITS, Y, strict=True)]
    assert losses(Focal(gamma=gamma)) == pytest.approx([-((1 - pt) ** gamma) * math.log(pt) for pt in p], rel=1e-3)


def test_alpha_is_the_weight_of_its_class():
    found = begun(Focal(alpha=(0.25, 0.75, 1.0))).weights(batch(), torch.zeros(4))
    assert found.tolist() == [0.25, 0.25, 1.0, 0.75]


@pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0, 2.0])
def test_the_focal_loss_has_a_finite_slope_where_a_sample_is_certain(gamma):
    z = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    begun(Focal(gamma=gamma)).losses(Batch(z, *[torch.zeros(2, dtype=torch.int64)] * 3)).sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[0.0, 0.0, 0.0], [-1.0, 1.0, 0.0]]))


def test_the_focal_loss_without_focus_trains_as_erm():
    assert same(train(Focal(gamma=0.0), toy_task()), train(ERM(), toy_task()))


# LDAM


def test_the_margins_of_long_tailed_cifar100():
    found = margins(LONG_TAIL, 0.5)
    assert LONG_TAIL.sum() == 10_847
    assert (found[0].item(), found[-1].item()) == pytest.approx((0.5 * 0.01**0.25, 0.5))
    torch.testing.assert_close(found * LONG_TAIL**0.25, torch.full((100,), 0.5 * 5**0.25).double())


def test_a_class_without_samples_has_no_margin():
    assert margins(torch.tensor([[16, 0, 1], [1, 0, 0]]), 0.5).tolist() == [[0.25, 0, 0.5], [0.5, 0, 0]]


@pytest.mark.parametrize(("largest", "scale"), [(0.5, 30.0), (0.0, 30.0), (1.0, 2.0)])
def test_the_ldam_loss_takes_the_margin_off_the_cosine_of_the_class(largest, scale):
    """The class weights of the identity are unit vectors, so the cosines are the inputs over their length."""
    expected = []
    for z, y in zip(LOGITS, Y, strict=True):
        cosines = [value / math.hypot(*z) for value in z]
        cosines[y] -= largest * (min(COUNTS) / COUNTS[y]) ** 0.25
        expected.append(-math.log(softmax([scale * c for c in cosines], y)))
    assert losses(LDAM(largest_margin=largest, scale=scale)) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_ldam_evaluates_scaled_cosines_whatever_the_lengths_of_features_and_weights():
    method = begun(LDAM())
    with torch.no_grad():
        method.model.weight.mul_(torch.tensor([[3.0], [0.1], [7.0]]))
        method.model.bias.fill_(5.0)
        found = method.model(10 * batch().x)
    torch.testing.assert_close(found, 30 * batch().x / batch().x.norm(dim=1, keepdim=True))


def test_drw_weighs_by_effective_number_as_the_authors_code_does():
    """0.0449 and 4.378, of classes with 500 and 5 samples, in a batch with one of each: divided by their mean."""
    method = begun(LDAM(reweight_from=0.0), LONG_TAIL.tolist())
    y = torch.tensor([0, 99])
    found = method.weights(Batch(torch.zeros(2, 100), y, y, y), torch.zeros(2))
    assert found.tolist() == pytest.approx([2 * 0.0449 / 4.4229, 2 * 4.378 / 4.4229], rel=1e-3)


@pytest.mark.parametrize(("start", "weighted"), [(0.0, [0, 1, 2, 3]), (0.5, [2, 3]), (0.51, [3]), (0.8, []), (1.0, [])])
def test_drw_begins_at_its_fraction_of_the_epochs(start, weighted):
    seen = {}

    @dataclasses.dataclass
    class Noting(LDAM):
        def batches(self, epoch):
            seen[epoch] = self.class_weight.unique().numel() > 1
            return super().batches(epoch)

    train(Noting(reweight_from=start), toy_task(epochs=4))
    assert [epoch for epoch, found in seen.items() if found] == weighted


def test_ldam_without_margin_is_the_cross_entropy_of_its_model():
    method = begun(LDAM(largest_margin=0.0))
    assert torch.equal(method.losses(batch()), ERM.losses(method, batch()))
    assert method.weights(batch(), torch.zeros(4)).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: nn.Linear(3, 2), "last layer has 3 outputs, one for each class"),
        (lambda: nn.Sequential(nn.Unflatten(1, (3, 1)), nn.Conv1d(3, 3, 1), nn.Flatten()), "no linear layer"),
    ],
)
def test_ldam_needs_a_linear_last_layer(model, message):
    with pytest.raises(NotApplicableError, match=message):
        LDAM().begin(dataclasses.replace(task_of(COUNTS), new_model=model))


# Balanced softmax and logit adjustment


def test_balanced_softmax_is_equation_4():
    """phi_y = n_y exp(z_y) / sum_j n_j exp(z_j)."""
    expected = []
    for z, y in zip(LOGITS, Y, strict=True):
        terms = [n * math.exp(value) for n, value in zip(COUNTS, z, strict=True)]
        expected.append(-math.log(terms[y] / sum(terms)))
    assert losses(BalancedSoftmax()) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("tau", [0.5, 1.0, 2.0])
def test_the_logit_adjusted_loss_is_equation_10(tau):
    """log(1 + sum_j (pi_j / pi_y)^tau exp(z_j - z_y)), over the other classes."""
    expected = [
        math.log1p(sum((COUNTS[j] / COUNTS[y]) ** tau * math.exp(z[j] - z[y]) for j in range(3) if j != y))
        for z, y in zip(LOGITS, Y, strict=True)
    ]
    assert losses(LogitAdjustment(tau=tau)) == pytest.approx(expected, rel=1e-4)


def test_logit_adjustment_at_tau_1_is_balanced_softmax_and_at_0_erm():
    adjusted, plain = (train(LogitAdjustment(tau=tau), toy_task()) for tau in (1.0, 0.0))
    assert same(adjusted, train(BalancedSoftmax(), toy_task()))
    assert same(plain, train(ERM(), toy_task()))
    assert not same(adjusted, plain)


@pytest.mark.parametrize("tau", [1.0, 1.5])
def test_post_hoc_trains_as_erm_and_evaluates_as_equation_9(tau):
    task = toy_task()
    method, erm = LogitAdjustment(tau=tau, how="post_hoc"), ERM()
    model, reference = train(method, task), train(erm, task)
    assert all(map(torch.equal, model.parameters(), reference.parameters()))
    assert torch.equal(model.train()(task.val.x), reference.train()(task.val.x))
    prior = torch.tensor([(task.train.y == c).float().mean().item() for c in (0, 1)])
    found, expected = method.predict(task.val), erm.predict(task.val) - tau * prior.log()
    torch.testing.assert_close(found.log_softmax(-1), expected.log_softmax(-1))
    assert not torch.equal(found.argmax(-1), erm.predict(task.val).argmax(-1))


@pytest.mark.parametrize("how", ["loss", "post_hoc"])
def test_a_class_without_samples_counts_as_one_with_one(how):
    found, expected = (begun(LogitAdjustment(how=how), counts) for counts in ((5, 0, 3), (5, 1, 3)))
    assert torch.equal(found.losses(batch()), expected.losses(batch()))
    assert torch.equal(found.model.eval()(batch().x), expected.model.eval()(batch().x))


# Square-root weights


def test_square_root_weights_by_class_or_group():
    """N / (sqrt(n) sum sqrt(n)): of 9 and 1 samples, 10 / (3 * 4) and 10 / (1 * 4)."""
    task = task_of((9, 1), group=[0, *[1] * 9])
    assert weights(SqrtInverse(), task).tolist() == pytest.approx([10 / 12] * 9 + [10 / 4])
    assert weights(SqrtInverse(by="group"), task).tolist() == pytest.approx([10 / 4] + [10 / 12] * 9)


def test_square_root_weights_are_the_probabilities_of_square_root_sampling():
    """A class is drawn with probability sqrt(n_j) / sum_i sqrt(n_i), then one of its samples."""
    counts = [16, 0, 4, 1]
    task = task_of(counts)
    expected = [21 * math.sqrt(counts[y]) / (4 + 2 + 1) / counts[y] for y in task.train.y]
    assert weights(SqrtInverse(), task).tolist() == pytest.approx(expected)
    assert weights(SqrtInverse(), task).mean().item() == pytest.approx(1)


# All of them


@pytest.mark.parametrize("method", [Focal, LDAM, BalancedSoftmax, LogitAdjustment])
def test_what_changes_the_cross_entropy_cannot_be_used_with_another_loss(method):
    with pytest.raises(NotApplicableError, match="changes the cross-entropy, and the recipe's loss is hinge"):
        method().begin(task_of(COUNTS, loss="hinge"))


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (Focal, {"gamma": -1.0}, "focal: gamma must be at least 0, not -1"),
        (Focal, {"alpha": (1.0, -1.0, 1.0)}, "focal: alpha must be at least 0, not -1"),
        (Focal, {"alpha": (0.0, 0.0, 0.0)}, "focal: alpha must have an entry above 0, not 0,0,0"),
        (LogitAdjustment, {"tau": -0.5}, "logit_adjustment: tau must be at least 0, not -0.5"),
        (LDAM, {"largest_margin": -0.1}, "ldam: largest_margin must be at least 0, not -0.1"),
        (LDAM, {"scale": 0.0}, "ldam: scale must be above 0, not 0"),
        (LDAM, {"reweight_from": 1.1}, r"ldam: reweight_from must be in \[0, 1\], not 1.1"),
        (LDAM, {"reweight_from": 0.5, "beta": 1.0}, r"ldam: beta must be in \[0, 1\), not 1"),
        (LDAM, {"beta": 0.9999}, "ldam: beta has no effect with reweight_from=1"),
    ],
)
def test_values_that_mean_nothing_are_refused(method, options, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        method(**options)


def test_focal_needs_a_number_for_each_class():
    with pytest.raises(OptionError, match=r"focal: alpha needs 3 numbers, one for each class \(.*\), not 0.25,0.75"):
        begun(Focal(alpha=(0.25, 0.75)))


@pytest.mark.parametrize(("by", "uses_groups"), [("group", True), ("class", False)])
def test_square_root_weights_say_whether_they_use_groups(by, uses_groups):
    assert SqrtInverse(by=by).uses_groups == uses_groups


VARIANTS = {
    "focal, alpha": (Focal, {"gamma": 0.5, "alpha": (0.25, 0.75)}),
    "ldam, drw": (LDAM, {"reweight_from": 0.5}),
    "post hoc": (LogitAdjustment, {"how": "post_hoc"}),
    "by group": (SqrtInverse, {"by": "group"}),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_contract_with_options(variant):
    check_method(*VARIANTS[variant])


GAINS = {
    "ldam, drw": lambda: LDAM(reweight_from=0.8),
    "balanced softmax": BalancedSoftmax,
    "logit adjustment": LogitAdjustment,
    "post hoc": lambda: LogitAdjustment(how="post_hoc"),
    "square root": SqrtInverse,
}


@pytest.mark.parametrize("name", GAINS)
def test_the_worst_class_is_recognised_more_often(name):
    found = gains(GAINS[name], "imbalance", worst_group_accuracy)
    assert found.mean() > 0
    assert (found > 0).sum() >= 4


def test_ldam_alone_helps_the_worst_class_with_small_steps_and_harms_it_with_large_ones():
    small, large = (gains(LDAM, "imbalance", worst_group_accuracy, lr=lr) for lr in (0.01, 0.1))
    assert small.mean() > 0.1 and (small > 0).sum() >= 4
    assert large.mean() < -0.1


def test_the_focal_loss_neither_helps_nor_harms_the_worst_class():
    found = gains(Focal, "imbalance", worst_group_accuracy)
    assert found.mean().abs() < 0.02
    assert 0 < (found > 0).sum() < 5


def test_ldam_refuses_a_last_layer_that_gives_no_logits():
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.other = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x)

    with pytest.raises(NotApplicableError, match="does not give its logits"):
        LDAM().begin(dataclasses.replace(toy_task(), new_model=Auxiliary))
