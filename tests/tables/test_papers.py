"""The verdict beside a printed value, by hand."""

from collections.abc import Callable

import pytest

from bench.columns.table import columns_of
from bench.records.run import LAST, RunResult
from bench.tables.pages import papers
from bench.tables.rows import rows_of

Make = Callable[..., RunResult]


def verdict(
    make: Make,
    monkeypatch: pytest.MonkeyPatch,
    ours: list[float | None],
    error: str = "10",
    kind: str = "se",
    value: str = "30",
) -> str:
    """That of one printed value, in percent, beside the values of our seeds."""
    printed = {"paper": "p", "table": "t", "protocol": "class_fairness", "dataset": "digits", "method": "a"}
    printed |= {"metric": "tprd", "value": value, "error": error, "error_kind": kind, "runs": "4"}
    monkeypatch.setattr(papers, "published", lambda: [printed])
    results = [make("a", seed, test={"tprd": one, "accuracy": 0.9}) for seed, one in enumerate(ours)]
    rows = rows_of(columns_of(results or [make("b", test={"tprd": 0.1, "accuracy": 0.9})]))
    lines = papers.beside_the_papers("class_fairness/1", "digits", "", rows, [LAST])
    head, _, cells = ([cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|"))
    return cells[head.index("Verdict")]


@pytest.mark.parametrize(
    ("value", "error", "kind", "expected"),
    [
        ("30", "10", "se", "agrees (+1.4)"),  # 20 / sqrt(100 + 100)
        ("75", "10", "se", "agrees (-1.8)"),
        ("20", "10", "se", "differs (+2.1)"),
        ("30", "10", "sd", "agrees (+1.8)"),  # of four runs: 20 / sqrt(100 + 25)
        ("25", "10", "sd", "differs (+2.2)"),
        ("30", "19.6", "ci95", "agrees (+1.4)"),  # 1.96 standard errors
        ("30", "", "", "no verdict"),
        ("30", "10", "", "no verdict"),  # of what, nobody knows
    ],
)
def test_our_mean_of_50_with_a_standard_error_of_10(make_result, monkeypatch, value, error, kind, expected) -> None:
    assert verdict(make_result, monkeypatch, [0.4, 0.6], error, kind, value) == expected


@pytest.mark.parametrize(
    ("ours", "expected"),
    [([], "not run"), ([0.4], "no verdict"), ([0.4, None], "undefined"), ([0.3, 0.3], "agrees (+0.0)")],
)
def test_what_is_not_run_not_known_or_undefined(make_result, monkeypatch, ours, expected) -> None:
    """A single seed has no standard error."""
    assert verdict(make_result, monkeypatch, ours) == expected
