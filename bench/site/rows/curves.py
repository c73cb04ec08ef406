"""The validation metric over the training, from what lies beside the records. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.records.selections import VAL
from bench.records.sidecar import Sidecar
from bench.site.drawing import around, polyline
from bench.site.rows.small import BOTTOM, LEFT, RIGHT, TOP, grid, seeds_told, small_picture
from bench.tables.rows import Row, scale_of

MOST = 28
"""So many evaluations are drawn of a run."""
Curve = Sequence[tuple[float, float]]
"""Epoch and value of each evaluation."""


def curve_picture(row: Row, besides: Mapping[int, Sidecar]) -> str:
    """The metric that epochs are selected by, on the validation data, for the first seeds of a row.

    Args:
        row: the row.
        besides: seed -> what lies beside its record.

    Returns:
        SVG in a figure; empty where there are no histories, or they have no such metric.
    """
    metric = row.first.about.select
    factor = scale_of(row.unit(metric))
    of_seeds = {seed: _curve(one.history, f"{VAL}/{metric}", factor) for seed, one in besides.items()}
    seeds = [seed for seed, curve in of_seeds.items() if len(curve) > 1]
    curves = [of_seeds[seed] for seed in seeds]
    if not curves:
        return ""
    x = around([epoch for curve in curves for epoch, _ in curve], LEFT, RIGHT, 0.01)
    y = around([value for curve in curves for _, value in curve], BOTTOM, TOP)
    lines = [f'<path class="curve" d="{polyline([(x(a), y(b)) for a, b in curve])}"/>' for curve in curves]
    words = f"validation {metric} ({row.unit(metric)}) over the epochs, {seeds_told(seeds, len(row.runs))}"
    ticks = [(x(tick), f"{tick:,g}") for tick in x.ticks(5)]
    return small_picture([*grid(ticks, y), *lines], words)


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
