"""Tuned ERM: each of its trainings is one of ERM, and the best of them is repeated."""

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import nn

from bench import OptionError, Recipe
from bench.metrics import METRICS
from bench.testing import check_method, toy_task, train
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench.training.trials import validation_gain
from bench_plugins.methods.erm import ERM
from bench_plugins.methods.tuned_erm import TunedERM
from tests import claims
from tests.trainings import check_resumed, same, trainings, with_dropout


@pytest.mark.parametrize(
    "recipe",
    [
        {"milestones": (0.3, 0.6)},
        {"optimizer": "adam", "lr": 0.01, "weight_decay": 0.1},
        {"schedule": "cyclical", "max_lr": 0.4, "cycle": 2.0, "average_from": 0.6, "average_lr": 0.05},
    ],
)
def test_every_training_is_one_of_erm_with_its_values(recipe):
    task = with_dropout(toy_task(**recipe))
    method = TunedERM(trials=4)
    found = trainings(method, task)
    assert len(found) == 5
    assert method.candidates[0] == task.recipe
    for state, candidate in zip(found[:4], method.candidates, strict=True):
        assert same(state, train(ERM(), dataclasses.replace(task, recipe=candidate)).state_dict())
    assert not any(same(state, found[0]) for state in found[1:4])


def test_the_last_training_repeats_the_best():
    method = TunedERM(trials=6)
    found = trainings(method, with_dropout(toy_task(epochs=2, select="ece")))
    best = int(method.gains.argmax())
    assert best != 0 and len(method.gains.unique()) == 6
    assert same(found[-1], found[best])
    assert validation_gain(method, "ece") == method.gains.max()
    for name, value in method.diagnostics().items():
        assert value.item() == getattr(method.candidates[best], name)


@pytest.mark.parametrize(("gains", "best"), [([0.5, 0.9, 0.7], 1), ([0.5, 0.7, 0.7], 1), ([0.5, 0.5, 0.5], 0)])
def test_the_best_is_the_first_of_equals(gains, best, monkeypatch):
    given = iter(gains)
    monkeypatch.setattr("bench_plugins.methods.tuned_erm.validation_gain", lambda method, metric: next(given))
    method = TunedERM(trials=3)
    found = trainings(method, toy_task())
    assert method.task.recipe == method.candidates[best]
    assert same(found[-1], found[best])


@pytest.mark.parametrize("by_class", [False, True])
def test_a_validation_gain_is_the_metric_that_the_runner_records(by_class):
    task = toy_task(epochs=12)
    if by_class:
        task = dataclasses.replace(task, val=dataclasses.replace(task.val, group=task.val.y), groups=task.classes)
    method = ERM()
    model = train(method, task).eval()
    predicted, positive = model(task.val.x).argmax(-1), task.val.y == 1
    tpr = [(predicted == task.val.y)[positive if not by_class else slice(None)][
        (task.val.group == g)[positive if not by_class else slice(None)]].float().mean() for g in (0, 1)]  # fmt: skip
    accuracy = (predicted == task.val.y).double().mean().item()
    assert validation_gain(method, "accuracy") == pytest.approx(accuracy, abs=1e-12)
    assert validation_gain(method, "tprd") == pytest.approx(-abs(tpr[0] - tpr[1]).item(), abs=1e-6)


def test_a_value_that_is_undefined_is_the_worst():
    task = toy_task()
    method = ERM()
    train(method, task)
    nn.init.constant_(next(method.model.parameters()), torch.nan)
    for name, metric in METRICS.items():
        assert validation_gain(method, name) == (0 if metric.higher_is_better else -1)
    none = dataclasses.replace(task.val, y=torch.zeros_like(task.val.y))
    train(other := ERM(), dataclasses.replace(task, val=none))
    assert validation_gain(other, "tprd") == -1


def candidates(seed: int = 0, **options: Any) -> list[Recipe]:
    method = TunedERM(**options)
    method.begin(toy_task([seed], lr=0.2, max_lr=0.4, average_lr=0.1))
    return method.candidates


def test_candidates_repeat_differ_by_seed_and_keep_to_their_ranges():
    """Four standard errors of the mean of 999 uniform draws."""
    found = candidates(trials=1000)
    assert found == candidates(trials=1000)
    assert found[1:] != candidates(1, trials=1000)[1:]
    error = 4 / (12 * 999) ** 0.5
    for name, least, most in (("lr", 0.02, 2.0), ("weight_decay", 1e-6, 1e-2)):
        values = torch.tensor([math.log10(getattr(recipe, name)) for recipe in found[1:]])
        low, high = math.log10(least), math.log10(most)
        assert low - 1e-6 < values.min() < low + 0.1 and high - 0.1 < values.max() < high + 1e-6
        assert values.mean().item() == pytest.approx((low + high) / 2, abs=(high - low) * error)


def test_all_learning_rates_of_a_candidate_keep_their_proportions():
    found = candidates(trials=5)
    assert len({recipe.lr for recipe in found}) == 5
    for recipe in found:
        assert (recipe.max_lr / recipe.lr, recipe.average_lr / recipe.lr) == pytest.approx((2, 0.5))


def test_candidates_of_listed_weight_decays():
    found = candidates(trials=50, lr_factor=1.0, weight_decays=(0.0, 5e-4))
    assert {r.lr for r in found} == {0.2}
    assert {r.weight_decay for r in found} == {0.0, 5e-4}


def test_all_trials_are_paid_for():
    meter = Meter(NoEvaluations())
    TunedERM(trials=3).fit(toy_task(), meter)
    assert (meter.steps, len(meter.history)) == (4 * 15, 3)


@pytest.mark.parametrize("options", [{"trials": 3}, {"trials": 2}, {"trials": 3, "weight_decays": (0.0, 0.1)}])
def test_tuned_erm_keeps_the_contract(options):
    check_method(TunedERM, options)


@pytest.mark.parametrize("epoch", range(-5, 2))
def test_tuned_erm_resumes_at_any_epoch(epoch, tmp_path):
    whole = check_resumed(lambda: TunedERM(trials=3), epoch, tmp_path)
    assert whole.gains.argmax() != 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": 1}, "trials must be at least 2, not 1"),
        ({"lr_factor": 0.5}, "lr_factor must be at least 1, not 0.5"),
        ({"weight_decays": (0.1, -1.0)}, "weight_decays must be at least 0, not -1"),
    ],
)
def test_tuned_erm_refuses_values_that_make_no_search(options, message):
    with pytest.raises(OptionError, match=f"^tuned_erm: {message}$"):
        TunedERM(**options)


@pytest.mark.parametrize("kind", ["imbalance", "noise"])
def test_tuned_erm_is_never_worse_than_erm_on_the_validation_data(kind):
    gains = []
    for seed in claims.SEEDS:
        task, _ = claims.task(seed, kind)
        methods = TunedERM(trials=8), ERM()
        for method in methods:
            train(method, task)
        gains.append(validation_gain(methods[0], "accuracy") - validation_gain(methods[1], "accuracy"))
    assert min(gains) >= 0
    assert max(gains) > 0
