"""FairBatch by hand on twelve samples, its batches counted, and what its paper claims."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Generator, nn

from bench import Method, NotApplicableError, OptionError, RandomStreams, Recipe, Split, Task
from bench.metrics import evaluate
from bench.models.predict import predict
from bench.predictions import Predictions
from bench.streams import derive
from bench.testing import check_method, toy_task, train
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.fair_batch import FairBatch
from tests.claims import SEEDS

FAIRNESS = ("equal_opportunity", "equalized_odds", "demographic_parity")
KINDS = [(0, 0)] * 4 + [(0, 1)] * 2 + [(1, 0)] * 3 + [(1, 1)] * 3
"""(class, group) of twelve samples: m_{0,*} / m = 1/2 and lambda_0 = 4/12; m_{1,*} / m = 1/2 and lambda_1 = 3/12."""


def task_of(kinds: Sequence[tuple[int, int]], classes: int = 2, groups: int = 2, **recipe: object) -> Task:
    y, group = torch.tensor(kinds).T
    split = Split(torch.arange(len(y)).float().unsqueeze(1), y.contiguous(), group.contiguous())
    names = tuple(f"class {i}" for i in range(classes)), tuple(f"group {i}" for i in range(groups))
    return Task(split, split, *names, Recipe(**recipe), lambda: nn.Linear(1, classes), RandomStreams((0,)))


def begun(method: FairBatch, task: Task) -> FairBatch:
    method.begin(task)
    return method


def with_losses(method: FairBatch, mean: dict[tuple[int, int], float]) -> None:
    """Predictions whose loss against the true class is `mean` for the samples of each (class, group)."""
    p = torch.tensor([math.exp(-mean[kind]) for kind in KINDS], dtype=torch.float64)
    y = method.task.train.y
    right, wrong = p.log(), (1 - p).log()
    method.predict = lambda split: torch.stack([right.where(y == 0, wrong), right.where(y == 1, wrong)], -1)


# The steps of lambda: three epochs by hand

L = math.log
EPOCHS = [
    {(0, 0): 0.9, (0, 1): 0.4, (1, 0): 0.7, (1, 1): 0.3},  # gaps 0.5 and 0.4
    {(0, 0): 0.2, (0, 1): 0.5, (1, 0): 0.1, (1, 1): 1.0},  # gaps -0.3 and -0.9
    {(0, 0): 0.6, (0, 1): 0.1, (1, 0): 0.8, (1, 1): 0.7},  # gaps 0.5 and 0.1
]


@pytest.mark.parametrize(
    ("fairness", "expected", "disparities"),
    [
        # class 1 alone, up, down, up
        ("equal_opportunity", [(4 / 12, 3 / 12 + 0.1), (4 / 12, 3 / 12), (4 / 12, 3 / 12 + 0.1)], [0.4, 0.9, 0.1]),
        # the class with the larger gap: 0 up; 1 down; 0 up, which ends at m_0 / m = 1/2
        ("equalized_odds", [(4 / 12 + 0.1, 3 / 12), (4 / 12 + 0.1, 0.15), (1 / 2, 0.15)], [0.5, 0.9, 0.5]),
    ],
)
def test_lambda_goes_by_hand(fairness, expected, disparities):
    method = begun(FairBatch(fairness, alpha=0.1), task_of(KINDS))
    assert method.lambdas.tolist() == pytest.approx([4 / 12, 3 / 12])
    for losses, lambdas, disparity in zip(EPOCHS, expected, disparities, strict=True):
        with_losses(method, losses)
        method.end_epoch(0)
        assert method.lambdas.tolist() == pytest.approx(lambdas)
        assert method.diagnostics()["disparity"].item() == pytest.approx(disparity, rel=1e-5)


@pytest.mark.parametrize(
    ("probability", "gap", "lambdas"),
    [
        # of class 1, in (0, 0), (0, 1), (1, 0), (1, 1); the groups have 7 and 5 samples
        # L' of class 0: 4/7 log 2 and 2/5 log 4; of class 1: 3/7 log 8 and 3/5 log 2: (1, 0) gets more
        ((1 / 2, 1 / 4, 1 / 8, 1 / 2), 3 / 7 * L(8) - 3 / 5 * L(2), (4 / 12, 3 / 12 + 0.1)),
        # 4/7 log 8 and 2/5 log 2; 3/7 log 2 and 3/5 log 2: (0, 0) is predicted negative too often, and gets less
        ((1 / 8, 1 / 2, 1 / 2, 1 / 2), 4 / 7 * L(8) - 2 / 5 * L(2), (4 / 12 - 0.1, 3 / 12)),
    ],
)
def test_lambda_goes_by_hand_for_demographic_parity(probability, gap, lambdas):
    method = begun(FairBatch("demographic_parity", alpha=0.1), task_of(KINDS))
    p = torch.tensor([probability[2 * y + z] for y, z in KINDS], dtype=torch.float64)
    method.predict = lambda split: torch.stack([1 - p, p], -1).log()
    method.end_epoch(0)
    assert method.lambdas.tolist() == pytest.approx(lambdas)
    assert method.diagnostics()["disparity"].item() == pytest.approx(gap)


def test_lambda_rests_where_the_losses_are_equal_and_within_its_bounds():
    method = begun(FairBatch("equalized_odds", alpha=0.4), task_of(KINDS))
    method.predict = lambda split: torch.zeros(12, 2)
    method.end_epoch(0)
    assert method.lambdas.tolist() == pytest.approx([4 / 12, 3 / 12])
    for sign, bound in ((1, 1 / 2), (-1, 0)):
        for _ in range(2):
            with_losses(method, {(0, 0): 0.5, (0, 1): 0.5, (1, 0): 0.5 + 0.1 * sign, (1, 1): 0.5})
            method.end_epoch(0)
        assert method.lambdas[1].item() == pytest.approx(bound)


def test_lambda_follows_the_losses_of_the_trained_model():
    """Of each epoch, in evaluation mode on the whole training set: sample by sample."""
    task = toy_task()
    method, seen = FairBatch(alpha=0.02), []
    end_epoch = method.end_epoch

    def noting(epoch: int) -> None:
        before = method.lambdas[1].item()
        logits = predict(method.model, task.train, 500).double()
        method.model.train()
        loss = {0: [], 1: []}
        for z, y, g in zip(logits, task.train.y.tolist(), task.train.group.tolist(), strict=True):
            if y == 1:
                loss[g].append(math.log(math.exp(z[0]) + math.exp(z[1])) - float(z[1]))
        gap = sum(loss[0]) / len(loss[0]) - sum(loss[1]) / len(loss[1])
        end_epoch(epoch)
        assert method.lambdas[1].item() == pytest.approx(before + math.copysign(0.02, gap))
        assert method.model.training
        seen.append(gap)

    method.end_epoch = noting
    train(method, task)
    assert len(seen) == 3


# The batches


def counts(method: FairBatch, epoch: int) -> list[list[int]]:
    """Samples of each (class, group) in each batch."""
    return [torch.bincount(2 * b.y + b.group, minlength=4).tolist() for b in method.batches(epoch)]


def test_batches_hold_the_shares_of_lambda():
    task = task_of(KINDS * 10, batch_size=20)
    method = begun(FairBatch(), task)
    for lambdas, expected in [((0.3, 0.25), [6, 4, 5, 5]), ((0.05, 0.45), [1, 9, 9, 1]), ((0.5, 0.0), [10, 0, 0, 10])]:
        method.lambdas = torch.tensor(lambdas, dtype=torch.float64)
        assert [counts(method, epoch) for epoch in range(3)] == [[expected] * 6] * 3


def test_shares_that_make_no_whole_number_are_rounded_up_and_down():
    """Over 600 batches they are right on the average; the last batch of an epoch is a smaller one."""
    method = begun(FairBatch(), task_of(KINDS * 10, batch_size=14))
    method.lambdas = torch.tensor([0.33, 0.01], dtype=torch.float64)
    share = torch.tensor([0.33, 0.17, 0.01, 0.49])
    found = torch.tensor([counts(method, epoch)[:-1] for epoch in range(75)]).flatten(0, 1)
    assert found.sum(-1).unique().tolist() == [14]
    assert ((found - 14 * share).abs() < 1).all()
    assert (found.float().mean(0) - 14 * share).abs().max() < 5 * 0.5 / math.sqrt(600)
    assert sum(counts(method, 0)[-1]) == 120 - 8 * 14


def test_samples_come_again_only_when_all_of_their_kind_have_come():
    method = begun(FairBatch(), task_of(KINDS * 4, batch_size=16))
    method.lambdas = torch.tensor([0.0, 0.5], dtype=torch.float64)  # 24 places each, for 8 and 12 samples
    times = torch.bincount(torch.cat([b.index for b in method.batches(0)]), minlength=48)
    expected = {(0, 0): 0, (0, 1): 3, (1, 0): 2, (1, 1): 0}
    assert times.tolist() == [expected[kind] for kind in KINDS * 4]


def test_an_epoch_begins_as_erms_would_and_is_drawn_by_the_seed():
    """All samples once, where the batches hold what the training data do."""
    task = task_of(KINDS * 4, batch_size=12)
    first, again = ([b.index for b in begun(FairBatch(), task).batches(0)] for _ in range(2))
    assert torch.equal(torch.cat(first).sort().values, torch.arange(48))
    assert torch.equal(torch.stack(first), torch.stack(again))
    other = replace(task, streams=RandomStreams((1,)))
    for index in (begun(FairBatch(), task).order(1), begun(FairBatch(), other).order(0)):
        assert not torch.equal(index, torch.cat(first))


def test_stacked_runs_have_batches_of_their_own():
    method = begun(FairBatch(), toy_task((0, 1), stacked=True))
    method.lambdas = torch.tensor([[0.1, 0.2], [0.3, 0.05]], dtype=torch.float64)
    orders = method.order(2)
    for run, seed in enumerate((0, 1)):
        single = begun(FairBatch(), toy_task([seed]))
        single.lambdas = method.lambdas[run]
        assert torch.equal(single.order(2), orders[run])


# What it needs


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (task_of([(0, 0), (1, 1), (2, 0)], classes=3), "two classes and two groups, not 3 and 2"),
        (task_of([(0, 0), (1, 1), (1, 2)], groups=3), "two classes and two groups, not 2 and 3"),
        (task_of([(0, 0), (1, 1), (1, 0)]), "training samples of both classes in both groups"),
    ],
)
def test_it_tells_what_it_cannot_use(task, message):
    with pytest.raises(NotApplicableError, match=message):
        begun(FairBatch(), task)


def test_a_step_of_no_size_is_refused():
    with pytest.raises(OptionError, match=r"^fair_batch: alpha must be above 0, not -0\.1$"):
        FairBatch(alpha=-0.1)


@pytest.mark.parametrize("fairness", FAIRNESS)
def test_it_keeps_the_contract(fairness):
    check_method(FairBatch, {"fairness": fairness, "alpha": 0.05})


# What its paper claims, over five paired seeds


def unequal(n: int, g: Generator) -> Split:
    """Group 1 is rarer, and less often of class 1; x[0] tells the class, x[1] the group, both with noise."""
    group = torch.rand(n, generator=g).lt(0.3).long()
    y = (torch.rand(n, generator=g) < torch.where(group == 1, 0.3, 0.6)).long()
    x = torch.randn(n, 2, generator=g) + 2.0 * torch.stack([y, group], 1) - 1
    return Split(x, y, group)


def unequal_task(seed: int) -> tuple[Task, Split]:
    """A task and its test data."""
    streams = RandomStreams((seed,))
    parts = [unequal(n, streams.generators(name)[0]) for name, n in (("train", 1000), ("test", 4000))]

    def new_model() -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(derive(seed, "init"))
            return nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2))

    recipe = Recipe(optimizer="sgd", lr=0.1, momentum=0.9, epochs=30, batch_size=100)
    return Task(parts[0], parts[0], ("no", "yes"), ("a", "b"), recipe, new_model, streams), parts[1]


def disparities(method: Method, seed: int) -> dict[str, float]:
    """Of the trained model on the test data, by the kind of fairness."""
    task, test = unequal_task(seed)
    found = evaluate(Predictions(predict(train(method, task), test, 500), test.y, test.group, 2))
    names = ("tprd", "equalized_odds_difference", "demographic_parity_difference")
    return {fairness: float(found[name]) for fairness, name in zip(FAIRNESS, names, strict=True)}


@cache
def erms(seed: int) -> dict[str, float]:
    return disparities(ERM(), seed)


@pytest.mark.parametrize("fairness", FAIRNESS)
def test_the_disparity_gets_smaller(fairness):
    """With alpha = 0.01, at which lambda can cross half of a batch in the 30 epochs."""
    found = [erms(s)[fairness] - disparities(FairBatch(fairness, alpha=0.01), s)[fairness] for s in SEEDS]
    assert sum(found) > 0 and sum(f > 0 for f in found) >= 4
