"""Records of throughput -> a page and a picture for each device, a pure function. Nothing here imports torch."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from bench.records.sections import Environment
from bench.tables.markdown import MARK, code, folded, link, plain, table
from bench.text import join_first
from bench.throughput.record import WAYS, Quartiles, StepCost, ThroughputRecord, quartiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = "throughput.md"
MIB = 2**20
MOST_TOLD = 6
"""So many methods are named in the answer."""

NOTES = """\
What a training step of each method costs, beside the baseline and beside rivals, which are other implementations of
the same method. All rows of a table were timed interleaved in one process on the same synthetic data, in an order
drawn anew for each round. A ratio is that of two times of one round. Cells are medians and [quartiles] over the
rounds.

A step is one update of the parameters with a training batch that is in memory already: the passes of the model,
drawing the validation batch, and everything else that the method does for its update. Drawing and augmenting the
training batch and evaluating the model are left out. For a method that trains more than once, the step is one of the
training that is evaluated; the records of runs hold the cost of all of its trainings. The optimiser is plain SGD,
BatchNorm is in training mode, and the inputs and labels are random and lie on the device. Times on a GPU are its
own, between synchronisations.

- **Memory**: the most memory in use during the steps after the first, above what is in use after setting up.
  Capturing an update counts. On a GPU it is what torch has allocated, with the memory pool of a captured update, but
  without what torch holds in reserve. Elsewhere it is resident memory, measured in a fresh process for each row.
  Less than 1 MiB is not resolved.
- **Calls**: the number of kernels, copies and fills of one step on a GPU; elsewhere the number of operators, views
  left out.
- **Waits**: how often a step makes the host wait for the GPU; elsewhere the number of calls that would make it wait
  if their operands were on a GPU.
- **FLOPs**: those of the matrix products, convolutions and attention of one step, relative to the baseline's.
- **Least**: the FLOPs, relative to the baseline's, of the backend of the method's look-ahead that needs the fewest
  for this model, whether it was timed or not.
- **To least**: the time relative to the baseline divided by **Least**. It is 1 if these FLOPs, at the baseline's
  speed, are all that takes time.
- **One by one**: the time of stacked runs relative to the same runs one after the other. On a CPU the runs one after
  the other are not captured, as in `bench run` without `--stack`, so this is the gain of stacking and of capturing
  together. The rows `eager` are stacked and not captured: they show the gain of stacking alone.
- After a method's name stands the backend by which its look-ahead finds derivatives, and `captured` if its update is
  captured once and replayed.
- † marks rows that are not exact: their update is not the method's own."""

CELLS = (
    "The tables below have these ratios for every method in its fastest way that is exact and, in brackets, for the "
    "fastest exact one of the other implementations."
)
LEGEND = """\
The pictures show the time of a step relative to the baseline's: bars are medians, lines quartiles, and hatched bars the
rivals of the method above them. Each picture has a scale of its own."""


def render(records: Iterable[ThroughputRecord]) -> dict[str, str]:
    """The page of throughput and its pictures.

    Args:
        records: Of any devices. Each device has a section with what every method costs on each workload, and below it
            the workloads, folded: those with the most methods first.

    Returns:
        File name -> content; empty where there are no records.
    """
    by_device: dict[str, list[ThroughputRecord]] = defaultdict(list)
    for record in sorted(records, key=lambda one: (-len(one.rows), one.path)):
        by_device[record.environment.device].append(record)
    if not by_device:
        return {}
    everything = [record for of_device in by_device.values() for record in of_device]
    lines = [f"{MARK}# Throughput", "", _answer(everything), CELLS, ""]
    lines += [*folded("How this is measured, and what the columns are", [NOTES, "", LEGEND]), ""]
    files = {}
    for device, of_device in sorted(by_device.items(), key=lambda one: (-len(one[1]), one[0])):
        lines += [f"## {plain(device)}", "", *overview(of_device), ""]
        for record in of_device:
            name = f"throughput/{record.path.removesuffix('.json')}.svg"
            files[name] = picture(record)
            shown = link(f"Time of a step relative to {plain(record.baseline.name)}", name)
            lines += folded(plain(title(record)), [f"!{shown}", "", *section(record)])
    return {PAGE: "\n".join(lines)} | files


def _answer(records: Sequence[ThroughputRecord]) -> str:
    """What a step costs, in a sentence, of the methods of which there are other implementations."""
    times: dict[str, list[float]] = defaultdict(list)
    others: list[float] = []
    for record in records:
        for method, own, rival in _fastest(record):
            if any(row.rival_of == method for of in records for row in of.rows):
                times[method].append(own)
            others += [rival / own] if rival else []
    if not times:
        return "No method is timed here beside another implementation of its update."
    (first, of_first), *rest = sorted(times.items())
    told = [f"{plain(first)} takes {_range(of_first)} times as long as the baseline's"]
    told += [f"one of {plain(method)} {_range(of)} times" for method, of in rest]
    named = f"**A training step of {join_first(told, MOST_TOLD)}.**"
    if not others:
        return named
    return f"{named} The fastest other implementation of the same update takes {_range(others)} times as long as ours."


def _range(ratios: Sequence[float]) -> str:
    low, high = _number(min(ratios)), _number(max(ratios))
    return low if low == high else f"{low} to {high}"


def overview(records: Sequence[ThroughputRecord]) -> list[str]:
    """A table of the methods on some workloads: the time of a step relative to the baseline's, in the fastest way that
    is exact, and in brackets that of the fastest rival that is exact.

    Args:
        records: of one device.

    Returns:
        Lines of markdown; none where there are no methods.
    """
    ratios = [{method: (own, rival) for method, own, rival in _fastest(record)} for record in records]
    methods = sorted(
        {method for of in ratios for method in of}, key=lambda name: (-sum(name in of for of in ratios), name)
    )
    lines = [[plain(name), *(_with_rival(*of[name]) if name in of else "" for of in ratios)] for name in methods]
    return table(["Method", *(plain(title(record)) for record in records)], lines) if lines else []


def board(records: Iterable[ThroughputRecord]) -> list[str]:
    """A small table of all records for the front page: the time of a step relative to the baseline's, of each method
    that has rivals, and in brackets that of the fastest of these that is exact.

    Args:
        records: of any devices.

    Returns:
        Lines of markdown; none where there are no such methods.
    """
    ordered = sorted(records, key=lambda record: (record.environment.device, record.path))
    ratios = [{method: (own, rival) for method, own, rival in _fastest(record)} for record in ordered]
    methods = sorted({method for of in ratios for method, (_, rival) in of.items() if rival})
    lines = []
    for record, of in zip(ordered, ratios, strict=True):
        cells = [_with_rival(*of[method]) if method in of else "" for method in methods]
        if any(cells):
            lines.append([plain(title(record)), plain(record.environment.device), *cells])
    return table(["Workload", "Device", *map(plain, methods)], lines) if lines else []


def _with_rival(own: float, rival: float | None) -> str:
    return f"{_number(own)} ×" + (f" ({_number(rival)} ×)" if rival else "")


def _fastest(record: ThroughputRecord) -> Iterator[tuple[str, float, float | None]]:
    """Each method, its time relative to the baseline's in its fastest way that is exact, and that of its rivals."""
    exact = [row for row in record.rows if row.seconds and row.exact and not row.baseline]
    for method in dict.fromkeys(row.method for row in exact if not row.rival_of):
        own = [record.ratio(row).median for row in exact if row.method == method and not row.rival_of]
        rivals = [record.ratio(row).median for row in exact if row.rival_of == method]
        yield method, min(own), min(rivals, default=None)


def section(record: ThroughputRecord) -> list[str]:
    """The part of the page for one record: its table, and the conditions under which it was measured.

    Args:
        record: the record.

    Returns:
        Lines of markdown.
    """
    return [
        f"{plain(f'{record.workload}. {conditions(record)}; {made(record.environment)}.')} {code(record.command)}",
        "",
        *table([plain(head) for head in heads(record)], [[plain(cell) for cell in row] for row in cells(record)]),
    ]


def made(environment: Environment) -> str:
    """The version of torch, the date and the commit of a measurement, as a text for its line on a page."""
    parts = [f"torch {environment.versions['torch']}", environment.created[:10]]
    if environment.git:
        parts.append(str(environment.git))
    return ", ".join(parts)


def title(record: ThroughputRecord) -> str:
    """The workload's name with its batch size, the number of stacked runs and its unusual conditions."""
    size = f"batch {record.workload.batch_size}"
    if record.workload.stack > 1:
        size += f", {record.workload.stack} runs"
    return ", ".join([f"{record.name} ({size})", *_special(record)])


def conditions(record: ThroughputRecord) -> str:
    """The conditions of a measurement as a text: precision, look-aheads, threads and rounds."""
    c = record.conditions
    parts = _special(record) or ["fp32"]
    if c.precision == "fp32" and record.environment.gpu.get("float32_convolution") == "tf32":
        parts.append("convolutions in TF32")
    updates = "1 update" if record.repeats == 1 else f"{record.repeats} updates"
    parts += [f"look-aheads: {c.backend}", f"threads: {c.threads}", f"{c.rounds} rounds of {updates}"]
    return ", ".join(parts)


def _special(record: ThroughputRecord) -> list[str]:
    """The conditions that differ from the defaults."""
    special = []
    if record.conditions.precision != "fp32":
        special.append(record.conditions.precision)
    if record.conditions.channels_last:
        special.append("channels_last")
    if record.conditions.eager:
        special.append("eager")
    return special


def heads(record: ThroughputRecord) -> list[str]:
    """The headings of the table of one record; for stacked runs one for the gain over one by one."""
    name = record.baseline.name
    headings = ["Method", "Step, ms", "Samples/s", f"Time × {name}"]
    if record.workload.stack > 1:
        headings.append("One by one")
    return [*headings, "Memory, MiB", f"Memory × {name}", "Calls", "Waits", "FLOPs", "Least", "To least"]


def cells(record: ThroughputRecord) -> list[list[str]]:
    """The cells of the table of one record.

    Args:
        record: the record.

    Returns:
        A row for the baseline, then for each method with its rivals, the fastest first.
    """
    empty = [""] * (len(heads(record)) - 2)
    lines = []
    for row in _ordered(record):
        lines.append([_name(row), row.error, *empty] if row.error else _measured(record, row))
    return lines


def _ordered(record: ThroughputRecord) -> list[StepCost]:
    def place(row: StepCost) -> tuple[int, bool, str, bool, bool, float, str]:
        time = record.ratio(row).median if row.seconds else math.inf
        return WAYS.index(row.way), not row.baseline, row.method, bool(row.rival_of), not row.seconds, time, row.name

    return sorted(record.rows, key=place)


def _measured(record: ThroughputRecord, row: StepCost) -> list[str]:
    """The cells of a row that was timed."""
    base = record.baseline
    milliseconds = quartiles([1e3 * seconds for seconds in row.seconds])
    ratio = record.ratio(row)
    samples = record.workload.batch_size * record.workload.stack
    floor = record.floor(row) if row is not base else None
    cells = [
        _name(row),
        with_quartiles(milliseconds),
        f"{1e3 * samples / milliseconds.median:.0f}",
        "1" if row is base else with_quartiles(ratio),
    ]
    if record.workload.stack > 1:
        gain = record.gain(row)
        cells.append(with_quartiles(gain) if gain else "")
    return [
        *cells,
        *_memory(row, base),
        str(row.calls),
        str(row.waits),
        f"{row.flops / base.flops:.2f}" if row.flops and base.flops else "",
        f"{floor:.2f}" if floor else "",
        f"{ratio.median / floor:.2f}" if floor else "",
    ]


def _memory(row: StepCost, base: StepCost) -> tuple[str, str]:
    """The memory of a row in MiB, and relative to the baseline's where both are resolved."""
    if row.peak_bytes is None:
        return "", ""
    memory = row.peak_bytes / MIB
    if memory < 1:
        return "< 1", ""
    if base.peak_bytes is None or base.peak_bytes < MIB:
        return _number(memory), ""
    return _number(memory), f"{memory / (base.peak_bytes / MIB):.2f}"


def _name(row: StepCost) -> str:
    parts = [row.label, row.backend, "captured" if row.captured else "", row.eager_because]
    return ", ".join(part for part in parts if part) + _mark(row)


def _mark(row: StepCost) -> str:
    return "" if row.exact else " †"


def with_quartiles(q: Quartiles) -> str:
    """A median with the quartiles around it: `median [lower quartile, upper quartile]`."""
    return f"{_number(q.median)} [{_number(q.low)}, {_number(q.high)}]"


def _number(value: float) -> str:
    """The value with three significant digits and no exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value else "0"


def picture(record: ThroughputRecord) -> str:
    """The picture of a record: a bar for each row that was timed.

    Args:
        record: the record.

    Returns:
        The SVG file.
    """
    from bench.plots import style

    content = style.files(lambda: _drawn(record), ["svg"])["svg"].decode()
    return MARK + content[content.index("<svg") :]


def _drawn(record: ThroughputRecord) -> "Figure":
    from matplotlib.figure import Figure

    rows = [row for row in _ordered(record) if not row.error]
    figure = Figure(figsize=(8, 0.24 * len(rows) + 1.1), layout="constrained")
    axes = figure.subplots()
    _bars(axes, record, rows)
    exact = "" if all(row.exact for row in rows) else " †: not exact."
    note = f"Bars: medians; lines: quartiles; hatched: rivals of the method above them.{exact}"
    axes.set_xlabel(f"time of a step relative to {record.baseline.name}\n{note}", loc="left", fontsize=8)
    return figure


def _bar_name(row: StepCost) -> str:
    if row.way:
        return f"{row.name}, {row.way}{_mark(row)}"
    return f"{row.name}{_mark(row)}"


def _bars(axes: "Axes", record: ThroughputRecord, rows: Sequence[StepCost]) -> None:
    for place, row in enumerate(rows):
        low, median, high = record.ratio(row)
        (bar,) = axes.barh(place, median, height=0.7, xerr=[[median - low], [high - median]], edgecolor="#333333")
        bar.set(facecolor="white" if row.rival_of else "#4c78a8", hatch="////" if row.rival_of else None)
        axes.annotate(f"{median:.2f} ×", (high, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), [_bar_name(row) for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)  # the first row on top
    axes.set_title(f"{title(record)}: time of a step", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axvline(1, color="#333333", linewidth=0.8, zorder=0)
    axes.margins(x=0.12)
