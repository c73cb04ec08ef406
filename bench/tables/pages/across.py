"""Methods compared across tasks, as a section of the front page: a pure function of the summaries of the pages. Nothing
here imports torch.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.tables.comparisons import CONCLUSIVE
from bench.tables.conclusions import Verdict
from bench.tables.markdown import folded, link, plain, table
from bench.tables.pages.common import FEWEST_METHODS, FEWEST_TASKS, MOST_SEEDS, Common, Task, common_set
from bench.tables.pages.rank_pictures import profile_picture, rank_picture
from bench.tables.stats.across import Across, Interval, across_tasks, cliques, interquartile_mean, smallest_p
from bench.tables.stats.means import mean_se
from bench.tables.stats.ranks import SIGNIFICANT
from bench.tables.summary import PageSummary
from bench.text import join_first

TITLE = "Across tasks"
RANKS, PROFILE = "across/ranks.svg", "across/profile.svg"
"""The files of the pictures."""
DIGITS = 12
"""Means that are equal up to so many digits after the point differ by rounding alone, and tie."""
NAMED = 6
LETTERS = "abcdefghijklmnopqrstuvwxyz"
LACKING = (
    f"Nothing is ranked across tasks: that takes {FEWEST_TASKS} tasks with different protocols or data on which the "
    f"same {FEWEST_METHODS} methods are compared with the baseline over {CONCLUSIVE} seeds or more, "
)
EXPLAINED = (
    "**What is ranked.** On each task a method has the rank of its mean difference from the baseline in the task's "
    f"first metric, over the seeds that all of these methods have, of many the first {MOST_SEEDS}; the baseline itself "
    "has a difference of zero, and equal differences share their ranks. Ahead, equal and behind count the tasks by "
    "that mean, without a test. Of each protocol and data set one task counts, the one on which the most "
    "methods are compared, as tasks that share their data are not independent. Different protocols on one data set do "
    "count, though they share its samples: where that is so, it is said above. As long as a method is not compared on "
    "some task, the method or task of which the largest share is missing is left out.",
    "**Sizes.** Tasks have different metrics, whose points cannot be compared. Where sizes count, a difference is "
    "divided by the standard deviation of the baseline's values over the same seeds (Glass's Δ), and positive is "
    "better: 1 is as much as another seed typically changes plain training. Ranks do not depend on that scale.",
    "**Tests.** Friedman's test asks whether all methods are the same. Two methods are compared by Wilcoxon's "
    "signed-rank test of the scaled means, exactly, also where some are equal; p is adjusted for all pairs (Holm). "
    "Methods that share a letter are not separated, which does not show that they are the same.",
    "**Interquartile mean.** The mean of the middle half of the scaled differences of all seeds, each task with the "
    "same weight, with a 95 % bootstrap interval that resamples the seeds of each task; it says nothing of other tasks "
    "than these, nor of other test samples where all seeds share a test set. "
    "Where each seed draws its own test data, fewer seeds are drawn, so that the interval is as wide as "
    "their overlap makes it (Agarwal et al. 2021; Nadeau and Bengio 2003).",
)


@dataclass(frozen=True)
class Standing:
    """A method among others over several tasks.

    Attributes:
        name: of the method.
        rank: its mean rank, 1 for the best.
        tally: on how many tasks its mean is better than the baseline's, equal and worse; None for the baseline.
        middle: the interquartile mean of its scores; None for the baseline, whose scores are all zero.
        scores: for each task those of its seeds: the difference from the baseline in the baseline's standard
            deviations, positive for better.
        verdict: against the baseline.
    """

    name: str
    rank: float
    tally: tuple[int, int, int] | None
    middle: Interval | None
    scores: Sequence[Sequence[float]]
    verdict: Verdict


@dataclass(frozen=True)
class Standings:
    """Methods ranked over tasks.

    Attributes:
        common: the methods and the tasks.
        baseline: the name of the baseline among the methods.
        tests: the ranks and the tests.
        methods: in the order of their ranks.
        cliques: the names of methods of which no two are separated.
    """

    common: Common
    baseline: str
    tests: Across
    methods: Sequence[Standing]
    cliques: Sequence[Sequence[str]]


def standings(common: Common) -> Standings:
    """Rank methods over tasks.

    Args:
        common: the methods and the tasks, enough of both.
    """
    seeds = {task.title: task.seeds(common.methods) for task in common.tasks}
    scores = {method: [_scores(task, method, seeds[task.title]) for task in common.tasks] for method in common.methods}
    names = {task.baseline.name for task in common.tasks}
    baseline = names.pop() if len(names) == 1 else "baseline"
    baseline += " (baseline)" if baseline in scores else ""
    everything = {baseline: [[0.0] * len(of_task) for of_task in scores[common.methods[0]]], **scores}
    means = {name: [round(mean_se(of_task)[0], DIGITS) for of_task in of] for name, of in everything.items()}
    tests = across_tasks(means)
    order = sorted(everything, key=lambda name: (tests.ranks[name], name))
    overlaps = [task.summary.overlap for task in common.tasks]

    def separated(one: str, other: str) -> bool:
        p = tests.pairs[(one, other) if (one, other) in tests.pairs else (other, one)]
        return p < SIGNIFICANT  # NaN is not

    found = []
    for name in order:
        if name == baseline:
            found.append(Standing(name, tests.ranks[name], None, None, everything[name], Verdict.BASELINE))
            continue
        better, worse = sum(mean > 0 for mean in means[name]), sum(mean < 0 for mean in means[name])
        verdict = (Verdict.BETTER if better > worse else Verdict.WORSE) if separated(name, baseline) else Verdict.OPEN
        tally = better, len(means[name]) - better - worse, worse
        middle = interquartile_mean(scores[name], overlaps)
        found.append(Standing(name, tests.ranks[name], tally, middle, scores[name], verdict))
    return Standings(common, baseline, tests, found, cliques(order, separated))


def _scores(task: Task, method: str, seeds: Sequence[str]) -> list[float]:
    """What a method differs by from the baseline, in the baseline's standard deviations, positive for better."""
    scale = task.scale(seeds) * (1 if task.summary.higher else -1)
    values, others = task.rows[method].values, task.baseline.values
    return [(values[seed] - others[seed]) / scale for seed in seeds]


def section(pages: Mapping[str, PageSummary]) -> tuple[list[str], dict[str, str]]:
    """The section of the front page, and its pictures.

    Args:
        pages: file name -> summary.

    Returns:
        The lines of markdown, and file name -> SVG. Where there are too few tasks or methods, the lines are a sentence
        that says what is lacking.
    """
    if not pages:
        return [], {}
    common = common_set(pages)
    if common.lacking:
        return [f"## {TITLE}", "", f"{plain(LACKING + common.lacking)}.", ""], {}
    found = standings(common)
    over = f"over {len(common.tasks)} tasks"
    shown = [(one.name, one.rank, one.verdict) for one in found.methods]
    scores = {one.name: one.scores for one in found.methods if one.middle}
    pictures = {
        RANKS: rank_picture(shown, found.cliques, f"Mean ranks {over}"),
        PROFILE: profile_picture(scores, f"Differences from {found.baseline} {over}"),
    }
    shared = _shared(pages[task.page].dataset for task in common.tasks)
    lines = [f"## {TITLE}", "", *_answer(found, shared), "", f"!{link(f'Mean ranks {over}', RANKS)}", ""]
    lines += [*_table(found), "", f"!{link(f'Profiles {over}', PROFILE)}", ""]
    return lines + folded("What this rests on", _basis(common)), pictures


def _shared(datasets: Iterable[str]) -> str:
    """That some tasks share a data set, as a sentence; empty where none do.

    Args:
        datasets: of each task.
    """
    counts = Counter(datasets)
    shared = [f"{count} on {name}" for name, count in sorted(counts.items()) if count > 1]
    if not shared:
        return ""
    return (
        f"Of the {counts.total()} tasks {' and '.join(shared)} share their data: they are not independent, as the "
        "tests take them to be, so that a small p says less than it seems to."
    )


def _answer(found: Standings, shared: str) -> list[str]:
    """Which methods are better than the baseline, and how sure that is; or that there are too few tasks to tell."""
    tasks, pairs = found.tests.tasks, len(found.tests.pairs)
    named = {
        verdict: [plain(one.name) for one in found.methods if one.verdict is verdict]
        for verdict in (Verdict.BETTER, Verdict.WORSE)
    }
    says = [
        f"{join_first(names, NAMED)} {'is' if len(names) == 1 else 'are'} {verdict}"
        for verdict, names in named.items()
        if names
    ]
    of = f"{len(found.methods) - 1} methods and controls"
    answer = f"{' and '.join(says)} than {plain(found.baseline)} by more than chance" if says else ""
    answer = answer or f"none of {of} is separated from {plain(found.baseline)}"
    p = found.tests.p
    friedman = "all ranks are equal" if math.isnan(p) else f"p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
    first = f"**Over {tasks} tasks, {answer}.**"
    if (least := smallest_p(tasks, pairs)) >= SIGNIFICANT:
        first = (
            f"**There are too few tasks to separate any two methods:** with {tasks} tasks and {pairs} pairs Wilcoxon's "
            f"test cannot give less than p = {least:.3f} after Holm's correction."
        )
    return [" ".join(filter(None, [first, f"Friedman's test of {of} and the baseline: {friedman}.", plain(shared)]))]


def _table(found: Standings) -> list[str]:
    """The methods in the order of their ranks."""
    heads = ["Method", "Mean rank", "Ahead · equal · behind", "Interquartile mean (baseline SDs)", "Not separated"]
    lines = []
    for one in found.methods:
        tally = "baseline" if one.tally is None else " · ".join(map(str, one.tally))
        middle = f"{one.middle.value:+.2f} [{one.middle.low:+.2f}, {one.middle.high:+.2f}]" if one.middle else "0"
        groups = [_letter(place) for place, group in enumerate(found.cliques) if one.name in group]
        lines.append([plain(one.name), f"{one.rank:.2f}", tally, middle, " ".join(groups)])
    return table(heads, lines)


def _letter(place: int) -> str:
    """The name of a group of methods that are not separated."""
    return LETTERS[place] if place < len(LETTERS) else str(place + 1)


def _basis(common: Common) -> list[str]:
    """What is ranked, how, and what is left out."""
    tasks = []
    for task in common.tasks:
        seeds = len(task.seeds(common.methods))
        tasks.append(f"- {link(plain(task.title), task.page)}: {plain(task.summary.metric)}, {seeds} seeds")
    left_out = [f"- {plain(name)}: {plain(why)}" for name, why in sorted(common.left_out.items())]
    lines = [line for paragraph in EXPLAINED for line in (paragraph, "")]
    lines += ["Tasks:", "", *tasks]
    return lines + (["", "Left out:", "", *left_out] if left_out else [])
