"""The rows of the pages as a table, and as LaTeX."""

import math

import pytest

from bench.columns.table import columns_of
from bench.tables.pages.exported import NAMES, escaped, latex, rows_frame

BASE = [0.40, 0.42, 0.38, 0.41, 0.39, 0.43]
TESTS = {"revision": "r1", "unofficial": {}, "sizes": {"train": 1000, "test": 50}, "tests": "0123456789ab"}


def made(make_result):
    """Two methods on one task, with differences of -10, -11, -9, -11, -9 and -11 points."""
    better = [0.30, 0.31, 0.29, 0.30, 0.30, 0.32]
    return columns_of(
        make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, data=TESTS)
        for method, values in (("erm", BASE), ("learner_2", better))
        for seed, value in enumerate(values)
    )


def test_a_row_has_its_mean_difference_and_verdict(make_result):
    frame = rows_frame(made(make_result)).set_index(["row", "metric"])
    differences = [-0.10, -0.11, -0.09, -0.11, -0.09, -0.11]
    mean = math.fsum(differences) / 6
    se = math.sqrt(sum((d - mean) ** 2 for d in differences) / 5 / 6)
    row = frame.loc["learner_2", "tprd"]
    assert [row["mean"], row["difference"]] == pytest.approx([1.82 / 6, mean])
    assert [row["low"], row["high"]] == pytest.approx([mean - 2.570582 * se, mean + 2.570582 * se], rel=1e-6)
    assert (row["seeds"], row["baseline"], row["verdict"], row["main"], row["rank_low"]) == (
        6,
        "erm",
        "better",
        True,
        1,
    )
    assert set(frame["unit"]) == {"fraction"}
    accuracy = frame.loc["learner_2", "accuracy"]
    assert (accuracy["difference"], accuracy["verdict"]) == (0, "") and math.isnan(accuracy["p"])
    assert frame.loc["erm", "tprd"]["verdict"] == "baseline"


def test_only_what_has_a_baseline_has_a_cost_relative_to_it(make_result):
    both = rows_frame(made(make_result))
    assert dict(both.groupby("row")["cost"].first()) == {"erm": 1.0, "learner_2": 1.0}
    alone = rows_frame(columns_of(make_result("learner_2", seed, test={"tprd": 0.1}) for seed in range(6)))
    assert (set(alone["baseline"]), alone["cost"].notna().any()) == ({""}, False)


def test_without_records_the_columns_are_the_same():
    frame = rows_frame([])
    assert len(frame) == 0 and tuple(frame.columns) == NAMES
    assert latex([]).startswith("% needs")


def test_a_unit_that_is_no_fraction_stays(make_result):
    results = [make_result("erm", seed, test={"tprd": 2.5}, about={"units": {"tprd": "nats"}}) for seed in range(2)]
    frame = rows_frame(columns_of(results)).set_index("metric")
    assert (frame.loc["tprd", "unit"], frame.loc["accuracy", "unit"]) == ("nats", "fraction")


def test_latex_has_a_line_for_each_row(make_result):
    lines = latex(made(make_result)).split("\n")
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert len(body) == 2
    assert body[0].startswith(r"learner\_2 & 30.33 $\pm$ 0.42 & 90.00 $\pm$ 0.00 & -10.17 [")
    assert body[0].endswith(r"& better \\")
    assert r"\caption{class\_fairness/1, digits, last epoch}" in lines


def test_signs_that_mean_something_to_latex_are_shown():
    assert escaped("a_b & 5 % #1 {x} $y$ ~^") == (r"a\_b \& 5 \% \#1 \{x\} \$y\$ \textasciitilde{}\textasciicircum{}")
    assert escaped("\\") == r"\textbackslash{}"
