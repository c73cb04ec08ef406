"""What changes over training: columns of the history, with bands over the seeds."""

from collections.abc import Sequence
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import ColorType

from bench.errors import BenchError
from bench.plots.loss_ratio import names
from bench.plots.select import Series, band_note, mean_and_band, shared, shared_note
from bench.plots.style import legend, lines, panels

LONG = 1000  # last over first epoch from which the axis is logarithmic
NAMES = {
    "tprd": "true positive rate disparity",
    "fprd": "false positive rate disparity",
    "max_fnr": "largest false negative rate",
    "max_fpr": "largest false positive rate",
    "ece": "expected calibration error",
    "fraction_positive": "fraction predicted as {positive}",
    "gradient_norm": "gradient norm of the epoch's last update",
    "effective_sample_size": "effective sample size (fraction of the samples)",
    "largest_weight": "largest weight (relative to the mean)",
    "weight_entropy": "entropy of the weights (1: all equal)",
    "weight_churn": "share of the weight moved since the last evaluation",
    "weight_loss_correlation": "correlation of weight and loss",
    "weight_share": "share of the weight",
    "loss_ratio": "loss over that of the others (moving averages)",
}


def curves(series: Sequence[Series], columns: Sequence[str], title: str, log: bool = False) -> Figure:
    """Draw columns of the history over the epochs: a panel for each column, and a line for each series.

    A line is the mean over the seeds, with a band of one standard deviation.

    Args:
        series: the runs.
        columns: names `set/metric` of the history, or of `bench.plots.loss_ratio`.
        title: of the picture.
        log: whether the vertical axes are logarithmic. Default: no.

    Returns:
        The picture.

    Raises:
        BenchError: for a column that no run has.
    """
    there = sorted({name for s in series for name in names(s.first)})
    if missing := [c for c in columns if c not in there]:
        raise BenchError(f"no run has {', '.join(missing)} in its history; there is: {', '.join(there)}")
    labels = [one.label(shared(series)) for one in series]
    figure, row = panels(len(columns), labels, title, band_note(series) + shared_note(series))
    for axes, column in zip(row, columns, strict=True):
        for one, label, (color, dash) in zip(series, labels, lines(len(series)), strict=True):
            _line(axes, one, column, label, color, dash)
        of, _, name = column.partition("/")
        axes.set_title(f"{of} ({series[0].first.data.sizes.get(of, 0):,} samples)")
        axes.set(xlabel="epoch", ylabel=axis_name(series[0], name))
        axes.grid()
        if log:
            axes.set_yscale("log")
    legend(figure, row[0])
    return figure


def axis_name(series: Series, name: str) -> str:
    """The label of a vertical axis: what a metric is, and of which class or group.

    Args:
        series: a series whose classes and groups are named.
        name: of the metric, such as `tprd` or `loss_ratio/class2`.

    Returns:
        A text, broken into lines of at most 36 characters.
    """
    about, (kind, _, label) = series.first.about, name.partition("/")
    classes = about.classes
    positive = f'"{classes[1]}"' if len(classes) == 2 else "class 1"
    said = NAMES.get(kind, kind.replace("_", " ")).format(positive=positive)
    for what, labels in (("class", classes), ("group", about.groups)):
        if label.startswith(what):
            said += f', {what} "{labels[int(label.removeprefix(what))]}"'
    return fill(said, 36)


def _line(axes: Axes, series: Series, column: str, label: str, color: ColorType, dash: str) -> None:
    values, epochs = series.column(column), series.first.history["epoch"]
    if values is None:
        return
    mean, deviation = mean_and_band(values)
    axes.plot(epochs, mean, label=label, color=color, linestyle=dash, linewidth=1.5)
    if len(values) > 1:
        axes.fill_between(epochs, mean - deviation, mean + deviation, color=color, alpha=0.18, linewidth=0)
    if epochs[-1] >= LONG * epochs[0]:
        axes.set_xscale("log")
    else:
        axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
