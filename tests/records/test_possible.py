"""Records that were edited and signed anew: what cannot be true is refused, in one line, with what is wrong."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from bench.records.run import RunResult
from bench.records.spec import RunSpec, digest

RESULTS = Path(__file__).parents[2] / "leaderboards" / "results"
RECORD: dict[str, Any] = json.loads((RESULTS / "communities.forml.1.5f77a28ccb5b.json").read_text("utf-8"))
"""A committed record: 84 evaluations of four groups and two classes, with both selection rules."""


def signed(values: dict[str, Any]) -> str:
    """The text of a record with the key of its spec and its right digest."""
    values = {name: value for name, value in values.items() if name != "digest"}
    values["key"] = RunSpec(**values["spec"]).key
    return json.dumps(values | {"digest": digest(values)})


def put(values: Any, where: str, value: Any) -> None:
    """Put a value at a place such as `data.sizes.train`; columns and lists take the number of the place."""
    *path, last = where.split(".")
    for name in path:
        values = values[int(name) if isinstance(values, list) else name]
    values[int(last) if isinstance(values, list) else last] = value


FORGED = {
    # What identifies a run.
    "an unknown status": ({"status": "fine"}, "its status 'fine' is none of ok, diverged"),
    "a seed below 0": ({"spec.seed": -1}, "its seed -1 is below 0"),
    "a seed that is a truth value": ({"spec.seed": True}, "spec.seed is True"),
    "a seed that is no whole number": ({"spec.seed": 1.0}, "spec.seed is 1.0"),
    "a protocol without a version": ({"spec.protocol": "group_fairness"}, "not of the form name/version"),
    "a version that is no number": ({"spec.protocol": "group_fairness/latest"}, "not of the form name/version"),
    "an unknown choice of the training data": ({"spec.validation": "both"}, "validation 'both' is neither"),
    "an option that was not used": ({"resolved.options.weight_lr": 1.0}, "weight_lr is 10.0 in its spec, and 1.0"),
    "an option that there is not": ({"spec.recipe": {"speed": 1}}, "recipe.speed is 1 in its spec, and None"),
    # What the tables say of metrics.
    "a direction turned round": ({"about.higher_is_better.fprd": True}, "its direction of fprd"),
    "another unit": ({"about.units": {"accuracy": "nats"}}, "its unit of accuracy"),
    # The selection.
    "nothing selected": ({"selected": {}}, "it has selected by nothing, expected best_val_accuracy, last"),
    "one rule removed": ({"selected": {"last": RECORD["selected"]["last"]}}, "it has selected by last, expected"),
    "a rule of no metric": ({"selected.best_test_accuracy": RECORD["selected"]["last"]}, "best_test_accuracy"),
    "trained on the validation data": ({"spec.validation": "paper"}, "has selected by best_val_accuracy, last, "),
    "an epoch that is not in the history": ({"selected.last.epoch": 833}, "epoch 833, which is not in its history"),
    "the last is another epoch": ({"selected.last.epoch": 830}, "selected.last is of epoch 830, expected 834"),
    "the best is another epoch": ({"selected.best_val_accuracy.epoch": 60}, "of epoch 60, expected 50"),
    "a failed run that has selected": ({"status": "diverged"}, "its status is diverged, and yet"),
    "no metrics": ({"selected.last.metrics": {}}, "selected.last.val/accuracy is missing"),
    "a better value": ({"selected.last.metrics.test.accuracy": 0.99}, "test/accuracy is 0.99, and 0.7525 in its hist"),
    "an impossible value": ({"selected.last.metrics.test.accuracy": 1.7}, "is 1.7, which no accuracy is"),
    "an impossible value on a further set": ({"selected.last.metrics.far": {"ece": -0.1}}, "is -0.1, which no ece is"),
    "infinity": ({"selected.last.metrics.far": {"nats": float("inf")}}, "Infinity is no JSON"),
    # The history.
    "no history": ({"history": {}}, "it has finished, and its history is empty"),
    "a history without epochs": ({"history": {"step": [1]}}, "no epochs or no steps"),
    "epochs that go back": ({"history.epoch.3": 10}, "the epochs of its history do not increase"),
    "an epoch twice": ({"history.epoch.1": 10}, "the epochs of its history do not increase"),
    "an epoch below 0": ({"history.epoch.0": -10}, "history.epoch has -10"),
    "an epoch that is no whole number": ({"history.epoch.0": 9.5}, "history.epoch has 9.5"),
    "an epoch that is not known": ({"history.epoch.0": None}, "history.epoch has None"),
    "steps that go back": ({"history.step.3": 10}, "the steps of its history decrease"),
    "a column cut off": ({"history.test/accuracy": [0.5]}, "history.test/accuracy has 1 values for 84 epochs"),
    "an impossible value in between": ({"history.val/tprd.7": 1.01}, "is 1.01, which no tprd is"),
    # The data.
    "a size below 0": ({"data.sizes.val": -400}, "the size of val is -400"),
    "counts of another size": ({"data.sizes.val": 4000}, "counts of val add up to 400, and its size is 4,000"),
    "a count below 0": ({"data.counts.val.0.0": -35}, "its counts of val have a number below 0"),
    "counts of other groups": ({"data.counts.val": [[200, 0], [200, 0]]}, "of 2 groups, not of 4"),
    "counts of a set without a size": ({"data.counts.far": [[1, 1]]}, "it has counts of far, and no size"),
    # The costs.
    "time that was gained": ({"costs.train_seconds": -1.0}, "costs.train_seconds is -1.0"),
    "steps below 0": ({"costs.steps": -1}, "costs.steps is -1"),
    "a stack of no run": ({"costs.stacked": 0}, "costs.stacked is 0, expected 1 or more"),
    "no date": ({"environment.created": "~"}, "environment.created is '~', which is no date"),
}


@pytest.mark.parametrize("kind", FORGED)
def test_a_record_that_cannot_be_true_is_refused(kind: str):
    values, reason = copy.deepcopy(RECORD), FORGED[kind][1]
    for where, value in FORGED[kind][0].items():
        put(values, where, value)
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        RunResult.from_json(signed(values))
    assert "\n" not in str(refused.value)


def test_what_is_too_large_for_a_float_is_refused():
    text = signed(copy.deepcopy(RECORD) | {"error": "8e8"})
    values = json.loads(text)
    put(values, "selected.last.metrics.far", {"nats": float("inf")})
    with pytest.raises(ValueError, match="is inf, which no nats is"):
        RunResult.from_json(signed(values).replace("Infinity", "1e999"))


def test_what_may_be_true_is_read():
    """A metric of a plugin may have any value and direction, and a diagnostic of a method may be there at times."""
    values = copy.deepcopy(RECORD)
    for where, value in {
        "about.metrics": ["nats"],
        "about.higher_is_better": {"nats": True},
        "history.train/strength": [1.0],
        "history.test/nats": [-7.5] * 84,
        "selected.last.metrics.test.nats": -7.5,
        "selected.best_val_accuracy.metrics.test.nats": -7.5,
    }.items():
        put(values, where, value)
    assert RunResult.from_json(signed(values)).selected["last"].metrics["test"]["nats"] == -7.5


def test_a_run_that_failed_for_its_labels_counts_fewer_samples():
    values = copy.deepcopy(RECORD) | {"status": "refused", "error": "a label", "selected": {}, "history": {}}
    put(values, "data.counts.val.0.0", 0)
    assert RunResult.from_json(signed(values)).status == "refused"
