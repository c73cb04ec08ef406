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
    told = "best is better than the baseline: tprd -30.00 points [-31.96, -28.04], better for 100 % of 5 seeds"
    assert f"  - [digits]({name}): {told}, accuracy +0.00 points. `{command} --seeds 5`" in text


def test_where_all_are_worse_the_baseline_is_named(make_result: Make) -> None:
    _, text = of([*runs(make_result, "erm", 0.5), *runs(make_result, "worse", 0.7)])
    assert ": no method is better, and no question is open: run the baseline, erm. `bench run --method erm" in text


def test_an_open_question_is_told_with_what_would_decide(make_result: Make) -> None:
    """Not separated is not equivalent: nobody is told to run the baseline for it."""
    _, text = of([*runs(make_result, "erm", 0.5), *runs(make_result, "open", 0.4921)])
    told = (
        "undecided: open is ahead, tprd -0.79 points [-2.75, +1.17], better for 60 % of 5 seeds, accuracy +0.00 points"
    )
    would = "34 seeds would decide with a probability of 80 %"
    commands = [f"`bench run --method {method} --dataset digits --seeds 34`" for method in ("open", "erm")]
    assert f"{told}; {would}. As long as nothing is shown, the baseline, erm, is the cheaper choice." in text
    assert " and ".join(commands) in text
    _, text = of([*runs(make_result, "erm", 0.5), *runs(make_result, "open", 0.5079)])
    assert "undecided: no method is ahead of the baseline. As long as nothing is shown, the baseline, erm, " in text
    assert "choice. `bench run --method erm --dataset digits --seeds 5`" in text


def test_of_too_few_seeds_the_command_has_enough(make_result: Make) -> None:
    """The baseline has its seeds in the second case, and its command is not given again."""
    _, text = of([*runs(make_result, "erm", 0.5)[:2], *runs(make_result, "ahead", 0.3)[:2]])
    told = (
        "too few seeds to tell: ahead is ahead, tprd -21.50 points, better for 100 % of 2 seeds, accuracy +0.00 points"
    )
    both = [f"`bench run --method {method} --dataset digits --seeds 5`" for method in ("ahead", "erm")]
    assert f"{told}; 5 seeds are the fewest that can decide. As long as" in text and " and ".join(both) in text
    _, text = of([*runs(make_result, "erm", 0.5), *runs(make_result, "worse", 0.7)[:2]])
    assert "too few seeds to tell: no method is ahead of the baseline." in text
    assert text.endswith("choice. `bench run --method worse --dataset digits --seeds 5`\n")


def test_a_baseline_is_not_called_cheaper_than_a_method_that_costs_less(make_result: Make) -> None:
    _, text = of([*runs(make_result, "erm", 0.5, seconds=2.0), *runs(make_result, "open", 0.4921, seconds=1.0)])
    assert "the baseline, erm, is the simpler choice" in text


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
