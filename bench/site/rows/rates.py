"""Rates of each group or class, from the counts of the records. Nothing here imports torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from bench.errors import StoreError
from bench.records.run import RunResult, rule_name
from bench.records.selections import TEST, Counts
from bench.site.cells import hint
from bench.site.text import table, text
from bench.tables.rows import Row, mean_and_error

SEEDS = 20
"""So many seeds are read of a row."""
NAMED = 12
"""Of more groups or classes, those with the lowest and the highest rates are shown."""
COARSE = 100
"""Of so many samples a rate in whole percent tells how many they are."""
Numbers = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Counted:
    """What one run predicts for its test set, by group (rows) and class (columns).

    Attributes:
        samples: how many there are.
        right: those that are predicted to be of their class.
        predicted: those of the group, of whatever class, that are predicted to be of this class.
    """

    samples: Numbers
    right: Numbers
    predicted: Numbers


Rate = Callable[[Counted, int], tuple[int, int]]
"""Of a run and the place of a group: how many samples, and of how many."""


def rates(row: Row) -> str:
    """A table of the rates of each group under each selection rule of a row, with the numbers of samples that they are
    of: those of the group, and of two classes those of its negative and of its positive ones.

    Args:
        row: the row.

    Returns:
        HTML; empty where the records have no counts.
    """
    records = _records(row)
    by_rule = {}
    for rule in dict.fromkeys(rule for record in records for rule in record.selected):
        counted = {
            record.spec.seed: one for record in records if rule in record.selected and (one := _counted(record, rule))
        }
        if counted and len({(len(one.samples), len(one.samples[0])) for one in counted.values()}) == 1:
            by_rule[rule] = counted
    if not by_rule:
        return ""
    return f"<h4>Rates on the test set</h4>{_table(row, by_rule)}"


def _records(row: Row) -> Sequence[RunResult]:
    records = []
    for seed in sorted(row.runs)[:SEEDS]:
        with suppress(StoreError):
            records.append(row.runs[seed].record)
    return records


def _counted(record: RunResult, rule: str) -> Counted | None:
    counts: Counts | None = record.selected[rule].counts.get(TEST)
    samples = record.data.counts.get(TEST)
    return Counted(samples, counts.right, counts.predicted) if counts and samples else None


def _table(row: Row, by_rule: Mapping[str, Mapping[int, Counted]]) -> str:
    about, first = row.first.about, list(next(iter(by_rule.values())).values())
    by_group = len(first[0].samples) > 1
    names = about.groups if by_group else about.classes
    kinds = _kinds(by_group, about.classes)
    lines = []
    for place in range(len(first[0].samples) if by_group else len(first[0].samples[0])):
        shares = [
            {seed: _share(*of(one, place)) for seed, one in counted.items()}
            for counted in by_rule.values()
            for _, of in kinds
        ]
        form = ".0f" if max(of(one, place)[1] for one in first for _, of in kinds) <= COARSE else ".1f"
        sizes = [_span([of(one, place)[1] for one in first]) for _, of in kinds]
        name = names[place] if place < len(names) else str(place)
        cells = [mean_and_error(list(of_seeds.values())) for of_seeds in shares]
        hints = [""] * (1 + len(sizes)) + [hint(of_seeds, "%", form) for of_seeds in shares]
        lines.append((math.fsum(shares[0].values()), [text(name), *sizes, *cells], hints))
    shown = lines
    if len(lines) > NAMED:
        ordered = sorted(lines, key=lambda line: -1 if math.isnan(line[0]) else line[0])
        shown = [*ordered[: NAMED // 2], *ordered[-NAMED // 2 :]]
    left_out = len(lines) - len(shown)
    more = f"<p>The {NAMED // 2} lowest and the {NAMED // 2} highest of {len(lines)}.</p>" if left_out else ""
    heads = [head for _ in by_rule for head, _ in kinds]
    numbers = ["n", *(f"n: {text(name)}" for name in about.classes[: len(kinds) - 1])]
    above = [("", 1 + len(numbers)), *((text(rule_name(rule)), len(kinds)) for rule in by_rule)]
    cells_of, hints_of = [cells for _, cells, _ in shown], [hints for *_, hints in shown]
    return table(["Group" if by_group else "Class", *numbers, *heads], cells_of, "small", above, hints_of) + more


def _kinds(by_group: bool, classes: Sequence[str]) -> list[tuple[str, Rate]]:
    """The rates that are shown. The head of each, and how it is counted."""
    if not by_group:
        return [("predicted correctly", _recall)]
    kinds: list[tuple[str, Rate]] = [("accuracy", _accuracy)]
    if len(classes) == 2:
        kinds += [("false positive rate", _false_positives), ("false negative rate", _false_negatives)]
    return kinds


def _recall(one: Counted, place: int) -> tuple[int, int]:
    return sum(of[place] for of in one.right), sum(of[place] for of in one.samples)


def _accuracy(one: Counted, place: int) -> tuple[int, int]:
    return sum(one.right[place]), sum(one.samples[place])


def _false_positives(one: Counted, place: int) -> tuple[int, int]:
    return one.samples[place][0] - one.right[place][0], one.samples[place][0]


def _false_negatives(one: Counted, place: int) -> tuple[int, int]:
    return one.samples[place][1] - one.right[place][1], one.samples[place][1]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _span(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
