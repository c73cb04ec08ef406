"""Records that were edited and signed anew: what cannot be true is refused, in one line, with what is wrong."""

import base64
import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records.possible import check_beside, check_history
from bench.records.run import RunResult
from bench.records.selections import RESAMPLES, Selections, decoded, encoded
from bench.records.spec import RunSpec, digest

FORMAT_1 = Path(__file__).parent / "format_1" / "communities.forml.1.5f77a28ccb5b.json"
RECORD: dict[str, Any] = json.loads(FORMAT_1.read_text("utf-8"))
"""A real record of format 1: 84 evaluations of four groups and two classes, with both selection rules."""
HISTORY: dict[str, list[Any]] = RECORD["history"]
COUNTS = {
    "right": [[[22, 25], [74, 10], [86, 0], [84, 0]], [[20, 60], [74, 10], [86, 0], [81, 0]]],
    "predicted": [[[71, 27], [94, 10], [100, 0], [88, 10]], [[34, 64], [94, 10], [100, 0], [85, 13]]],
}
"""Of its test set, what a model with the accuracy of the record may predict, under both rules: 301 and 331 are right
of 400.
"""


DRAWN = encoded(np.linspace(-0.1, 0.1, RESAMPLES))
INFINITE = base64.b64encode(np.full(RESAMPLES, np.inf, "<f2").tobytes()).decode()


def of_today() -> dict[str, Any]:
    """The same record in format 2, with counts."""
    values: dict[str, Any] = RunResult.from_json(FORMAT_1.read_text("utf-8")).entries()
    values["selected"]["counts"] = {"test": copy.deepcopy(COUNTS)}
    return values | {"sidecar": "0123456789ab"}


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
    "a data set that no file can be named after": ({"spec.dataset": "a\0b"}, "its data set 'a\\x00b' is no name"),
    "a method of two lines": ({"spec.method": "erm\nforml"}, "its method 'erm\\nforml' is no name"),
    "a model without a name": ({"spec.model": ""}, "its model '' is no name"),
    "a protocol of another folder": ({"spec.protocol": "../1"}, "its protocol '..' is no name"),
    "a protocol without a version": ({"spec.protocol": "group_fairness"}, "not of the form name/version"),
    "a version that is no number": ({"spec.protocol": "group_fairness/latest"}, "not of the form name/version"),
    "an unknown choice of the training data": ({"spec.validation": "both"}, "validation 'both' is neither"),
    "an option that was not used": ({"resolved.options.weight_lr": 1.0}, "weight_lr is 10.0 in its spec, and 1.0"),
    "an option that there is not": ({"spec.recipe": {"speed": 1}}, "recipe.speed is 1 in its spec, and None"),
    "the command of another seed": ({"command": RECORD["command"] + "0"}, "its command is not that of forml on"),
    "the command of another method": ({"command": RECORD["command"].replace("forml", "erm")}, "its command is not"),
    "another command": (
        {"command": "rm -rf ~ --seed 1"},
        "its command is not that of forml on communities with seed 1",
    ),
    # What the tables say of metrics.
    "a direction turned round": ({"about.higher_is_better.fprd": True}, "its direction of fprd"),
    "another unit": ({"about.units": {"accuracy": "nats"}}, "its unit of accuracy"),
    # The data.
    "a pool below 0": ({"data.pool": -1}, "data.pool is -1"),
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
    # The selection.
    "trained on the validation data": ({"spec.validation": "paper"}, "has selected by last, best_val_accuracy, "),
    "a failed run that has selected": ({"status": "diverged"}, "its status is diverged, and yet"),
}
"""Of either format."""
FORGED_1 = {
    # The selection.
    "nothing selected": ({"selected": {}}, "it has selected by nothing, and val/accuracy has"),
    "one rule removed": ({"selected": {"last": RECORD["selected"]["last"]}}, "it has selected by last, and val"),
    "a rule of no metric": ({"selected.best_test_accuracy": RECORD["selected"]["last"]}, "best_test_accuracy"),
    "an epoch that is not in the history": ({"selected.last.epoch": 833}, "epoch 833, which is not in its history"),
    "the last is another epoch": ({"selected.last.epoch": 830}, "last has selected epoch 830, expected 834"),
    "the best is another epoch": (
        {"selected.best_val_accuracy.epoch": 60},
        "has selected epoch 60, expected 50",
    ),
    "no metrics": ({"selected.last.metrics": {}}, "selected.last.val/accuracy is missing"),
    "a better value": ({"selected.last.metrics.test.accuracy": 0.99}, "0.7525 in its history, and 0.99 in its record"),
    "an impossible value": ({"selected.last.metrics.test.accuracy": 1.7}, "is 1.7, which no accuracy is"),
    "an impossible value on a further set": ({"selected.last.metrics.far": {"ece": -0.1}}, "is -0.1, which no ece is"),
    "infinity": ({"selected.last.metrics.far": {"nats": float("inf")}}, "Infinity is no JSON"),
    "a selection that is none": ({"selected.last": 3}, "not a record: "),
    # The history.
    "no history": ({"history": {}}, "its run has finished, and its history is empty"),
    "a history without epochs": ({"history": {"step": [1]}}, "no epochs or no steps"),
    "epochs that go back": ({"history.epoch.3": 10}, "the epochs of its history do not increase"),
    "an epoch twice": ({"history.epoch.1": 10}, "the epochs of its history do not increase"),
    "an epoch below 0": ({"history.epoch.0": -10}, "history.epoch has -10"),
    "an epoch that is no whole number": ({"history.epoch.0": 9.5}, "history.epoch has 9.5"),
    "an epoch that is not known": ({"history.epoch.0": None}, "history.epoch has None"),
    "steps that go back": ({"history.step.3": 10}, "the steps of its history decrease"),
    "a column cut off": ({"history.test/accuracy": [0.5]}, "history.test/accuracy has 1 values for 84 epochs"),
    "an impossible value in between": ({"history.val/tprd.7": 1.01}, "is 1.01, which no tprd is"),
}


FORGED_2 = {
    "nothing selected": ({"selected": {}}, "it has selected by nothing, expected last, best_val_accuracy"),
    "the last not selected": ({"selected.epochs": {"best_val_accuracy": 50}}, "it has selected by best_val_accuracy,"),
    "a rule of no metric": ({"selected.epochs.best_test_accuracy": 60}, "best_test_accuracy, expected last, best_val_"),
    "an epoch after the last": ({"selected.epochs.best_val_accuracy": 835}, "is of epoch 835, which is after the last"),
    "an epoch below 0": ({"selected.epochs.best_val_accuracy": -1}, "is of epoch -1, which is below 0"),
    "an epoch that is no whole number": (
        {"selected.epochs.last": 834.5},
        "selected.epochs.last is 834.5",
    ),
    "an epoch that is a truth value": ({"selected.epochs.best_val_accuracy": True}, "is True, expected int"),
    "a value too few": ({"selected.metrics.test.ece": [0.1]}, "test.ece has 1 values for 2 rules"),
    "a value too many": ({"selected.metrics.test.ece": [0.1] * 3}, "test.ece has 3 values for 2 rules"),
    "a value for all rules": ({"selected.metrics.test.ece": 0.1}, "selected.metrics.test.ece is 0.1, expected"),
    "a value that is no number": ({"selected.metrics.test.ece": [0.1, "low"]}, "selected.metrics.test.ece is 'low'"),
    "an impossible value": ({"selected.metrics.test.ece.1": 1.7}, "selected.metrics.test.ece is 1.7, which no ece is"),
    "a value below 0": ({"selected.metrics.test.tprd.0": -0.2}, "selected.metrics.test.tprd is -0.2, which no tprd is"),
    "an impossible value on a further set": ({"selected.metrics.far": {"ece": [-0.1, None]}}, "is -0.1, which no ece"),
    "infinity": ({"selected.metrics.far": {"nats": [float("inf"), 0]}}, "Infinity is no JSON"),
    "what it was selected by is missing": ({"selected.metrics.val": {}}, "selected.metrics.val.accuracy is missing"),
    "the best is worse than the last": (
        {"selected.metrics.val.accuracy": [0.9, 0.8]},
        "selected.best_val_accuracy has val/accuracy 0.8, and the last epoch 0.9",
    ),
    "the best is undefined": ({"selected.metrics.val.accuracy.1": None}, "has val/accuracy None, and the last epoch"),
    "one epoch with two values": (
        {"selected.epochs.best_val_accuracy": 834},
        "selected.best_val_accuracy is of the last epoch, and has other values",
    ),
    "no predictions counted": ({"selected.counts.test": {}}, "selected.counts.test has not right and predicted of 2"),
    "right ones alone": (
        {"selected.counts.test": {"right": COUNTS["right"]}},
        "has not right and predicted of 2 rules",
    ),
    "counts of one rule": ({"selected.counts.test.right": COUNTS["right"][:1]}, "has not right and predicted of 2"),
    "counts of a set without samples": ({"selected.counts.far": COUNTS}, "selected.counts.far is of a set whose sampl"),
    "counts of fewer groups": ({"selected.counts.test.right.0": [[22, 25]]}, "has not the groups and classes of its"),
    "counts of more classes": ({"selected.counts.test.right.0.0": [22, 25, 0]}, "has not the groups and classes of"),
    "a class predicted too often": (
        {"selected.counts.test.predicted.0.0.0": 72},
        "predicts a class for 99 of 98",
    ),
    "more right than samples": ({"selected.counts.test.right.0.0.0": 25}, "has more right predictions of a class than"),
    "more right than predicted": ({"selected.counts.test.right.0.3.1": 11}, "has more right predictions of a class th"),
    "right ones below 0": ({"selected.counts.test.right.0.2.1": -1}, "than samples or predictions, or below 0"),
    "wrong ones of no sample": (
        {"selected.counts.test.predicted.0.0": [73, 25]},
        "selected.counts.test has more wrong predictions of a class than samples of the others",
    ),
    "counts of another accuracy": ({"selected.counts.test.right.0": COUNTS["right"][1]}, "selected.counts.test"),
    "a rule of another metric": ({"about.rule": "best_val_tprd"}, "it is concluded by best_val_tprd, expected last or"),
    "a rule of the test set": ({"about.rule": "best_test_fprd"}, "it is concluded by best_test_fprd, expected last"),
    "a constant of another metric": ({"data.constant": {"ece": 0.1}}, "data.constant has ece, which the tables do not"),
    "an impossible constant": ({"data.constant": {"accuracy": 1.1}}, "data.constant.accuracy is 1.1, which no accur"),
    "an oracle without an epoch": ({"selected.oracle": 0.1}, "selected.oracle_epoch is None, with 0.1"),
    "an epoch without an oracle": ({"selected.oracle_epoch": 3}, "selected.oracle_epoch is 3, with None"),
    "an oracle after the last epoch": (
        {"selected.oracle_epoch": 835, "selected.oracle": 0.0},
        "selected.oracle_epoch is 835, with 0.0, of 834 epochs",
    ),
    "an impossible oracle": (
        {"selected.oracle_epoch": 3, "selected.oracle": -0.5},
        "selected.oracle is -0.5, which no",
    ),
    "an oracle that a rule is better than": (
        {"selected.oracle_epoch": 3, "selected.oracle": 0.99},
        "selected.oracle is 0.99, and last has the better fprd",
    ),
    "a floor of another metric": ({"selected.floor": {"ece": 0.1}}, "selected has a floor or drawn test sets of ece"),
    "an impossible floor": ({"selected.floor": {"fprd": 2.0}}, "selected.floor.fprd is 2.0, which no fprd is"),
    "drawn test sets of another metric": ({"selected.resampled": {"ece": DRAWN}}, "drawn test sets of ece, which the"),
    "drawn test sets that are no text": ({"selected.resampled": {"fprd": 3}}, "selected.resampled.fprd is 3"),
    "drawn test sets in no base64": ({"selected.resampled": {"fprd": "#"}}, "resampled.fprd holds no drawn test sets:"),
    "too few drawn test sets": ({"selected.resampled": {"fprd": DRAWN[:8]}}, "holds no drawn test sets: 6 bytes, expe"),
    "an impossible difference": (
        {"selected.resampled": {"fprd": encoded(np.full(RESAMPLES, 1.5))}},
        "selected.resampled.fprd has differences that no fprd has",
    ),
    "an infinite difference": (
        {"selected.resampled": {"fprd": INFINITE}},
        "selected.resampled.fprd has differences that no fprd has",
    ),
    "a better accuracy": ({"selected.metrics.test.accuracy.0": 0.99}, "accuracy is 0.99, and 0.7525 by its counts"),
    "a history": ({"history": HISTORY}, "it has an entry 'history', which no record has"),
    "what lies beside it": ({"beside": None}, "it has an entry beside"),
    "a digest that is none": ({"sidecar": "../../x"}, "sidecar is '../../x', which is no digest"),
    "a longer digest": ({"sidecar": "0123456789abc"}, "sidecar is '0123456789abc', which is no digest"),
    "a digest of two lines": ({"sidecar": "0123456789ab\n"}, "which is no digest"),
    "a digest that is no text": ({"sidecar": 5}, "sidecar is 5"),
    "completed by nothing": ({"completed": {}}, "its entry completed lacks 'created' and 'core'"),
    "completed at no date": (
        {"completed": {"created": "~", "core": "c"}},
        "completed.created is '~', which is",
    ),
    "completed without anything beside it": (
        {"completed": {"created": "2026-11-28", "core": "c"}, "sidecar": ""},
        "it was completed by a repetition, and nothing lies beside it",
    ),
}


def forged(values: dict[str, Any], changes: dict[str, Any]) -> str:
    """The text of a record with other values at some places."""
    values = copy.deepcopy(values)
    for where, value in changes.items():
        put(values, where, value)
    return signed(values)


@pytest.mark.parametrize("kind", [*FORGED, *FORGED_1])
def test_a_record_of_format_1_that_cannot_be_true_is_refused(kind: str):
    changes, reason = (FORGED | FORGED_1)[kind]
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        RunResult.from_json(forged(RECORD, changes))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [*FORGED, *FORGED_2])
def test_a_record_that_cannot_be_true_is_refused(kind: str):
    changes, reason = (FORGED | FORGED_2)[kind]
    with pytest.raises(ValueError, match=re.escape(reason)) as refused:
        RunResult.from_json(forged(of_today(), changes))
    assert "\n" not in str(refused.value)


def test_the_record_that_was_not_forged_is_read():
    result = RunResult.from_json(signed(of_today()))
    assert (RunResult.FORMAT, result.selected["last"].counts["test"].right) == (2, COUNTS["right"][0])
    assert result.to_json() == RunResult.from_json(result.to_json()).to_json()


BESIDE = {
    "no history": ({}, "its run has finished, and its history is empty"),
    "a history without epochs": ({"step": [1]}, "its history has no epochs or no steps"),
    "epochs that go back": (HISTORY | {"epoch": HISTORY["epoch"][::-1]}, "the epochs of its history do not increase"),
    "steps that go back": (HISTORY | {"step": HISTORY["step"][::-1]}, "the steps of its history decrease"),
    "a column cut off": (HISTORY | {"test/accuracy": [0.5]}, "history.test/accuracy has 1 values for 84 epochs"),
    "a diagnostic too long": (HISTORY | {"train/loss": [0.5] * 85}, "history.train/loss has 85 values for 84 epochs"),
    "an impossible value": (HISTORY | {"val/tprd": [1.01] * 84}, "history.val/tprd is 1.01, which no tprd is"),
    "fewer evaluations": (
        {name: column[:-1] for name, column in HISTORY.items()},
        "last has selected epoch 834, which is not in its history",
    ),
    "more evaluations": (
        {name: [*column, column[-1] + (name in ("epoch", "step"))] for name, column in HISTORY.items()},
        "last has selected epoch 834, expected 835",
    ),
    "another best epoch": (
        HISTORY | {"val/accuracy": [1.0, *HISTORY["val/accuracy"][1:]]},
        "best_val_accuracy has selected epoch 50, expected 10",
    ),
    "another value": (
        HISTORY | {"test/ece": [*HISTORY["test/ece"][:-1], 0.75]},
        "test/ece is 0.75 in its history, and 0.103",
    ),
    "a value that it lacks": (HISTORY | {"test/ece": [None] * 84}, "test/ece is None in its history, and 0.103"),
}


@pytest.mark.parametrize("kind", BESIDE)
def test_a_history_that_is_not_that_of_the_record_is_refused(kind: str):
    history, reason = BESIDE[kind]
    selected = RunResult.from_json(signed(of_today())).selected
    with pytest.raises(ValueError, match=re.escape(reason)):
        check_all(selected, history)


def test_the_history_of_the_record_is_accepted():
    selected = RunResult.from_json(signed(of_today())).selected
    check_all(selected, HISTORY)
    check_all(selected, HISTORY | {"train/late": [0.5]})


def check_all(selected: Selections, history: dict[str, list[Any]]) -> None:
    check_history(history)
    check_beside(selected, history, "last", "accuracy")


def test_what_is_too_large_for_a_float_is_refused():
    text = signed(copy.deepcopy(RECORD) | {"error": "8e8"})
    values = json.loads(text)
    put(values, "selected.last.metrics.far", {"nats": float("inf")})
    today = forged(of_today(), {"selected.metrics.far": {"nats": [0.0, float("inf")]}})
    for text in (signed(values), today):
        with pytest.raises(ValueError, match="is inf, which no nats is"):
            RunResult.from_json(text.replace("Infinity", "1e999"))


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
    about = {"about.metrics": ["nats"], "about.higher_is_better": {"nats": True}}
    today = forged(of_today(), about | {"selected.metrics.test.nats": [-7.5, None]})
    assert RunResult.from_json(today).selected["best_val_accuracy"].metrics["test"]["nats"] is None


def test_a_run_that_failed_for_its_labels_counts_fewer_samples():
    values = copy.deepcopy(RECORD) | {"status": "refused", "error": "a label", "selected": {}, "history": {}}
    put(values, "data.counts.val.0.0", 0)
    assert RunResult.from_json(signed(values)).status == "refused"


@pytest.mark.parametrize("scale", [0.0, 1e-10, 1e-7, 0.02, 1.0, 5e4, 1e6, 1e100])
def test_drawn_test_sets_are_stored_in_any_unit(scale: float) -> None:
    """A plugin's metric may be a sum of millions, or seconds: none overflows, and the spread is told to 1 %."""
    values = scale * np.sin(np.arange(RESAMPLES))
    with np.errstate(all="raise", under="ignore"):
        again = decoded(encoded(values))
    assert again.std(ddof=1) == pytest.approx(values.std(ddof=1), rel=0.01, abs=0)


def test_infinite_values_on_drawn_test_sets_are_undefined() -> None:
    values = np.linspace(-0.1, 0.1, RESAMPLES)
    values[[0, 1, 2]] = np.inf, -np.inf, np.nan
    assert np.isnan(decoded(encoded(values))[:3]).all() and np.isfinite(decoded(encoded(values))[3:]).all()
    assert np.isnan(decoded(encoded(np.full(RESAMPLES, np.nan)))).all()
