"""Decision surfaces over training, of models of points in a plane."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.errors import BenchError
from bench.plots.margin import max_margin
from bench.plots.select import Array, Arrays, Series, shared, shared_note
from bench.plots.style import in_lines, new_figure

MOST = 8
DASHED = " Dashed line: max-margin separator of the training samples."
NEGATIVE, POSITIVE = "#0072B2", "#E69F00"
SURFACE = LinearSegmentedColormap.from_list("surface", [NEGATIVE, "#ffffff", POSITIVE])
Points = tuple[Array, NDArray[np.int64]]
"""x [N, 2], y [N]."""


def surfaces(series: Sequence[Series], arrays: Sequence[Arrays], train: Sequence[Points], title: str) -> Figure:
    """Draw decision surfaces: a row for each series and a column for each epoch at which predictions were kept.

    Each panel shows the probability of class 1, the line where it is 1/2, the training samples and, where there is one,
    their max-margin separator.

    Args:
        series: at most MOST.
        arrays: what was kept beside the record of the first seed of each series.
        train: what that run was trained on, for each series.
        title: of the picture.

    Returns:
        The picture.

    Raises:
        BenchError: for more than MOST series, and as `epochs_of` does.
    """
    if len(series) > MOST:
        raise BenchError(f"{len(series)} rows of surfaces: choose at most {MOST} with --method or -o")
    epochs = epochs_of(arrays)
    probe = plane_of(arrays)
    classes = series[0].first.about.classes
    separators = [max_margin(*points) for points in train]
    note = (
        f"Axes: the two features. Marks: training samples. Background: probability of {classes[1]}; solid line: where "
        f"it is 1/2.{DASHED if any(separators) else ''}\n{_seeds(series)}{shared_note(series)}"
    )
    figure = new_figure(1.9 * len(epochs) + 1.6, 1.75 * len(series) + 1.1, title, note)
    panels = figure.subplots(len(series), len(epochs), squeeze=False, sharex=True, sharey=True)
    filled = None
    for row, one, stored, points, separator in zip(panels, series, arrays, train, separators, strict=True):
        row[0].set_ylabel(in_lines(one.label(shared(series))), fontsize=8)
        for axes, epoch in zip(row, epochs, strict=True):
            if f"{probe}/positive/{epoch}" in stored:
                filled = _surface(axes, stored, probe, epoch)
                _samples(axes, points)
                if separator:
                    _dashed(axes, stored, probe, *separator)
            axes.tick_params(labelsize=7)
    for axes, epoch in zip(panels[0], epochs, strict=True):
        axes.set_title(f"epoch {epoch:,}")
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, [classes[int(label)] for label in labels], loc="outside upper right", ncols=2, fontsize=8)
    assert filled is not None
    figure.colorbar(filled, ax=panels, label=f"probability of {classes[1]}", ticks=[0, 0.5, 1], pad=0.01)
    return figure


def epochs_of(arrays: Sequence[Arrays]) -> list[int]:
    """The epochs at which surfaces were kept.

    Args:
        arrays: what was kept beside the records.

    Returns:
        The epochs, in their order.

    Raises:
        BenchError: if there is none, and as `plane_of` does.
    """
    start = f"{plane_of(arrays)}/positive/"
    epochs = sorted({int(name.removeprefix(start)) for stored in arrays for name in stored if name.startswith(start)})
    if not epochs:
        raise BenchError("no surface was kept: train with -o recipe.evaluate_at=1,10,100")
    return epochs


def plane_of(arrays: Sequence[Arrays]) -> str:
    """The probe of points of a plane that all of the runs have, the first by name: only of such inputs are kept.

    Args:
        arrays: what was kept beside the records.

    Returns:
        The name of the probe.

    Raises:
        BenchError: if the runs have no such probe in common.
    """
    shared_names = set.intersection(*({name for name in stored if name.endswith("/x")} for stored in arrays))
    if not shared_names:
        raise BenchError(
            "surfaces are of data sets of points in a plane that have a probe of such points (`Dataset.probes`)"
        )
    return min(shared_names).removesuffix("/x")


def _seeds(series: Sequence[Series]) -> str:
    seeds = sorted({min(one.runs) for one in series})
    return f"One run of each: seed {', '.join(map(str, seeds))}."


def _plane(stored: Arrays, probe: str) -> tuple[Array, Array]:
    """The coordinates of the probe's columns and rows."""
    first, second = (np.unique(stored[f"{probe}/x"][:, i]).astype(np.float64) for i in (0, 1))
    return first, second


def _surface(axes: Axes, stored: Arrays, probe: str, epoch: int) -> QuadContourSet:
    x, y = _plane(stored, probe)
    positive = stored[f"{probe}/positive/{epoch}"].astype(np.float64).reshape(len(y), len(x))
    filled = axes.contourf(x, y, positive, levels=np.linspace(0, 1, 21), cmap=SURFACE, alpha=0.7)
    if positive.min() < 0.5 < positive.max():
        axes.contour(x, y, positive, levels=[0.5], colors="black", linewidths=1.2)
    return filled


def _samples(axes: Axes, points: Points) -> None:
    x, y = points
    for label, color, marker in ((0, NEGATIVE, "o"), (1, POSITIVE, "^")):
        first, second = x[y == label].T
        axes.scatter(first, second, s=5, c=color, marker=marker, edgecolors="black", linewidths=0.25, label=str(label))


def _dashed(axes: Axes, stored: Arrays, probe: str, w: Array, b: float) -> None:
    x, y = _plane(stored, probe)
    value = w[0] * x + w[1] * y[:, None] + b
    axes.contour(x, y, value, levels=[0], colors="black", linewidths=1, linestyles="--")
