"""The rows of a table as points: the metric that ranks against the accuracy. Nothing here imports torch."""

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from bench.site.drawing import CLASSES, Scale, around, mark, number
from bench.site.labels import Box, Field, Mark, width_of
from bench.site.points import Point, Sizes
from bench.site.text import text
from bench.tables.conclusions import UNRANKED, Verdict
from bench.tables.names import Names
from bench.tables.pages.ranking import DEFAULT, MOST, RankedFamily
from bench.tables.rows import ACCURACY, Row, mean_and_error, scale_of
from bench.tables.stats.means import mean_se
from bench.text import join_first

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 460, 250, 58, 452, 10, 212
"""Pixels of the picture, and where its area begins and ends."""
AREA = (LEFT, TOP, RIGHT, BOTTOM)
LINES = 3
"""So many constant predictions are drawn."""
LONGEST = 46
"""Characters of a label."""
FIRST = (Verdict.BASELINE, Verdict.BETTER, Verdict.OTHER, Verdict.WORSE, Verdict.CONSTANT)
"""The verdicts of the rows that are named first."""
ROUND = (Verdict.OPEN, Verdict.IDENTICAL, Verdict.FEW, Verdict.UNDEFINED)
"""The verdicts whose mark is a circle."""


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
    sizes = Sizes.of(points)
    through = _baseline_at(points, x, y)
    field = Field(AREA, _labels(points, _best(family), _told(family), x, y, sizes), _lines(lines, through, y))
    parts = [*_grid(axes, rows[0], x, y), *_constant_lines(lines, y, field), *_baseline_lines(through)]
    from_below = sorted(range(len(points)), key=lambda place: (-sizes.of_point(points[place]), -place))
    parts += [
        _drawn(points[place], family.rule, axes, x, y, sizes) for place in from_below
    ]  # the best of equals on top
    parts += field.label()
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


def _constant_lines(lines: Mapping[float, str], y: Scale, field: Field) -> Iterator[str]:
    """The accuracies of constant predictions; those that are not on the scale are told at its end."""
    drawn = {share: tasks for share, tasks in lines.items() if y.low <= share <= y.high}
    for share, tasks in drawn.items():
        at = y(share)
        yield f'<path class="always" d="M{LEFT} {number(at)}H{RIGHT}"/>'
        yield _constant_text(f"always one class{tasks}", [at - 3, at + 11], field)
    if below := [share for share in lines if share < y.low]:
        yield _constant_text(f"always one class: {_span(below)} ↓", [BOTTOM - 4], field)
    if above := [share for share in lines if share > y.high]:
        yield _constant_text(f"always one class: {_span(above)} ↑", [TOP + 10], field)


def _constant_text(words: str, heights: Sequence[float], field: Field) -> str:
    """What such a line is, at the right end, the left one or between them, where the least lies behind it."""
    width = width_of(words)
    rights = [RIGHT - 2 - (RIGHT - LEFT - 4 - width) * part / 4 for part in (0, 4, 2, 1, 3)]
    places = [
        (right - width, at - 9, right, at + 3) for right in rights for at in heights if at - 9 >= TOP and at <= BOTTOM
    ]
    box = field.free(places)
    return f'<text class="always" x="{number(box[2])}" y="{number(box[3] - 3)}" text-anchor="end">{text(words)}</text>'


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _is_near(share: float, heights: Sequence[float]) -> bool:
    """Whether a line does not press all points together."""
    low, high = min(heights), max(heights)
    return low - 2 * (high - low) <= share <= high + 2 * (high - low)


def _baseline_at(points: Sequence[Point], x: Scale, y: Scale) -> Sequence[tuple[float, float]]:
    """Where the baseline is, if there is one alone."""
    found = [(x(point.x[0]), y(point.y[0])) for point in points if point.verdict is Verdict.BASELINE]
    return found if len(found) == 1 else []


def _baseline_lines(through: Sequence[tuple[float, float]]) -> Iterator[str]:
    """Lines through the baseline, which tell at once what is better in one metric and worse in the other."""
    for across, up in through:
        yield f'<path class="through" d="M{number(across)} {TOP}V{BOTTOM}M{LEFT} {number(up)}H{RIGHT}"/>'


def _lines(shares: Iterable[float], through: Sequence[tuple[float, float]], y: Scale) -> list[Box]:
    """The lines of constant predictions and of the baseline."""
    heights = [y(share) for share in shares if y.low <= share <= y.high] + [up for _, up in through]
    return [(LEFT, up, RIGHT, up) for up in heights] + [(across, TOP, across, BOTTOM) for across, _ in through]


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


def _labels(points: Sequence[Point], best: Collection[Row], told: str, x: Scale, y: Scale, sizes: Sizes) -> list[Mark]:
    """The points as those that may be named: the best rows first, then the baselines, then those that are separated.

    Args:
        points: those of the picture.
        best: the best row of each task.
        told: the method that the title of the table names; empty for none.
        x, y: the axes.
        sizes: of the points.
    """
    marks = []
    for point in sorted(points, key=lambda point: (point.row not in best, _place_of(point.verdict))):
        across, up = x(point.x[0]), y(point.y[0])
        left, right = (x(end) for end in _ends(point.x))
        low, high = (y(end) for end in _ends(point.y))
        bars = [(left, up, right, up), (across, high, across, low)]
        far = point.row in best or point.verdict in FIRST
        marks.append(Mark((across, up), sizes.of_point(point), _short(point.name, told), far, bars))
    return marks


def _short(name: str, told: str) -> str:
    """A name as it stands in the picture, without the method that the title of the table names."""
    if told and name.startswith((f"{told}[", f"{told} (")):
        name = name.removeprefix(told).strip()
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _place_of(verdict: Verdict) -> int:
    """When the names of points with a verdict are placed."""
    return FIRST.index(verdict) if verdict in FIRST else len(FIRST)


def _told(family: RankedFamily) -> str:
    """The method whose options all rows but the baseline are, where the table has a title, which names it."""
    methods = {one.row.first.spec.method for _, of_task in family.of_tasks for one in of_task}
    methods -= {one.baseline.first.spec.method for _, of_task in family.of_tasks for one in of_task if one.baseline}
    return methods.pop() if family.title and len(methods) == 1 else ""


def _best(family: RankedFamily) -> set[Row]:
    """The first row of each task."""
    return {of_task[0].row for _, of_task in family.of_tasks if of_task[0].verdict not in UNRANKED}


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
    if round_ones := [str(kind).partition(" to ")[0] for kind in ROUND if kind in kinds]:
        told.append(f"● {' or '.join(round_ones)}")
    told += ["bars: ± standard error"]
    told += ["dotted: constant prediction"] * constant
    return " · ".join([*told, *sizes.legend()])
