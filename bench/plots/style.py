"""How all pictures look, and their files: the same records give the same bytes."""

import io
from collections.abc import Callable, Iterable, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from PIL import Image

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito 2008, Color Universal Design, without the yellow, which is faint on white."""
DASHES = ("-", "--", ":", "-.")
MARKERS = "osD^vP*"
DARK_TO_LIGHT = 0.82
"""The part of the colour scale that can be seen on white."""
GREY = "#666666"


class Mark(NamedTuple):
    """How one series is drawn: its colour, the dash of its line and its marker."""

    color: ColorType
    dash: str
    marker: str


def marks(number: int, ordered: bool = False) -> list[Mark]:
    """How each series of a panel is drawn.

    Colour, dash and marker change from one series to the next, so that lines that coincide show and no colour is needed
    to tell them apart. Series that have an order, and those of which there are more than twice as many as colours, have
    the colours of a scale, in their order.

    Args:
        number: how many series there are.
        ordered: whether they have an order, such as that of a weight.

    Returns:
        A mark for each series.
    """
    colors: Sequence[ColorType] = list(islice(cycle(COLORS), number))
    if ordered or number > 2 * len(COLORS):
        scale = matplotlib.colormaps["viridis"]
        colors = [scale(DARK_TO_LIGHT * i / max(number - 1, 1)) for i in range(number)]
    return [Mark(*mark) for mark in zip(colors, cycle(DASHES), cycle(MARKERS), strict=False)]


METADATA = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}
"""Suffix -> what would be other bytes another time or with another version."""


def files(draw: Callable[[], Figure], suffixes: Iterable[str] = tuple(METADATA)) -> dict[str, bytes]:
    """Draw a picture into files, with our settings whatever the user has set.

    Args:
        draw: makes the picture; it is called under these settings.
        suffixes: of the files; all that there are by default: `svg` and `png`.

    Returns:
        Suffix -> content of the file. The same picture gives the same bytes.
    """
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                **{"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9, "axes.titlesize": 9},
                **{"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False},
                **{"figure.titlesize": 11, "axes.axisbelow": True, "grid.color": "#e5e5e5", "savefig.dpi": 150},
            }
        )
        figure = draw()
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # each further layout would move things a little
        contents = {}
        for suffix in suffixes:
            file = io.BytesIO()
            figure.savefig(file, format=suffix, facecolor="white", metadata=METADATA[suffix])
            contents[suffix] = file.getvalue()
    if "png" in contents and not any(axes.images for axes in figure.axes):
        contents["png"] = _with_palette(contents["png"])
    return contents


def _with_palette(png: bytes) -> bytes:
    """The same picture in 256 colours: a third of the bytes, and a difference to see in photographs alone."""
    file = io.BytesIO()
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(file, "png", optimize=True)
    return file.getvalue()


def new_figure(width: float, height: float, title: str, note: str) -> Figure:
    """An empty picture, wide enough for its title above and for its note below.

    Args:
        width, height: in inches; the width is the least one.
        title: a line.
        note: what the marks mean; it may have several lines.

    Returns:
        The picture.
    """
    longest = max(map(len, note.split("\n")))
    figure = Figure(figsize=(max(width, 0.09 * len(title) + 0.3, 0.065 * longest + 0.3), height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    figure.supxlabel(note, x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def panels(number: int, labels: Sequence[str], title: str, note: str, rows: int = 1) -> tuple[Figure, list[list[Axes]]]:
    """A picture with panels in rows, and space for labels beside them.

    Args:
        number: of the panels of a row.
        labels: the lines of the legend.
        title, note: as for `new_figure`.
        rows: how many there are. Default: 1.

    Returns:
        The picture and the panels of each row.
    """
    longest = max(len(line) for label in labels for line in label.split("\n"))
    width = 3.3 * number + 0.065 * longest + 0.6
    figure = new_figure(width, max(3 * rows + 0.6, 0.17 * len(labels) + 1), title, note)
    return figure, [list(row) for row in figure.subplots(rows, number, squeeze=False)]


def in_lines(label: str) -> str:
    """The label of a series for narrow places, broken before its options and at each change.

    Args:
        label: as `Series.label` gives it.

    Returns:
        The label, on several lines.
    """
    return label.replace("[", "\n[").replace(" (", "\n(").replace(", ", ",\n")


def legend(figure: Figure, panel: Axes, heading: str = "") -> None:
    """Add what the marks of a panel are, beside the panels.

    Args:
        figure: the picture, which is changed.
        panel: the panel whose marks are explained; all panels have the same.
        heading: what all labels are of. Default: nothing.
    """
    by_label: dict[str, Any] = {}
    for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):  # of a line, and of its marks
        by_label[label] = (*by_label.get(label, ()), handle)
    figure.legend(
        *(list(by_label.values()), list(by_label)),
        loc="outside right center",
        fontsize=8,
        title=heading or None,
        title_fontsize=8,
        alignment="left",
    )
