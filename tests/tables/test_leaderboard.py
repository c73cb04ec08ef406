"""Tables from hand-made records, cell by cell."""

import math
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.records.known_code import KnownCode
from bench.records.run import RunResult
from bench.records.sections import Code
from bench.records.selections import Selections
from bench.tables.leaderboard import COMMANDS, NOTES, page_name
from bench.tables.papers import published
from bench.tables.rows import mean_and_error
from tests.tables.pages import render, series_of

Make = Callable[..., RunResult]
PAGE = "class_fairness-v1-digits.md"


def runs(make: Make, method: str, tprd: list[float | None], first_seed: int = 0, **fields: object) -> list[RunResult]:
    """A run for each value, with seeds in a row and an accuracy of 90 %."""
    tests = ({"tprd": value, "accuracy": 0.9} for value in tprd)
    return [make(method, seed, test=test, **fields) for seed, test in enumerate(tests, first_seed)]


def sections(results: list[RunResult], page: str = PAGE) -> dict[str, list[str]]:
    """Title -> the lines below it that are not empty."""
    parts = render(results)[page].split("\n## ")[1:]
    return {head: [line for line in rest if line] for head, *rest in (part.split("\n") for part in parts)}


def cells(results: list[RunResult], title: str = "Last epoch", page: str = PAGE) -> list[list[str]]:
    """The cells of the table below a title, without its head."""
    lines = [line for line in sections(results, page)[title] if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def column(results: list[RunResult], head: str, title: str = "Last epoch") -> list[str]:
    """That whose head begins so; empty where there is none."""
    heads = next(line for line in sections(results)[title] if line.startswith("|")).strip("|").split("|")
    places = [place for place, name in enumerate(heads) if name.strip().startswith(head)]
    return [row[places[0]] for row in cells(results, title)] if places else []


def test_a_whole_page(make_result: Make):
    """Three paired differences of -5, -5 and -20 points: t = -2 with 2 degrees of freedom, p = 1 - 2 / sqrt(6)."""
    results = [
        *runs(make_result, "erm", [0.1, 0.2, 0.3], seconds=2.0),
        *runs(make_result, "learner", [0.05, 0.15, 0.1], seconds=3.0),
        make_result("learner", 3, status="diverged"),
    ]
    assert render(results) == {
        PAGE: f"""<!-- made from records by `bench leaderboard`; not to be edited -->
# class_fairness, version 1, on digits

Protocol: a paper; `bench show class_fairness` says what it does. Data: its source.

Classes: no, yes (the positive class is yes). Groups: the classes. Metrics:

- tprd: True positive rate disparity: largest minus smallest true positive rate over the groups.
- accuracy: Fraction of the samples that are predicted correctly.

Columns of the tables:

- **Method**: {NOTES["Method"]}
- **Each metric**: {NOTES["Each metric"]}
- **Δ**: {NOTES["Δ"]}
- **Seeds**: {NOTES["Seeds"]}
- **Cost**: {NOTES["Cost"]}
- **Val**: {NOTES["Val"]}

## Recipe

- mlp, cross entropy loss, adam with learning rate 0.001, 50 epochs, batches of 100. Samples: 1,000 train, 50 test.

## Last epoch

| # | Method | tprd ↓ | accuracy ↑ | Δ tprd | Seeds | Cost | Val |
| --- | --- | --- | --- | --- | --- | --- | --- |
| 1 | learner | 10.00 ± 2.89 | 90.00 ± 0.00 | -10.00 [-31.51, +11.51], p = 0.184 | 3 | 1.50 × | yes |
| 2 | erm | 20.00 ± 5.77 | 90.00 ± 0.00 |  | 3 | 1.00 × | no |

## Commands

{COMMANDS}

- erm: `bench run --method erm --dataset digits --seeds 3`
- learner: `bench run --method learner --dataset digits --seeds 3`

## Made by

- torch 2.0

## Failed runs

These runs are in no table above.

- `bench run --method learner --dataset digits --seed 3`: diverged
"""
    }


def coded(day: int = 1, core: str = "c1", **plugins: str) -> dict[str, object]:
    """What a record says of its code and its date."""
    uses = {"dataset": "d1", "method": "m1", "model": "n1", "protocol": "p1"}
    code = Code.read({"core": core, "plugins": uses | plugins})
    return {"code": code, "environment": {"created": f"2026-01-{day:02}T00:00:00+00:00"}}


@pytest.mark.parametrize("use", ["dataset", "method", "model", "protocol"])
def test_two_codes_of_a_plugin_never_share_a_row(make_result: Make, use: str):
    older = runs(make_result, "learner", [0.3, 0.5], **coded(1, **{use: "old"}))
    newer = runs(make_result, "learner", [0.1, 0.2], first_seed=2, **coded(2))
    for results in ([*older, *newer], [*newer, *older]):
        assert column(results, "tprd") == ["15.00 ± 5.00"]
        assert column(results, "tprd", "Older code") == []
        ((name, seeds, date, values, code),) = cells(results, "Older code")
        assert (name, seeds, date, values) == (
            "learner",
            "2",
            "2026-01-01",
            "tprd 40.00 ± 10.00, accuracy 90.00 ± 0.00",
        )
        assert f"{use} old" in code
    assert [set(one.runs) for one in series_of([*older, *newer])] == [{2, 3}]


def test_another_core_shares_the_row(make_result: Make):
    results = runs(make_result, "learner", [0.1], **coded()) + runs(make_result, "learner", [0.2], 1, **coded(2, "c2"))
    assert column(results, "Seeds") == ["2"] and "Older code" not in sections(results)


def test_equivalent_codes_share_the_row(make_result: Make, monkeypatch: pytest.MonkeyPatch):
    known = KnownCode({}, [("m1", "m2")])
    monkeypatch.setattr("bench.records.known_code._representatives", known.representatives)
    results = runs(make_result, "learner", [0.1], **coded())
    results += runs(make_result, "learner", [0.2], 1, **coded(2, method="m2"))
    assert column(results, "Seeds") == ["2"] and "Older code" not in sections(results)


def test_records_without_hashes_are_pooled_with_each_other_alone(make_result: Make):
    plain = runs(make_result, "learner", [0.1]) + runs(make_result, "learner", [0.2], 1)
    assert column(plain, "Seeds") == ["2"]
    assert column([*plain, *runs(make_result, "learner", [0.5], 2, **coded(3))], "tprd") == ["50.00"]


@pytest.mark.parametrize(
    ("use", "compared"), [("method", True), ("dataset", False), ("model", False), ("protocol", False)]
)
def test_rows_are_compared_on_one_code_of_their_task(make_result: Make, use: str, compared: bool):
    results = runs(make_result, "erm", [0.1, 0.2], **coded(method="erm"))
    results += runs(make_result, "learner", [0.3, 0.5], **coded(**{use: "other"}))
    assert any(column(results, "Δ")) == (use == "method")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5], "50.00"),
        ([0.1, 0.2], "15.00 ± 5.00"),  # deviations of 0.05: sqrt(2 * 0.0025 / 1 / 2)
        ([0.0, 0.1, 0.2, 0.3], "15.00 ± 6.45"),  # sqrt(0.05 / 3 / 4)
        ([0.1, math.nan], "undefined"),
        ([], "undefined"),
    ],
)
def test_mean_and_standard_error_in_percent(values, expected):
    assert mean_and_error(values) == expected


def test_the_first_metric_ranks_in_its_own_direction(make_result):
    results = [make_result(m, test={"tprd": t, "accuracy": t}) for m, t in (("a", 0.3), ("b", 0.1), ("c", 0.2))]
    assert column(results, "Method") == ["b", "c", "a"]
    upwards = [
        make_result(m, test={"tprd": t, "accuracy": t}, metrics=("accuracy", "tprd"))
        for m, t in (("a", 0.3), ("b", 0.1), ("c", 0.2))
    ]
    assert column(upwards, "Method") == ["a", "c", "b"]
    assert [row[0] for row in cells(upwards)] == ["1", "2", "3"]


def test_ties_go_by_name(make_result):
    results = [make_result(m, test={"tprd": 0.1, "accuracy": 0.9}) for m in ("b", "c", "a")]
    assert column(results, "Method") == ["a", "b", "c"]


@pytest.mark.parametrize("metrics", [("tprd", "accuracy"), ("accuracy", "tprd")])
def test_a_row_with_an_undefined_value_comes_last(make_result, metrics):
    results = [
        make_result("a", 0, test={"tprd": None, "accuracy": None}, metrics=metrics),
        make_result("a", 1, test={"tprd": 0.0, "accuracy": 1.0}, metrics=metrics),
        make_result("b", 0, test={"tprd": 0.9, "accuracy": 0.1}, metrics=metrics),
    ]
    assert column(results, "Method") == ["b", "a"]
    assert column(results, "tprd")[1] == "undefined"


def test_each_selection_rule_has_a_table_of_the_runs_it_applies_to(make_result):
    test = {"tprd": 0.3, "accuracy": 0.9}
    results = [make_result("erm", test=test, best=test | {"tprd": 0.2}), make_result("a", test=test)]
    assert [row[1:3] for row in cells(results, "Best validation accuracy")] == [["erm", "20.00"]]
    assert [row[1:3] for row in cells(results)] == [["a", "30.00"], ["erm", "30.00"]]


def test_differences_are_over_the_common_seeds(make_result):
    """Seeds 1 and 2 are common: differences of 0.1 and 0.3, t = 2 with 1 degree of freedom, p = 1 - 2 atan(2) / pi."""
    results = [*runs(make_result, "erm", [0.9, 0.1, 0.1]), *runs(make_result, "a", [0.2, 0.4, 0.7], first_seed=1)]
    assert column(results, "Δ") == ["", "+20.00 [-107.06, +147.06], p = 0.295"]
    assert 1 - 2 * math.atan(2) / math.pi == pytest.approx(0.295, abs=5e-4)


def test_a_difference_over_one_seed_has_no_interval_and_over_none_there_is_none(make_result):
    erm = runs(make_result, "erm", [0.1])
    assert column([*erm, *runs(make_result, "a", [0.3, 0.5])], "Δ") == ["", "+20.00"]
    assert column([*erm, *runs(make_result, "a", [0.3, 0.5], first_seed=1)], "Δ") == []


def test_p_values_are_adjusted_for_their_number(make_result):
    """As on the whole page twice: Holm doubles the smaller p = 0.1835, and the other is not below it."""
    results = [
        *runs(make_result, "erm", [0.1, 0.2, 0.3]),
        *runs(make_result, "a", [0.05, 0.15, 0.1]),
        *runs(make_result, "b", [0.05, 0.15, 0.1]),
    ]
    assert [cell.rpartition(", ")[2] for cell in column(results, "Δ")] == ["p = 0.367", "p = 0.367", ""]


def test_equal_differences_have_no_interval(make_result):
    results = [*runs(make_result, "erm", [0.25, 0.5]), *runs(make_result, "a", [0.5, 0.75])]
    assert column(results, "Δ") == ["", "+25.00"]


@pytest.mark.parametrize(
    "other",
    [
        {"model": "cnn"},
        {"model_options": {"hidden": 5}},
        {"recipe": {"lr": 0.5}},
        {"validation": "paper"},
        {"data": {"revision": "r2", "unofficial": {}, "sizes": {}}},
        {"resolved": {"recipe": {"lr": 0.5}}},  # a default that was changed since
    ],
)
def test_only_equal_settings_are_compared(make_result, other):
    baseline = runs(make_result, "erm", [0.1, 0.2], off_recipe=[])
    assert column([*baseline, *runs(make_result, "a", [0.2, 0.3], off_recipe=[], **other)], "Δ") == []
    alike = runs(make_result, "erm", [0.1, 0.2], off_recipe=[], **other)
    compared = column([*alike, *runs(make_result, "a", [0.2, 0.3], off_recipe=[], **other)], "Δ")
    assert compared[1].startswith("+10.00 [")


def test_a_field_of_recipes_that_came_later_and_is_not_used_hinders_no_comparison(make_result):
    recipe = {"model": "mlp", "schedule": "steps", "milestones": []}
    fields = {"resolved": {"recipe": recipe}}
    results = [*runs(make_result, "erm", [0.1, 0.2]), *runs(make_result, "a", [0.2, 0.4], **fields)]
    assert column(results, "Δ")[1].startswith("+15.00")


def test_the_order_of_options_separates_no_rows(make_result):
    items = [("width", 2), ("depth", 3)]
    results = [
        make_result(method, seed, test={"tprd": 0.1, "accuracy": 0.9}, model_options=dict(order), recipe=dict(order))
        for method in ("erm", "a")
        for seed, order in enumerate((items, items[::-1]))
    ]
    rows = cells(results, "Off the recipe: last epoch")
    assert [row[5] for row in rows] == ["2", "2"]
    assert rows[0][4].startswith("+0.00 [")


def test_records_of_other_defaults_are_another_row(make_result):
    results = [*runs(make_result, "a", [0.1, 0.3]), *runs(make_result, "a", [0.5], first_seed=2, settings="older")]
    assert [row[1:3] for row in cells(results)] == [["a (settings )", "20.00 ± 10.00"], ["a (settings older)", "50.00"]]


def data(content, revision="r1"):
    """The section of the data of a record."""
    return {"revision": revision, "content": content, "unofficial": {}, "sizes": {}}


def test_runs_of_other_data_share_no_row_and_no_comparison(make_result):
    """Their revision is the same: its author did not raise it."""
    results = [
        *runs(make_result, "erm", [0.1, 0.3], data=data("aaa")),
        *runs(make_result, "erm", [0.5], first_seed=2, data=data("bbb")),
        *runs(make_result, "a", [0.2, 0.4, 0.6], data=data("bbb")),
    ]
    assert [row[1:3] for row in cells(results)] == [
        ["erm (settings , data aaa)", "20.00 ± 10.00"],
        ["a", "40.00 ± 11.55"],
        ["erm (settings , data bbb)", "50.00"],
    ]
    assert column(results, "Δ") == ["", "+10.00", ""]  # with seed 2 of the same data alone


def test_a_record_without_a_hash_of_its_data_is_of_those_of_its_revision(make_result):
    """Earlier versions took no hash. Where two are known, or there is no revision, it is a row of its own."""
    old, new = runs(make_result, "erm", [0.1, 0.3]), runs(make_result, "erm", [0.5], 2, data=data("aaa"))
    assert [row[1:3] for row in cells([*old, *new])] == [["erm", "30.00 ± 11.55"]]
    learner = runs(make_result, "a", [0.2, 0.4], data=data("aaa"))
    assert column([*old, *learner], "Δ")[1] == "+10.00 [+10.00, +10.00], p < 0.001"
    third = runs(make_result, "erm", [0.7], 3, data=data("bbb"))
    assert len(cells([*old, *new, *third])) == 3
    nameless = [
        *runs(make_result, "erm", [0.1, 0.3], data=data("", revision="")),
        *runs(make_result, "erm", [0.5], 2, data=data("aaa", revision="")),
    ]
    assert len(cells(nameless)) == 2


def test_rows_off_the_recipe_have_tables_of_their_own(make_result):
    test = {"tprd": 0.3, "accuracy": 0.9}
    changed = {"recipe": {"lr": 0.5, "epochs": 3}, "model": "cnn", "model_options": {"hidden": (5, 6)}}
    results = [
        make_result("a", test=test, best=test),
        make_result("a", test=test, best=test, off_recipe=["recipe.lr", "model"], **changed),
    ]
    assert list(sections(results)) == [
        *("Recipe", "Last epoch", "Best validation accuracy"),
        *("Off the recipe: last epoch", "Off the recipe: best validation accuracy", "Commands", "Made by"),
    ]
    assert column(results, "Method") == ["a"]
    assert column(results, "Method", "Off the recipe: last epoch") == ["a (cnn, model.hidden=5,6, epochs=3, lr=0.5)"]


def test_a_row_with_another_selection_metric_hides_no_table(make_result):
    test = {"tprd": 0.3, "accuracy": 0.9}
    on = make_result("b", test=test, best=test)
    off = make_result("a", test=test, recipe={"select": "tprd"})
    off = replace(off, about=replace(off.about, select="tprd"))
    epochs = {"last": 3, "best_val_tprd": 3}
    off = replace(off, selected=Selections(epochs, {"test": {name: [value] * 2 for name, value in test.items()}}))
    assert set(sections([on, off])) >= {"Best validation accuracy", "Off the recipe: best validation tprd"}


def test_a_recipe_of_another_protocol_is_told_where_the_row_is(make_result):
    results = runs(make_result, "a", [0.1], off_recipe=["protocol"])
    assert column(results, "Method", "Off the recipe: last epoch") == ["a (the recipe of another protocol)"]


def test_options_of_the_task_have_tables_of_their_own(make_result):
    """Runs on another task cannot be ranked beside these, nor compared with their baseline."""
    test = {"tprd": 0.3, "accuracy": 0.9}
    other = {"protocol_options": {"factor": 10}, "dataset_options": {"size": 64}}
    results = [make_result("erm", test=test), make_result("a", test=test), make_result("a", test=test, **other)]
    start = "dataset.size=64, factor=10"
    own, others = ("Recipe", "Last epoch", "Commands"), ("recipe", "last epoch", "commands")
    assert list(sections(results)) == [*own, *(f"{start}: {part}" for part in others), "Made by"]
    assert column(results, "Method") == ["a", "erm"]
    assert column(results, "Method", f"{start}: last epoch") == ["a"]
    assert column(results, "Δ", f"{start}: last epoch") == []
    _, command = sections(results)[f"{start}: commands"]
    assert "-o dataset.size=64 -o protocol.factor=10" in command


def test_tasks_that_differ_in_an_option_are_compared_by_method(make_result):
    """Differences of -5, -5 and -20 points as on the whole page; of each option to the same without it alone."""
    with_x = {"protocol_options": {"x": "b"}, "resolved": {"protocol_options": {"x": "b", "y": 1.0}}}
    with_both = {"protocol_options": {"x": "b", "y": 2.0}, "resolved": {"protocol_options": {"x": "b", "y": 2.0}}}
    usual = {"resolved": {"protocol_options": {"x": "a", "y": 1.0}}}
    results = [
        *runs(make_result, "a", [0.1, 0.2, 0.3], **usual),
        *runs(make_result, "a", [0.05, 0.15, 0.1], **with_x),
        *runs(make_result, "a", [0.05, 0.15], **with_both),
        *runs(make_result, "erm", [0.5, 0.5], **with_x),  # nothing else is of this method
        *runs(make_result, "b", [0.5, 0.5], **usual),
        *runs(make_result, "b", [0.5], **with_x),  # one seed tells no difference
    ]
    assert cells(results, "Between tasks: last epoch") == [
        ["a", "x=b", "x=a", "3", "-10.00 [-31.51, +11.51], p = 0.367"],
        ["a", "x=b, y=2", "y=1", "2", "+0.00 [+0.00, +0.00], p = 1.000"],
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"resolved": {"recipe": {"lr": 0.5}, "protocol_options": {"x": "b"}}},  # a default that was changed since
        {"resolved": {"options": {"eta": 2}, "protocol_options": {"x": "b"}}},
        {"resolved": {"protocol_options": {"x": "b", "y": 2}}},
        {"data": {"revision": "r2", "unofficial": {}, "sizes": {}}},
        {"dataset_options": {"size": 64}},
        {"validation": "paper"},
    ],
)
def test_tasks_are_compared_only_where_nothing_else_differs(make_result, other):
    usual = {"resolved": {"recipe": {"model": "mlp"}, "protocol_options": {"x": "a", "y": 1}}}
    given = {"protocol_options": {"x": "b"}, "off_recipe": []}
    alike = {"resolved": {"recipe": {"model": "mlp"}, "protocol_options": {"x": "b", "y": 1}}}
    own = runs(make_result, "a", [0.1, 0.2], **usual)
    assert "Between tasks: last epoch" in sections([*own, *runs(make_result, "a", [0.2, 0.4], **given, **alike)])
    results = [*own, *runs(make_result, "a", [0.2, 0.4], **given | alike | other)]
    assert "Between tasks: last epoch" not in sections(results)


def test_an_undefined_difference_between_tasks_is_no_row(make_result):
    other = runs(make_result, "a", [0.1, None], protocol_options={"x": "b"})
    assert "Between tasks: last epoch" not in sections([*runs(make_result, "a", [0.1, 0.2]), *other])


def test_a_metric_that_some_records_have_is_a_column_of_all(make_result):
    more = ("tprd", "accuracy", "perturbed/accuracy")
    results = [*runs(make_result, "a", [0.1]), *runs(make_result, "b", [0.1], metrics=more)]
    assert column(results, "perturbed/accuracy") == ["undefined", "undefined"]
    assert column(results[::-1], "accuracy") == ["90.00", "90.00"]


def test_a_default_of_the_task_that_no_record_tells_is_called_so(make_result):
    other = {"protocol_options": {"x": "b"}}
    results = [*runs(make_result, "a", [0.1, 0.2], resolved={"protocol_options": {}})]
    results += runs(make_result, "a", [0.1, 0.2], **other)
    assert column(results, "Compared", "Between tasks: last epoch") == ["x=its default"]


def test_a_constant_prediction_is_named_where_groups_are_compared(make_result):
    """It has no disparity: 30 of 40 test samples in one seed and 20 of 40 in the other are of the class."""
    found = runs(make_result, "erm", [0.1, 0.2])
    for r, test in zip(found, ([[10, 10], [20, 0]], [[10, 10], [10, 10]]), strict=True):
        r.data.counts.update(train=[[60, 10], [0, 30]], test=test)
    text = render(found)[PAGE]
    assert "Always predicting 'no' has accuracy 62.50 ± 12.50 and the same rates in every group" in text
    for r in found:
        r.data.counts.update(train=[[60, 40]], test=[[10, 10]])  # the group is the class
    assert "Always predicting" not in render(found)[PAGE]


def test_options_are_part_of_the_name(make_result):
    given = {"kind": "a|b", "beta": 0.5}
    assert cells(runs(make_result, "a", [0.1], options=given)) == [
        ["1", "a[beta=0.5,kind=a\\|b]", "10.00", "90.00", "1", "no"]
    ]
    two = [*runs(make_result, "erm", [0.1]), *runs(make_result, "erm", [0.2], options={"x": 1})]
    assert column(two, "Δ") == ["", "+10.00"]  # with an option it is not the baseline


def test_methods_trained_on_validation_data_too_say_so(make_result):
    results = [make_result("a", test={"tprd": 0.1, "accuracy": 0.9}, validation=v) for v in ("shared", "paper")]
    assert column(results, "Method") == ["a", "a (trained on validation data too)"]


def test_a_baseline_that_trains_on_validation_data_is_the_control_of_what_learns_from_them(make_result):
    """All are compared with the baseline of the shared data where there is one, the control too."""
    erm = [make_result("erm", test={"tprd": 0.2, "accuracy": 0.9}, seconds=2.0)]
    more = runs(make_result, "erm", [0.1], seconds=4.0, validation="paper")
    other = {"tprd": 0.5, "accuracy": 0.9}
    others = [make_result(method, test=other, seconds=8.0) for method in ("learner", "a")]
    others.append(make_result("a", test=other, seconds=8.0, validation="paper"))

    def compared(results: list[RunResult]) -> dict[str, tuple[str, str]]:
        return {row[1]: (row[4], row[6]) for row in cells(results)}

    control, same_data = "erm (trained on validation data too)", "a (trained on validation data too)"
    plain = {"erm": ("", "1.00 ×"), "a": ("+30.00", "4.00 ×"), "learner": ("+30.00", "4.00 ×")}
    assert compared([*erm, *more, *others]) == plain | {control: ("-10.00", "2.00 ×"), same_data: ("+40.00", "2.00 ×")}
    without = {
        control: ("", "1.00 ×"),
        same_data: ("+40.00", "2.00 ×"),
        "learner": ("+40.00", "2.00 ×"),
        "a": ("", "–"),
    }
    assert compared([*more, *others]) == without


def test_the_cost_is_relative_to_the_baseline_on_the_same_machine(make_result):
    erm = runs(make_result, "erm", [0.1, 0.1], seconds=2.0)
    assert column([*erm, *runs(make_result, "a", [0.2], seconds=5.0)], "Cost") == ["1.00 ×", "2.50 ×"]
    assert column([*erm, *runs(make_result, "a", [0.2], seconds=5.0, device="GPU")], "Cost") == []
    both = runs(make_result, "a", [0.2], seconds=3.0) + runs(make_result, "a", [0.2], first_seed=1, device="GPU")
    assert column([*erm, *both], "Cost") == ["1.00 ×", "1.50 ×"]


@pytest.mark.parametrize("load", [1.6, None])
def test_a_run_that_shared_the_machine_has_no_cost(make_result, load):
    """Another seed's, which had it to itself, is the row's."""
    erm = runs(make_result, "erm", [0.1], seconds=2.0)
    busy, quiet = runs(make_result, "a", [0.2], seconds=9.0), runs(make_result, "a", [0.2], first_seed=1, seconds=3.0)
    busy[0] = replace(busy[0], costs=replace(busy[0].costs, load=load))
    assert column([*erm, *busy], "Cost") == []
    assert column([*erm, *busy, *quiet], "Cost") == ["1.00 ×", "1.50 ×"]


@pytest.mark.parametrize("part", ["torch", "threads", "stacked"])
def test_another_way_of_running_has_no_cost_to_compare(make_result, part):
    costs = {"train_seconds": 1.0, "threads": 1, "stacked": 1}
    environment = {"device": "CPU A", "versions": {"torch": "2.0"}, "plugins": {}, "git": None}
    if part == "torch":
        environment["versions"] = {"torch": "3.0"}
    else:
        costs[part] = 2
    other = runs(make_result, "a", [0.2], costs=costs, environment=environment)
    assert column([*runs(make_result, "erm", [0.1]), *other], "Cost") == []


def test_failed_runs_are_listed_and_not_counted(make_result):
    results = [
        *runs(make_result, "a", [0.1]),
        make_result("a", 1, status="out of memory", test={"tprd": 0.9, "accuracy": 0.1}),
        make_result("b", 0, status="plugin error"),
    ]
    assert [row[1:5] for row in cells(results)] == [["a", "10.00", "90.00", "1"]]
    assert sections(results)["Failed runs"][1:] == [
        "- `bench run --method a --dataset digits --seed 1`: out of memory",
        "- `bench run --method b --dataset digits --seed 0`: plugin error",
    ]
    assert list(sections([results[2]])) == ["Failed runs"]


def test_a_method_that_is_not_applicable_is_listed_once_with_the_reason(make_result):
    unfit = [make_result("b", seed, status="not applicable", error="b needs images") for seed in (0, 1)]
    page = sections([*runs(make_result, "a", [0.1]), *unfit])
    assert page["Not applicable"] == ["- b needs images (b, seed 0, 1)"]
    assert "Failed runs" not in page


def test_unofficial_data_are_marked_with_the_hash(make_result):
    files = {"a.bin": "sha256:" + "0123456789abcdef" * 4}
    results = [*runs(make_result, "a", [0.1], unofficial=files), *runs(make_result, "b", [0.2])]
    assert column(results, "Method") == ["a ‡", "b"]
    note = "‡ Data files without the official checksum: a.bin (sha256:0123456789ab…)."
    assert sections(results)["Commands"][-1] == note
    assert note not in render(results[1:])[PAGE]


def test_the_command_gives_all_the_seeds_of_a_row(make_result):
    off = runs(make_result, "a", [0.1, 0.2], first_seed=4, recipe={"epochs": 2})
    results = [*off, *runs(make_result, "b", [0.1, 0.2])]
    assert sections(results)["Commands"][1:] == [
        "- a (epochs=2): `bench run --method a --dataset digits --epochs 2 --seed 4 --seed 5`",
        "- b: `bench run --method b --dataset digits --seeds 2`",
    ]


def test_the_recipe_is_told_of_rows_that_keep_it(make_result):
    """Defaults of fields that change nothing are left out; an older record's default is told of its rows."""
    own = {"model": "mlp", "loss": "hinge", "epochs": None, "steps": 2000, "val_size": 7, "momentum": 0.9}
    resolved = {"recipe": own, "protocol_options": {"factor": 10.0, "profile": "step"}}
    results = [*runs(make_result, "a", [0.1], resolved=resolved), *runs(make_result, "b", [0.1], recipe={"lr": 0.5})]
    sizes = "Options of the protocol: factor=10, profile=step. Samples: 1,000 train, 50 test."
    line = f"- mlp, hinge loss, adam with learning rate 0.001, 2,000 updates, batches of 100, momentum=0.9. {sizes}"
    assert sections(results)["Recipe"] == [line]
    older = runs(make_result, "c", [0.1], resolved=resolved | {"recipe": own | {"batch_size": 10}})
    assert sections([*results, *older])["Recipe"] == [
        f"{line} Rows: a.",
        f"{line.replace('batches of 100', 'batches of 10')} Rows: c.",
    ]
    (alone,) = sections(results[1:])["Recipe"]  # where no row keeps it, that of each
    assert alone.startswith("- mlp, cross entropy loss, adam with learning rate 0.5, 50 epochs")


def test_numbers_of_samples_that_differ_by_seed_are_told_by_the_least_and_the_most(make_result):
    results = runs(make_result, "erm", [0.1, 0.2, 0.3])
    for r, size in zip(results, (1100, 1000, 1050), strict=True):
        r.data.sizes.update(train=size)
    assert "Samples: 1,000 to 1,100 train, 50 test." in render(results)[PAGE]


def test_where_no_row_keeps_the_recipe_the_model_that_was_trained_is_told(make_result):
    recipe = {"model": "mlp", "model_options": {"hidden": [5], "activation": "relu"}}
    given = {"resolved": {"recipe": recipe}, "off_recipe": ["model"], "model_options": {"width": 2}}
    (line,) = sections(runs(make_result, "a", [0.1], model="cnn", **given))["Recipe"]
    assert line.startswith("- cnn[width=2], cross entropy loss")
    given |= {"off_recipe": ["model.hidden"], "model_options": {"hidden": [9]}}
    (line,) = sections(runs(make_result, "a", [0.1], **given))["Recipe"]
    assert line.startswith("- mlp[activation=relu, hidden=9], cross entropy loss")


def test_rows_of_one_recipe_are_told_together_with_sets_that_some_seeds_have(make_result):
    results = [*runs(make_result, "erm", [0.1, 0.2]), *runs(make_result, "a", [0.1])]
    results[1].data.sizes.update(train=1001, grid=9)
    (line,) = sections(results)["Recipe"]
    assert line.endswith("Samples: 1,000 to 1,001 train, 50 test, 9 grid.")


def test_all_options_of_a_method_are_told_with_its_command(make_result):
    """Those too that the recipe gives, which its name in the tables does not tell."""
    resolved = {"options": {"by": "group", "beta": 0.9, "target": []}}
    assert sections(runs(make_result, "a", [0.1], options={"beta": 0.9}, resolved=resolved))["Commands"][1:] == [
        "- a[beta=0.9]: `bench run --method a --dataset digits -o beta=0.9 --seeds 1`; beta=0.9, by=group, target="
    ]


def test_what_code_made_the_rows_is_told(make_result):
    def by(commit: str, dirty: bool = False) -> dict:
        plugins = {"method": "a (theirs 2.1)", "dataset": "digits (reweight-bench 0.1)"}
        versions = {"torch": "2.0", "reweight-bench": "0.1"}
        return {"device": "CPU", "versions": versions, "plugins": plugins, "git": {"commit": commit, "dirty": dirty}}

    old, new = "0123456789abcdef", "f" * 40
    first = runs(make_result, "a", [0.1], environment=by(old))
    both = [*runs(make_result, "b", [0.1], environment=by(old)), *runs(make_result, "b", [0.2], 1, environment=by(new))]
    changed = runs(make_result, "c", [0.3], environment=by(new, dirty=True), protocol_options={"factor": 3})
    rest = "reweight-bench 0.1, theirs 2.1, torch 2.0"
    assert sections(first)["Made by"] == [f"- commit 0123456789ab, {rest}"]
    page = sections([*first, *both, *changed])
    assert page["Made by"] == [
        f"- commit 0123456789ab, {rest}: a, b §",
        f"- commit ffffffffffff, {rest}: b §",
        f"- commit ffffffffffff with changes, {rest}: c with factor=3",
    ]
    assert [row[1] for row in cells([*first, *both])] == ["a", "b §"]


def test_many_classes_and_groups_are_told_by_the_first_and_the_last(make_result):
    (found,) = runs(make_result, "a", [0.1])
    found = replace(found, about=replace(found.about, classes=[f"c{i}" for i in range(13)], groups=["g0", "g1"]))
    assert "Classes: 13, from c0 to c12. Groups: g0, g1. Metrics:" in render([found])[PAGE]


def test_a_reference_that_is_a_question_ends_with_its_mark(make_result):
    (found,) = runs(make_result, "a", [0.1])
    found = replace(found, about=replace(found.about, dataset_reference="What is it?"))
    assert "Data: What is it?\n" in render([found])[PAGE]


def test_every_protocol_and_data_set_has_a_page(make_result):
    test = {"tprd": 0.0, "accuracy": 1.0}
    results = [make_result(test=test, protocol=p, dataset=d) for p in ("x/1", "x/2") for d in ("b/c", "a")]
    assert list(render(results)) == ["x-v1-a.md", "x-v1-b~c.md", "x-v2-a.md", "x-v2-b~c.md"]
    assert render([]) == {}


def test_our_means_stand_beside_the_papers(make_result):
    """FORML, Table 2. A method that was not run, or only off the recipe, has no value."""
    metrics = ("fprd", "max_fpr", "accuracy")

    def of(method: str, fprd: float, **fields: object) -> RunResult:
        values = {"fprd": fprd, "max_fpr": 0.25, "accuracy": 0.75}
        given = {"dataset": "communities", "protocol": "group_fairness/1", "metrics": metrics, "seed": 0}
        return make_result(method, test=values, best=values | {"fprd": fprd / 2}, **given | fields)

    results = [
        *(of("forml", 0.4), of("forml", 0.6, seed=1), of("erm", 0.5)),
        *(of("random", 0.5, recipe={"lr": 0.5}), of("class_balanced", 0.5, validation="paper")),
    ]
    rows = {tuple(row[:2]): row[2:] for row in cells(results, "Beside the papers", "group_fairness-v1-communities.md")}
    source = "forml, table2, se of 10 runs"
    assert rows["forml", "fprd"] == ["46.73 ± 2.03", "50.00 ± 10.00", "25.00 ± 5.00", source]
    assert rows["erm", "accuracy"] == ["85.08 ± 0.41", "75.00", "75.00", source]
    assert rows["random", "fprd"] == ["50.21 ± 3.39", "–", "–", source]
    assert rows["class_balanced", "max_fpr"] == ["49.61 ± 2.61", "–", "–", source]
    assert rows["label_bias[eta=1e-5]", "fprd"] == ["48.38 ± 2.73", "–", "–", source]
    printed = [p for p in published() if (p["protocol"], p["dataset"]) == ("group_fairness", "communities")]
    assert {(p["method"], p["metric"]) for p in printed} == set(rows)
    assert "Beside the papers" not in sections(runs(make_result, "erm", [0.1]))


@given(data=st.data())
def test_the_order_of_the_records_does_not_matter(make_result, data):
    results = [
        *runs(make_result, "erm", [0.1, 0.7, 0.3], seconds=0.1),
        *runs(make_result, "a", [0.3, 1e-9, 0.7], seconds=0.3, unofficial={"x": "sha256:1", "y": "sha256:2"}),
        *runs(make_result, "b", [None, 0.2]),
        *runs(make_result, "b", [0.3, 0.2], settings="older"),
        *runs(make_result, "learner", [0.3, 0.2], recipe={"lr": 0.5}),
        *runs(make_result, "learner", [0.1], dataset="cifar10"),
        *(make_result("b", seed, status="diverged") for seed in (7, 8, 9)),
    ]
    shuffled = data.draw(st.permutations(results))
    assert list(render(shuffled).items()) == list(render(results).items())


def test_tables_and_the_command_line_need_no_torch():
    code = (
        "import sys, bench, bench.tables.leaderboard, bench.cli, bench.store.results\n"
        "bench.tables.leaderboard.render([])\n"
        "sys.exit(', '.join(m for m in ('torch', 'numpy', 'pandas', 'scipy') if m in sys.modules) or 0)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


def test_what_a_method_used_in_place_of_the_recipe_is_told_below_the_table(make_result):
    """The row of a method with another optimiser stood under the recipe's, without a word."""
    used = {"optimizer": "SAM (lr 0.1)", "training samples": "120, of which 20 were made"}
    page = render(
        [
            make_result(test={"tprd": 0.5, "accuracy": 0.5}),
            make_result("sam", test={"tprd": 0.4, "accuracy": 0.5}, about={"used": used}),
        ]
    )[PAGE]
    told = page.partition("Trained with something else than the recipe says:")[2].strip().splitlines()[0]
    assert told == "- sam: optimizer: SAM (lr 0.1); training samples: 120, of which 20 were made"
    assert "something else than the recipe" not in render([make_result(test={"tprd": 0.5, "accuracy": 0.5})])[PAGE]


def test_selected_models_that_predict_one_class_are_named_below_the_table(make_result):
    """With two classes by the fraction that is predicted as positive: nothing but 0 and 1 is constant."""
    results = [
        make_result("a", seed, test={"tprd": 0.0, "accuracy": 0.5, "fraction_positive": fraction})
        for seed, fraction in enumerate([0.0, 1.0, 0.02])
    ]
    results.append(make_result("b", test={"tprd": 0.0, "accuracy": 0.5, "fraction_positive": 0.98}))
    text = render(results)[PAGE]
    assert text.count("predict one and the same class for every test sample") == 1
    assert "was learned:** a (2 of 3 seeds).\n" in text


@pytest.mark.parametrize(
    ("balanced", "largest_fpr", "constant"), [(0.25, 1.0, True), (0.25, 0.9, False), (0.26, 1.0, False)]
)
def test_a_constant_model_of_many_classes_has_one_recall_of_1_and_one_false_positive_rate_of_1(
    make_result, balanced, largest_fpr, constant
):
    names = {"classes": ["a", "b", "c", "d"], "groups": ["a", "b", "c", "d"]}
    test = {"tprd": 1.0, "accuracy": 0.25, "balanced_accuracy": balanced, "max_fpr": largest_fpr}
    assert ("predict one and the same class" in render([make_result("a", test=test, about=names)])[PAGE]) == constant


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        ([1020, 30], [20, 20], ", which makes its classes 34:1 instead of 100:1"),
        ([1010, 505], [10, 5], ""),
        ([1020, 20], [20, 20], ""),
    ],
)
def test_a_row_says_what_joined_validation_data_do_to_the_ratio_of_the_classes(make_result, train, val, said):
    data = {"counts": {"train": [train], "val": [val]}}
    result = make_result("erm", test={"tprd": 0.1, "accuracy": 0.9}, validation="paper", data=data)
    assert column([result], "Method") == [f"erm (trained on validation data too{said})"]


def test_each_task_has_a_page_of_its_own(make_result: Make):
    """`a/b` is a member of a family of data sets, and `a-b` another data set."""
    results = [make_result("erm", 0, dataset=name, test={"tprd": 0.1, "accuracy": 0.9}) for name in ("a/b", "a-b")]
    assert sorted(render(results)) == ["class_fairness-v1-a-b.md", "class_fairness-v1-a~b.md"]


TASKS = [
    *[("p-v1/2", "x"), ("p/1", "v2-x"), ("p/1", "x-v2-y"), ("p-v1-x/2", "y")],  # where does the version stand?
    *[("p/1", "mnist"), ("p/1", "MNIST"), ("P/1", "mnist"), ("p/1", "Mnist")],
    *[("p/1", "a/b"), ("p/1", "a-b"), ("p/1", "a.b"), ("p/1", "a/b/c"), ("p/1", "a//b")],
    *[("p/11", "x"), ("p/1", "1-x"), ("p/1", "1/x"), ("p-1/1", "x")],
    *[("p/1", "stra\u00dfe"), ("p/1", "strasse"), ("p/1", "caf\u00e9"), ("p/1", "cafe\u0301")],
]


def test_two_tasks_never_share_a_page(make_result: Make):
    """Nor where names are the same file in upper and lower case, or with accents composed or not."""
    names = [page_name(*task) for task in TASKS]
    same_file = [unicodedata.normalize("NFKD", name).casefold() for name in names]
    assert len(set(same_file)) == len(names)
    results = [make_result(protocol=p, dataset=d, test={"tprd": 0.1, "accuracy": 0.9}) for p, d in TASKS]
    assert sorted(render(results)) == sorted(names)


def test_a_page_whose_name_has_one_reading_has_no_digest():
    assert page_name("label_shift/1", "cat_dog") == "label_shift-v1-cat_dog.md"
    assert page_name("p/10", "a/b-v2") == "p-v10-a~b-v2.md"
    assert re.fullmatch(r"p-v1-v2-x@[0-9a-f]{12}\.md", page_name("p-v1/2", "x"))
    assert re.fullmatch(r"p-v1-MNIST@[0-9a-f]{12}\.md", page_name("p/1", "MNIST"))
