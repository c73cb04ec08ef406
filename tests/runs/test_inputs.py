"""What comes in and goes out of a run: data and models that break a rule are refused before anything is trained, and
logits that are not finite are a failure with the name of the set.
"""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from bench.data.split import Split
from bench.errors import DataError, ModelError
from bench.metrics import METRICS, Metric
from bench.protocol import hold_out
from bench.recipe import Recipe
from bench.runs.build import begin
from bench.runs.runner import run
from bench.training.method import Method
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import CPU, Plain, one, tiny_mlp, toy_experiment

RECIPE = Recipe(protocol="group_fairness", lr=0.05, epochs=3, batch_size=16, val_size=40, test_size=60)
HUGE = 3e38


@dataclass(frozen=True)
class Drawn(GroupFairness):
    """Draws the usual splits, and then changes one of them."""

    name = "drawn"
    part = "test"

    def change(self, split: Split) -> Split:
        return split

    def splits(self, dataset, recipe, streams):
        splits = hold_out(dataset, recipe, streams)
        if self.part == "test":
            return replace(splits, tests={"test": self.change(splits.tests["test"])})
        return replace(splits, **{self.part: self.change(getattr(splits, self.part))})


def drawn(part, change):
    return type("Changed", (Drawn,), {"part": part, "change": lambda self, split: change(split)})()


class Untrained(Plain):
    def setup(self):
        raise AssertionError("a training has begun")


def experiment(protocol=None, method=Plain, **recipe):
    return toy_experiment(RECIPE, protocol or GroupFairness(), method, "shared", recipe, {}, ("a", "b"))


def marked(split: Split, row: int = 0) -> Split:
    """One sample is so large that a product overflows."""
    x = split.x.clone()
    x[row] = HUGE
    return replace(split, x=x)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("test", lambda s: replace(s, y=s.y + 1), r"toy: test has a class outside 0\.\.1"),
        ("train", lambda s: replace(s, y=-s.y), r"toy: train has a class outside 0\.\.1"),
        ("val", lambda s: replace(s, group=s.group + 5), r"toy: val has a group outside 0\.\.1 in 40 of 40"),
        ("val", lambda s: replace(s, x=s.x / 0), "toy: val has inputs that are not finite"),
        ("test", lambda s: replace(s, x=s.x[:, :2]), "toy: test has inputs of another shape"),
        ("test", lambda s: s.select(torch.arange(0)), "toy: test is empty"),
        ("train", lambda s: replace(s, x=s.x.to(torch.uint8)), "toy: train has vectors of uint8"),
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_what_a_protocol_makes_of_the_data_is_checked_before_the_training(store, part, change, message, stacked):
    odd = experiment(drawn(part, change), Untrained)
    for refused in (
        lambda: run(odd, [0, 1] if stacked else [0], store, CPU, stacked=stacked),
        lambda: begin(odd, [0, 1], CPU, stacked),
    ):
        with pytest.raises(DataError, match=message):
            refused()
    assert list(store.folder.parent.rglob("*.*")) == []


def test_what_a_preprocessing_makes_is_checked_and_what_it_mends_is_not(store):
    given = experiment()
    holes = given.dataset.train.x.clone()
    holes[::7] = torch.nan
    holey = replace(given.dataset, train=replace(given.dataset.train, x=holes))
    filled = replace(holey, fit=lambda train: lambda x: x.nan_to_num(0.5))
    spoilt = replace(given.dataset, fit=lambda train: lambda x: x / 0)
    assert one(replace(given, dataset=filled), store).ok
    for dataset in (holey, spoilt):
        with pytest.raises(DataError, match="not finite"):
            one(replace(given, dataset=dataset, method=Untrained), store)


def test_labels_that_a_protocol_chooses_by_trainings_are_checked(store):
    class Choosing(GroupFairness):
        def prepare(self, splits, method, stages):
            prepared = super().prepare(splits, method, stages)
            return replace(prepared, splits=replace(splits, train=replace(splits.train, y=splits.train.y * 2)))

    with pytest.raises(DataError, match=r"toy: train has a class outside 0\.\.1"):
        one(experiment(Choosing(), Untrained), store)


class Second(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[..., :1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda shape, classes, hidden: nn.Sequential(tiny_mlp(shape, classes), Second()), r"model tiny .*\[4, 1\]"),
        (lambda shape, classes, hidden: nn.Linear(9, classes), r"model tiny fails in training on inputs \[4, 3\]"),
        (
            lambda shape, classes, hidden: nn.functional.relu,
            "model tiny: its factory must return a torch.nn.Module, no",
        ),
        (lambda shape, classes, hidden: nn.Linear, "must return a torch.nn.Module, not Linear"),
        (lambda shape, classes, hidden: nn.Linear(*shape, -1), r"model tiny cannot be built for inputs \[3\] and 2"),
    ],
)
def test_a_model_that_breaks_a_rule_is_refused_before_the_training(store, model, message):
    odd = replace(experiment(method=Untrained), model=model)
    for refused in (lambda: one(odd, store), lambda: begin(odd, [0], CPU, stacked=False)):
        with pytest.raises(ModelError, match=message):
            refused()
    assert list(store.folder.parent.rglob("*.*")) == []


def test_the_check_of_a_model_changes_no_number(store, monkeypatch):
    """Dropout and BatchNorm draw and count in the model that is checked, not in the one that is trained."""

    def model(shape, classes, hidden):
        return nn.Sequential(nn.Linear(shape[0], 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, classes))

    checked = one(replace(experiment(), model=model), store)
    monkeypatch.setattr("bench.runs.train.check_model_on", lambda *_: None)
    assert one(replace(experiment(), model=model), store).reproducible() == checked.reproducible()


class Overflowing(nn.Module):
    """A linear model whose logits are squares of its inputs, so that large inputs give infinite ones."""

    stackable = True

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(3, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x * x)


def overflowing(shape, classes, hidden):
    return Overflowing(classes)


@pytest.mark.parametrize("part", ["val", "test"])
def test_logits_that_are_not_finite_are_a_failure_that_names_the_set(store, part):
    large = replace(experiment(drawn(part, marked), evaluate_every=2), model=overflowing)
    result = one(large, store)
    size = {"val": 40, "test": 60}[part]
    assert result.status == "diverged"
    assert result.error == f"logits that are not finite for 1 of {size} samples of {part} after epoch 2"
    assert (dict(result.selected), store.get(result.spec)) == ({}, None)


def test_logits_of_a_probe_count_too(store):
    class Probed(Drawn):
        def splits(self, dataset, recipe, streams):
            splits = hold_out(dataset, recipe, streams)
            return replace(splits, probes={"noise": marked(splits.val)})

    result = one(replace(experiment(Probed()), model=overflowing), store)
    assert (result.status, "of noise after epoch 1" in result.error) == ("diverged", True)


def test_of_stacked_runs_those_fail_whose_logits_are_not_finite(store):
    class OfSeedOne(Drawn):
        def splits(self, dataset, recipe, streams):
            splits = hold_out(dataset, recipe, streams)
            tests = {"test": marked(splits.tests["test"])} if streams.seeds == (1,) else splits.tests
            return replace(splits, tests=tests)

    results = run(replace(experiment(OfSeedOne()), model=overflowing), [0, 1, 2], store, CPU, stacked=True)
    assert [result.status for result in results] == ["ok", "diverged", "ok"]
    assert results[1].error == "logits that are not finite for 1 of 60 samples of test after epoch 1"
    assert results[0].selected
    assert not results[1].selected


@pytest.mark.parametrize("name", ["", "fog/3"])
def test_a_test_set_of_the_protocol_counts_too_and_is_named(store, name):
    class Examining(GroupFairness):
        examines = True

        def examine(self, model, splits, streams, evaluate):
            evaluate(splits.tests["test"], "first")
            return {"again": evaluate(marked(splits.tests["test"]), *([name] if name else []))}

    result = one(replace(experiment(Examining()), model=overflowing), store)
    assert (result.status, result.error) == (
        "diverged",
        f"logits that are not finite for 1 of 60 samples of test set {name or 2} that the protocol group_fairness "
        f"examines",
    )


def test_labels_that_change_after_the_check_are_not_counted_elsewhere(store):
    class Changing(Method):
        def end_epoch(self, epoch):
            self.task.val.y.add_(1)

    result = one(experiment(method=Changing), store)
    assert result.status == "plugin error"
    assert "samples have a class or group that does not exist" in result.error


def odd_metric(predictions, counts):
    """Undefined where the first sample is predicted to be of class 1."""
    first = predictions.logits[..., 0, :].argmax(-1)
    return first.double().masked_fill(first == 1, torch.nan)


def test_a_metric_that_validation_data_leave_undefined_is_said_in_the_record(store):
    """With validation samples of one group there is no disparity of two."""
    alone = drawn("val", lambda split: replace(split, group=split.group * 0))
    result = one(experiment(alone, select="tprd"), store)
    assert (result.status, list(result.selected)) == ("ok", ["last"])
    assert result.notes == [
        "validation tprd is undefined (NaN) at 3 of 3 evaluations: best validation tprd selects none"
    ]
    assert store.get(result.spec).notes == result.notes
    assert one(experiment(), store).notes == []


def test_a_metric_that_is_undefined_at_some_evaluations_is_said_in_the_record(store):
    class Turning(Method):
        """In the first epoch it predicts class 1, then class 0."""

        def end_epoch(self, epoch):
            with torch.no_grad():
                for parameter in self.model.parameters():
                    parameter.zero_()
                self.model[-1][-1].bias[1] = 1.0 if epoch == 0 else -1.0

    given = experiment(method=Turning, select="odd")
    given = replace(given, known_metrics={**METRICS, "odd": Metric(odd_metric, higher_is_better=True)})
    result = one(given, store)
    assert result.selected["best_val_odd"].epoch == 2
    assert result.notes == [
        "validation odd is undefined (NaN) at 1 of 3 evaluations: best validation odd selects among the others"
    ]
