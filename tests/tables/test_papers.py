"""The verdict beside a printed value, by hand."""

import math
from collections.abc import Callable, Sequence

import pytest

from bench.columns.table import columns_of
from bench.records.run import DIVERGED, LAST, RunResult, best_val
from bench.tables.pages import papers
from bench.tables.rows import rows_of

Make = Callable[..., RunResult]
SPREAD = math.sqrt(0.05)
OURS = [0.5 - SPREAD, 0.5 + SPREAD, 0.5 - SPREAD, 0.5 + SPREAD, 0.5]
"""A mean of 50 % with a standard error of 10: the variance is SPREAD^2, and that over five seeds is 0.01."""
PRINTED = {"paper": "p", "table": "t", "protocol": "class_fairness", "dataset": "digits", "method": "a"} | {
    "metric": "tprd", "value": "30", "error": "10", "error_kind": "se", "runs": "4"
}  # fmt: skip


def beside(
    results: Sequence[RunResult], monkeypatch: pytest.MonkeyPatch, variant: str = "", **printed: str
) -> list[dict[str, str]]:
    """The lines beside one printed value, in percent: head -> cell."""
    monkeypatch.setattr(papers, "published", lambda: [PRINTED | printed])
    columns = columns_of(results)
    recorded = papers.Recorded([row for row in rows_of(columns) if row.variant == variant], columns[0], variant)
    task = f"digits[{variant}]" if variant else "digits"
    rules = [LAST, best_val("accuracy")]
    found = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in papers.beside_the_papers("class_fairness/1", task, "", recorded, rules)
        if line.startswith("|")
    ]
    return [dict(zip(found[0], line, strict=True)) for line in found[2:]]


def records(make: Make, ours: Sequence[float | None], method: str = "a", **fields: object) -> list[RunResult]:
    return [make(method, seed, test={"tprd": one, "accuracy": 0.9}, **fields) for seed, one in enumerate(ours)]


@pytest.mark.parametrize(
    ("value", "error", "kind", "difference", "verdict"),
    [
        ("30", "10", "se", "+20.00 [-8.28, +48.28]", "agrees (+1.4)"),  # sqrt(100 + 100) = 14.14
        ("75", "10", "se", "-25.00 [-53.28, +3.28]", "agrees (-1.8)"),
        ("20", "10", "se", "+30.00 [+1.72, +58.28]", "differs (+2.1)"),
        ("30", "10", "sd", "+20.00 [-2.36, +42.36]", "agrees (+1.8)"),  # of four runs: sqrt(100 + 25) = 11.18
        ("25", "10", "sd", "+25.00 [+2.64, +47.36]", "differs (+2.2)"),
        ("30", "19.6", "ci95", "+20.00 [-8.28, +48.28]", "agrees (+1.4)"),  # 1.96 standard errors
        ("30", "", "", "+20.00", "no verdict: the paper prints no error"),
        ("30", "10", "", "+20.00", "no verdict: the paper does not say of what its error is"),
    ],
)
def test_our_mean_of_50_with_a_standard_error_of_10(
    make_result, monkeypatch, value, error, kind, difference, verdict
) -> None:
    (line,) = beside(records(make_result, OURS), monkeypatch, value=value, error=error, error_kind=kind)
    assert (line["Ours minus paper"], line["Verdict"]) == (difference, verdict)


def with_baseline(make: Make, monkeypatch: pytest.MonkeyPatch, ours: Sequence[float], claim: str) -> dict[str, str]:
    """The line of `a`, whose printed value of 60 is beside one of erm in the same table."""
    results = records(make, OURS, "erm") + records(make, ours)
    printed = PRINTED | {"value": "60"}
    monkeypatch.setattr(papers, "published", lambda: [printed | {"method": "erm", "value": claim}, printed])
    columns = columns_of(results)
    recorded = papers.Recorded(rows_of(columns), columns[0], "")
    found = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in papers.beside_the_papers("class_fairness/1", "digits", "", recorded, [LAST])
        if line.startswith("|")
    ]
    erm, a = (dict(zip(found[0], line, strict=True)) for line in found[2:])
    assert erm["Verdict"].startswith(("agrees", "differs")) and erm["Paper minus its baseline"] == ""
    return a


def test_agreement_within_more_than_the_claimed_change_is_compatible_alone(make_result, monkeypatch) -> None:
    """The interval of 60 - 50 is 4 sqrt(100 + 100) = 56.6 points wide."""
    shifted = [value + 0.1 for value in OURS]
    line = with_baseline(make_result, monkeypatch, shifted, "117")
    assert (line["Paper minus its baseline"], line["Verdict"]) == ("-57.00", "agrees (+0.0)")
    line = with_baseline(make_result, monkeypatch, shifted, "116")
    assert (line["Paper minus its baseline"], line["Verdict"]) == ("-56.00", "compatible (+0.0)")
    assert line["Ours minus our baseline"].startswith("+10.00")


def test_a_row_that_trains_as_the_baseline_is_marked(make_result, monkeypatch) -> None:
    line = with_baseline(make_result, monkeypatch, OURS, "55")
    assert line["Verdict"] == "compatible (-0.7); ours is identical to erm"
    assert line["Ours minus our baseline"] == "0"


@pytest.mark.parametrize(
    ("ours", "difference", "verdict"),
    [
        ([0.4], "+10.00", "too few seeds"),
        ([0.4, 0.6], "+20.00", "too few seeds (+1.4)"),
        ([0.4, 0.6, 0.5], "+20.00 [-3.09, +43.09]", "too few seeds (+1.7)"),  # 2 sqrt(100 / 3 + 100) = 23.09
        ([0.4, None], "", "undefined"),
        ([0.3] * 5, "+0.00 [-20.00, +20.00]", "agrees (+0.0)"),
    ],
)
def test_few_seeds_and_undefined_values(make_result, monkeypatch, ours, difference, verdict) -> None:
    (line,) = beside(records(make_result, ours), monkeypatch)
    assert (line["Ours minus paper"], line["Verdict"]) == (difference, verdict)


def test_the_verdict_is_on_the_rule_that_the_paper_selects_by(make_result, monkeypatch) -> None:
    best = [{"tprd": 0.2 + 0.01 * (seed % 2), "accuracy": 0.9} for seed in range(5)]
    results = [
        make_result("a", seed, test={"tprd": 0.5, "accuracy": 0.9}, best=of_best) for seed, of_best in enumerate(best)
    ]
    (last,) = beside(results, monkeypatch)
    (selected,) = beside(results, monkeypatch, select="best_val_accuracy")
    assert last["Ours minus paper"].startswith("+20.00 ") and last["Source"] == "p, t, se of 4 runs"
    assert selected["Ours minus paper"].startswith("-9.60 ")
    assert selected["Source"] == "p, t, se of 4 runs, best validation accuracy"


def test_a_rule_that_we_lack_and_a_metric_that_we_lack_are_named(make_result, monkeypatch) -> None:
    results = records(make_result, OURS)
    assert beside(results, monkeypatch, select="best_val_f1")[0]["Verdict"] == "not run: no tprd, best validation f1"
    assert beside(results, monkeypatch, metric="max_fnr")[0]["Verdict"] == r"not run: no max_fnr, last epoch"


def test_why_a_value_has_no_run(make_result, monkeypatch) -> None:
    def why(results: list[RunResult]) -> str:
        (line,) = beside([*records(make_result, OURS, "b"), *results], monkeypatch)
        assert line["Ours, last epoch"] == "–" and line["Ours minus paper"] == ""
        return line["Verdict"]

    assert why([]) == "not run: no records"
    assert why(records(make_result, OURS, options={"k": 2})) == "not run: only a[k=2]"
    assert why(records(make_result, OURS, validation="paper")) == "not run: only trained on validation data too"
    failed = [make_result("a", seed, status=DIVERGED, error="e") for seed in range(2)]
    assert why(failed) == "not run: 2 runs ended as diverged"
    elsewhere = [make_result("a", status=DIVERGED, error="e", protocol_options={"drop": 1})]
    assert why(elsewhere) == "not run: no records"


def test_rows_off_the_recipe_stand_for_a_row_that_is_missing_and_no_verdict_follows(make_result, monkeypatch) -> None:
    short = records(make_result, [0.3, 0.5], recipe={"epochs": 10}, off_recipe=["recipe.epochs"])
    small = {"recipe": {"epochs": 9}, "model_options": {"hidden": 5}, "off_recipe": ["model.hidden", "recipe.epochs"]}
    results = short + records(make_result, [0.1] * 3, **small)
    one, other = beside(results, monkeypatch)
    assert (one["Ours, last epoch"], one["Verdict"]) == ("40.00 ± 10.00", "reduced: recipe.epochs=10")
    assert other["Verdict"] == "reduced: model.hidden=5, recipe.epochs=9" and other["Ours minus paper"] == ""
    (line,) = beside(results + records(make_result, OURS), monkeypatch)
    assert line["Verdict"] == "agrees (+1.4)"


def test_a_declared_defect_is_an_artefact_whatever_the_difference(make_result, monkeypatch) -> None:
    (line,) = beside(records(make_result, OURS), monkeypatch, value="20", artefact="labels of one class were lost")
    assert line["Verdict"] == "artefact: labels of one class were lost"
    assert line["Ours minus paper"] == "+30.00 [+1.72, +58.28]"


def test_a_value_of_another_task_is_not_shown(make_result, monkeypatch) -> None:
    results = records(make_result, OURS, protocol_options={"drop": 1})
    assert len(beside(results, monkeypatch, "drop=1", dataset="digits[drop=1]")) == 1
    monkeypatch.setattr(papers, "published", lambda: [PRINTED])
    columns = columns_of(results)
    recorded = papers.Recorded(rows_of(columns), columns[0], "drop=1")
    assert papers.beside_the_papers("class_fairness/1", "digits[drop=1]", "", recorded, [LAST]) == []


def test_every_verdict_of_the_note_is_explained_and_no_other(make_result, monkeypatch) -> None:
    monkeypatch.setattr(papers, "published", lambda: [PRINTED])
    columns = columns_of(records(make_result, OURS))
    note = papers.beside_the_papers(
        "class_fairness/1", "digits", "", papers.Recorded(rows_of(columns), columns[0], ""), [LAST]
    )[2]
    assert "`agrees`: " in note and "`differs`" not in note and "`not run`" not in note


def test_published_values_are_well_formed() -> None:
    """Every row has all columns; rules and kinds of errors are known."""
    for one in papers.published():
        assert None not in one and set(one) == {*PRINTED, "select", "artefact"}
        assert one["select"] in ("", best_val("accuracy")) and one["error_kind"] in ("", *papers.KINDS)
        assert math.isfinite(float(one["value"]))
