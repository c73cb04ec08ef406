"""How the weights of the training samples of a row are spread. Nothing here imports torch."""

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bench.site.drawing import Scale
from bench.site.rows.small import BOTTOM, LEFT, RIGHT, TOP, grid, seeds_told, small_picture
from bench.store.weighted import Array, Weights, beyond, bins, clipped, is_wide, separation, told


def weight_histogram(of_seeds: Mapping[int, Weights], seeds: int) -> str:
    """The weights of the last epoch relative to their mean, of all given runs together.

    Args:
        of_seeds: seed -> the weights of its run.
        seeds: how many the row has.

    Returns:
        SVG in a figure; empty for no runs.
    """
    if not of_seeds:
        return ""
    runs = list(of_seeds.values())
    weights = np.concatenate([run.known for run in runs])
    wrong = np.concatenate([run.wrong for run in runs])
    edges = bins(weights)
    shares = _shares(weights, edges, len(weights))
    y = Scale(0.0, 1.05 * float(shares.max()), BOTTOM, TOP)
    parts = [*grid(_ticks(edges), y), _bars("bars", shares, y)]
    if wrong.any():
        parts.append(_bars("bars wrong", _shares(weights[wrong], edges, len(weights)), y))
    one = _place(1.0, edges)
    parts.append(f'<path class="zero" d="M{one:.0f} {TOP}V{BOTTOM}"/>')
    return small_picture(parts, _words(runs, seeds_told(list(of_seeds), seeds), weights, edges))


def _shares(weights: Array, edges: Array, of: int) -> Array:
    """The percentage of the samples in each bin."""
    counts, _ = np.histogram(clipped(weights, edges), edges)
    return 100 * counts / of


def _bars(kind: str, shares: Array, y: Scale) -> str:
    """The outline of all bars, without those that are empty at both ends."""
    filled = np.flatnonzero(shares)
    first, last = int(filled[0]), int(filled[-1])
    width = (RIGHT - LEFT) / len(shares)
    path = f"M{LEFT + first * width:.0f} {BOTTOM}"
    for place in range(first, last + 1):
        path += f"V{y(shares[place]):.0f}H{LEFT + (place + 1) * width:.0f}"
    return f'<path class="{kind}" d="{path}V{BOTTOM}z"/>'


def _place(weight: float, edges: Array) -> float:
    """The pixel of a weight on the axis of the bins, which are equally wide in the picture."""
    low, high, at = (float(one) for one in (edges[0], edges[-1], weight))
    if is_wide(edges):
        low, high, at = math.log(low), math.log(high), math.log(at)
    return LEFT + (RIGHT - LEFT) * (at - low) / (high - low)


def _ticks(edges: Array) -> list[tuple[float, str]]:
    """The place and the number of each tick."""
    low, high = float(edges[0]), float(edges[-1])
    values = list(_powers(low, high)) if is_wide(edges) else Scale(low, high, LEFT, RIGHT).ticks(5)
    return [(_place(value, edges), f"{value:g}") for value in values]


def _powers(low: float, high: float) -> Iterator[float]:
    """Round numbers for an axis of equal ratios, about five."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 3 else (1,)
    for power in range(first, last + 1, 1 + (last - first) // 7):
        yield from (digit * 10.0**power for digit in digits if low <= digit * 10.0**power <= high)


def _words(runs: Sequence[Weights], seeds: str, weights: Array, edges: Array) -> str:
    share = 100 * float(np.mean([run.effective for run in runs]))
    words = (
        f"% of the training samples by weight relative to the mean, last epoch, {seeds}: "
        f"{weights.min():.3g} to {weights.max():.3g}; effective sample size {share:.1f} %."
    )
    if found := [separation(run.known, run.wrong) for run in runs if run.wrong.any()]:
        words += f" Coloured: wrong labels; {told(found)} (1: they always weigh less, 0.5: the weight tells nothing)."
    return words + beyond(weights, edges)
