"""Rows that differ in one option of the protocol are found as by a double loop over all pairs."""

import random

from bench.columns.table import columns_of
from bench.tables.comparisons import pairs_of_tasks
from bench.tables.rows import rows_of


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
