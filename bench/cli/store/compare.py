"""`bench compare` and `bench best`: what the records say of some methods, and which method they speak for."""

import math
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import Number, fits, folder_of_records, records_option, say, table, warn_of
from bench.errors import BenchError, UnknownNameError
from bench.records.selections import TEST
from bench.text import join_first

if TYPE_CHECKING:
    from bench.tables.conclusions import Compared
    from bench.tables.names import Names
    from bench.tables.rows import Row
    from bench.tables.stats.paired import PairedDifference

HEADS = ("its value", "difference", "95 % interval", "p", "verdict", "better in", "seeds", "by seed")
OPEN = "not separated"
NOT_EQUIVALENT = "Not separated does not mean equivalent: --equivalence POINTS tells what is."
SHOWN = 12
"""So many differences by seed are shown."""


def _task_options(command: Any) -> Any:
    """The options by which a task is chosen."""
    options = [
        click.option("--dataset", help="Only on this data set."),
        click.option("--protocol", help="Only under this protocol."),
        click.option(
            "--select",
            "rule",
            metavar="RULE",
            help="The selection rule of the epoch; without it, that which the protocol of each task concludes by.",
        ),
        click.option(
            "--equivalence",
            "margin",
            type=Number(min=0, min_open=True),
            metavar="POINTS",
            help="Say which differences are equivalent within so many points, or units of the metric, to both sides.",
        ),
    ]
    for option in reversed([*options, records_option]):
        command = option(command)
    return command


@click.command()
@click.argument("methods", nargs=-1, required=True, metavar="METHOD OTHER...")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Compare this metric. May be repeated.")
@_task_options
def compare(
    methods: Sequence[str],
    metrics: Sequence[str],
    dataset: str | None,
    protocol: str | None,
    rule: str | None,
    margin: float | None,
    out: Path,
) -> None:
    """Compare a method with others, in pairs of runs with the same seeds.

    The first METHOD is compared with each OTHER on every task that both have runs of: the mean difference with its
    95 % interval, its p-value after Holm's correction for the pairs of a table, for which share of the seeds the method
    is better, and the differences seed by seed. A name stands for the default configuration; `forml[weight_lr=10]`
    stands for one with options, as tables write it. Where each seed draws its own test data, the intervals are
    corrected for the overlap of the splits (Nadeau and Bengio 2003).

    A difference that is not separated from zero is not shown to be small. With --equivalence POINTS, one whose 90 %
    interval, for itself alone, lies within POINTS to both sides of zero is told equivalent (two one-sided tests at 5
    %); it takes as many common seeds as a p-value.

    A record that cannot be used is named and left out; the exit code is 1 then.
    """
    from bench.cli.store.filters import labels_of

    if len(methods) < 2:
        raise BenchError("name two methods or more: the first is compared with the others")
    metrics = [metric.removeprefix(f"{TEST}/") for metric in metrics]
    everything, whole = _rows(out, dataset, protocol)
    methods = labels_of(methods, everything)
    rows = [row for row in everything if row.label in methods]
    pairs = list(_pairs(rows, methods))
    if not pairs:
        raise BenchError(f"{methods[0]} and {join_first(list(methods[1:]), 5)} have no runs of one task and setting")
    for _, first, others in pairs:  # before anything is printed
        for metric in metrics:
            for row in (first, *others):
                _values(row, metric, rule or first.first.about.rule)
    opens = False
    for title, first, others in pairs:
        about = first.first.about
        opens |= _tell(title, first, others, metrics or about.metrics, rule or about.rule, margin, everything)
    if opens and margin is None:
        say(NOT_EQUIVALENT)
    sys.exit(0 if whole else 1)


def _rows(out: Path, dataset: str | None, protocol: str | None) -> "tuple[list[Row], bool]":
    """The rows of the tasks that are asked for, and whether every record could be used. Raises BenchError, which lists
    what there is, where there are none.
    """
    from bench.cli.store.filters import Filters, no_finished_run
    from bench.columns.reading import read_columns
    from bench.tables.rows import rows_of

    folder = folder_of_records(out)
    tasks, unused = read_columns(folder)
    warn_of(unused)
    rows = rows_of(tasks)
    filters = Filters(dataset, protocol)
    chosen = [row for row in rows if filters.take(row.first.spec.dataset, row.first.spec.protocol, "", "")]
    if not rows:
        raise no_finished_run(folder)
    if not chosen:
        there = sorted({f"{row.first.spec.dataset} under {row.first.spec.protocol}" for row in rows})
        raise BenchError(f"no finished run in {folder} is of that task; there is: {join_first(there, 20)}")
    return chosen, not unused


def _pairs(rows: "Sequence[Row]", methods: Sequence[str]) -> "Iterator[tuple[str, Row, list[Row]]]":
    """For each task and setting its title, the first method's row and those of the others."""

    def task(row: "Row") -> tuple[str, ...]:
        spec = row.first.spec
        return spec.protocol, spec.dataset, row.variant, ", ".join(row.all_changes), str(row.setting)

    for (protocol, dataset, variant, changes, _), group in groupby(sorted(rows, key=task), key=task):
        by_label = {row.label: row for row in group}
        others = [by_label[method] for method in methods[1:] if method in by_label]
        if methods[0] in by_label and others:
            yield ", ".join(filter(None, [protocol, dataset, variant, changes])), by_label[methods[0]], others


def _tell(
    title: str,
    first: "Row",
    others: "Sequence[Row]",
    metrics: Sequence[str],
    rule: str,
    margin: float | None,
    everything: "Sequence[Row]",
) -> bool:
    """Print a table for each metric, and how many tests its p and that of the page are corrected for. Returns whether a
    difference is not separated from zero.
    """
    from bench.records.run import rule_name
    from bench.tables.rows import mean_and_error

    opens = False
    for metric in metrics:
        unit = first.unit(metric)
        mean = mean_and_error(list(_values(first, metric, rule).values()), unit)
        say(f"{title}: {metric}, {rule_name(rule).lower()}; {first.label} {mean} {unit}")
        lines = list(_lines(first, others, metric, rule, margin))
        _table(lines, (f"{first.label} minus", *HEADS))
        if tests := sum(bool(line[HEADS.index("p") + 1]) for line in lines):
            say(f"{_corrected(tests, first, others, metric, rule, everything)}\n")
        opens |= any(OPEN in line for line in lines)
    return opens


def _table(lines: Sequence[Sequence[str]], heads: Sequence[str]) -> None:
    """Print lines below each other or, where the terminal is too narrow for them, each as a table of its own."""
    if fits(lines, heads):
        table("", lines, heads)
        return
    for line in lines:
        table(f"{heads[0]} {line[0]}", [(head, cell) for head, cell in zip(heads[1:], line[1:], strict=True) if cell])


def _corrected(
    tests: int, first: "Row", others: "Sequence[Row]", metric: str, rule: str, everything: "Sequence[Row]"
) -> str:
    """How many tests p is corrected for here, and on the page, where that has a p for one of these pairs."""
    from bench.tables.pages.ranking import by_task, ranked_families

    said = f"p for {tests} pair{'s' if tests > 1 else ''}, as asked"
    task = first.first.spec.protocol, first.first.spec.dataset, first.variant
    rows = [row for row in everything if (row.first.spec.protocol, row.first.spec.dataset, row.variant) == task]
    families = [one for one in ranked_families(by_task(rows)) if one.rule == rule] if metric == first.ranked_by else []
    asked = [{first, other} for other in others]
    on_page = {
        one.tests
        for family in families
        for _, compared in family.of_tasks
        for one in compared
        if one.baseline and {one.row, one.baseline} in asked and not math.isnan(one.p)
    }
    if not on_page:
        return f"{said}; no page has a p of {'these pairs' if tests > 1 else 'this pair'}."
    page = " or ".join(map(str, sorted(on_page)))
    other = "" if on_page == {tests} else ", so that its verdict may be another"
    return f"{said}; the page corrects for {page} test{'' if page == '1' else 's'}{other}."


def _lines(
    first: "Row", others: "Sequence[Row]", metric: str, rule: str, margin: float | None
) -> "Iterator[list[str]]":
    """The lines of the table of one metric: the first row minus each of the others."""
    from bench.tables.comparisons import difference_of, told_p
    from bench.tables.rows import mean_and_error, scale_of
    from bench.tables.stats.families import holm
    from bench.tables.stats.wins import wins

    ours = _values(first, metric, rule)
    unit, higher = first.unit(metric), _is_better(first, metric)
    values = [_values(other, metric, rule) for other in others]
    found = [difference_of(first, other, metric, rule) for other in others]
    adjusted = holm([told_p(one) for one in found])
    for other, theirs, difference, p in zip(others, values, found, adjusted, strict=True):
        won = "" if higher is None else f"{100 * wins(ours, theirs, higher).share:.0f} %"
        common = sorted(ours.keys() & theirs.keys())
        by_seed = join_first([f"{scale_of(unit) * (ours[seed] - theirs[seed]):+.2f}" for seed in common], SHOWN)
        mean = mean_and_error(list(theirs.values()), unit)
        cells = _cells(difference, p, scale_of(unit), _trains_alike(first, other, rule))
        yield [
            other.label,
            mean,
            *cells,
            _verdict(difference, p, higher, unit, margin),
            won,
            str(difference.n),
            by_seed,
        ]


def _verdict(difference: "PairedDifference", p: float, higher: bool | None, unit: str, margin: float | None) -> str:
    """What a difference and its adjusted p say; empty where nothing is concluded, or nothing differs."""
    from bench.tables.comparisons import CONCLUSIVE
    from bench.tables.stats.ranks import SIGNIFICANT

    if difference.identical or difference.n < CONCLUSIVE or math.isnan(difference.mean):
        return ""
    separated = p < SIGNIFICANT  # NaN is not
    word = "different" if higher is None else "better" if (difference.mean > 0) == higher else "worse"
    if margin is None or not _equivalent(difference, unit, margin):
        return word if separated else OPEN
    return f"{word}, but {_within(margin, unit)}" if separated else _within(margin, unit)


def _equivalent(difference: "PairedDifference", unit: str, margin: float) -> bool:
    """Whether a difference is shown to lie within a margin, by as many seeds as it takes to conclude."""
    from bench.tables.comparisons import CONCLUSIVE
    from bench.tables.rows import scale_of
    from bench.tables.stats.equivalence import is_equivalent

    return difference.n >= CONCLUSIVE and is_equivalent(difference, margin / scale_of(unit))


def _within(margin: float, unit: str) -> str:
    """The region of equivalence in words."""
    return f"equivalent within ± {margin:g} {'points' if unit == '%' else unit}".rstrip()


def _is_better(row: "Row", metric: str) -> bool | None:
    """Whether more of a metric is better. Records say it of those that tables show; of others it is known where they
    are the core's own.
    """
    from bench.metrics import METRICS, metric_of

    directions = row.first.about.higher_is_better
    if metric in directions:
        return directions[metric]
    known = METRICS.get(metric_of(metric))
    return known.higher_is_better if known else None


def _trains_alike(row: "Row", other: "Row", rule: str) -> bool:
    """Whether two rows have the same values in all metrics that tables show, on all common seeds."""
    for metric in row.first.about.metrics:
        ours, theirs = row.values(metric, rule), other.values(metric, rule)
        if any(ours[seed] != theirs[seed] for seed in ours.keys() & theirs.keys()):
            return False
    return True


def _cells(difference: "PairedDifference", p: float, scale: int, alike: bool) -> list[str]:
    """The mean of a difference, its interval and its p-value."""
    if math.isnan(difference.mean):
        return ["undefined", "", ""]
    if difference.identical:
        return ["0", "identical" if alike else "no difference in this metric", ""]
    interval = "too few seeds"
    if not math.isnan(difference.low):
        interval = f"{scale * difference.low:+.2f} to {scale * difference.high:+.2f}"
    return [
        f"{scale * difference.mean:+.2f}",
        interval,
        "" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
    ]


def _values(row: "Row", metric: str, rule: str) -> dict[int, float]:
    """The values of a metric. Raises UnknownNameError where the records have none of that metric or rule."""
    of_set, _, name = metric.rpartition("/")
    layout = row.first.layout
    if rule not in layout.rules:
        raise UnknownNameError("selection rule in these records", rule, layout.rules)
    names = {metric if of == "test" else f"{of}/{metric}" for of, metrics in layout.sets for metric in metrics}
    if metric not in names and f"{of_set or 'test'}/{name}" not in names:
        raise UnknownNameError("metric in these records", metric, sorted(names))
    return row.values(metric, rule)


@click.command()
@click.option(
    "--min-accuracy",
    type=Number(min=0, max=100),
    metavar="PERCENT",
    help="Only methods with this mean accuracy or more.",
)
@_task_options
def best(
    min_accuracy: float | None,
    dataset: str | None,
    protocol: str | None,
    rule: str | None,
    margin: float | None,
    out: Path,
) -> None:
    """Say which method the records speak for, with the uncertainty.

    Methods in their default configuration are compared with the baseline in the first metric of each task. A method
    that is not shown to be more accurate than a constant prediction is not proposed. With --equivalence POINTS, methods
    are named whose difference from the baseline is shown to be small, as by `bench compare`.

    A record that cannot be used is named and left out; the exit code is 1 then.
    """
    from bench.store.repetition import out_of
    from bench.tables.answers import proposal

    rows, whole = _rows(out, dataset, protocol)
    rules = {rule for row in rows for rule in row.first.layout.rules}
    if rule is not None and rule not in rules:
        raise UnknownNameError("selection rule in these records", rule, sorted(rules))

    for title, compared, names in _main_families(rows, rule):
        allowed = [one for one in compared if min_accuracy is None or _accuracy(one.row, one.rule) >= min_accuracy]
        proposed = proposal(allowed, names, out_of(folder_of_records(out)), lambda one: _is_alike(one, margin))
        say(" ".join(filter(None, [f"{title}: {proposed}", _equivalence(allowed, names, margin)])))
    sys.exit(0 if whole else 1)


def _is_alike(one: "Compared", margin: float | None) -> bool:
    """Whether a row is shown to be as its baseline."""
    if margin is None or one.difference is None:
        return False
    return _equivalent(one.difference, one.row.unit(one.row.ranked_by), margin)


def _equivalence(compared: "Sequence[Compared]", names: "Names", margin: float | None) -> str:
    """A sentence that names the rows that are shown to be as their baselines; without a margin, one that says that
    none is, where that could be thought.
    """
    from bench.tables.conclusions import UNRANKED, Verdict

    left_out = (*UNRANKED, Verdict.IDENTICAL)
    tested = [one for one in compared if one.difference and one.verdict not in left_out]
    if margin is None:
        return NOT_EQUIVALENT if any(one.verdict is Verdict.OPEN for one in tested) else ""
    units = {one.row.unit(one.row.ranked_by) for one in tested}
    if not units:
        return ""
    unit = units.pop()
    found = [one for one in tested if one.difference and _equivalent(one.difference, unit, margin)]
    named = join_first([names(one.row) for one in found], SHOWN) or "no method"
    return f"{_within(margin, unit).capitalize()} to the baseline in {tested[0].row.ranked_by}: {named}."


def _main_families(rows: "Sequence[Row]", rule: str | None) -> "Iterator[tuple[str, Sequence[Compared], Names]]":
    """Of each task its title, and the rows that its question is about."""
    from bench.records.run import rule_name
    from bench.tables.names import Names
    from bench.tables.pages.leaderboard import title_of
    from bench.tables.pages.ranking import by_task, ranked_families

    def page(row: "Row") -> tuple[str, str]:
        return row.first.spec.protocol, row.first.spec.dataset

    for of_page, group in groupby(sorted(rows, key=page), key=page):
        tasks = by_task(group)
        names = Names.of([row for of_task in tasks.values() for row in of_task])
        for family in [one for one in ranked_families(tasks) if rule in (None, one.rule)][:1]:
            for variant, compared in family.of_tasks:
                title = [title_of(*of_page), variant, rule_name(family.rule).lower()]
                yield ", ".join(filter(None, title)), compared, names


def _accuracy(row: "Row", rule: str) -> float:
    """The mean accuracy in percent."""
    from bench.tables.rows import ACCURACY
    from bench.tables.stats.means import mean_se

    return 100 * mean_se(list(row.values(ACCURACY, rule).values()))[0]
