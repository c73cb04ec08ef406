"""The rows of a table as points: the metric that ranks against the accuracy. Nothing here imports torch."""

import math
from collections.abc import Iterator, Mapping, Sequence

from bench.site.drawing import CLASSES, Scale, around, mark, number
from bench.site.points import USUAL, Point, Sizes
from bench.site.text import text
from bench.tables.conclusions import Verdict
from bench.tables.names import Names
from bench.tables.pages.ranking import DEFAULT, MOST, RankedFamily
from bench.tables.rows import ACCURACY, Row, mean_and_error, scale_of
from bench.tables.stats.means import mean_se
from bench.text import join_first

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 250, 58, 452, 10, 212
"""Pixels of the picture, and where its area begins and ends."""
LETTER, LINE = 6.1, 12
"""Pixels of a letter of a label, and of its height."""
NEAR, FAR = (8,), (8, 20, 34, 50)
"""Pixels between a point and its name: of most rows, and of those that are named first."""
LINES = 3
"""So many constant predictions are drawn."""
LONGEST = 34
"""Characters of a label."""
FIRST = (Verdict.BASELINE, Verdict.BETTER, Verdict.OTHER, Verdict.WORSE)
"""The verdicts of the rows that are named first."""


def axes_of(row: Row, rule: str) -> tuple[str, str] | None:
    """The metrics of the two axes: the one that ranks and the accuracy, or the first two where that is the same.

    Args:
        row: any row of the table.
        rule: the selection rule.

    Returns:
        The metric from left to right and that from below to above; None where there is one metric alone.
    """
    first = row.ranked_by
    others = [ACCURACY, *row.first.about.metrics]
    second = next((one for one in others if one != first and _is_known(row, one, rule)), None)
    if second is None:
        return None
    return (second, first) if first == ACCURACY else (first, second)


def _is_known(row: Row, metric: str, rule: str) -> bool:
    return any(map(math.isfinite, row.values(metric, rule).values()))


def scatter(family: RankedFamily, names: Names) -> str:
    """The picture of a family.

    Args:
        family: its rows, compared.
        names: of the rows.

    Returns:
        SVG in a figure; empty where no two rows have numbers on both axes.
    """
    rows = [one.row for _, of_task in family.of_tasks for one in of_task]
    axes = axes_of(rows[0], family.rule) if rows else None
    points = list(_points(family, names, axes)) if axes else []
    if axes is None or len(points) < 2:
        return ""
    lines = _constants(family) if axes[1] == ACCURACY else {}
    x = around([end for point in points for end in _ends(point.x)], LEFT, RIGHT)
    heights = [end for point in points for end in _ends(point.y)]
    y = around([*heights, *(share for share in lines if _is_near(share, heights))], BOTTOM, TOP)
    parts = [*_grid(axes, rows[0], x, y), *_constant_lines(lines, y), *_baseline_lines(points, x, y)]
    sizes = Sizes.of(points)
    from_below = sorted(range(len(points)), key=lambda place: (-sizes.of_point(points[place]), -place))
    parts += [
        _drawn(points[place], family.rule, axes, x, y, sizes) for place in from_below
    ]  # the best of equals on top
    parts += _labels(points, x, y, sizes)
    title = f"{axes[0]} against {axes[1]}"
    drawing = "\n".join(parts)
    caption = _caption(points, any(y.low <= share <= y.high for share in lines), sizes)
    return (
        f'<figure class="scatter"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">\n'
        f"{drawing}\n</svg><figcaption>{caption}</figcaption></figure>"
    )


def _points(family: RankedFamily, names: Names, axes: tuple[str, str]) -> Iterator[Point]:
    several = len(family.of_tasks) > 1
    for row, (task, verdict, cost) in _verdicts(family).items():
        x, y = (_mean(row, axis, family.rule) for axis in axes)
        if math.isfinite(x[0]) and math.isfinite(y[0]):
            name = names.plain(row)
            yield Point(row, verdict, f"{name}, {task or DEFAULT}" if several else name, x, y, cost)


def _verdicts(family: RankedFamily) -> dict[Row, tuple[str, Verdict, float | None]]:
    """Each row that is shown -> its task, the verdict on it and its cost; baselines of other tables are among them."""
    compared = [(task, one) for task, of_task in family.of_tasks for one in of_task][:MOST]
    rows = {one.row: (task, one.verdict, one.cost) for task, one in compared}
    others = {
        one.baseline: (task, Verdict.BASELINE, one.baseline.cost(one.baseline))
        for task, one in compared
        if one.baseline
    }
    return others | rows


def _mean(row: Row, metric: str, rule: str) -> tuple[float, float]:
    mean, se = mean_se(list(row.values(metric, rule).values()))
    factor = scale_of(row.unit(metric))
    return factor * mean, factor * (se or 0.0)


def _ends(value: tuple[float, float]) -> tuple[float, float]:
    return value[0] - value[1], value[0] + value[1]


def _constants(family: RankedFamily) -> dict[float, str]:
    """The accuracy of the best constant prediction -> the tasks where it is so, of the first few."""
    found: dict[float, list[str]] = {}
    for task, of_task in family.of_tasks:
        shares = {seed: share for one in of_task for seed, (_, share) in one.row.constant_prediction.items()}
        if shares:
            found.setdefault(round(100 * mean_se(list(shares.values()))[0], 2), []).append(task or DEFAULT)
    several = len(found) > 1
    return {share: f", {join_first(tasks, 1)}" if several else "" for share, tasks in list(found.items())[:LINES]}


def _grid(axes: tuple[str, str], row: Row, x: Scale, y: Scale) -> Iterator[str]:
    """The numbers of the axes, and what they are."""
    for tick in x.ticks():
        at = number(x(tick))
        yield f'<path class="grid" d="M{at} {TOP}V{BOTTOM}"/>'
        yield f'<text x="{at}" y="{BOTTOM + 14}" text-anchor="middle">{tick:g}</text>'
    for tick in y.ticks():
        at = number(y(tick))
        yield f'<path class="grid" d="M{LEFT} {at}H{RIGHT}"/>'
        yield f'<text x="{LEFT - 5}" y="{number(y(tick) + 4)}" text-anchor="end">{tick:g}</text>'
    across, up = (text(_axis_title(metric, row)) for metric in axes)
    yield f'<text class="axis" x="{(LEFT + RIGHT) // 2}" y="{HEIGHT - 6}" text-anchor="middle">{across}</text>'
    middle = (TOP + BOTTOM) // 2
    yield f'<text class="axis" transform="translate(10 {middle}) rotate(-90)" text-anchor="middle">{up}</text>'


def _axis_title(metric: str, row: Row) -> str:
    higher = row.first.about.higher_is_better.get(metric, True if metric == ACCURACY else None)
    better = {True: ", more is better", False: ", less is better", None: ""}[higher]
    return f"{metric} ({row.unit(metric)}){better}"


def _constant_lines(lines: Mapping[float, str], y: Scale) -> Iterator[str]:
    drawn = {share: tasks for share, tasks in lines.items() if y.low <= share <= y.high}
    for share, tasks in drawn.items():
        at = y(share)
        yield f'<path class="always" d="M{LEFT} {number(at)}H{RIGHT}"/>'
        yield _constant_text(f"always one class{tasks}", at - 3)
    if below := [share for share in lines if share < y.low]:
        yield _constant_text(f"always one class: {_span(below)} ↓", BOTTOM - 4)
    if above := [share for share in lines if share > y.high]:
        yield _constant_text(f"always one class: {_span(above)} ↑", TOP + 10)


def _constant_text(words: str, at: float) -> str:
    return f'<text class="always" x="{RIGHT - 2}" y="{number(at)}" text-anchor="end">{text(words)}</text>'


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _is_near(share: float, heights: Sequence[float]) -> bool:
    """Whether a line does not press all points together."""
    low, high = min(heights), max(heights)
    return low - 2 * (high - low) <= share <= high + 2 * (high - low)


def _baseline_lines(points: Sequence[Point], x: Scale, y: Scale) -> Iterator[str]:
    """Lines through the baseline, which tell at once what is better in one metric and worse in the other."""
    baselines = [point for point in points if point.verdict is Verdict.BASELINE]
    if len(baselines) == 1:
        at = number(x(baselines[0].x[0])), number(y(baselines[0].y[0]))
        yield f'<path class="through" d="M{at[0]} {TOP}V{BOTTOM}M{LEFT} {at[1]}H{RIGHT}"/>'


def _drawn(point: Point, rule: str, axes: tuple[str, str], x: Scale, y: Scale, sizes: Sizes) -> str:
    """A point with its errors, which leads to its row."""
    across, up = x(point.x[0]), y(point.y[0])
    left, right = (number(x(end)) for end in _ends(point.x))
    low, high = (number(y(end)) for end in _ends(point.y))
    row = point.row
    values = [f"{axis} {mean_and_error(list(row.values(axis, rule).values()), row.unit(axis))}" for axis in axes]
    values += [str(point.verdict), f"cost {point.cost:.2f} ×" if sizes.told and point.cost else ""]
    title = f"{point.name}: {', '.join(filter(None, values))}"
    kind = CLASSES[point.verdict] + (" unpriced" if sizes.told and point.cost is None else "")
    return (
        f'<a class="{kind}" href="#r{row.first.key}"><title>{text(title)}</title>'
        f'<path class="bar" d="M{left} {number(up)}H{right}M{number(across)} {low}V{high}"/>'
        f'<path class="dot" d="{mark(across, up, point.verdict, sizes.of_point(point))}"/></a>'
    )


def _labels(points: Sequence[Point], x: Scale, y: Scale, sizes: Sizes) -> Iterator[str]:
    """The names of those points beside which there is room, the most telling ones first."""
    middles = [(x(point.x[0]), y(point.y[0])) for point in points]
    taken = [_box(at, sizes.of_point(point)) for point, at in zip(points, middles, strict=True)]
    shared = _shared_method(points)
    telling = sorted(range(len(points)), key=lambda place: _place_of(points[place].verdict))
    for place in telling:
        point, at = points[place], middles[place]
        name = point.name
        if name.startswith((f"{shared}[", f"{shared} (")):
            name = name.removeprefix(shared).strip()
        name = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        beyond = sizes.of_point(point) - USUAL
        distances = [beyond + far for far in (FAR if point.verdict in FIRST else NEAR)]
        for box in _places(at, LETTER * len(name), distances):
            if _is_inside(box) and not _hits(box, taken) and (_has_leader(at, box) or _is_nearest(at, box, middles)):
                taken.append(box)
                yield from _label(name, at, box)
                break


def _place_of(verdict: Verdict) -> int:
    """When the names of points with a verdict are placed."""
    return FIRST.index(verdict) if verdict in FIRST else len(FIRST)


def _is_inside(box: "Box") -> bool:
    return box[0] >= LEFT and box[2] <= RIGHT and box[1] >= TOP and box[3] <= BOTTOM


def _is_nearest(at: tuple[float, float], box: "Box", points: Sequence[tuple[float, float]]) -> bool:
    """Whether no other point is as near to a name, which would be taken for its own."""
    own = math.dist(at, _nearest(at, box))
    return all(math.dist(other, _nearest(other, box)) > own for other in points if math.dist(at, other) > 2)


def _nearest(at: tuple[float, float], box: "Box") -> tuple[float, float]:
    """The place in a box that is the nearest to a point."""
    return min(max(at[0], box[0]), box[2]), min(max(at[1], box[1]), box[3])


def _has_leader(at: tuple[float, float], box: "Box") -> bool:
    """Whether a line leads from a point to its name."""
    return math.dist(at, _nearest(at, box)) > 10


def _box(at: tuple[float, float], half: float) -> "Box":
    return at[0] - half, at[1] - half, at[0] + half, at[1] + half


def _shared_method(points: Sequence[Point]) -> str:
    """The method whose options all rows but the baseline are; empty where there are several."""
    methods = {point.row.first.spec.method for point in points if point.verdict is not Verdict.BASELINE}
    return methods.pop() if len(methods) == 1 else ""


def _places(at: tuple[float, float], width: float, distances: Sequence[float]) -> Iterator["Box"]:
    """Where a name may stand: beside its point, or farther away, with a line between them."""
    for far in distances:
        for across, down in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            left = at[0] + across * far + {1: 0.0, 0: -width / 2, -1: -width}[across]
            middle = at[1] + down * (far + LINE / 2)
            yield left, middle - LINE / 2, left + width, middle + LINE / 2


def _label(name: str, at: tuple[float, float], box: "Box") -> Iterator[str]:
    if _has_leader(at, box):
        near = _nearest(at, box)
        ends = f"M{number(at[0])} {number(at[1])}L{number(near[0])} {number(near[1])}"
        yield f'<path class="leader" d="{ends}"/>'
    yield f'<text class="name" x="{number(box[0])}" y="{number(box[3] - 3)}">{text(name)}</text>'


Box = tuple[float, float, float, float]


def _hits(box: Box, others: Sequence[Box]) -> bool:
    return any(box[0] < o[2] and o[0] < box[2] and box[1] < o[3] and o[1] < box[3] for o in others)


def _caption(points: Sequence[Point], constant: bool, sizes: Sizes) -> str:
    """What the marks are."""
    kinds = dict.fromkeys(point.verdict for point in points)
    words = {
        Verdict.BASELINE: "◆ baseline",
        Verdict.BETTER: "▲ better",
        Verdict.WORSE: "▼ worse",
        Verdict.OTHER: "◆ different",
        Verdict.CONSTANT: "■ ≈ constant",
    }
    told = [f'<span class="{CLASSES[kind]}">{words[kind]}</span>' for kind in words if kind in kinds]
    told += ["● not separated"] * bool(kinds.keys() & {Verdict.OPEN, Verdict.IDENTICAL, Verdict.FEW})
    told += ["bars: ± standard error"]
    told += ["dotted: constant prediction"] * constant
    return " · ".join([*told, *sizes.legend()])
