"""What the wraps of libraries have to do; run in an environment that has the libraries (`test_wraps`)."""

import copy
from dataclasses import replace

import pytest
import torch
from bench_wraps import bench_methods
from sklearn.ensemble import HistGradientBoostingClassifier

from bench import Meter, Method, Recipe
from bench.runs.build import splits_of
from bench.store.results import ResultStore
from bench.testing import check_method, find_out, toy_task
from bench.training.history import NoEvaluations
from bench.training.stages import run_training
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import one, toy_experiment

METHODS = bench_methods()
RECIPE = {"protocol": "group_fairness", "optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "epochs": 3, "batch_size": 16}


def trained(method, task=None):
    meter = Meter(NoEvaluations())
    run_training(method, task or toy_task(), meter)
    return meter


def recorded(name, tmp_path, **recipe):
    store = ResultStore(tmp_path / "results")
    store.folder.mkdir()
    own = Recipe(**RECIPE | {"val_size": 40, "test_size": 60} | recipe)
    made = toy_experiment(own, GroupFairness(), METHODS[name], "shared", {}, {}, ("a", "b"))
    return made, one(made, store)


@pytest.mark.parametrize("name", METHODS)
def test_a_wrap_keeps_the_contract(name):
    check_method(METHODS[name])


@pytest.mark.parametrize("name", ["sharpness", "mixup", "self_paced", "co_teaching", "accelerate"])
def test_what_cannot_be_stacked_is_found_out(name):
    assert METHODS[name].stackable is False
    assert find_out(METHODS[name])["stackable"].startswith("stacked runs ")


def test_the_optimisers_of_libraries_are_told(tmp_path):
    _, result = recorded("sharpness", tmp_path)
    assert result.about.used["optimizer"].startswith("SAM (lr 0.1, momentum 0.9")
    used = trained(METHODS["lion"]()).about
    assert used["optimizer"].startswith("Lion (") and used["schedule"] == "the method's own"


def test_sharpness_without_a_radius_is_plain_descent():
    plain, method = Method(), METHODS["sharpness"](rho=0.0)
    trained(plain)
    trained(method)
    torch.testing.assert_close(method.model.state_dict(), plain.model.state_dict())


def test_the_rate_of_lion_falls_as_a_cosine():
    method = METHODS["lion"](lr=0.02)
    trained(method, toy_task(epochs=2))  # of five steps each
    assert method.optimizer.param_groups[0]["lr"] == pytest.approx(0.0)
    method.begin(toy_task(epochs=2))
    for batch in method.batches(0):
        method.update(method.as_step(batch))
    assert method.optimizer.param_groups[0]["lr"] == pytest.approx(0.01)


def test_the_average_is_evaluated():
    method, plain = METHODS["averaged"](decay=0.9), Method()
    trained(method)
    plain.begin(toy_task())
    means, count = [p.detach().clone() for p in plain.model.parameters()], 0
    for epoch in range(3):
        for batch in plain.batches(epoch):
            plain.update(batch)
            count += 1
            decay = min(0.9, (1 + count) / (10 + count))
            means = [decay * m + (1 - decay) * p.detach() for m, p in zip(means, plain.model.parameters(), strict=True)]
    for mean, found in zip(means, method.evaluated().parameters(), strict=True):
        torch.testing.assert_close(found.detach(), mean)
    assert method.evaluated() is not method.model


def test_a_second_optimiser_follows_the_milestones():
    method = METHODS["proxies"]()
    trained(method, toy_task(lr=0.1, gamma=0.1, milestones=(0.5,), epochs=4))
    assert method.optimizer_of_anchors.param_groups[0]["lr"] == pytest.approx(0.01)
    method.begin(toy_task())
    begun = copy.deepcopy(method.anchors.proxies)
    method.update(method.as_step(next(method.batches(0))))
    assert not torch.equal(method.anchors.proxies, begun)


def test_a_pretraining_is_paid_for_and_not_evaluated():
    meter = trained(METHODS["contrastive"](epochs=2), toy_task(epochs=3))
    assert [row["epoch"] for row in meter.history] == [1, 2, 3]
    assert meter.steps == 5 * (2 + 3)


def test_what_is_made_is_timed_and_told(tmp_path):
    made, result = recorded("smote", tmp_path)
    train = splits_of(made, 0).train
    sizes = torch.bincount(train.y * 2 + train.group, minlength=4)
    whole = 4 * int(sizes.max())
    assert result.about.used == {"training samples": f"{whole:,}, of which {whole - len(train):,} were made"}
    assert result.costs.outside_seconds["setup"] > 0


def test_what_seems_mislabelled_is_left_out():
    task = toy_task()
    y = torch.where(torch.arange(70) < 5, 1 - task.train.y, task.train.y)
    method = METHODS["cleaned"]()
    meter = trained(method, replace(task, train=replace(task.train, y=y)))
    assert 35 < len(method.task.train) < 70
    assert meter.about == {"training samples": f"{len(method.task.train)}"}


def test_boosting_is_recorded_as_it_is(tmp_path):
    made, result = recorded("boosting", tmp_path)
    assert result.status == "ok"
    assert (result.history["epoch"], result.costs.steps, result.costs.parameters) == ([1, 2, 3], 0, 0)
    splits = splits_of(made, 0)
    estimator = HistGradientBoostingClassifier(max_iter=15, early_stopping=False, random_state=0)
    estimator.fit(splits.train.x.numpy(), splits.train.y.numpy())
    right = estimator.score(splits.tests["test"].x.numpy(), splits.tests["test"].y.numpy())
    assert result.selected["last"].metrics["test"]["accuracy"] == pytest.approx(right)


@pytest.mark.parametrize(("name", "options"), [("skorch", {}), ("accelerate", {"norm": 1e9})])
def test_the_loop_of_a_library_trains_as_the_loop_of_bench_does(name, options):
    plain, method = Method(), METHODS[name](**options)
    meters = trained(plain), trained(method)
    torch.testing.assert_close(method.model.state_dict(), plain.model.state_dict())
    assert meters[0].steps == meters[1].steps == 15
