"""Where the names of points stand in a picture: beside their points, over no other name and no point. Nothing here
imports torch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from bench.site.drawing import number
from bench.site.text import text

Place = tuple[float, float]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in pixels."""
LINE = 12
"""Pixels of the height of a name."""
LETTER, NARROW, WIDE = 6.9, 4.4, 10.8
"""Pixels of a letter, of a narrow and of a wide one, in the widest of the usual fonts."""
NARROW_ONES, WIDE_ONES = frozenset(" .,:;!|'ijltfrI[]()/-"), frozenset("mwMW%@=≈…")
GAP, LEADER = 3, 7
"""Pixels between a point and its name, and from how many on a line joins them."""
NEAR, FAR = (0, 10), (0, 10, 22, 36, 52, 72, 100, 140)
"""So much farther a name may stand: of most points, and of those that are named first."""
AROUND = tuple(
    (math.cos(math.pi * turn / 8), math.sin(math.pi * turn / 8)) for turn in (0, 8, *range(1, 8), *range(9, 16))
)
"""The directions in which a name may stand, to the right and to the left first."""
CLOSE, APART = 3, 12
"""Pixels between a name with a line and points that are not its own: at least, and as it should be."""
MISTAKEN = 20
"""A point so near to such a name, or that its line passes through, counts as so many pixels of distance."""
LINED = 4
"""A line or a bar behind a name counts as so many pixels of distance."""


def width_of(words: str) -> float:
    """Pixels that a text may need."""
    return sum(NARROW if one in NARROW_ONES else WIDE if one in WIDE_ONES else LETTER for one in words)


@dataclass(frozen=True)
class Mark:
    """A point that may be named.

    Attributes:
        at: its middle.
        half: half of its width.
        name: what it is called, of any origin.
        first: whether its name may stand far away.
        bars: its errors.
    """

    at: Place
    half: float
    name: str
    first: bool
    bars: Sequence[Box]

    @property
    def box(self) -> Box:
        """The square around it."""
        return _around((*self.at, *self.at), self.half)


@dataclass
class Field:
    """The area of a picture, and what stands there.

    Attributes:
        area: where names may stand.
        marks: the points, in the order in which they are named.
        lines: that names had better not lie on.
        names: the places of texts.
        leaders: lines from points to their names.
    """

    area: Box
    marks: Sequence[Mark]
    lines: Sequence[Box] = ()
    names: list[Box] = field(default_factory=list)
    leaders: list[tuple[Place, Place]] = field(default_factory=list)

    def label(self) -> Iterator[str]:
        """The names of the points beside which there is room, as SVG."""
        for mark in self.marks:
            if (found := self._best(mark)) is not None:
                box, anchor = found
                end = nearest(mark.at, box)
                self.names.append(box)
                if math.dist(mark.at, end) - mark.half > LEADER:
                    self.leaders.append((mark.at, end))
                    path = f"M{number(mark.at[0])} {number(mark.at[1])}L{number(end[0])} {number(end[1])}"
                    yield f'<path class="leader" d="{path}"/>'
                x = {"": box[0], " mid": (box[0] + box[2]) / 2, " end": box[2]}[anchor]
                yield f'<text class="name{anchor}" x="{number(x)}" y="{number(box[3] - 3)}">{text(mark.name)}</text>'

    def free(self, boxes: Sequence[Box]) -> Box:
        """That of some places for a text which covers the least, the first one of equals; it is taken."""
        chosen = min(boxes, key=lambda box: self._covered(box) + 100 * sum(hits(box, mark.box) for mark in self.marks))
        self.names.append(chosen)
        return chosen

    def _best(self, mark: Mark) -> tuple[Box, str] | None:
        """The place of the name of a point that is the nearest and covers the least; None where there is none."""
        found: list[tuple[float, Box, str]] = []
        for far in FAR if mark.first else NEAR:
            if found and min(found)[0] <= far:
                break
            for box, anchor in _places(mark, far, self.area):
                if self._fits(mark, box):
                    found.append((far + self._covered(box) + self._mistaken(mark, box), box, anchor))
        return min(found, key=lambda one: one[0])[1:] if found else None

    def _fits(self, mark: Mark, box: Box) -> bool:
        """Whether a name covers nothing there, is not crossed by a line to a name, and is taken for no other's."""
        area = self.area
        if box[0] < area[0] or box[1] < area[1] or box[2] > area[2] or box[3] > area[3]:
            return False
        if any(hits(_around(box, 1), taken) for taken in self.names) or any(hits(box, one.box) for one in self.marks):
            return False
        if any(_crosses(start, end, box) for start, end in self.leaders):
            return False
        end = nearest(mark.at, box)
        own = math.dist(mark.at, end)
        others = [one for one in self.marks if math.dist(mark.at, one.at) > 2]
        if own - mark.half <= LEADER:
            return all(math.dist(one.at, nearest(one.at, box)) > own + 1 for one in others)
        if any(math.dist(one.at, nearest(one.at, box)) - one.half < CLOSE for one in others):
            return False
        return not any(_crosses(mark.at, end, one) for one in self.names)

    def _mistaken(self, mark: Mark, box: Box) -> float:
        """For which other points a name with a line may be taken, in pixels of distance."""
        end = nearest(mark.at, box)
        if math.dist(mark.at, end) - mark.half <= LEADER:
            return 0
        others = [one for one in self.marks if math.dist(mark.at, one.at) > 2 and not hits(one.box, mark.box)]
        near = sum(math.dist(one.at, nearest(one.at, box)) - one.half < APART for one in others)
        return MISTAKEN * (near + sum(_crosses(mark.at, end, one.box) for one in others))

    def _covered(self, box: Box) -> float:
        """What lies behind a text, in pixels of distance."""
        bars = sum(hits(box, bar) for mark in self.marks for bar in mark.bars)
        return LINED * (bars + 2 * sum(hits(box, line) for line in self.lines))


def _places(mark: Mark, far: float, area: Box) -> Iterator[tuple[Box, str]]:
    """Where a name may stand around its point, with how it is anchored there."""
    width, distance = width_of(mark.name), mark.half + GAP + far
    for across, down in AROUND:
        side = 0 if abs(across) < 0.2 else math.copysign(1, across)
        x = mark.at[0] + across * distance
        left = x - width / 2 + side * width / 2
        if not side:  # above or below its point it need not stand in the middle
            left = max(min(left, area[2] - width), area[0])
        middle = mark.at[1] + down * (distance + LINE / 2)
        yield (left, middle - LINE / 2, left + width, middle + LINE / 2), {0: " mid", 1: "", -1: " end"}[int(side)]


def _around(box: Box, more: float) -> Box:
    return box[0] - more, box[1] - more, box[2] + more, box[3] + more


def hits(box: Box, other: Box) -> bool:
    """Whether two boxes overlap; one of no height is a line."""
    return box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3]


def nearest(at: Place, box: Box) -> Place:
    """The place in a box that is the nearest to a point."""
    return min(max(at[0], box[0]), box[2]), min(max(at[1], box[1]), box[3])


def _crosses(start: Place, end: Place, box: Box) -> bool:
    """Whether a line passes through a box; that of its own name, which it ends at, it does not."""
    first, last = 0.0, 1.0
    for begin, to, low, high in ((start[0], end[0], box[0], box[2]), (start[1], end[1], box[1], box[3])):
        step = to - begin
        if abs(step) < 1e-9:
            if not low < begin < high:
                return False
            continue
        one, other = sorted(((low - begin) / step, (high - begin) / step))
        first, last = max(first, one), min(last, other)
    return last - first > 1e-6
