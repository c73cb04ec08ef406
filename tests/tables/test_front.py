"""The front page, from summaries by hand."""

import json
from dataclasses import replace

from bench.tables.conclusions import Verdict
from bench.tables.pages.front import answer, front, picture_of
from bench.tables.summary import PageSummary, RowSummary, TaskSummary


def row(name: str, verdict: Verdict, difference: float | None = 0.05, cost: float | None = None) -> RowSummary:
    return RowSummary(name, name, verdict.value, difference, None, cost, 5)


def task(rows: list[RowSummary], name: str = "", main: bool = True, answer: str = "An answer.") -> TaskSummary:
    return TaskSummary(name, main, "tprd", "%", False, "last", answer, rows)


def page(title: str, *tasks: TaskSummary) -> PageSummary:
    return PageSummary(title, "class_fairness/1", title, 5, 1, ["erm", "a"], tasks)


BASELINE = row("erm", Verdict.BASELINE, None)
WINNER = replace(row("a", Verdict.BETTER, -0.05, 2.0), gain="tprd -5.00 points, accuracy -0.10 points")
PAGES = {
    "one.md": page("one", task([BASELINE, WINNER, row("b", Verdict.IDENTICAL, 0.0)])),
    "two.md": page("two", task([BASELINE, row("a", Verdict.WORSE, 0.021, 4.0)]), task([row("a", Verdict.FEW)], "x=1")),
    "three.md": page("three", task([row("a[x=1]", Verdict.BETTER)], main=False)),
}


def lines(text: str, begin: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith(begin)]


def test_the_matrix_has_a_cell_for_each_method_and_task():
    text = front(PAGES)
    (head, *_), a, b = lines(text, "| Method"), lines(text, "| a |"), lines(text, "| b |")
    assert head == (
        "| Method | [class fairness, one](one.md) tprd ↓ | [class fairness, two](two.md) tprd ↓ "
        "| [class fairness, two, x=1](two.md) tprd ↓ | Better · not separated · worse | Cost |"
    )
    assert a == ["| a | ▲ -5.00 | ▼ +2.10 | ? +5.00 | 1 · 0 · 1 | 3.00 × |"]
    assert b == ["| b | = |  |  | 0 · 1 · 0 |  |"]
    assert "a[x=1]" not in text


def test_the_answer_stands_first():
    begin = "in its default configuration, beats the baseline by more than chance"
    assert front(PAGES).split("\n")[3] == (
        f"**On 1 of the 2 tasks that can be decided so far (of 3), a method, {begin}: "
        "a on one (tprd -5.00 points, accuracy -0.10 points).**"
    )
    better = {f"{name}.md": page(name, task([BASELINE, row("a", Verdict.BETTER)])) for name in "wxyz"}
    assert answer(better).startswith("On the 4 tasks that can be decided so far, a method,")
    assert answer(better).endswith(" by more than chance: a on w; a on x; a on y; and others.")
    assert answer({}) == "No method is compared with a baseline yet."
    level = {"p.md": page("p", task([BASELINE, row("a", Verdict.OPEN)]))}
    assert answer(level).startswith("On the one task that can be decided so far, no method,")
    assert answer(level).endswith(f", no method, {begin}.")


def test_a_task_with_few_seeds_or_without_a_disparity_cannot_be_decided_and_one_of_two_options_counts_once():
    few = {"few.md": page("few", task([BASELINE, row("a", Verdict.FEW)]))}
    chance = {"chance.md": page("chance", replace(task([BASELINE, row("a", Verdict.OPEN)]), at_chance=True))}
    assert answer(few | chance) == "No task has what a verdict takes yet."
    two = {"two.md": page("two", task([BASELINE, row("a", Verdict.OPEN)]), task([row("a", Verdict.BETTER)], "x=1"))}
    assert answer(few | chance | two) == (
        "On the one task that can be decided so far (of 3), a method, in its default "
        "configuration, beats the baseline by more than chance: a on two, x=1."
    )


def test_a_task_without_a_disparity_is_marked_and_pages_without_a_column_are_named():
    chance = replace(task([BASELINE, row("a", Verdict.OPEN)]), at_chance=True)
    text = front({"one.md": page("one", chance), "three.md": PAGES["three.md"]})
    assert "| [class fairness, one](one.md) tprd ↓ ° |" in text and "\n° The baseline has no disparity above" in text
    assert "is compared there: [class fairness, three](three.md)." in text
    assert "°" not in front(PAGES)


def test_each_page_has_its_answers_and_equal_ones_stand_once():
    text = front(PAGES)
    assert "- [**one**](one.md): An answer." in text
    assert "- [**two**](two.md):\n  - default; x=1: An answer." in text


def test_a_page_without_a_comparison_says_so():
    assert "[**p**](p.md): no method is compared with a baseline." in front({"p.md": page("p", task([], answer=""))})


def test_the_picture_is_that_of_the_task_that_is_named_or_else_with_most_rows():
    many = page("z", task([BASELINE, *(row(name, Verdict.OPEN) for name in "abcdef")]))
    both = [picture_of("one.md"), picture_of("z.md")]
    assert f"]({picture_of('one.md')})" in front(PAGES | {"z.md": many}, both)
    assert f"]({picture_of('z.md')})" in front(PAGES | {"z.md": many}, both[1:])
    assert f"]({picture_of('z.md')})" in front({"two.md": PAGES["two.md"], "z.md": many}, both)
    assert f"]({picture_of('one.md')})" in front(PAGES, [picture_of("one.md"), picture_of("two.md")])
    assert "![" not in front(PAGES)


def test_runs_are_counted_and_further_pages_linked():
    text = front(PAGES, others=["throughput.md"])
    assert "15 finished runs of 2 methods on 3 pages; 3 failed or not applicable. `bench show RUN`" in text
    assert "- [throughput](throughput.md)" in text


def test_a_summary_is_the_same_after_json():
    for summary in PAGES.values():
        assert PageSummary.of_values(json.loads(json.dumps(summary.to_values()))).to_values() == json.loads(
            json.dumps(summary.to_values())
        )
