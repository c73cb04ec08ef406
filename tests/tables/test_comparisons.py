"""Rows that differ in one option of the protocol, as by a double loop over all pairs; and differences as cells."""

import math
import random

import pytest

from bench.columns.table import columns_of
from bench.tables.comparisons import cell, pairs_of_tasks, told_p
from bench.tables.rows import rows_of
from bench.tables.stats.paired import PairedDifference


def only_in(name, row, other):
    """Whether two rows differ in this option of the protocol alone, and the other row has it at its default."""
    specs = row.first.spec, other.first.spec
    given, fewer = (spec.protocol_options for spec in specs)
    used, also = ({**r.first.resolved.protocol_options, name: None} for r in (row, other))
    return (
        {option: value for option, value in given.items() if option != name} == fewer
        and all(used[option] == also[option] for option in used.keys() & also.keys())
        and specs[0].validation == specs[1].validation
        and specs[0].dataset_options == specs[1].dataset_options
        and (row.label, row.setting) == (other.label, other.setting)
        and row.first.resolved.options == other.first.resolved.options
    )


def test_pairs_are_those_of_all_pairs(make_result):
    chance = random.Random(1)
    results = []
    for seed in range(150):
        given = {name: chance.choice([1, 2.0]) for name in ("factor", "share") if chance.random() < 0.5}
        fields = {"protocol_options": given, "dataset_options": chance.choice([{}, {"size": 8}])}
        fields["options"] = chance.choice([{}, {"beta": 0.5}])
        fields["recipe"] = chance.choice([{}, {"lr": 0.5}])
        fields["resolved"] = {"protocol_options": {"third": chance.choice([1, 2]), **given}}
        results.append(make_result(chance.choice(["a", "b"]), seed, test={"tprd": 0.5}, **fields))
    rows = rows_of(columns_of(results))
    slow = [
        (row, name, other)
        for row in rows
        for name in row.first.spec.protocol_options
        for other in rows
        if only_in(name, row, other)
    ]
    assert len(slow) > 5
    assert pairs_of_tasks(rows) == slow


NAN = math.nan


@pytest.mark.parametrize(
    ("difference", "p", "expected"),
    [
        (PairedDifference(-0.1, -0.125, -0.075, 0.01, 5, 0.1, 0.1), 0.02, "-10.00 [-12.50, -7.50], p = 0.020"),
        (PairedDifference(-0.1, -0.125, -0.075, 0.01, 5, 0.1, 0.1), 9e-4, "-10.00 [-12.50, -7.50], p < 0.001"),
        (PairedDifference(-0.1, -0.125, -0.075, 0.01, 4, 0.1, 0.1), NAN, "-10.00 [-12.50, -7.50]"),
        (PairedDifference(0.1, NAN, NAN, NAN, 5, 0.0, 0.0), NAN, "+10.00"),  # the same difference for all seeds
        (PairedDifference(0.0, 0.0, 0.0, NAN, 5, 0.0, 0.0), NAN, "0"),
        (PairedDifference(0.0, NAN, NAN, NAN, 1), NAN, "+0.00"),  # of one seed nobody knows
        (PairedDifference(NAN, NAN, NAN, NAN, 5), NAN, ""),
    ],
)
def test_a_difference_as_a_cell(difference, p, expected):
    assert cell(difference, p, 100) == expected


def test_no_p_is_told_of_fewer_than_five_seeds():
    assert told_p(PairedDifference(0.1, 0.05, 0.15, 0.01, 5)) == 0.01
    assert math.isnan(told_p(PairedDifference(0.1, 0.05, 0.15, 0.01, 4)))
