"""The training images with the largest and the smallest weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from bench.plots.select import Series
from bench.plots.style import COLORS, new_figure
from bench.store.weighted import SHOWN, extremes


def images(
    series: Series,
    weights: NDArray[Any],
    y: NDArray[Any],
    shown: Sequence[NDArray[np.uint8]],
    title: str,
    true: NDArray[Any] | None = None,
) -> Figure:
    """Draw the images with the largest weights of the last epoch, and below them those with the smallest.

    Each has its weight relative to the mean, and its class; a wrong label has the true class beside it.

    Args:
        series: the runs; the first seed is drawn.
        weights: [N], of the training samples.
        y: [N], their classes.
        shown: the images [n, C, H, W] uint8 of both parts of `extremes(weights)`.
        title: of the picture.
        true: [N], the class that each had before a protocol changed labels, -1 where it is not known. Default: not
            known of any.

    Returns:
        The picture.
    """
    classes = series.first.about.classes
    note = f"Weight in times of the mean, and label. One run: {series.label()}, seed {min(series.runs)}."
    true = np.full(len(y), -1) if true is None else true
    if any(0 <= true[place] != y[place] for part in extremes(weights) for place in part):
        note += " Framed: the label is wrong; what it should be stands beside it."
    figure = new_figure(1.0 * SHOWN + 0.8, 3.2, title, note)
    panels = figure.subplots(2, SHOWN, squeeze=False)
    mean = np.nanmean(weights.astype(np.float64))
    for row, name, places, pictures in zip(panels, ("most", "least"), extremes(weights), shown, strict=True):
        for axes in row:
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        row[0].set_ylabel(f"{name} weight")
        for axes, place, picture in zip(row, places, pictures, strict=False):
            _image(axes, picture)
            label = classes[y[place]]
            if 0 <= true[place] != y[place]:
                label = f"{label}, is {classes[true[place]]}"
                axes.spines[:].set(visible=True, color=COLORS[1], linewidth=2)
            axes.set_title(f"{_short(weights[place] / mean)} ×\n{label}", fontsize=7)
    return figure


def _image(axes: Axes, picture: NDArray[np.uint8]) -> None:
    """[C, H, W], of one channel or three."""
    grey = len(picture) == 1
    axes.imshow(picture[0] if grey else picture.transpose(1, 2, 0), cmap="gray" if grey else None, vmin=0, vmax=255)


def _short(value: float) -> str:
    return f"{value:.2f}" if 0.01 <= value < 1000 or value == 0 else f"{value:.1e}"
