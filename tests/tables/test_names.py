"""What rows are called, by hand."""

from collections.abc import Callable

from bench.columns.table import columns_of
from bench.records.run import RunResult
from bench.tables.names import Names
from bench.tables.rows import rows_of

Make = Callable[..., RunResult]
TEST = {"tprd": 0.5, "accuracy": 0.9}
FILES = {"a.bin": "sha256:1"}


def called(results: list[RunResult]) -> tuple[list[str], str]:
    """The names of the rows, and the sentence of what all share."""
    rows = rows_of(columns_of(results))
    names = Names.of(rows)
    return [names(row) for row in rows], names.sentence()


def test_what_all_rows_share_is_said_once(make_result: Make) -> None:
    results = [
        make_result("erm", test=TEST, recipe={"epochs": 2}),
        make_result("a", test=TEST, recipe={"epochs": 2}, options={"x": 1}),
        make_result("b", test=TEST, recipe={"epochs": 2, "lr": 0.5}),
    ]
    assert called(results) == (["a[x=1]", "b (lr=0.5)", "erm"], "All rows: epochs=2.")


def test_what_some_share_is_said_of_each(make_result: Make) -> None:
    results = [
        make_result("a", test=TEST, validation="paper"),
        make_result("b", test=TEST, validation="paper"),
        make_result("c", test=TEST),
    ]
    more = "(trained on validation data too)"
    assert called(results) == ([f"a {more}", f"b {more}", "c"], "")


def test_a_row_that_stands_alone_keeps_its_name(make_result: Make) -> None:
    assert called([make_result("a", test=TEST, recipe={"lr": 0.5})]) == (["a (lr=0.5)"], "")
    tasks = [make_result("a", test=TEST, recipe={"lr": 0.5}, protocol_options=x) for x in ({}, {"x": 1})]
    assert called(tasks) == (["a (lr=0.5)"] * 2, "")  # of one method on two tasks
    assert Names.of([]) == Names()


def test_marks_are_left_out_and_said_in_a_sentence_of_their_own(make_result: Make) -> None:
    results = [make_result(method, test=TEST, unofficial=FILES, validation="paper") for method in ("a", "b")]
    assert called(results) == (["a", "b"], "All rows: trained on validation data too. All rows are marked ‡.")
    assert called([*results, make_result("c", test=TEST, validation="paper")])[0] == ["a ‡", "b ‡", "c"]


def test_names_are_markdown_and_plain(make_result: Make) -> None:
    (row,) = rows_of(columns_of([make_result("a", test=TEST, options={"kind": "*b*"})]))
    assert Names()(row) == "a[kind=\\*b\\*]"
    assert Names().plain(row) == "a[kind=*b*]"
