"""What the runs of a task say: each row beside its baseline, with a verdict. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property

from bench.records.selections import TEST
from bench.tables.comparisons import (
    CONCLUSIVE,
    baselines_of,
    difference_of,
    overlap_between,
    overlap_of,
    ranked,
    told_p,
)
from bench.tables.rows import ACCURACY, Row
from bench.tables.stats.families import holm
from bench.tables.stats.means import mean_se
from bench.tables.stats.paired import PairedDifference, paired_difference, with_test_samples
from bench.tables.stats.power import seeds_needed
from bench.tables.stats.ranks import SIGNIFICANT, shared_ranks
from bench.tables.stats.samples import independent_error
from bench.tables.stats.wins import Wins, wins

MOST_RANKED = 60
"""Of more rows, no two are compared but with their baselines."""


class Verdict(StrEnum):
    """What a comparison with the baseline says."""

    BASELINE = "baseline"
    BETTER = "better"
    WORSE = "worse"
    OTHER = "different"
    OPEN = "not separated"
    IDENTICAL = "identical to the baseline"
    FEW = "too few seeds"
    CONSTANT = "≈ constant"
    BELOW = "< constant"
    UNDEFINED = "undefined"
    NONE = ""


NOT_ABOVE = (Verdict.CONSTANT, Verdict.BELOW)
"""The verdicts of rows that are not shown to be more accurate than a constant prediction."""
UNRANKED = (*NOT_ABOVE, Verdict.UNDEFINED)


@dataclass(frozen=True)
class Compared:
    """One row beside its baseline, under one selection rule.

    Attributes:
        row: the row.
        baseline: what it is compared with; None if there is nothing.
        rule: the selection rule of the epoch.
        difference: the row minus its baseline in the metric that ranks.
        p: that of the difference, adjusted for the family (Holm); NaN where nothing is tested.
        accuracy: the row minus its baseline in accuracy.
        wins: how often the row is better.
        constant: the row's accuracy minus that of the best constant prediction; None where that is not known.
        verdict: what follows.
        ranks: the best and the worst rank that the row may have; None for a row that is not ranked.
        tests: the number of tests of the family, once all of its rows have enough seeds.
    """

    row: Row
    baseline: Row | None
    rule: str
    difference: PairedDifference | None
    p: float
    accuracy: PairedDifference | None
    wins: Wins | None
    constant: PairedDifference | None
    verdict: Verdict
    ranks: tuple[int, int] | None = None
    tests: int = 1

    @property
    def cost(self) -> float | None:
        """The training time of the row relative to its baseline's; None where no machine ran both."""
        return self.row.cost(self.row if self.verdict is Verdict.BASELINE else self.baseline)

    @cached_property
    def seeds_needed(self) -> int | None:
        """How many seeds would show the observed difference with a probability of 80 %, if it is the true one; None
        where the question is not open, or no number of seeds would.

        The level is that of the family divided by its tests, so that the number is enough whatever the others say.
        """
        if self.verdict not in (Verdict.OPEN, Verdict.FEW) or self.difference is None:
            return None
        level = SIGNIFICANT / max(1, self.tests)
        found = self.difference
        overlap = overlap_between(self.row, self.baseline or self.row)
        return seeds_needed(found.mean, found.sd, overlap, level, found.test_se)


def conclude(rows: Sequence[Row], rule: str, baselines: Mapping[Row, Row | None] | None = None) -> list[Compared]:
    """Compare the rows of one family of tests with their baselines.

    Args:
        rows: those of the family, of one task; the baselines may be among them.
        rule: the selection rule of the epoch. Rows that it does not apply to are left out.
        baselines: row -> what it is compared with; None to look for that among the rows.

    Returns:
        Each row with its verdict, in the order of the difference from the baseline; rows that are not ranked last.
    """
    rows = ranked(rows, rule)
    if baselines is None:
        baselines = dict(zip(rows, baselines_of(rows), strict=True))
    compared = [_compared(row, baselines.get(row), rule) for row in rows]
    adjusted = holm([one.p for one in compared])
    tests = sum(map(_is_test, compared))
    decided = [
        replace(one, p=p, verdict=_verdict(one, p), tests=tests) for one, p in zip(compared, adjusted, strict=True)
    ]
    return _with_ranks(sorted(decided, key=_order))


def _compared(row: Row, baseline: Row | None, rule: str) -> Compared:
    """A row beside its baseline, with its own p."""
    constant = _above_constant(row, rule)
    if baseline is None or baseline is row:
        verdict = Verdict.NONE if baseline is None else Verdict.BASELINE
        return Compared(row, None, rule, None, math.nan, None, None, constant, verdict)
    metric = row.ranked_by
    ours, theirs = row.values(metric, rule), baseline.values(metric, rule)
    difference = difference_of(row, baseline, metric, rule)
    accuracy = difference_of(row, baseline, ACCURACY, rule) if metric != ACCURACY else None
    higher = row.first.about.higher_is_better[metric]
    won = None if higher is None else wins(ours, theirs, higher)
    found = Compared(row, baseline, rule, difference, math.nan, accuracy, won, constant, Verdict.NONE)
    return replace(found, p=told_p(difference)) if _is_test(found) else found


def _is_test(one: Compared) -> bool:
    """Whether a row asks a question: whether there is an error to judge its difference by, unless it trains as its
    baseline does.
    """
    found = one.difference
    if found is None or not (found.sd > 0 or found.test_se > 0):
        return False
    return not (found.identical and _trains_alike(one))


def _above_constant(row: Row, rule: str) -> PairedDifference | None:
    """The accuracy of a row minus that of the constant prediction on the same test data; None where it is not known."""
    shares = {seed: share for seed, (_, share) in row.constant_prediction.items()}
    if not shares:
        return None
    values, samples = row.values(ACCURACY, rule), row.first.data.sizes.get(TEST, 0)
    found = paired_difference(values, shares, overlap_of(row))
    if not row.test_is_fixed:
        return found
    means = (mean_se(list(of.values()))[0] for of in (values, shares))
    return with_test_samples(found, independent_error(means, samples))


def near_constant(above: PairedDifference | None) -> bool:
    """Whether a row is not shown to be more accurate than the constant prediction.

    Args:
        above: its accuracy minus that of the constant prediction; None where that is not known.
    """
    if above is None or math.isnan(above.mean):
        return False
    return above.mean <= 0 or above.low <= 0  # of too few seeds to have an interval the mean decides


def below_constant(above: PairedDifference | None) -> bool:
    """Whether a row is shown to be less accurate than the constant prediction.

    Args:
        above: its accuracy minus that of the constant prediction; None where that is not known.
    """
    return above is not None and above.high < 0


def _verdict(one: Compared, p: float) -> Verdict:
    """What follows from a difference and its adjusted p."""
    difference = one.difference
    of_constant = Verdict.BELOW if below_constant(one.constant) else Verdict.CONSTANT
    if difference is None:
        return of_constant if one.verdict is Verdict.NONE and near_constant(one.constant) else one.verdict
    if difference.n and math.isnan(difference.mean):
        return Verdict.UNDEFINED
    if difference.identical and _trains_alike(one):
        return Verdict.IDENTICAL
    if near_constant(one.constant):
        return of_constant
    if difference.n < CONCLUSIVE:
        return Verdict.FEW
    if math.isnan(p) or p >= SIGNIFICANT:
        return Verdict.OPEN
    higher = one.row.first.about.higher_is_better[one.row.ranked_by]
    if higher is None:
        return Verdict.OTHER
    return Verdict.BETTER if (difference.mean > 0) == higher else Verdict.WORSE


def _trains_alike(one: Compared) -> bool:
    """Whether a row has the values of its baseline in all metrics that are shown, on all common seeds."""
    assert one.baseline is not None
    for metric in one.row.first.about.metrics:
        ours, theirs = (row.values(metric, one.rule) for row in (one.row, one.baseline))
        if any(ours[seed] != theirs[seed] for seed in ours.keys() & theirs.keys()):
            return False
    return True


def _order(one: Compared) -> tuple[bool, float]:
    """Ranked rows by their difference, the best first; those that are not ranked come last."""
    mean = 0.0 if one.difference is None else one.difference.mean
    sign = -1 if one.row.first.about.higher_is_better[one.row.ranked_by] else 1
    return one.verdict in UNRANKED or math.isnan(mean), sign * mean


def _with_ranks(compared: Sequence[Compared]) -> list[Compared]:
    """With the range of ranks of each row that is ranked: those that have all the seeds."""
    if len(compared) > MOST_RANKED:
        return list(compared)
    most = max((len(_values(one)) for one in compared), default=0)
    places = [i for i, one in enumerate(compared) if _is_ranked(one, most)]
    if not places:
        return list(compared)
    first = compared[places[0]].row
    higher, rule = first.first.about.higher_is_better[first.ranked_by], compared[places[0]].rule
    if higher is None:
        return list(compared)
    rows = [compared[i].row for i in places]

    def compare(i: int, j: int) -> PairedDifference:
        difference = difference_of(rows[i], rows[j], first.ranked_by, rule)
        return replace(difference, p=told_p(difference))

    found = shared_ranks(len(places), compare, higher)
    ranks = dict(zip(places, found, strict=True))
    return [replace(one, ranks=ranks.get(i)) for i, one in enumerate(compared)]


def _values(one: Compared) -> Mapping[int, float]:
    return one.row.values(one.row.ranked_by, one.rule)


def _is_ranked(one: Compared, seeds: int) -> bool:
    values = _values(one)
    whole = len(values) == seeds and all(map(math.isfinite, values.values()))
    return whole and one.verdict not in UNRANKED and not near_constant(one.constant)
