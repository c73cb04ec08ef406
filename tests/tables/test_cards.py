"""Cards lead from a problem to a protocol, the best-supported method and its command."""

from collections.abc import Callable, Sequence

import pytest

from bench.columns.table import columns_of
from bench.records.run import RunResult
from bench.tables.pages import leaderboard
from bench.tables.pages.cards import cards
from bench.tables.summary import PageSummary

Make = Callable[..., RunResult]
FIXED = {"tests": "one", "sizes": {"train": 1000, "test": 10**8}}
SPREAD = [-0.02, -0.01, 0.0, 0.01, 0.02]


def runs(make: Make, method: str, tprd: float, problem: str = "noisy labels", **fields: object) -> list[RunResult]:
    return [
        make(
            method,
            seed,
            test={"tprd": tprd + (deviation if method != "erm" else 0), "accuracy": 0.9},
            about={"problem": problem},
            data=FIXED,
            **fields,
        )
        for seed, deviation in enumerate(SPREAD)
    ]


def of(results: Sequence[RunResult]) -> tuple[dict[str, PageSummary], str]:
    """The summaries of the pages, as they are kept, and the cards."""
    pages = {name: page.summary for name, page in leaderboard.render(columns_of(results)).items()}
    kept = {name: PageSummary.of_values(page.to_values()) for name, page in pages.items()}
    assert kept == pages
    return kept, "\n".join(cards(kept))


def test_the_best_method_is_named_with_its_command(make_result: Make) -> None:
    results = [*runs(make_result, "erm", 0.5), *runs(make_result, "good", 0.3), *runs(make_result, "best", 0.2)]
    pages, text = of(results)
    (page,) = pages.values()
    assert (page.problem, page.advice.name, page.advice.helps) == ("noisy labels", "best", True)
    assert "- **I have noisy labels.** `bench show class_fairness` says what is measured." in text
    command = results[-1].command.rpartition(" --seed ")[0]
    (name,) = pages
    assert f"  - [digits]({name}): best is better than the baseline. `{command} --seeds 5`" in text


def test_where_nothing_helps_the_baseline_is_named(make_result: Make) -> None:
    _, text = of([*runs(make_result, "erm", 0.5), *runs(make_result, "worse", 0.7)])
    assert "no method is better by more than chance: run the baseline, erm. `bench run --method erm" in text


def test_of_too_few_seeds_nothing_is_said(make_result: Make) -> None:
    _, text = of([*runs(make_result, "erm", 0.5)[:2], *runs(make_result, "worse", 0.7)[:2]])
    assert ": too few seeds to tell; the baseline is erm. `bench run --method erm" in text


def test_without_a_comparison_that_is_said(make_result: Make) -> None:
    _, text = of(runs(make_result, "alone", 0.5))
    assert ": no method is compared with a baseline; all runs are of alone." in text
    _, text = of(runs(make_result, "erm", 0.5))
    assert "no method is compared with a baseline; the baseline is erm." in text


@pytest.mark.parametrize(
    ("problems", "title"),
    [
        (["", ""], "Class fairness"),
        (["imbalanced classes", "imbalanced classes"], "I have imbalanced classes"),
        (["", "imbalanced classes"], "I have imbalanced classes"),
    ],
)
def test_pages_of_one_problem_share_a_card(make_result: Make, problems: list[str], title: str) -> None:
    """Records of earlier versions, which do not say it, have that of others of their protocol, or else its name."""
    one, other = problems
    _, text = of([*runs(make_result, "erm", 0.5, one), *runs(make_result, "erm", 0.5, other, dataset="other")])
    assert [line.partition(" `")[0] for line in text.split("\n") if line.startswith("- ")] == [f"- **{title}.**"]


def test_without_rows_there_is_no_card(make_result: Make) -> None:
    failed = make_result("erm", status="diverged", error="it did")
    assert of([failed])[1] == ""
