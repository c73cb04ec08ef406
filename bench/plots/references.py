"""What a picture is read against: chance, the selected epochs, the baseline, and the values that papers print."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.typing import ColorType

from bench.metrics import METRICS
from bench.plots.places import FEW
from bench.plots.select import Series
from bench.plots.settings import ordering
from bench.plots.style import GREY, marks
from bench.records.run import LAST, best_val
from bench.tables.comparisons import baselines_of, difference_of
from bench.tables.pages.papers import published
from bench.tables.rows import Row
from bench.tables.stats.paired import PairedDifference

LOSS_RATIO = "loss_ratio/class", "ema_loss_ratio_label"
"""How the loss ratio of a class begins, as a column and in the table of published values."""
PERCENT = 100


def chance_of(series: Series, of: str, metric: str) -> float | None:
    """What a model reaches that knows nothing of the inputs, and predicts the most frequent class for all.

    Args:
        series: the runs.
        of: the set.
        metric: its name.

    Returns:
        The share of the most frequent class for the accuracy, and 1 over the number of classes for the balanced
        accuracy; None for other metrics, and for records that do not count the classes of the set.
    """
    counts = [number for number in series.first.data.class_counts(of) if number]
    if not counts:
        return None
    return {"accuracy": max(counts) / sum(counts), "balanced_accuracy": 1 / len(counts)}.get(metric)


def selected_epochs(series: Series) -> dict[int, int]:
    """The epoch that the best validation metric selects.

    Args:
        series: the runs.

    Returns:
        Seed -> epoch; without runs that were trained on the validation data.
    """
    rule = best_val(series.first.about.select)
    selected = {seed: run.record.selected for seed, run in series.runs.items()}
    return {seed: of_run[rule].epoch for seed, of_run in selected.items() if rule in of_run}


class Printed(NamedTuple):
    """A value that a paper prints, in the units of the records, with its error (0 where it prints none)."""

    paper: str
    value: float
    error: float


def mark_references(axes: Axes, series: Sequence[Series], column: str) -> set[str]:
    """Mark in a panel over the epochs what its lines are read against.

    Args:
        axes: the panel, in which the lines are drawn.
        series: its series.
        column: what it shows, `set/metric`.

    Returns:
        Sentences for the note that say what was marked.
    """
    of, _, metric = column.partition("/")
    drawn = marks(len(series), bool(ordering(series)))
    said = set()
    selected = [_mark_selected(axes, one, column, mark.color) for one, mark in zip(series, drawn, strict=True)]
    if any(selected):
        said.add(f"Diamonds: for each seed the epoch with the best validation {series[0].first.about.select}.")
    printed = [(found, mark) for one, mark in zip(series, drawn, strict=True) if (found := printed_of(one, of, metric))]
    for place, (found, mark) in enumerate(printed):
        _mark_printed(axes, found, mark.color, 1.045 + 0.03 * place)
    if printed:
        middle = 1.045 + 0.03 * (len(printed) - 1) / 2
        axes.annotate("paper", (middle, 0), (0, -4), "axes fraction", "offset points", ha="center", va="top", size=7)
        papers = ", ".join(sorted({found.paper for found, _ in printed}))
        said.add(f"Stars beside the axes: what the paper prints ({papers}), with its standard error.")
    if _mark_chance(axes, series[0], of, metric):
        said.add("Chance: what predicting the most frequent class for all samples reaches.")
    return said


def _mark_selected(axes: Axes, series: Series, column: str, color: ColorType) -> bool:
    """A diamond at the selected epoch of each seed, where its columns were evaluated. Returns whether there is any."""
    values, epochs = series.column(column), list(series.first.history["epoch"])
    if values is None or len(epochs) <= FEW:
        return False
    by_seed = dict(zip(series.runs, values, strict=True))
    found = {seed: epoch for seed, epoch in selected_epochs(series).items() if epoch in epochs}
    at = [by_seed[seed][epochs.index(epoch)] for seed, epoch in found.items()]
    axes.plot(list(found.values()), at, "D", color="white", markeredgecolor=color, markersize=5.5, zorder=4)
    return bool(found)


def _mark_printed(axes: Axes, printed: Printed, color: ColorType, x: float) -> None:
    """A star with its error at a place right of the axis."""
    axes.errorbar(
        *(x, printed.value, printed.error or None),
        marker="*",
        color=color,
        markersize=8,
        capsize=2,
        clip_on=False,
        transform=axes.get_yaxis_transform(),
    )


def _mark_chance(axes: Axes, series: Series, of: str, metric: str) -> bool:
    """A labelled line at chance, unless it lies outside of what is shown. Returns whether there is one."""
    chance, (low, high) = chance_of(series, of, metric), axes.get_ylim()
    if chance is None or not low <= chance <= high:
        return False
    axes.axhline(chance, color=GREY, linestyle=(0, (6, 3)), linewidth=1, zorder=1)
    place = (1, chance)
    axes.annotate("chance", place, (-2, 2), axes.get_yaxis_transform(), "offset points", ha="right", color=GREY, size=8)
    return True


def printed_of(series: Series, of: str, metric: str) -> Printed | None:
    """The value that a paper prints for a training.

    Args:
        series: the runs.
        of: the set; papers print metrics of the test set, and loss ratios of the training data.
        metric: its name.

    Returns:
        The first that there is; None where no paper prints one, and for trainings off the recipe.
    """
    row = row_of(series)
    if row.changes:
        return None
    task = f"{series.first.spec.dataset}[{row.variant}]" if row.variant else series.first.spec.dataset
    name = metric.replace(*LOSS_RATIO) if of == "train" else metric
    wanted = {"protocol": series.first.spec.protocol_name, "dataset": task, "method": row.label, "metric": name}
    if of != "test" and name == metric:
        return None
    for values in published():
        if wanted.items() <= values.items():
            scale = PERCENT if metric in METRICS and METRICS[metric].unit == "%" else 1
            return Printed(values["paper"], float(values["value"]) / scale, float(values["error"] or 0) / scale)
    return None


def row_of(series: Series) -> Row:
    """The row that these runs have in tables."""
    return Row(series.columns, series.rows, series.content, series.ambiguous, series.older)


class Compared(NamedTuple):
    """What a series differs by from its baseline: seed by seed, in the mean."""

    series: Series
    baseline: Series
    difference: PairedDifference


def differences(series: Sequence[Series], metric: str) -> list[Compared]:
    """The paired difference of each series from the baseline of its setting, after the last epoch.

    Where each seed draws its own test data, the interval has what overlapping splits add to it.

    Args:
        series: the baselines are among them.
        metric: its name, or `set/name`.

    Returns:
        One for each series that has a baseline, in their order.
    """
    rows = [row_of(one) for one in series]
    series_of_row = dict(zip(map(id, rows), series, strict=True))
    compared = {}
    for task in dict.fromkeys(row.variant for row in rows):
        of_task = [row for row in rows if row.variant == task]
        for row, baseline in zip(of_task, baselines_of(of_task), strict=True):
            if baseline is not None and baseline is not row:
                found = difference_of(row, baseline, metric, LAST)
                compared[id(row)] = Compared(series_of_row[id(row)], series_of_row[id(baseline)], found)
    return [compared[id(row)] for row in rows if id(row) in compared]
