"""`tools/reselect.py`: what a protocol's selection rule selects, from the histories of committed records."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.records.sections import Selected
from bench.records.store import ResultStore
from tools.reselect import best_epoch, reselected

PROGRAM = Path(__file__).parents[2] / "tools" / "reselect.py"
HISTORY = {
    "epoch": [1, 5, 9],
    "step": [10, 50, 90],
    "val/accuracy": [0.9, 0.8, 0.7],
    "val/balanced_accuracy": [0.5, 0.75, 0.75],
    "val/ece": [None, 0.2, 0.1],
    "test/accuracy": [0.91, 0.81, 0.71],
    "test/balanced_accuracy": [0.51, 0.61, 0.71],
}


def selected(place):
    """What a rule selects that selects this evaluation."""
    metrics = {}
    for column, values in HISTORY.items():
        if "/" in column:
            of, metric = column.split("/")
            metrics.setdefault(of, {})[metric] = values[place]
    return Selected(HISTORY["epoch"][place], metrics)


def record(make_result, method="erm", protocol="imbalance/1", **fields):
    chosen = {"last": selected(2), "best_val_accuracy": selected(0)}
    return make_result(method, history=HISTORY, selected=chosen, protocol=protocol, **fields)


def test_the_earliest_of_the_best_evaluations_is_selected(make_result):
    result = record(make_result)
    assert [best_epoch(result, metric) for metric in ("accuracy", "balanced_accuracy", "ece", "tprd")] == [
        0,
        1,
        2,
        None,
    ]
    again = reselected(result, "balanced_accuracy")
    assert list(again.selected) == ["last", "best_val_balanced_accuracy"]
    chosen = again.selected["best_val_balanced_accuracy"]
    assert (chosen.epoch, chosen.metrics["test"]) == (5, {"accuracy": 0.81, "balanced_accuracy": 0.61})
    assert (again.about.select, again.resolved.recipe["select"]) == ("balanced_accuracy", "balanced_accuracy")
    assert again.spec == result.spec and again.selected["last"] == result.selected["last"]


def test_a_set_that_is_evaluated_at_the_end_alone_needs_another_run(make_result):
    result = record(make_result)
    result.selected["last"].metrics["fog/1"] = {"accuracy": 0.3}
    with pytest.raises(ValueError, match="fog/1 was evaluated after the training alone"):
        reselected(result, "balanced_accuracy")


def test_the_program_changes_the_records_of_such_protocols_alone(make_result, tmp_path):
    store = ResultStore(tmp_path)
    own_choice = record(make_result, seed=1, recipe={"select": "accuracy"})
    other = record(make_result, "learner", protocol="class_fairness/1")
    results = [record(make_result), own_choice, other]
    for result in results:
        store.put(result)
    command = [sys.executable, PROGRAM, "--records", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{results[0].path}: accuracy -> balanced_accuracy\n"
    loaded = {result.path: result for result in store.load()[0]}
    assert loaded[other.path] == other and loaded[own_choice.path] == own_choice
    assert loaded[results[0].path] == reselected(results[0], "balanced_accuracy")
