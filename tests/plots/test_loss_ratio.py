"""What follows from a record's history, by hand."""

import pytest

from bench.plots.loss_ratio import column, loss_ratio, names
from bench.records.sidecar import Sidecar

HISTORY = {
    "epoch": [1, 2],
    **{"train/loss/class0": [1.0, 1.0], "train/loss/class1": [3.0, 1.0]},
    **{"train/loss/class2": [4.0, 2.0], "train/loss/class3": [None, None]},
}


def test_the_loss_ratio_by_hand():
    """Losses 4 and 2 of class 2, mean losses (30 * 1 + 10 * 3) / 40 = 1.5 and 1 of the others; decay 1/2."""
    assert loss_ratio(HISTORY, [30, 10, 7, 0], label=2, decay=0.5) == pytest.approx([4 / 1.5, 3 / 1.25])


def test_it_is_a_column_of_a_record(make_result):
    """Of the numbers of samples that the record has, by group and class; decay 9/10."""
    result = make_result(beside=Sidecar(HISTORY), data={"counts": {"train": [[20, 4, 7, 0], [10, 6, 0, 0]]}})
    assert column(result, "train/loss_ratio/class2") == pytest.approx([4 / 1.5, 3.8 / 1.45])
    assert column(result, "train/loss/class1") == [3.0, 1.0]
    assert column(result, "train/loss_ratio/class4") is None and column(result, "test/tprd") is None
    assert names(result) == [f"train/{what}/class{c}" for what in ("loss", "loss_ratio") for c in range(4)]


def test_without_numbers_of_samples_there_is_none(make_result):
    """As in records of earlier versions."""
    result = make_result(beside=Sidecar(HISTORY))
    assert column(result, "train/loss_ratio/class2") is None
    assert names(result) == [f"train/loss/class{c}" for c in range(4)]
