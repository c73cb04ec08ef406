"""The validation metric over the training, from what lies beside the records. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from bench.columns.run import Run
from bench.errors import StoreError
from bench.records.selections import VAL
from bench.site.drawing import Scale, around, polyline
from bench.site.text import text
from bench.store.beside import sidecar_of_file
from bench.tables.rows import Row, scale_of

SEEDS = 3
"""So many seeds are drawn of a row: what lies beside a record takes milliseconds to read."""
MOST = 28
"""So many evaluations are drawn of a run."""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 600, 260, 80, 584, 16, 204
"""Half pixels of the picture, and where its area begins and ends."""
Curve = Sequence[tuple[float, float]]
"""Epoch and value of each evaluation."""


def curve_picture(row: Row) -> str:
    """The metric that epochs are selected by, on the validation data, for the first seeds of a row.

    Args:
        row: the row.

    Returns:
        SVG in a figure; empty where there are no histories, or they have no such metric.
    """
    metric = row.first.about.select
    factor = scale_of(row.unit(metric))
    runs = [row.runs[seed] for seed in sorted(row.runs)[:SEEDS]]
    curves = [curve for run in runs if len(curve := _curve(history_of(run), f"{VAL}/{metric}", factor)) > 1]
    if not curves:
        return ""
    x = around([epoch for curve in curves for epoch, _ in curve], LEFT, RIGHT, 0.01)
    y = around([value for curve in curves for _, value in curve], BOTTOM, TOP)
    lines = [f'<path class="curve" d="{polyline([(x(a), y(b)) for a, b in curve])}"/>' for curve in curves]
    unit = row.unit(metric)
    words = f"validation {metric} ({unit}) over the epochs, {len(curves)} seed{'s' if len(curves) > 1 else ''}"
    drawing = "".join([*_grid(x, y), *lines])
    return (
        f'<figure class="history"><svg viewBox="0 0 {WIDTH} {HEIGHT}">{drawing}</svg>'
        f"<figcaption>{text(words)}</figcaption></figure>"
    )


def history_of(run: Run) -> Mapping[str, list[Any]]:
    """The history of a run; empty where nothing lies beside its record, or it is damaged: `bench verify-store` says so.

    Args:
        run: the run.
    """
    if run.beside is not None:
        return run.history
    with suppress(StoreError, OSError, ValueError):
        return sidecar_of_file(run.record, run.columns.file(run.row)).history
    return {}


def _curve(history: Mapping[str, list[Any]], column: str, factor: int) -> Curve:
    """The evaluations of a run at which a column is defined, thinned."""
    epochs, values = history.get("epoch", []), history.get(column, [])
    known = [
        (float(epoch), factor * float(value))
        for epoch, value in zip(epochs, values, strict=False)
        if value is not None and math.isfinite(value)
    ]
    if len(known) <= MOST:
        return known
    last = len(known) - 1
    return [known[place * last // (MOST - 1)] for place in range(MOST)]


def _grid(x: Scale, y: Scale) -> list[str]:
    lines = [f'<text x="{x(tick):.0f}" y="{BOTTOM + 28}">{tick:,g}</text>' for tick in x.ticks(5)]
    grid = "".join(f"M{LEFT} {y(tick):.0f}H{RIGHT}" for tick in y.ticks(4))
    lines += [f'<text class="y" x="{LEFT - 10}" y="{y(tick) + 8:.0f}">{tick:g}</text>' for tick in y.ticks(4)]
    return [f'<path class="grid" d="{grid}"/>', *lines]
