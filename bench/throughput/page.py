"""Records of throughput -> a page and a picture for each device, a pure function. Nothing here imports torch."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.records.sections import Environment
from bench.tables.markdown import MARK, table
from bench.throughput.record import WAYS, Quartiles, StepCost, StepCosts, quartiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = "throughput.md"
MIB = 2**20

NOTES = """\
What a training step of each method costs, beside the baseline and beside rivals, other implementations of the same
method. All rows of a table were timed in one process on the same made-up data, taking turns in an order drawn for each
round; a ratio is that of the two times of one round. Cells are medians and [quartiles] over the rounds.

Timed is one update of the parameters with a batch that is there: the passes of the model, drawing the validation batch,
and all else that the method does for its update. Drawing and augmenting the training batch, and evaluation, are not in
it. Of a method that trains more than once it is an update of the training that is evaluated; the records of runs have
the cost of all. The optimiser is plain SGD, BatchNorm is in training mode, inputs and labels are random and lie on the
device. Times on a GPU are its own, between synchronisations.

- **Memory**: the most that is in use during the steps after the first (the recording of an update included), above what
  is there after setting up. On a GPU what torch has allocated, also in the pool of a recorded update, but not what it
  holds in reserve; elsewhere resident memory, in a fresh process for each row. Less than 1 MiB is not resolved.
- **Calls**: kernels, copies and fills of one step on a GPU; elsewhere operators, views left out.
- **Waits**: how often a step makes the host wait for the GPU; elsewhere calls that would, were their operands there.
- **FLOPs**: of the matrix products, convolutions and attention of one step, relative to the baseline's. **Least**: by
  that backend of the method's look-ahead which needs the fewest for this model, timed or not. **To least**: time ratio
  over it; 1 where these FLOPs at the baseline's speed are all that takes time.
- **One by one**: time of stacked runs relative to the same runs one after the other. On a CPU the latter are not
  recorded, as in `bench run` without `--stack`: the gain is that of stacking and of recording. That of stacking alone
  is in the rows `eager`: stacked and not recorded.
- Behind a method's name: how its look-ahead finds derivatives; captured: its update is recorded once and replayed.
- † Not exact: its update is not the method's own."""


def render(records: Iterable[StepCosts]) -> dict[str, str]:
    """File name -> content: the page and its pictures; nothing for no records."""
    by_device: dict[str, list[StepCosts]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.path):
        by_device[record.environment.device].append(record)
    if not by_device:
        return {}
    lines, files = [f"{MARK}# Throughput", "", NOTES, ""], {}
    for device, found in sorted(by_device.items()):
        name = f"throughput/{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.svg"
        files[name] = picture(found)
        lines += [f"## {device}", "", f"![Time of a step relative to the baseline]({name})", ""]
        for record in found:
            lines += [*section(record), ""]
    return {PAGE: "\n".join(lines)} | files


def section(record: StepCosts) -> list[str]:
    """The table of one record, and the conditions under which it was measured."""
    return [
        f"### {title(record)}",
        "",
        f"{record.workload}. {conditions(record)}; {made(record.environment)}. `{record.command}`",
        "",
        *table(heads(record), cells(record)),
    ]


def made(environment: Environment) -> str:
    """With which torch, when and from which commit."""
    parts = [f"torch {environment.versions['torch']}", environment.created[:10]]
    if environment.git:
        parts.append(str(environment.git))
    return ", ".join(parts)


def title(record: StepCosts) -> str:
    size = f"batch {record.workload.batch_size}"
    if record.workload.stack > 1:
        size += f", {record.workload.stack} runs"
    return ", ".join([f"{record.name} ({size})", *_special(record)])


def conditions(record: StepCosts) -> str:
    c = record.conditions
    parts = _special(record) or ["fp32"]
    if c.precision == "fp32" and record.environment.gpu.get("float32_convolution") == "tf32":
        parts.append("convolutions in TF32")
    updates = "1 update" if record.repeats == 1 else f"{record.repeats} updates"
    parts += [f"look-aheads: {c.backend}", f"threads: {c.threads}", f"{c.rounds} rounds of {updates}"]
    return ", ".join(parts)


def _special(record: StepCosts) -> list[str]:
    """The conditions that are not as usual."""
    special = []
    if record.conditions.precision != "fp32":
        special.append(record.conditions.precision)
    if record.conditions.channels_last:
        special.append("channels_last")
    if record.conditions.eager:
        special.append("eager")
    return special


def heads(record: StepCosts) -> list[str]:
    name, stacked = record.baseline.name, ["One by one"] if record.workload.stack > 1 else []
    return [
        *("Method", "Step, ms", "Samples/s", f"Time × {name}", *stacked, "Memory, MiB", f"Memory × {name}"),
        *("Calls", "Waits", "FLOPs", "Least", "To least"),
    ]


def cells(record: StepCosts) -> list[list[str]]:
    """A line for each row: the baseline, then each method with its rivals, the fastest first."""
    empty = [""] * (len(heads(record)) - 2)
    return [[_name(r), r.error, *empty] if r.error else _measured(record, r) for r in _ordered(record)]


def _ordered(record: StepCosts) -> list[StepCost]:
    def place(row: StepCost) -> tuple[int, bool, str, bool, bool, float, str]:
        time = record.ratio(row).median if row.seconds else math.inf
        return WAYS.index(row.way), not row.baseline, row.method, bool(row.rival_of), not row.seconds, time, row.name

    return sorted(record.rows, key=place)


def _measured(record: StepCosts, row: StepCost) -> list[str]:
    ms, ratio, base = quartiles([1e3 * s for s in row.seconds]), record.ratio(row), record.baseline
    samples, gain, floor = record.workload.batch_size * record.workload.stack, record.gain(row), record.floor(row)
    memory, of = (None if r.peak_bytes is None else r.peak_bytes / MIB for r in (row, base))
    return [
        _name(row),
        with_quartiles(ms),
        f"{1e3 * samples / ms.median:.0f}",
        "1" if row is base else with_quartiles(ratio),
        *([with_quartiles(gain) if gain else ""] if record.workload.stack > 1 else []),
        "" if memory is None else _number(memory) if memory >= 1 else "< 1",
        f"{memory / of:.2f}" if memory and of and min(memory, of) >= 1 else "",
        *(str(row.calls), str(row.waits)),
        f"{row.flops / base.flops:.2f}" if row.flops and base.flops else "",
        f"{floor:.2f}" if floor and row is not base else "",
        f"{ratio.median / floor:.2f}" if floor and row is not base else "",
    ]


def _name(row: StepCost) -> str:
    how = [row.label, row.backend, "captured" if row.captured else "", row.eager_because]
    return ", ".join(filter(None, how)) + _mark(row)


def _mark(row: StepCost) -> str:
    return "" if row.exact else " †"


def with_quartiles(q: Quartiles) -> str:
    return f"{_number(q.median)} [{_number(q.low)}, {_number(q.high)}]"


def _number(value: float) -> str:
    """With three significant digits, without an exponent."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}" if value else "0"


def picture(records: Sequence[StepCosts]) -> str:
    """SVG: a panel for each record, a bar for each row."""
    from bench.plots import style

    content = style.files(lambda: _drawn(records), ["svg"])["svg"].decode()
    return MARK + content[content.index("<svg") :]


def _drawn(records: Sequence[StepCosts]) -> "Figure":
    from matplotlib.figure import Figure

    shown = [[row for row in _ordered(record) if not row.error] for record in records]
    figure = Figure(figsize=(8, sum(0.24 * len(rows) + 0.7 for rows in shown)), layout="constrained")
    ratios = {"height_ratios": [len(rows) + 1 for rows in shown]}
    panels = figure.subplots(len(records), squeeze=False, gridspec_kw=ratios)[:, 0]
    for axes, record, rows in zip(panels, records, shown, strict=True):
        _bars(axes, record, rows)
    of_single_runs = [axes for axes, record in zip(panels, records, strict=True) if record.workload.stack == 1]
    for axes in of_single_runs:  # one scale, to be compared
        axes.set_xlim(0, max(a.get_xlim()[1] for a in of_single_runs))
    panels[-1].set_xlabel("Hatched: rivals of the method above them. Lines: quartiles. †: not exact.", loc="left")
    return figure


def _bar_name(row: StepCost) -> str:
    if row.way:
        return f"{row.name}, {row.way}{_mark(row)}"
    return f"{row.name}{_mark(row)}"


def _bars(axes: "Axes", record: StepCosts, rows: Sequence[StepCost]) -> None:
    for place, row in enumerate(rows):
        low, median, high = record.ratio(row)
        (bar,) = axes.barh(place, median, height=0.7, xerr=[[median - low], [high - median]], edgecolor="#333333")
        bar.set(facecolor="white" if row.rival_of else "#4c78a8", hatch="////" if row.rival_of else None)
        axes.annotate(f"{median:.2f} ×", (high, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(rows)), [_bar_name(row) for row in rows])
    axes.invert_yaxis()
    axes.set_title(f"{title(record)}: time of a step relative to {record.baseline.name}", loc="left", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.axvline(1, color="#333333", linewidth=0.8, zorder=0)
    axes.margins(x=0.12)
