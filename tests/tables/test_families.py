"""Which rows are tested together, of rows named by hand."""

from collections.abc import Callable

from bench.columns.table import columns_of
from bench.records.run import RunResult
from bench.tables.families import families_of
from bench.tables.rows import rows_of

Make = Callable[..., RunResult]
TEST = {"tprd": 0.5, "accuracy": 0.9}


def families(results: list[RunResult]) -> list[tuple[str, list[str], bool]]:
    """Title, names of the rows, and whether it is the main one."""
    found = families_of(rows_of(columns_of(results)))
    return [(family.title, [row.name for row in family.rows], family.main) for family in found]


def test_defaults_options_and_what_is_off_the_recipe_are_families_of_their_own(make_result: Make) -> None:
    results = [
        make_result("erm", test=TEST),
        make_result("a", test=TEST),
        make_result("a", test=TEST, options={"x": 1}),
        make_result("a", test=TEST, options={"x": 2}),
        make_result("b", test=TEST, options={"y": 1}),
        make_result("a", test=TEST, recipe={"lr": 0.5}),
        make_result("a", test=TEST, options={"x": 3}, recipe={"lr": 0.5}),
    ]
    assert families(results) == [
        ("", ["a", "erm"], True),
        ("other options of a", ["a[x=1]", "a[x=2]"], False),
        ("other options of b", ["b[y=1]"], False),
        ("off the recipe", ["a (lr=0.5)", "a[x=3] (lr=0.5)"], False),
    ]


def test_where_all_methods_have_options_these_are_compared(make_result: Make) -> None:
    results = [
        make_result("erm", test=TEST),
        make_result("a", test=TEST, options={"x": 1}),
        make_result("b", test=TEST, options={"y": 1}),
    ]
    assert families(results) == [("", ["a[x=1]", "b[y=1]", "erm"], False)]
    assert families(results[1:]) == [("", ["a[x=1]", "b[y=1]"], False)]


def test_training_on_validation_data_too_is_no_option(make_result: Make) -> None:
    results = [make_result(method, test=TEST, validation="paper") for method in ("erm", "a")]
    both = ["a (trained on validation data too)", "erm (trained on validation data too)"]
    assert families(results) == [("", both, True)]


def test_a_family_without_rows_is_none(make_result: Make) -> None:
    assert families([make_result("a", test=TEST)]) == [("", ["a"], True)]
    assert families([make_result("a", test=TEST, recipe={"lr": 0.5})]) == [("off the recipe", ["a (lr=0.5)"], False)]
    assert families_of([]) == []
