"""Methods for the worst group against slow loops, linear programs and duals, and what their papers claim."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize_scalar
from torch import Tensor, nn

from bench import Batch, Method, NotApplicableError, OptionError, RandomStreams, Recipe, Split, Task
from bench.models.predict import predict
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.cvar_dro import CVaRDRO, chi_square_weights, cvar_weights
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.gap_regularized import GapRegularized, spread
from bench_plugins.methods.group_dro import GroupDRO
from tests.claims import SEEDS, gains, worst_group_accuracy
from tests.literal import NothingRead
from tests.plugins.methods.test_fair_batch import disparities, erms

M = TypeVar("M", bound=Method)


def task_of(group: Sequence[int], y: Sequence[int] = (), groups: int = 0, classes: int = 2, **recipe: object) -> Task:
    """A task with these groups and, if given, classes."""
    g = torch.tensor(group)
    split = Split(torch.arange(len(g)).float().unsqueeze(1) / len(g), torch.tensor(y or [0, 1] * len(g))[: len(g)], g)
    names = tuple(f"class {i}" for i in range(classes)), tuple(f"group {i}" for i in range(groups or int(g.max()) + 1))
    return Task(split, split, *names, Recipe(**recipe), lambda: nn.Linear(1, classes), RandomStreams((0,)))


def begun(method: M, task: Task) -> M:
    method.begin(task)
    return method


def batch_of(task: Task, index: Sequence[int]) -> Batch:
    return task.train.batch(torch.tensor(index))


# Group DRO

GROUPS = [0, 0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
BATCHES = [[0, 1, 6, 9, 11], [2, 3, 4], [7, 8, 10, 11], [0, 5, 6, 7, 8, 9]]  # the second of one group, none of all


@pytest.mark.parametrize("options", [{}, {"eta_q": 0.5}, {"eta_q": 0.5, "adjustment": 3.0}], ids=str)
def test_group_dro_follows_algorithm_1_step_by_step(options):
    task = task_of(GROUPS)
    method, q = begun(GroupDRO(**options), task), [0.25] * 4
    for step, index in enumerate(BATCHES):
        losses = [0.3 + ((7 * i + 3 * step) % 5) for i in index]
        members = {g: [loss for i, loss in zip(index, losses, strict=True) if GROUPS[i] == g] for g in range(4)}
        mean = {g: sum(found) / len(found) for g, found in members.items() if found}
        for g, loss in mean.items():
            q[g] *= math.exp(method.eta_q * (loss + method.adjustment / math.sqrt(GROUPS.count(g))))
        q = [qg / sum(q) for qg in q]
        weights = method.weights(batch_of(task, index), torch.tensor(losses))
        objective = method.objective(batch_of(task, index), torch.tensor(losses), weights)
        assert method.log_q.exp().tolist() == pytest.approx(q, rel=1e-5)
        assert objective.item() == pytest.approx(sum(q[g] * loss for g, loss in mean.items()), rel=1e-5)
        assert weights.mean().item() == pytest.approx(sum(q[g] for g in mean), rel=1e-5)


def test_group_dro_weighs_groups_alike_where_their_losses_are():
    task = task_of([0, 0, 0, 1])
    method = begun(GroupDRO(eta_q=1.0), task)
    for _ in range(10):
        weights = method.weights(batch_of(task, [0, 1, 2, 3]), torch.full((4,), 0.7))
        assert weights.tolist() == pytest.approx([2 / 3] * 3 + [2], rel=1e-5)


def test_group_dro_adjusts_for_what_small_groups_do_not_generalise():
    method = begun(GroupDRO(eta_q=1.0, adjustment=2.0), task_of([0] * 4 + [1]))
    method.weights(batch_of(method.task, [0, 1, 2, 3, 4]), torch.zeros(5))
    assert method.log_q.exp().tolist() == pytest.approx([math.e / (math.e + math.e**2), 1 / (1 + math.exp(-1))])


def test_group_dro_takes_groups_or_classes():
    task = task_of(group=[0, 0, 0, 1], y=[0, 1, 1, 1])
    expected = {"group": [2 / 3, 2 / 3, 2 / 3, 2], "class": [2, 2 / 3, 2 / 3, 2 / 3]}
    for by, weights in expected.items():
        found = begun(GroupDRO(eta_q=0.0, by=by), task).weights(batch_of(task, [0, 1, 2, 3]), torch.ones(4))
        assert found.tolist() == pytest.approx(weights)


def test_group_dro_loses_no_group_to_underflow():
    task = task_of([0, 1])
    method = begun(GroupDRO(eta_q=1000.0), task)
    method.weights(batch_of(task, [0, 1]), torch.tensor([0.0, 1.0]))
    assert method.log_q.exp().tolist() == [0, 1]
    method.weights(batch_of(task, [0, 1]), torch.tensor([1.0, 0.0]))
    assert method.log_q.exp().tolist() == pytest.approx([0.5, 0.5])


def test_group_dro_gives_nothing_to_a_group_that_has_no_samples():
    task = task_of([0, 0, 2], groups=3)
    method = begun(GroupDRO(adjustment=1.0), task)
    weights = method.weights(batch_of(task, [0, 1, 2]), torch.ones(3))
    assert weights.mean().item() == pytest.approx(1)
    assert method.log_q.exp()[1] == 0


def indices(batches: Iterator[Batch]) -> Tensor:
    return torch.cat([batch.index for batch in batches])


def test_group_dro_samples_groups_uniformly_where_asked():
    """900 places: the bounds are five standard errors away."""
    task = task_of([0] * 800 + [1] * 90 + [2] * 10, batch_size=100, epochs=2)
    method = begun(GroupDRO(sampling="uniform"), task)
    first, second = indices(method.batches(0)), indices(method.batches(1))
    for index in (first, second):
        share = torch.bincount(task.train.group[index]) / 900
        assert (share - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / 900)
        of_two = torch.bincount(index, minlength=900)[890:] / 300
        assert (of_two - 1 / 10).abs().max() < 5 * math.sqrt(0.09 / 300)
    assert not torch.equal(first, second)
    assert torch.equal(first, indices(method.batches(0)))


def test_group_dro_takes_the_batches_of_all_methods_unless_asked():
    task = task_of(GROUPS, batch_size=5)
    assert torch.equal(indices(begun(GroupDRO(), task).batches(0)), indices(task.batches(0)))


@pytest.mark.parametrize("by", ["group", "class"])
def test_group_dro_needs_two_groups(by):
    with pytest.raises(NotApplicableError, match=r"samples of two (groups|classes) or more"):
        begun(GroupDRO(by=by), task_of([1, 1, 1], y=[0, 0, 0], groups=2))


# CVaR DRO


def worst_case(losses: list[float], alpha: float) -> tuple[float, list[float]]:
    """Value and distribution of the linear program max q . l with q in the simplex and q <= 1 / (alpha B)."""
    size = len(losses)
    bounds = [(0, 1 / (alpha * size))] * size
    found = linprog([-loss for loss in losses], A_eq=[[1.0] * size], b_eq=[1.0], bounds=bounds)
    return -found.fun, list(found.x)


DISTINCT = [0.3, 2.0, 0.1, 1.1, 0.7, 5.0, 0.2]


@pytest.mark.parametrize("alpha", [1.0, 0.9, 0.5, 3 / 7, 0.37, 1 / 7, 0.1, 0.01])
def test_cvar_weights_are_those_of_the_linear_program(alpha):
    value, q = worst_case(DISTINCT, alpha)
    weights = cvar_weights(torch.tensor(DISTINCT), alpha)
    assert (weights / 7).tolist() == pytest.approx(q, abs=1e-6)
    assert (weights * torch.tensor(DISTINCT)).mean().item() == pytest.approx(value, rel=1e-5)


def test_cvar_weights_split_the_sample_on_the_boundary():
    assert cvar_weights(torch.tensor([4.0, 1.0, 3.0, 2.0]), 0.375).tolist() == pytest.approx([8 / 3, 0, 4 / 3, 0])
    stacked = torch.tensor([[4.0, 1.0, 3.0, 2.0], [0.0, 9.0, 1.0, 2.0]])
    assert cvar_weights(stacked, 0.5).tolist() == [[2, 0, 2, 0], [0, 2, 0, 2]]


LOSSES = st.lists(st.integers(0, 12).map(lambda i: i / 4), min_size=1, max_size=12)


@given(LOSSES, st.floats(0.02, 1.0))
def test_cvar_weights_are_optimal_with_equal_losses_too(losses, alpha):
    """Feasible, and as large as the dual, whose smallest value is at one of the losses."""
    loss = torch.tensor(losses, dtype=torch.float64)
    weights = cvar_weights(loss, alpha)
    assert weights.mean().item() == pytest.approx(1) and weights.min() >= 0 and weights.max() <= 1 / alpha + 1e-9
    dual = min((loss - eta).clamp_min(0).mean() / alpha + eta for eta in losses)
    assert (weights * loss).mean().item() == pytest.approx(float(dual), abs=1e-9)


@given(LOSSES, st.floats(0.01, 20.0))
def test_chi_square_weights_are_optimal(losses, rho):
    """Feasible, and as large as the dual eta + sqrt((1 + 2 rho) E[(l - eta)+^2])."""
    loss = torch.tensor(losses, dtype=torch.float64)
    weights = chi_square_weights(loss, rho)
    assert weights.mean().item() == pytest.approx(1) and weights.min() >= 0
    assert (weights - 1).square().mean().item() / 2 <= rho * (1 + 1e-6)

    def dual(eta: float) -> float:
        return eta + math.sqrt((1 + 2 * rho) * (loss - eta).clamp_min(0).square().mean().item())

    found = minimize_scalar(dual, bounds=(-100.0, max(losses)), method="bounded", options={"xatol": 1e-9})
    assert (weights * loss).mean().item() == pytest.approx(min(found.fun, dual(max(losses))), abs=1e-5)


def test_chi_square_weights_in_closed_form():
    """Two samples: 1 +- sqrt(2 rho), as far as that is at least 0. Three, two of them worst: those alone."""
    pair = torch.tensor([1.0, 3.0])
    assert chi_square_weights(pair, 0.125).tolist() == pytest.approx([0.5, 1.5])
    assert chi_square_weights(pair, 7.0).tolist() == pytest.approx([0, 2])
    assert chi_square_weights(torch.tensor([2.0, 0.0, 2.0]), 1.0).tolist() == pytest.approx([1.5, 0, 1.5])


@pytest.mark.parametrize("value", [0.0, 0.7, 1e6])
def test_equal_losses_give_a_plain_mean(value):
    losses = torch.full((5,), value)
    assert chi_square_weights(losses, 1.0).tolist() == [1] * 5
    assert (cvar_weights(losses, 0.3) * losses).mean().item() == pytest.approx(value)


def test_cvar_dro_of_the_whole_batch_is_erm():
    plain = train(ERM(), toy_task()).parameters()
    for a, b in zip(train(CVaRDRO(alpha=1.0), toy_task()).parameters(), plain, strict=True):
        assert torch.equal(a, b)


# Gap-regularised ERM


def looped(method: GapRegularized, batch: Batch) -> Tensor:
    """The objective, sample by sample."""
    losses, values, classes = [], {}, {"all": (0, 1), "positive": (1,), "negative": (0,)}[method.condition]
    for z, y, g in zip(method.model(batch.x), batch.y.tolist(), batch.group.tolist(), strict=True):
        losses.append(z.exp().sum().log() - z[y])
        if y in classes:
            value = losses[-1] if method.penalty == "loss" else z[1].exp() / z.exp().sum()
            values.setdefault(g, []).append(value)
    means = [sum(found) / len(found) for found in values.values()]
    return sum(losses) / len(losses) + (method.strength * (max(means) - min(means)) if means else 0)


def objective(method: Method, batch: Batch) -> Tensor:
    """What an update descends."""
    descended: list[Tensor] = []
    method.descend = descended.append  # type: ignore[method-assign]
    method.update(batch)
    return descended[0]


def gradient(value: Tensor, model: nn.Module) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])


@pytest.mark.parametrize("penalty", ["loss", "rate"])
@pytest.mark.parametrize("condition", ["all", "positive", "negative"])
@pytest.mark.parametrize("index", [range(12), [0, 1, 6, 7, 9], [2, 3, 4], [1, 11], [0, 2, 6]], ids=str)
def test_gap_regularized_is_a_loop_over_samples(penalty, condition, index):
    """Batches with all groups, with some, with one, and with groups and classes that no sample counts in."""
    torch.manual_seed(0)
    method = begun(GapRegularized(penalty, condition, strength=3.0), task_of(GROUPS, y=[0, 1] * 6))
    batch = batch_of(method.task, index)
    found, expected = objective(method, batch), looped(method, batch)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(found, method.model), gradient(expected, method.model))


def test_gap_regularized_pulls_at_the_worst_and_the_best_group():
    """The gradient of the penalty with respect to the losses: 1 / n_g and -1 / n_g for these two groups."""
    method = begun(GapRegularized(), task_of([0, 0, 1, 1, 1, 2]))
    batch = batch_of(method.task, range(6))
    losses = torch.tensor([3.0, 5.0, 1.0, 2.0, 0.0, 2.0], requires_grad=True)
    (slope,) = torch.autograd.grad(method.gap(batch, torch.zeros(6, 2), losses), losses)
    assert slope.tolist() == pytest.approx([1 / 2] * 2 + [-1 / 3] * 3 + [0])


def test_gap_regularized_leaves_equal_groups_to_erm():
    mean = torch.tensor([0.7, 0.7, 0.7], requires_grad=True)
    for count in ([2, 1, 1], [2, 0, 0], [0, 0, 0]):
        value = spread(mean, torch.tensor(count))
        (slope,) = torch.autograd.grad(value, mean)
        assert value == 0 and slope.tolist() == [0, 0, 0]


def test_gap_regularized_without_strength_is_erm():
    plain = train(ERM(), toy_task()).parameters()
    for a, b in zip(train(GapRegularized(strength=0.0), toy_task()).parameters(), plain, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("method", "task", "message"),
    [
        (GapRegularized("rate"), task_of([0, 1], classes=3), "penalty=rate, condition=all needs two classes, not 3"),
        (GapRegularized("loss", "positive"), task_of([0, 1], classes=3), "needs two classes, not 3"),
        (GapRegularized("rate"), task_of([0, 1], y=[0, 1]), "the groups are the classes"),
        (GapRegularized("loss", "positive"), task_of([0, 1], y=[0, 1]), "training samples of two groups or more"),
        (GapRegularized(), task_of([1, 1]), "training samples of two groups or more"),
    ],
)
def test_gap_regularized_tells_what_it_cannot_use(method, task, message):
    with pytest.raises(NotApplicableError, match=message):
        begun(method, task)


def test_gap_regularized_of_losses_takes_any_number_of_classes():
    begun(GapRegularized(), task_of([0, 1, 2], y=[0, 1, 2], classes=3))


# All of them


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (GroupDRO, {"eta_q": -0.1}, "group_dro: eta_q must be at least 0, not -0.1"),
        (GroupDRO, {"adjustment": -1.0}, "group_dro: adjustment must be at least 0, not -1"),
        (CVaRDRO, {"alpha": 0.0}, r"cvar_dro: alpha must be in \(0, 1\], not 0"),
        (CVaRDRO, {"alpha": 1.5}, r"cvar_dro: alpha must be in \(0, 1\], not 1.5"),
        (CVaRDRO, {"uncertainty": "chi_square", "rho": 0.0}, "cvar_dro: rho must be above 0, not 0"),
        (CVaRDRO, {"rho": 1.0}, "cvar_dro: rho has no effect with uncertainty=cvar"),
        (
            CVaRDRO,
            {"uncertainty": "chi_square", "alpha": 0.2},
            "cvar_dro: alpha has no effect with uncertainty=chi_square",
        ),
        (GapRegularized, {"strength": -1.0}, "gap_regularized: strength must be at least 0, not -1"),
    ],
    ids=str,
)
def test_values_that_mean_nothing_are_refused(method, options, message):
    with pytest.raises(OptionError, match=f"^{message}$"):
        method(**options)


@pytest.mark.parametrize(("by", "uses_groups"), [("group", True), ("class", False)])
def test_group_dro_says_whether_it_uses_groups(by, uses_groups):
    assert GroupDRO(by=by).uses_groups == uses_groups


METHODS = [
    (GroupDRO, {}),
    (GroupDRO, {"eta_q": 0.5, "adjustment": 2.0, "by": "class", "sampling": "uniform"}),
    (CVaRDRO, {}),
    (CVaRDRO, {"uncertainty": "chi_square"}),
    (GapRegularized, {}),
    (GapRegularized, {"penalty": "rate", "condition": "positive"}),
]


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_they_keep_the_contract(method, options):
    check_method(method, options)


@pytest.mark.parametrize(("method", "options"), METHODS, ids=str)
def test_they_read_no_value(method, options):
    started = begun(method(**options), toy_task())
    first, second, *_ = started.batches(0)
    started.update(first)
    with NothingRead():
        started.update(second)


# What their papers claim, on small tasks, over five paired seeds


@pytest.mark.parametrize("method", [GroupDRO, GapRegularized])
def test_the_worst_group_is_recognised_more_often(method):
    found = gains(method, "spurious", worst_group_accuracy)
    assert found.mean() > 0 and (found > 0).sum() >= 4


@pytest.mark.parametrize(("condition", "fairness"), [("all", "demographic_parity"), ("positive", "equal_opportunity")])
def test_the_disparity_of_rates_gets_smaller(condition, fairness):
    method = GapRegularized("rate", condition)
    found = [erms(seed)[fairness] - disparities(replace(method), seed)[fairness] for seed in SEEDS]
    assert sum(found) > 0 and sum(f > 0 for f in found) >= 4


def negative_tail(model: nn.Module, test: Split) -> float:
    """Minus the mean of the worst fifth of the losses."""
    losses = nn.functional.cross_entropy(predict(model, test, 500), test.y, reduction="none")
    return -losses.topk(len(losses) // 5).values.mean().item()


def test_cvar_dro_lowers_the_tail_of_the_losses():
    assert (gains(CVaRDRO, "spurious", negative_tail) > 0).all()


def test_cvar_dro_helps_the_rare_class_at_a_low_learning_rate():
    """At the task's own, 0.1, it does not even lower its objective on the training data."""
    found = gains(CVaRDRO, "imbalance", worst_group_accuracy, lr=0.01)
    assert found.mean() > 0 and (found > 0).sum() >= 4


def test_cvar_dro_does_not_help_the_worst_group_where_the_worst_losses_are_noise():
    """Found, not claimed: the noisy feature makes more of the large losses than the rare groups do."""
    found = gains(CVaRDRO, "spurious", worst_group_accuracy)
    assert (found > 0).sum() < 4
