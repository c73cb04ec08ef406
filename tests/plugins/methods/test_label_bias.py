"""Label bias against Algorithm 1 written out naively, against hand calculation, and where labels are biased."""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from bench import Files, NotApplicableError, OptionError, RandomStreams, Recipe, Split, Task
from bench.models.predict import predict
from bench.testing import check_method, toy_task, train
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.label_bias import LabelBias
from tests import claims
from tests.trainings import check_resumed


def task_of(y: Sequence[int], group: Sequence[int]) -> Task:
    """A task with these classes and groups, and nothing to learn from."""
    split = Split(torch.zeros(len(y), 1), torch.tensor(y), torch.tensor(group))
    classes, groups = (tuple(map(str, range(max(label) + 1))) for label in (y, group))
    return Task(split, split, classes, groups, Recipe(), lambda: nn.Linear(1, len(classes)), RandomStreams((0,)))


def corrected(task: Task, predictions: Sequence[Sequence[int]], **options: Any) -> LabelBias:
    """The method after one update for each of these predictions of the training data."""
    method = LabelBias(**options)
    method.begin(task)
    for predicted in predictions:
        logits = F.one_hot(torch.tensor(predicted), len(task.classes)).float()
        method.predict = lambda split, logits=logits: logits  # type: ignore[method-assign]
        method.correct()
    return method


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def check_weights(method: LabelBias, raw: Sequence[float]) -> None:
    """In proportion to `raw`, with mean 1."""
    assert method.w.tolist() == pytest.approx([w * len(raw) / sum(raw) for w in raw], rel=1e-6)


# Two updates of twelve samples by hand

Y, GROUP = [1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0], [0] * 7 + [1] * 5
PREDICTED = [1, 1, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("constraint", "first", "second"),
    [
        ("equal_opportunity", (-1 / 12, 1 / 6), (1 / 6, -1 / 3)),  # 4/6 - 3/4 and 4/6 - 1/2; 4/6 - 2/4 and 4/6 - 1
        ("demographic_parity", (-13 / 84, 13 / 60), (11 / 84, -11 / 60)),  # 5/12 less 4/7 and 1/5; less 2/7 and 3/5
    ],
)
def test_two_updates_of_two_groups(constraint, first, second):
    method = corrected(task_of(Y, GROUP), PREDICTED, constraint=constraint, eta=2.0)
    a, b = (2 * (one + two) for one, two in zip(first, second, strict=True))
    assert method.multipliers.tolist() == pytest.approx([a, b], abs=1e-12)
    check_weights(method, [sigmoid(2 * a)] * 4 + [sigmoid(-2 * a)] * 3 + [sigmoid(2 * b)] * 2 + [sigmoid(-2 * b)] * 3)


@pytest.mark.parametrize(
    ("options", "multipliers"),
    [
        ({}, (1 / 12, 0, 1 / 6)),  # class 2 has recall 1/2 and is predicted for 2/12; class 0 3/6 and 3/12; 1/3 is due
        ({"positive": 1, "rate": 0.25}, (0, -1 / 6, 0)),  # predicted for 4/12, twice
        ({"constraint": "equal_opportunity"}, (1 / 6, -1 / 4, 0)),  # 9/12 less 5/6, 3/4, 1/2; less 3/6, 1, 1
    ],
)
def test_two_updates_of_three_classes(options, multipliers):
    y = [0] * 6 + [1] * 4 + [2] * 2
    predicted = [0, 0, 0, 0, 0, 1, 1, 1, 2, 1, 0, 2], [0, 0, 0, 2, 2, 2, 1, 1, 1, 1, 2, 2]
    method = corrected(task_of(y, y), predicted, **options)
    assert method.multipliers.tolist() == pytest.approx(multipliers, abs=1e-12)
    check_weights(method, [sigmoid(2 * multipliers[c]) for c in y])


def test_the_first_update_of_mnist():
    """15.11 % of the samples are predicted as a 2, and 10 % are due."""
    y, predicted = [i % 10 for i in range(10_000)], [2] * 1511 + [0] * 8489
    method = corrected(task_of(y, y), [predicted], positive=2)
    assert method.multipliers.tolist() == pytest.approx([0, 0, -0.0511] + [0] * 7, abs=1e-12)
    check_weights(method, [sigmoid(-0.1022) if c == 2 else 0.5 for c in y])


def test_the_biased_labels_of_mnist():
    """12,000 of the labels become 2, drawn by numpy's legacy generator: 27.91 % are then."""
    from bench_plugins.datasets.mnist import load_mnist

    folder = Path(os.environ.get("BENCH_DATA", "."))
    if not (folder / "MNIST").exists():
        pytest.skip("BENCH_DATA has no MNIST")
    y = load_mnist(Files(folder, download=False)).train.y.numpy()
    y[np.random.RandomState(12345).choice(60_000, 12_000, replace=False)] = 2
    assert round(100 * (y == 2).mean(), 2) == 27.91


def test_a_group_without_positive_samples_has_no_violation():
    method = corrected(task_of([1, 1, 0, 0], [0, 1, 2, 2]), [[1, 0, 0, 0]])
    assert method.multipliers.tolist() == [-0.5, 0.5, 0]


def test_a_class_without_samples_is_not_the_worst():
    method = corrected(task_of([0, 0, 2, 2], [0, 0, 2, 2]), [[0, 0, 2, 0]])
    assert method.multipliers.tolist() == pytest.approx([0, 0, 1 / 12])


# The whole training


def naive(task: Task, option: LabelBias) -> tuple[nn.Module, list[float]]:
    y, group = task.train.y.tolist(), task.train.group.tolist()
    by_class = y == group
    m, w = [0.0, 0.0], torch.ones(len(y))
    fits = (option.iterations or 100) + 1 if option.procedure == "refit" else 1
    for fit in range(fits):
        model = task.new_model()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for epoch in range(task.epochs):
            for batch in task.batches(epoch):
                optimizer.zero_grad()
                (w[batch.index] * F.cross_entropy(model(batch.x), batch.y, reduction="none")).mean().backward()
                optimizer.step()
            if fit == fits - 1 if option.procedure == "epoch" else epoch == task.epochs - 1 and fit < fits - 1:
                predicted = model(task.train.x).argmax(-1).tolist()
                for g, short in violations(option, list(zip(y, group, predicted, strict=True)), by_class).items():
                    m[g] += option.eta * short
                signs = [1 if by_class or c == 1 else -1 for c in y]
                raw = [sigmoid(2 * s * m[g]) for s, g in zip(signs, group, strict=True)]
                w = torch.tensor(raw) * len(y) / sum(raw)
    return model, m


def violations(option: LabelBias, rows: list[tuple[int, int, int]], by_class: bool) -> dict[int, float]:
    """By group; rows of class, group and predicted class."""

    def rate(hits: list[bool]) -> float:
        return sum(hits) / len(hits)

    if by_class and option.constraint == "demographic_parity":
        recall = {g: rate([p == c for c, _, p in rows if c == g]) for g in (0, 1)}
        worst = min(recall, key=recall.__getitem__)
        return {worst: 0.5 - rate([p == worst for _, _, p in rows])}
    counted = [(g, p == c if by_class else p == 1) for c, g, p in rows if by_class or c == 1 or "parity" in str(option)]
    overall = rate([hit for _, hit in counted])
    return {k: overall - rate([hit for g, hit in counted if g == k]) for k in (0, 1)}


@pytest.mark.parametrize("constraint", ["equal_opportunity", "demographic_parity"])
@pytest.mark.parametrize("procedure", [{"procedure": "epoch"}, {"procedure": "refit", "iterations": 2}])
@pytest.mark.parametrize("by_class", [False, True])
def test_label_bias_is_algorithm_1(constraint, procedure, by_class):
    task = toy_task(epochs=12)
    if by_class:
        task = dataclasses.replace(task, train=dataclasses.replace(task.train, group=task.train.y))
    method = LabelBias(constraint=constraint, eta=0.7, **procedure)
    model = train(method, task)
    expected, multipliers = naive(task, method)
    assert method.multipliers.tolist() == pytest.approx(multipliers, abs=1e-6)
    assert max(map(abs, multipliers)) > 0.1
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("procedure", ["epoch", "refit"])
def test_multipliers_of_zero_train_as_erm_does(procedure):
    method = LabelBias(eta=0.0, procedure=procedure, iterations=2 if procedure == "refit" else None)
    a, b = (train(m, toy_task()).state_dict() for m in (method, ERM()))
    assert all(torch.equal(a[name], b[name]) for name in b)
    assert torch.equal(method.w, torch.ones(70))


@pytest.mark.parametrize(("procedure", "trainings"), [("epoch", 1), ("refit", 4)])
def test_all_refits_are_paid_for(procedure, trainings):
    meter = Meter(NoEvaluations())
    LabelBias(procedure=procedure, iterations=3 if procedure == "refit" else None).fit(toy_task(), meter)
    assert (meter.steps, len(meter.history)) == (trainings * 15, 3)


@pytest.mark.parametrize("options", [{"constraint": "demographic_parity"}, {"procedure": "refit", "iterations": 2}])
def test_label_bias_keeps_the_contract_with_its_options(options):
    check_method(LabelBias, options)


@pytest.mark.parametrize("epoch", range(-3, 2))
def test_label_bias_resumes_at_any_epoch(epoch, tmp_path):
    check_resumed(lambda: LabelBias(procedure="refit", iterations=2), epoch, tmp_path)


# What it refuses


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eta": -1.0}, "eta must be at least 0, not -1"),
        ({"procedure": "refit", "iterations": 0}, "iterations must be at least 1, not 0"),
        ({"iterations": 100}, "iterations has no effect with procedure=epoch"),
        ({"positive": -1}, "positive must be at least 0, not -1"),
        ({"rate": 1.1}, r"rate must be in \[0, 1\], not 1.1"),
        (
            {"positive": 2, "constraint": "equal_opportunity"},
            "positive has no effect with constraint=equal_opportunity",
        ),
        ({"rate": 0.5, "constraint": "equal_opportunity"}, "rate has no effect with constraint=equal_opportunity"),
    ],
)
def test_values_that_make_no_constraint_are_refused(options, message):
    with pytest.raises(OptionError, match=f"^label_bias: {message}$"):
        LabelBias(**options)


def test_a_class_that_is_not_there_is_refused():
    with pytest.raises(OptionError, match="positive must be a class from 0 to 2, not 3"):
        LabelBias(positive=3).begin(task_of([0, 1, 2], [0, 1, 2]))


def test_a_sensitive_attribute_needs_two_classes():
    with pytest.raises(NotApplicableError, match="needs two classes, not 3"):
        LabelBias().begin(task_of([0, 1, 2], [0, 1, 1]))
    with pytest.raises(OptionError, match="rate has no effect where the groups are not the classes"):
        LabelBias(rate=0.5).begin(task_of([0, 1, 1], [0, 1, 0]))


# What the paper claims


def biased_task(seed: int) -> tuple[Task, Split]:
    """Of group 1, 40 % of the positive training samples are labelled negative. The test data have the true labels."""
    plain, _ = claims.task(seed, "spurious")

    def sample(n: int, flipped: float, g: Generator) -> Split:
        y, group = (torch.rand(n, generator=g).lt(0.5).long() for _ in range(2))
        x = torch.stack([2.0 * y - 1 + torch.randn(n, generator=g), 2.0 * group - 1], 1)
        lost = (torch.rand(n, generator=g) < flipped) & (group == 1)
        return Split(x, y.where(~lost, 0), group)

    parts = [sample(n, f, plain.streams.generators(p)[0]) for p, n, f in (("train", 600, 0.4), ("test", 4000, 0.0))]
    return dataclasses.replace(plain, train=parts[0], groups=("a", "b")), parts[1]


def opportunity_gap(model: nn.Module, test: Split) -> float:
    positive = predict(model, test, 500).argmax(-1) == 1
    rates: list[Tensor] = [positive[(test.y == 1) & (test.group == g)].float().mean() for g in (0, 1)]
    return (rates[0] - rates[1]).abs().item()


@pytest.mark.parametrize(
    "options", [{}, {"procedure": "refit", "iterations": 4}, {"constraint": "demographic_parity"}], ids=str
)
def test_label_bias_corrects_biased_labels(options):
    """Towards equal true positive rates, and a higher accuracy, by the true labels."""
    found = []
    for seed in claims.SEEDS:
        task, test = biased_task(seed)
        models = train(LabelBias(**options), task), train(ERM(), task)
        gaps, accuracies = ([metric(m, test) for m in models] for metric in (opportunity_gap, claims.accuracy))
        found.append((gaps[1] - gaps[0], accuracies[0] - accuracies[1]))
    for gains in torch.tensor(found).T:
        assert gains.mean() > 0 and (gains > 0).sum() >= 4
