"""Paired differences between rows, as cells of tables. Nothing here imports torch."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.records.run import LAST, best_val
from bench.records.selections import TEST
from bench.records.spec import PAPER, SHARED
from bench.tables.context import resampled
from bench.tables.markdown import plain, table
from bench.tables.rows import ACCURACY, Row, scale_of
from bench.tables.stats.families import holm
from bench.tables.stats.means import mean_se
from bench.tables.stats.paired import PairedDifference, paired_difference, with_test_samples
from bench.tables.stats.samples import independent_error, spread

CONCLUSIVE = 5
"""With fewer common seeds nothing is concluded, and no p is told."""


def overlap_of(row: Row) -> float:
    """The number of test samples over that of training samples where each seed draws its own test data; else 0.

    Training samples are all of the pool that are not held out: where a protocol trains on fewer, those of two seeds
    overlap less, not more, so that the smaller number would make the error too large. Records of earlier versions do
    not say what was drawn. They count as drawn by seed, which is the careful answer.
    """
    if row.test_is_fixed:
        return 0.0
    data = row.first.data
    test = data.sizes.get(TEST, 0)
    train = max(data.sizes.get("train", 0), data.pool - test - data.sizes.get("val", 0))
    return test / train if train else 0.0


def overlap_between(row: Row, other: Row) -> float:
    """That of two rows: where one does not say what was drawn, the careful answer holds for both.

    Args:
        row, other: the two, in either order.
    """
    return max(overlap_of(row), overlap_of(other))


def difference_of(row: Row, other: Row, metric: str, rule: str) -> PairedDifference:
    """The paired difference of two rows, with what overlapping splits or the samples of one test set add to its error.

    Args:
        row, other: the difference is the first minus the second.
        metric: in which.
        rule: the selection rule of the epoch.
    """
    found = paired_difference(row.values(metric, rule), other.values(metric, rule), overlap_between(row, other))
    return with_test_samples(found, error_of_samples(row, other, metric, rule))


def error_of_samples(row: Row, other: Row, metric: str, rule: str) -> float:
    """The standard error that the samples of a test set that all seeds share add to a difference of two rows.

    It comes from the test sets that were drawn from its samples when the runs were recorded, the same ones for both
    rows. Where the records have none, the accuracies add up as those of independent samples, which is more than the
    pairs would give; of other metrics nothing is known.

    Args:
        row, other, metric, rule: as for `difference_of`.

    Returns:
        NaN where it is not known; 0 where each seed draws its own test set.
    """
    if not row.test_is_fixed or row.tests != other.tests:
        return 0.0 if overlap_between(row, other) else math.nan
    ours, theirs = resampled(row, metric, rule), resampled(other, metric, rule)
    common = sorted(ours.keys() & theirs.keys())
    seeds = row.values(metric, rule).keys() & other.values(metric, rule).keys()
    if seeds and set(common) == seeds:
        return spread([ours[seed] for seed in common], [theirs[seed] for seed in common])
    if metric != ACCURACY:
        return math.nan
    means = (mean_se(list(of.values(metric, rule).values()))[0] for of in (row, other))
    return independent_error(means, row.first.data.sizes.get(TEST, 0))


def rules_of(rows: Sequence[Row]) -> list[str]:
    """The selection rules of the rows, the one that their task is concluded by first; one row may have another metric
    to select by than the next.
    """
    declared = sorted({row.first.about.rule for row in rows} - {LAST})
    return list(dict.fromkeys([*declared, LAST, *sorted({best_val(row.first.about.select) for row in rows})]))


def ranked(rows: Sequence[Row], rule: str) -> list[Row]:
    """The rows of one table, in their order: the mean of the first metric, and undefined ones last.

    Args:
        rows: Rows of one task, on the recipe or off it.
        rule: The selection rule. Rows that it does not apply to are left out.
    """
    rows = [row for row in rows if row.values(row.ranked_by, rule)]
    if not rows:
        return []
    better = {metric: up for row in rows for metric, up in row.first.about.higher_is_better.items()}
    first = rows[0].ranked_by
    sign = -1 if better[first] else 1

    def rank(row: Row) -> tuple[bool, float, str]:
        mean = mean_se(list(row.values(first, rule).values()))[0]
        return math.isnan(mean), sign * mean, row.label + row.changes

    return sorted(rows, key=rank)


def baselines_of(rows: Sequence[Row]) -> list[Row | None]:
    """The baseline that each row is compared with, in the same setting (`Row.setting`).

    - A row is compared with the baseline that is trained on the same data.
    - A baseline that is trained on the validation data too is compared with the baseline that is not.
    - A method that learns from the validation data is compared with a baseline that is trained on them, where no other
      was run.

    Returns:
        For each row its baseline; the row itself where it is the only one of its setting; None where there is none.
    """
    baselines = {}
    for row in rows:
        if row.first.about.baseline and not row.first.spec.options:
            baselines[row.setting, row.first.spec.validation] = row
    return [_baseline_of(row, baselines) for row in rows]


def _baseline_of(row: Row, baselines: Mapping[tuple[tuple[Any, ...], str], Row]) -> Row | None:
    """The baseline of one row. baselines: by setting and by the choice of the training data (`validation`)."""
    policies = [row.first.spec.validation]
    if row.first.about.baseline:
        policies.append(SHARED)
    if row.first.about.uses_val:
        policies.append(PAPER)
    candidates = [baselines[row.setting, policy] for policy in policies if (row.setting, policy) in baselines]
    for baseline in candidates:
        if baseline is not row:
            return baseline
    return row if candidates else None


def differences(pairs: Sequence[tuple[Row, Row | None]], metric: str, rule: str) -> list[str]:
    """The paired difference of each pair of rows, the first minus the second, as cells of a table.

    Args:
        pairs: Rows and what they are compared with; None, or the row itself, for no comparison.
        metric: What is compared.
        rule: The selection rule of the epoch.

    Returns:
        For each pair the mean, its interval, with what overlapping splits add to it, and its p-value, which is adjusted
        for all pairs (Holm 1979); an empty text where nothing is compared.
    """
    compared = {}
    for place, (row, other) in enumerate(pairs):
        if other and other is not row:
            compared[place] = difference_of(row, other, metric, rule)
    adjusted = holm([told_p(difference) for difference in compared.values()])
    cells = [""] * len(pairs)
    for (place, difference), p in zip(compared.items(), adjusted, strict=True):
        cells[place] = cell(difference, p, scale_of(pairs[place][0].unit(metric)))
    return cells


def between_tasks(rows: Sequence[Row], rule: str) -> list[str]:
    """The lines of a table of what an option of the protocol changes.

    Each row is compared with the row of the same training without the option, over the seeds that both have; two are
    needed. There are no lines where no two rows can be compared.
    """
    metric = rows[0].ranked_by
    compared = []
    for row, name, other in pairs_of_tasks([row for row in rows if row.ranked_by == metric]):
        seeds = len(row.values(metric, rule).keys() & other.values(metric, rule).keys())
        if seeds > 1:
            compared.append((row, name, other, seeds))
    cells = differences([(row, other) for row, _, other, _ in compared], metric, rule)
    lines = [
        [*map(plain, (row.name, row.variant, f"{name}={other.protocol_value(name)}")), str(seeds), difference]
        for (row, name, other, seeds), difference in zip(compared, cells, strict=True)
        if difference
    ]
    return table(["Method", "Task", "Compared with", "Seeds", f"Δ {plain(metric)}"], lines) if lines else []


def pairs_of_tasks(rows: Sequence[Row]) -> list[tuple[Row, str, Row]]:
    """Each row, the name of an option of the protocol that it changes, and each row that differs from it in this option
    alone and has it at its default. They are in the order of the rows.
    """
    by_training: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        by_training[_training(row, row.first.spec.protocol_options)].append(row)
    pairs = []
    for row in rows:
        given = row.first.spec.protocol_options
        for name in given:
            fewer = {option: value for option, value in given.items() if option != name}
            others = by_training.get(_training(row, fewer), [])
            pairs += [(row, name, other) for other in others if _alike_in_defaults(name, row, other)]
    return pairs


def _training(row: Row, protocol_options: Mapping[str, Any]) -> Any:
    """What the rows of one training have in common that have these options of the protocol."""
    spec = row.first.spec
    options = [protocol_options, spec.dataset_options, row.first.resolved.options]
    return _hashable(options), spec.validation, row.label, row.setting


def _hashable(value: Any) -> Any:
    """A value of JSON that has a hash, equal for equal values."""
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(entry)) for name, entry in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list | tuple) else value


def _alike_in_defaults(name: str, row: Row, other: Row) -> bool:
    """Whether all options of the protocol but this one had the same values in both, as defaults may change."""
    used, also = ({**one.first.resolved.protocol_options, name: None} for one in (row, other))
    return all(used[option] == also[option] for option in used.keys() & also.keys())


def told_p(difference: PairedDifference) -> float:
    """The p of a difference; NaN where the common seeds are too few to conclude anything.

    Args:
        difference: the difference.
    """
    return difference.p if difference.n >= CONCLUSIVE else math.nan


def cell(difference: PairedDifference, p: float, scale: int) -> str:
    """A difference as a cell of a table: its mean, its interval and its p-value, as far as they are defined.

    Args:
        difference: the difference.
        p: its p-value, adjusted for the table.
        scale: what values are multiplied by to be shown.
    """
    mean, low, high = (scale * value for value in (difference.mean, difference.low, difference.high))
    if math.isnan(mean):
        return ""
    if difference.identical:
        return "0"
    text = f"{mean:+.2f}" if math.isnan(low) else f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]"
    if math.isnan(p):
        return text
    return f"{text}, p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
