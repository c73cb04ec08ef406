"""Rows that have other seeds than their baselines."""

import math
from collections.abc import Callable

import pytest

from bench.columns.table import columns_of
from bench.records.run import LAST, RunResult
from bench.tables.conclusions import conclude
from bench.tables.pages.seeds import OTHER_SEEDS, other_seeds
from bench.tables.rows import rows_of
from tests.site.read import read, site
from tests.tables.pages import render

Make = Callable[..., RunResult]
SIZES = {"sizes": {"train": 1194, "val": 400, "test": 400}}


def runs(make: Make, seeds: dict[str, list[int]], data: dict[str, object] = SIZES) -> list[RunResult]:
    return [
        make(method, seed, test={"tprd": 0.1 + 0.01 * seed * (method != "erm"), "accuracy": 0.9}, data=data)
        for method, of in seeds.items()
        for seed in of
    ]


def told(results: list[RunResult]) -> dict[str, str]:
    return {row.name: said for row, said in other_seeds(conclude(rows_of(columns_of(results)), LAST))}


def test_rows_with_other_seeds_than_their_baseline_are_named_with_what_is_missing(make_result: Make) -> None:
    results = runs(make_result, {"erm": [*range(10)], "a": [*range(6)], "b": [*range(10)], "c": [*range(1, 11)]})
    factors = {n: math.sqrt(n * (1 / n + 400 / 1194)) for n in (6, 9)}  # Nadeau and Bengio 2003, by s² / n
    assert told(results) == {
        "a": f"6 common seeds, without seeds 6, 7, 8, 9; its interval is {factors[6]:.2f} times as wide as for "
        "independent data",
        "c": f"9 common seeds, without seed 0, its baseline without seed 10; its interval is {factors[9]:.2f} times as "
        "wide as for independent data",
    }
    (text,) = render(results).values()
    assert OTHER_SEEDS in text and f"- a: {told(results)['a']}" in text
    (html,) = [page for name, page in site(results).items() if name.startswith("html/class_fairness")]
    assert f"a: {told(results)['a']}" in [item.text for item in read(html).all("li")]


def test_of_one_test_set_no_interval_is_widened(make_result: Make) -> None:
    results = runs(make_result, {"erm": [*range(5)], "a": [*range(4)]}, SIZES | {"tests": "one"})
    assert told(results) == {"a": "4 common seeds, without seed 4"}
    assert told(runs(make_result, {"erm": [0, 1], "a": [0]})) == {"a": "1 common seed, without seed 1"}


@pytest.mark.parametrize("seeds", [{"erm": [0, 1, 2], "a": [0, 1, 2]}, {"a": [0, 1], "b": [0]}])
def test_rows_with_the_seeds_of_their_baseline_or_without_one_are_not_named(make_result: Make, seeds) -> None:
    results = runs(make_result, seeds)
    assert told(results) == {}
    (text,) = render(results).values()
    assert OTHER_SEEDS not in text
