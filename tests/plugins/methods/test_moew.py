"""MOEW: its candidates, the process that proposes them against the closed form, and which one is chosen."""

import math
import warnings

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from bench import OptionError, UnknownNameError
from bench.testing import check_method, toy_task, train
from bench.training.history import NoEvaluations
from bench.training.meter import Meter
from bench_plugins.methods.moew import MOEW, propose
from tests import claims
from tests.trainings import check_resumed, same, trainings, with_dropout

SMALL = {"rounds": 2, "per_round": 3}


def begun(seed: int = 0, **options: object) -> MOEW:
    method = MOEW(**options)  # type: ignore[arg-type]
    method.begin(toy_task([seed]))
    return method


# Candidates


@pytest.mark.parametrize("d", [1, 2, 4])
def test_candidates_are_uniform_in_the_ball(d):
    """The share within half of the radius, to four standard errors, and the mean direction."""
    points = begun(embedding=d, radius=3.0).ball(0)
    length = points.norm(dim=-1)
    assert length.max() <= 3
    inside, n = (length < 1.5).double().mean().item(), len(points)
    assert inside == pytest.approx(0.5**d, abs=4 * (0.5**d * (1 - 0.5**d) / n) ** 0.5)
    assert points.mean(0).abs().max() < 4 * 3 / n**0.5


def test_candidates_repeat_and_differ_by_seed_and_round():
    first = begun().ball(0)
    assert torch.equal(begun().alphas, first[:5])
    assert torch.equal(first, begun().ball(0))
    assert not torch.equal(first, begun(1).ball(0))
    assert not torch.equal(first, begun().ball(5))


# The process that proposes candidates

Array = NDArray[np.float64]


def closed_form(x: Array, y: Array, pool: Array, constant: float, length: float) -> tuple[Array, Array]:
    """Mean and variance of a Gaussian process with noise 1e-4 (Rasmussen and Williams 2006, equations 2.25, 2.26)."""

    def k(a: Array, b: Array) -> Array:
        return constant * np.exp(-((a[:, None] - b[None]) ** 2).sum(-1) / (2 * length**2))

    inverse = np.linalg.inv(k(x, x) + 1e-4 * np.eye(len(x)))
    return k(pool, x) @ inverse @ y, constant - np.einsum("mi,ij,jm->m", k(pool, x), inverse, k(x, pool))


def test_proposals_are_at_the_upper_bound_of_the_closed_form():
    g = np.random.default_rng(0)
    x, pool = g.uniform(-2, 2, (12, 2)), g.uniform(-2, 2, (5000, 2))
    y = 0.9 + 0.01 * np.sin(x[:, 0]) + 0.003 * x[:, 1]
    found = propose(*map(torch.tensor, (x, y, pool)), 4, 2.0)
    y = (y - y.mean()) / y.std()
    fitted = GaussianProcessRegressor(ConstantKernel() * RBF(2.0), alpha=1e-4).fit(x, y)
    constant, length = np.exp(fitted.kernel_.theta)
    mean, std = fitted.predict(pool, return_std=True)
    expected_mean, variance = closed_form(x, y, pool, constant, length)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-6)
    np.testing.assert_allclose(std, np.sqrt(variance), atol=1e-6)
    for chosen in found:
        mean, variance = closed_form(x, y, pool, constant, length)
        assert chosen == (mean + np.sqrt(variance)).argmax()
        x, y = np.vstack([x, pool[chosen]]), np.append(y, (mean - np.sqrt(variance))[chosen])
    assert len(set(found)) == 4


def test_proposals_after_equal_values_spread_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pool = begun().ball(0)
        found = propose(pool[:5], torch.full((5,), 0.9), pool, 5, 10.0)
    assert len(set(found)) == 5


def test_proposals_approach_the_best_place():
    """A metric that falls with the distance from one point of the ball."""
    method = begun(embedding=2, radius=3.0)
    best, pool = torch.tensor([1.5, -1.0]).double(), method.ball(0)
    x = pool[:5]
    for _ in range(5):
        y = 1 - (x - best).square().sum(-1) / 10
        x = torch.cat([x, pool[propose(x, y, pool, 5, 3.0)]])
    assert (x - best).norm(dim=-1).min() < 0.15 < (x[:5] - best).norm(dim=-1).min()


# Weights


def test_weights_are_sigmoids_with_mean_one():
    method = begun(embedding=0)
    batch = method.task.train.batch(torch.arange(10))
    raw = [1 / (1 + math.exp(-method.alphas[0, c].item())) for c in batch.y.tolist()]
    found = method.weights(batch, torch.zeros(10))
    assert found.tolist() == pytest.approx([10 * w / sum(raw) for w in raw], rel=1e-6)
    assert found.mean().item() == pytest.approx(1)


def test_the_embedding_is_the_encoders_of_each_training_sample_and_its_label():
    method = MOEW(**SMALL)
    train(method, toy_task())
    first, _, second, _ = method.autoencoder[:4]
    data = method.task.train
    for i in (0, 7, 69):
        seen = torch.cat([data.x[i], torch.eye(2)[data.y[i]]])
        z = torch.tanh(second.weight @ torch.tanh(first.weight @ seen + first.bias) + second.bias)
        torch.testing.assert_close(method.z[i], z, rtol=1e-5, atol=1e-6)
    weights = method.weights(data.batch(torch.arange(70)), torch.zeros(70))
    raw = (method.z.double() @ method.alphas[method.candidate]).sigmoid()
    torch.testing.assert_close(weights.double(), raw / raw.mean(), rtol=1e-4, atol=1e-6)


def test_the_autoencoder_is_trained_first_and_the_model_waits():
    method, task = MOEW(**SMALL), toy_task(epochs=100)
    method.begin(task)
    batch = next(task.batches(0))
    seen = torch.cat([batch.x, torch.eye(2)[batch.y]], 1)
    x, y = method.autoencoder(seen).split([3, 2], 1)
    expected = (x - batch.x).square().sum(1) / 3 + y.exp().sum(1).log() - y[torch.arange(16), batch.y]
    first = -method.preparation_epochs
    losses = [method.update(batch)[0] for epoch in range(first, first + 100) for batch in method.batches(epoch)]
    torch.testing.assert_close(losses[0], expected)
    losses = [loss.mean() for loss in losses]
    assert torch.stack(losses[-5:]).mean() < 0.6 * torch.stack(losses[:5]).mean()
    assert same(method.model.state_dict(), task.new_model().state_dict())
    method.update(next(method.batches(0)))
    assert not same(method.model.state_dict(), task.new_model().state_dict())


# Which candidate is chosen

VALUES = [0.6, 0.9, 0.5, 0.7]


@pytest.mark.parametrize(
    ("metric", "selection", "best"),
    [("accuracy", "corrected", 1), ("accuracy", "faithful", 2), ("tprd", "corrected", 2), ("tprd", "faithful", 2)],
)
def test_the_switch_chooses_by_each_rule(metric, selection, best, monkeypatch):
    given = iter([-v if metric == "tprd" else v for v in VALUES])
    monkeypatch.setattr("bench_plugins.methods.moew.validation_gain", lambda method, name: next(given))
    method = MOEW(rounds=1, per_round=4, metric=metric, selection=selection)
    train(method, toy_task())
    assert method.candidate == best
    assert torch.equal(method.alpha, method.alphas[best].float())


@pytest.mark.parametrize("embedding", [0, 3])
def test_the_last_training_repeats_the_best(embedding):
    method = MOEW(**SMALL, embedding=embedding, metric="balanced_accuracy")
    found = trainings(method, with_dropout(toy_task()))
    candidates = found[bool(embedding) : -1]
    assert len(candidates) == len(method.gains) == 6
    assert same(found[-1], candidates[int(method.gains.argmax())])
    assert not same(candidates[0], candidates[1])


@pytest.mark.parametrize(("embedding", "trainings"), [(4, 1 + 6 + 1), (0, 6 + 1)])
def test_the_autoencoder_and_all_candidates_are_paid_for(embedding, trainings):
    meter = Meter(NoEvaluations())
    MOEW(**SMALL, embedding=embedding).fit(toy_task(), meter)
    assert (meter.steps, len(meter.history)) == (trainings * 15, 3)


@pytest.mark.parametrize("options", [{}, {"embedding": 0, "metric": "tprd"}, {"selection": "faithful"}], ids=str)
def test_moew_keeps_the_contract(options):
    check_method(MOEW, SMALL | options)


@pytest.mark.parametrize("epoch", range(-9, 2))
def test_moew_resumes_at_any_epoch(epoch, tmp_path):
    check_resumed(lambda: MOEW(rounds=2, per_round=2), epoch, tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rounds": 0}, "moew: rounds must be at least 1, not 0"),
        ({"per_round": 0}, "moew: per_round must be at least 1, not 0"),
        ({"embedding": -1}, "moew: embedding must be at least 0, not -1"),
        ({"radius": 0.0}, "moew: radius must be above 0, not 0"),
    ],
)
def test_moew_refuses_values_that_make_no_search(options, message):
    with pytest.raises(OptionError, match=message):
        MOEW(**options)


def test_moew_refuses_an_unknown_metric():
    with pytest.raises(UnknownNameError, match="did you mean 'accuracy'"):
        begun(metric="acuracy")


# What the paper claims


def test_moew_improves_its_metric_where_classes_are_imbalanced():
    gains = claims.gains(
        lambda: MOEW(rounds=3, per_round=4, metric="worst_group_accuracy"), "imbalance", claims.worst_group_accuracy
    )
    assert gains.mean() > 0 and (gains > 0).sum() >= 4
