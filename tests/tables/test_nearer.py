"""Rows that are better than their baseline and nearer to a constant prediction."""

from collections.abc import Callable, Sequence

import pytest

from bench.columns.table import columns_of
from bench.records.run import LAST, RunResult
from bench.tables.conclusions import Verdict, conclude
from bench.tables.pages.nearer import NEARER, nearer_to_constant
from bench.tables.rows import rows_of
from tests.site.read import read, site
from tests.tables.pages import render

Make = Callable[..., RunResult]
SPREAD = [-0.02, -0.01, 0.0, 0.01, 0.02]
"""Mean 0, and an interval of 0.02 to both sides over five seeds (t of 4 degrees of freedom times 0.01 / sqrt(2))."""
DATA = {
    "tests": "one",
    "sizes": {"train": 1000, "test": 10**8},
    "counts": {"train": [[700, 300]], "test": [[7 * 10**7, 3 * 10**7]]},
    "constant": {"tprd": 0.0, "accuracy": 0.7},
}


def runs(make: Make, method: str, tprd: float, positive: Sequence[float], **fields: object) -> list[RunResult]:
    """Five seeds, whose disparity is spread in the baseline alone."""
    return [
        make(
            method,
            seed,
            test={
                "tprd": tprd + (SPREAD[seed] if method == "erm" else 0),
                "accuracy": 0.8,
                "fraction_positive": positive[seed],
            },
            **{"data": DATA} | fields,
        )
        for seed in range(5)
    ]


def told(results: list[RunResult]) -> dict[str, str]:
    return {row.name: said for row, said in nearer_to_constant(conclude(rows_of(columns_of(results)), LAST))}


def around(middle: float) -> list[float]:
    return [middle + one for one in reversed(SPREAD)]


def test_better_rows_that_predict_the_class_of_the_constant_more_often_are_named(make_result: Make) -> None:
    results = [
        *runs(make_result, "erm", 0.5, [0.25] * 5),
        *runs(make_result, "nearer", 0.1, around(0.05)),
        *runs(make_result, "barely", 0.2, around(0.235)),  # by 0.015, with an interval of 0.02
        *runs(make_result, "farther", 0.3, around(0.4)),
        *runs(make_result, "worse", 0.9, around(0.05)),
    ]
    verdicts = {one.row.name: one.verdict for one in conclude(rows_of(columns_of(results)), LAST)}
    assert {name for name, verdict in verdicts.items() if verdict is Verdict.BETTER} == {"nearer", "barely", "farther"}
    said = "predicts 'no' for 95.0 % of the test samples, its baseline for 75.0 %"
    assert told(results) == {"nearer": said}
    (text,) = render(results).values()
    assert f"{NEARER.format(metric='tprd')}\n\n- nearer: {said}" in text.partition("## Last epoch")[2]
    (html,) = [page for name, page in site(results).items() if name.startswith("html/class_fairness")]
    assert f"nearer: {said}" in [item.text for item in read(html).all("li")]


def test_the_most_frequent_class_may_be_the_positive_one(make_result: Make) -> None:
    data = DATA | {"counts": {"train": [[300, 700]], "test": [[3 * 10**7, 7 * 10**7]]}}
    results = [
        *runs(make_result, "erm", 0.5, [0.75] * 5, data=data),
        *runs(make_result, "nearer", 0.1, around(0.95), data=data),
    ]
    assert told(results) == {"nearer": "predicts 'yes' for 95.0 % of the test samples, its baseline for 75.0 %"}


@pytest.mark.parametrize(
    "fields",
    [
        {"data": DATA | {"constant": {"tprd": 0.6, "accuracy": 0.7}}},  # worse than the baseline
        {"data": DATA | {"constant": {}}},
        {"data": DATA | {"counts": {}}},
        {"about": {"classes": ["a", "b", "c"], "groups": ["a", "b", "c"]}, "data": DATA | {"counts": {}}},
    ],
)
def test_where_a_constant_is_no_better_or_not_known_nothing_is_said(make_result: Make, fields) -> None:
    results = [
        *runs(make_result, "erm", 0.5, [0.25] * 5, **fields),
        *runs(make_result, "nearer", 0.1, around(0.05), **fields),
    ]
    assert told(results) == {}
