"""The contract of metrics over everything that is installed, that each point of it can be broken, and a metric of a
third party in records and tables."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from bench.data.files import Files
from bench.errors import PluginError, UnknownNameError
from bench.metrics import METRICS, Metric, evaluate
from bench.predictions import Predictions
from bench.registry import Offer, Plugin, Registry, installed
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.testing import check_metric, toy_dataset
from bench_plugins.protocols.fairness import GroupFairness
from tests.tables.pages import render

NAMES = sorted(installed().offers["metrics"])


@pytest.mark.parametrize("name", NAMES)
def test_metric(name):
    check_metric(installed().find("metrics", name).value)


def test_the_metrics_of_the_core_are_offered_as_a_plugins_are():
    assert {name: installed().find("metrics", name).value for name in METRICS} == METRICS


def likelihood(p: Predictions, counts: Tensor) -> Tensor:
    """Mean negative logarithm of the probability of the sample's class."""
    chosen = p.logits.double().log_softmax(-1).gather(-1, p.y.unsqueeze(-1))
    return -chosen.squeeze(-1).mean(-1)


def silent(p: Predictions, counts: Tensor) -> Tensor:
    return likelihood(p, counts)


def first(p: Predictions, counts: Tensor) -> Tensor:
    """Whether the first sample is right."""
    return (p.logits[..., 0, :].argmax(-1) == p.y[..., 0]).double()


def together(p: Predictions, counts: Tensor) -> Tensor:
    """The mean over all runs for each."""
    return likelihood(p, counts).mean().expand(p.y.shape[:-1])


def whole(p: Predictions, counts: Tensor) -> Tensor:
    """One number for all runs."""
    return likelihood(p, counts).sum()


def number(p: Predictions, counts: Tensor) -> float:
    """A Python number."""
    return 0.5


def shifting(p: Predictions, counts: Tensor) -> Tensor:
    """Changes the logits."""
    p.logits.add_(1)
    return likelihood(p, counts)


def emptying(p: Predictions, counts: Tensor) -> Tensor:
    """Empties the confusion tensor."""
    counts.zero_()
    return likelihood(p, counts)


def test_a_metric_that_changes_its_arguments_changes_no_other_number():
    logits, y = torch.randn(7, 2), torch.tensor([0, 1, 1, 0, 1, 0, 1])
    p = Predictions(logits, y, y, 2)
    alone = evaluate(p)
    spoiling = {"first": Metric(emptying, None), "second": Metric(shifting, None)}
    beside = evaluate(p, metrics=spoiling | METRICS)
    assert all(torch.equal(alone[name].nan_to_num(-1), beside[name].nan_to_num(-1)) for name in METRICS)
    assert torch.equal(p.logits, logits)


def test_a_metric_without_fault_passes():
    check_metric(Metric(likelihood, higher_is_better=False, unit="nats"))


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (likelihood, "it is a function, not a bench.Metric"),
        (Metric(silent, False, "nats"), "needs a docstring"),
        (Metric(first, True), "depends on the order of the samples"),
        (Metric(together, False, "nats"), "stacked runs have other values"),
        (Metric(likelihood, False), r"its unit is %, and its values are not in \[0, 1\]"),
        (Metric(likelihood, True, "nats"), "predictions that are all right are worse"),
        (Metric(likelihood, False, "nats", needs_labels=False), "declares needs_labels = False, and looks at labels"),
        (Metric(shifting, False, "nats"), "it changes the predictions"),
        (Metric(emptying, False, "nats"), "it changes the confusion tensor"),
        (Metric(likelihood, "yes", "nats"), "higher_is_better must be True, False or None"),
    ],
)
def test_a_metric_that_breaks_its_contract_is_found(metric, message):
    with pytest.raises(AssertionError, match=message):
        check_metric(metric)


@dataclass(frozen=True)
class Likely(GroupFairness):
    """Ranked by a metric of a third party."""

    name = "likely"
    metrics = ("nll", "accuracy")


def test_a_metric_of_a_third_party_is_recorded_and_shown_in_its_unit(tmp_path):
    here = Plugin("mine", "my-dist", "0.1")
    registry = Registry(offers={kind: dict(offers) for kind, offers in installed().offers.items()})
    registry.offers["metrics"]["nll"] = Offer(Metric(likelihood, False, "nats"), here)
    registry.offers["protocols"]["likely"] = Offer(Likely, here)
    registry.offers["datasets"]["toy"] = Offer(lambda files: toy_dataset(), here)
    request = Request(
        "toy", "erm", model="logistic", protocol="likely", options={"recipe.select": "nll", "recipe.epochs": 2}
    )
    experiment = resolve(request, Files(tmp_path), registry)
    store = ResultStore(tmp_path)
    results = [run(experiment, [seed], store, torch.device("cpu"))[0] for seed in (0, 1)]
    about = results[0].about
    assert about.units == {"nll": "nats"}
    assert about.described == {"nll": "Mean negative logarithm of the probability of the sample's class."}
    (page,) = render(store.load()[0]).values()
    values = [result.selected["best_val_nll"].metrics["test"]["nll"] for result in results]
    mean, error = sum(values) / 2, abs(values[0] - values[1]) / 2
    assert "| # | Method | nll (nats) ↓ | accuracy ↑ |" in page
    best = page[page.index("<summary>Off the recipe: best validation nll") :]
    assert "| 1 | erm" in best and f" | {mean:.2f} ± {error:.2f} | " in best
    assert "- nll: Mean negative logarithm of the probability of the sample's class." in page


def test_a_recipe_or_protocol_cannot_name_an_unknown_metric(tmp_path):
    registry = Registry(offers={kind: dict(offers) for kind, offers in installed().offers.items()})
    registry.offers["protocols"]["likely"] = Offer(Likely, Plugin("mine", "my-dist", "0.1"))
    registry.offers["datasets"]["toy"] = Offer(lambda files: toy_dataset(), Plugin("mine", "my-dist", "0.1"))
    with pytest.raises(UnknownNameError, match="unknown metric 'nll': known: accuracy"):
        resolve(Request("toy", "erm", model="logistic", protocol="likely"), Files(tmp_path), registry)


@pytest.mark.parametrize("metrics", [(), "accuracy", ["accuracy"]])
def test_the_metrics_of_a_protocol_are_a_tuple_of_names(tmp_path, metrics):
    wrong = dataclass(frozen=True)(type("Wrong", (Likely,), {"metrics": metrics, "__doc__": "Wrong."}))
    registry = Registry(offers={kind: dict(offers) for kind, offers in installed().offers.items()})
    registry.offers["protocols"]["likely"] = Offer(wrong, Plugin("mine", "my-dist", "0.1"))
    registry.offers["datasets"]["toy"] = Offer(lambda files: toy_dataset(), Plugin("mine", "my-dist", "0.1"))
    with pytest.raises(PluginError, match="protocol likely: `metrics` must be a tuple of names"):
        resolve(Request("toy", "erm", model="logistic", protocol="likely"), Files(tmp_path), registry)


@pytest.mark.parametrize(("function", "got"), [(whole, r"\[\]"), (number, "float")])
def test_values_that_are_not_one_a_run_are_an_error_that_names_the_metric(function, got):
    logits, y = torch.randn(3, 5, 2), torch.zeros(3, 5, dtype=torch.int64)
    with pytest.raises(
        Exception, match=rf"metric odd must give a tensor of shape \[3\], one value for each run, not {got}"
    ):
        evaluate(Predictions(logits, y, y, 2), metrics={"odd": Metric(function, None)})
