"""Which method comes first: by how much, at what price, and what would decide. Nothing here imports torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.tables.comparisons import CONCLUSIVE, overlap_between
from bench.tables.conclusions import Compared, Verdict
from bench.tables.rows import ACCURACY, Row, scale_of
from bench.tables.stats.paired import PairedDifference
from bench.tables.stats.power import LEVEL, MOST
from bench.text import join_first

UNDECIDED = (Verdict.OPEN, Verdict.FEW)
"""Verdicts that further seeds may change."""
NAMED = 6
"""So many methods with one mean are named."""
PROBABLY = "with a probability of 80 %"
"""How sure it is that as many seeds as are told would show a difference (`bench.tables.stats.power.POWER`)."""
NameOf = Callable[[Row], str]


def change(difference: PairedDifference, unit: str) -> str:
    """A difference with its 95 % interval, in points for fractions; without one where all differences are zero.

    Args:
        difference: the difference.
        unit: of the metric.
    """
    scale = scale_of(unit)
    of = "points" if unit == "%" else unit
    text = f"{scale * difference.mean:+.2f} {of}"
    if math.isnan(difference.low) or difference.identical:
        return text
    return f"{text} [{scale * difference.low:+.2f}, {scale * difference.high:+.2f}]"


def parts(one: Compared) -> list[str]:
    """The differences of a row in the metric that ranks and in accuracy, and how often it is better, as plain text.

    Args:
        one: the row.
    """
    told = [gain(one)]
    if one.wins and not math.isnan(one.wins.share):
        told.append(f"better for {one.wins.share * 100:.0f} % of {one.wins.n} seeds")
    return told + price(one)


def gain(one: Compared) -> str:
    """The difference in the metric that ranks, as plain text.

    Args:
        one: the row, which has a difference.
    """
    assert one.difference is not None
    metric = one.row.ranked_by
    return f"{metric} {change(one.difference, one.row.unit(metric))}"


def brief(one: Compared) -> str:
    """The differences in the metric that ranks and in accuracy, without their intervals, as plain text.

    Args:
        one: the row, which has a difference.
    """
    assert one.difference is not None
    metric, unit = one.row.ranked_by, one.row.unit(one.row.ranked_by)
    told = [f"{metric} {scale_of(unit) * one.difference.mean:+.2f}{'' if unit == '%' else f' {unit}'}"]
    if one.accuracy is not None and not math.isnan(one.accuracy.mean):
        told.append(f"{ACCURACY} {100 * one.accuracy.mean:+.2f}")
    return f"{', '.join(told)} points" if unit == "%" or len(told) > 1 else told[0]


def price(one: Compared) -> list[str]:
    """The difference in accuracy, as plain text; none where it is not known. Where the metric that ranks is of another
    set, it says of which one the accuracy is.

    Args:
        one: the row.
    """
    if one.accuracy is None or math.isnan(one.accuracy.mean):
        return []
    where = " on the test set itself" if "/" in one.row.ranked_by else ""
    return [f"{ACCURACY}{where} {change(one.accuracy, '%')}"]


def better_ones(tested: Sequence[Compared]) -> list[Compared]:
    """The rows whose mean is on the better side, in their order.

    Args:
        tested: rows with a difference.
    """
    return [one for one in tested if _gain(one) > 0]


def _gain(one: Compared) -> float:
    """The difference as it is shown, positive for better; NaN where neither side is better."""
    higher = one.row.first.about.higher_is_better[one.row.ranked_by]
    if one.difference is None or higher is None:
        return math.nan
    return one.difference.mean if higher else -one.difference.mean


def _shown(one: Compared) -> float:
    """The difference to the digits that are shown."""
    assert one.difference is not None
    return round(scale_of(one.row.unit(one.row.ranked_by)) * one.difference.mean, 2)


def is_visible(one: Compared) -> bool:
    """Whether a difference is more than one unit of the last digit that is shown.

    Args:
        one: the row.
    """
    return one.difference is not None and abs(_shown(one)) > 0.01


def level_with(best: Compared, ahead: Sequence[Compared], name: NameOf) -> str:
    """A clause that names the rows whose means are shown as that of the first one is; empty for none.

    Args:
        best: the first one.
        ahead: all that are on the better side.
        name: gives a row its name.
    """
    others = [one for one in ahead if one is not best and _shown(one) == _shown(best)]
    if not others:
        return ""
    named = [name(one.row) + "".join(f" ({told})" for told in price(one)) for one in others]
    return f"; level with it to the digits that are shown: {join_first(named, NAMED)}"


def what_decides(one: Compared) -> str:
    """How many seeds would show the difference of a row; empty where that is no open question, or the difference is
    not visible.

    Args:
        one: the row.
    """
    if one.verdict is not Verdict.OPEN or one.difference is None or not one.difference.sd or not is_visible(one):
        return ""
    probably = f"{PROBABLY} (at a level of {LEVEL}{f'/{one.tests}' if one.tests > 1 else ''})"
    if needed := one.seeds_needed:
        return f"If that is the true difference, {needed:,} seeds would show it {probably}."
    if _overlap(one):
        where, lacking = "no number of seeds of this pool would show it", ": more data are needed"
    elif one.difference.test_se:
        where, lacking = "no number of seeds would show it on this test set", ": more test samples are needed"
    else:
        where, lacking = f"it takes more than {MOST:,} seeds to show it", ""
    return f"Even if that is the true difference, {where} {probably}{lacking}."


def _overlap(one: Compared) -> float:
    return overlap_between(one.row, one.baseline or one.row)


def seeds_that_decide(one: Compared) -> int | None:
    """How many seeds a row needs for a verdict, as far as its differences tell; None where no number would do.

    Args:
        one: the row.
    """
    if one.verdict is Verdict.FEW:
        return max(CONCLUSIVE, one.seeds_needed or 0)
    return one.seeds_needed


@dataclass(frozen=True)
class Question:
    """What is not decided of a task, as plain text: `before`, the name of a method, which may be empty, and `after`.

    Attributes:
        before, name, after: the parts of the text, which is no whole sentence yet.
        commands: that make the runs that would decide.
        few: whether nothing but too few seeds leaves it open.
    """

    before: str
    name: str
    after: str
    commands: Sequence[str] = ()
    few: bool = False

    @property
    def text(self) -> str:
        """The whole."""
        return self.before + self.name + self.after


def question(tested: Sequence[Compared], name: NameOf) -> Question | None:
    """What is not decided: which method is ahead, and what would decide. None where further seeds would change nothing,
    as all verdicts stand.

    Args:
        tested: rows with a difference, in their order.
        name: gives a row its name.
    """
    undecided = [one for one in tested if one.verdict in UNDECIDED]
    if not undecided:
        return None
    ahead = [one for one in better_ones(undecided) if is_visible(one)]
    few = all(one.verdict is Verdict.FEW for one in undecided)
    before = "too few seeds to tell: " if few else "undecided: "
    first = min(ahead, key=lambda one: one.verdict is Verdict.FEW, default=None)
    if first is None:
        commands = _commands(undecided[0], CONCLUSIVE) if few else []
        return Question(before, "", "no method is ahead of the baseline", commands, few)
    would = _would_decide(first)
    after = f" is ahead, {', '.join(parts(first))}{level_with(first, ahead, name)}{would}"
    return Question(before, name(first.row), after, commands_that_decide(first), few)


def _would_decide(one: Compared) -> str:
    """What would decide, as a clause."""
    if needed := seeds_that_decide(one):
        least = one.verdict is Verdict.FEW and needed == CONCLUSIVE
        return f"; {needed:,} seeds {'are the fewest that can decide' if least else f'would decide {PROBABLY}'}"
    if one.difference is None or not one.difference.sd:
        return ""
    more = "more data" if _overlap(one) else "more test samples" if one.difference.test_se else "far more seeds"
    return f"; {more} are needed to decide"


def commands_that_decide(one: Compared) -> list[str]:
    """The command of a row with as many seeds as would decide, and that of its baseline where it lacks some of these;
    none where no number of seeds would.

    Args:
        one: the row.
    """
    needed = seeds_that_decide(one)
    return _commands(one, needed) if needed else []


def _commands(one: Compared, seeds: int) -> list[str]:
    lacking = one.baseline and set(range(seeds)) - one.baseline.rows.keys()
    rows = [one.row, *([one.baseline] if one.baseline and lacking else [])]
    return [f"{row.first.command.rpartition(' --seed ')[0]} --seeds {seeds}" for row in rows]


def cheaper_choice(tested: Sequence[Compared], name: NameOf) -> Question:
    """What to use as long as nothing is shown. A baseline is not called cheaper than a method that costs less.

    Args:
        tested: rows with a difference.
        name: gives a row its name.
    """
    undecided = [one for one in tested if one.verdict in UNDECIDED]
    cheaper = all(one.cost is None or one.cost >= 1 for one in better_ones(undecided))
    baseline = next(one.baseline for one in tested if one.baseline)
    after = f", is the {'cheaper' if cheaper else 'simpler'} choice"
    return Question("as long as nothing is shown, the baseline, ", name(baseline), after, [baseline.command])
