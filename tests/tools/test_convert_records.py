"""Records without predictions are completed by a repetition that gives the same numbers to the bit, and by no other."""

from dataclasses import replace

import numpy as np
import pytest

from bench.records.sidecar import Sidecar
from bench.store.results import ResultStore
from tools.convert_records import complete, has_predictions

HISTORY = {"epoch": [3], "step": [10], "train/loss": [0.1], "test/tprd": [0.25], "test/ece": [0.5]}
TEST = {"tprd": 0.25, "accuracy": 0.9, "ece": 0.5}
INDEX = {"test/index": np.arange(2, dtype=np.int32)}


@pytest.fixture
def stores(tmp_path, make_result):
    """A record without predictions, and the folder of repetitions."""
    before = ResultStore(tmp_path / "before")
    before.put(make_result(test=TEST, history=HISTORY))
    return before, ResultStore(tmp_path / "again")


def repetition(make_result, test=TEST, history=HISTORY):
    """Of later code, with predictions."""
    made = make_result(test=test, seconds=9.0)
    beside = Sidecar(history, INDEX)
    return replace(made, data=replace(made.data, tests="0" * 12), beside=beside, sidecar=beside.digest)


def test_the_same_numbers_complete_a_record_which_keeps_its_costs(stores, make_result):
    """The metric of scores is taken over; new metrics may have come."""
    before, again = stores
    again.put(repetition(make_result, TEST | {"ece": 0.4, "error": 0.1}, HISTORY | {"test/ece": [0.4]}))
    assert complete(before.folder, again.folder) == {}
    (made,) = before.load()[0]
    assert (made.costs.train_seconds, made.selected["last"].metrics["test"]["ece"]) == (1.0, 0.4)
    assert made.completed is not None and has_predictions(before.sidecar(made))
    assert complete(before.folder, again.folder) == {}  # which is done


@pytest.mark.parametrize(
    ("test", "history", "named"),
    [
        (TEST | {"tprd": 0.25000000000000006}, HISTORY, "test tprd"),
        (TEST, HISTORY | {"train/loss": [0.10000001]}, "history train/loss"),
        ({"tprd": 0.25, "ece": 0.5}, HISTORY, "test accuracy"),
    ],
)
def test_other_numbers_complete_nothing(stores, make_result, test, history, named):
    before, again = stores
    again.put(repetition(make_result, test, history))
    (kept,) = before.load()[0]
    ((path, why),) = complete(before.folder, again.folder).items()
    assert path == before.path(kept.spec) and named in why
    assert before.load()[0] == [kept]
