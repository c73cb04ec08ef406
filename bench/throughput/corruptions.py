"""What the corruptions cost beside a public implementation: records -> a page. Nothing here imports torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.records.json_file import JsonRecord
from bench.records.sections import Environment
from bench.tables.markdown import MARK, table
from bench.throughput.page import made, with_quartiles
from bench.throughput.record import Quartiles, paired, quartiles

PAGE, FOLDER = "corruptions.md", "corruptions"
CLOCKS = ("processor", "wall")
HEADS = (
    "Corruption",
    "Ours, µs",
    "Public, µs",
    "Times as fast",
    "Ours, wall µs",
    "Public, wall µs",
    "Times as fast, wall",
)

NOTES = """\
What a corruption of `bench.corruptions` costs an image on the CPU, beside the public implementation, which takes one
image at a time. The two take turns in one process, with one thread each, on the same images: ours has them as a batch
of bytes, the public one as images of PIL, and both end with bytes. Each does its part of a round twice, and the second
time counts: that of a batch among many. Times are those of the processor, and of the clock on the wall; how many times
as fast ours is comes from the two times of one round. Cells are medians and [quartiles] over the rounds."""


@dataclass(frozen=True)
class Timing:
    """A corruption. ours, public: clock (one of CLOCKS) -> seconds of an image, by round."""

    name: str
    ours: Mapping[str, Sequence[float]]
    public: Mapping[str, Sequence[float]]

    def ratio(self, clock: str) -> Quartiles:
        """How many times as fast ours is."""
        return paired(self.public[clock], self.ours[clock])


@dataclass(frozen=True)
class CorruptionCosts(JsonRecord):
    """All corruptions on one device.

    command: the exact command. public: the other implementation, with its version. data: what the images are.
    severity: of all. images, one_by_one: how many of the images ours had in a round, and the public one.
    environment: versions, device, plugins, git state.
    """

    command: str
    public: str
    data: str
    severity: int
    images: int
    one_by_one: int
    rows: Sequence[Timing]
    environment: Environment

    @property
    def path(self) -> str:
        return re.sub("[^a-z0-9]+", "-", self.environment.device.lower()).strip("-") + ".json"

    @classmethod
    def of(cls, values: dict[str, Any]) -> "CorruptionCosts":
        values["environment"] = Environment.read(values["environment"])
        return cls(**values | {"rows": [Timing(**row) for row in values["rows"]]})

    def median(self, clock: str) -> float:
        """Of the ratios of all corruptions."""
        return median(row.ratio(clock).median for row in self.rows)


def render(records: Iterable[CorruptionCosts]) -> dict[str, str]:
    """File name -> content: the page; nothing for no records."""
    found = sorted(records, key=lambda record: record.path)
    if not found:
        return {}
    lines = [f"{MARK}# Cost of the corruptions", "", NOTES, ""]
    for record in found:
        lines += [*section(record), ""]
    return {PAGE: "\n".join(lines)}


def section(record: CorruptionCosts) -> list[str]:
    """The table of one record, and the conditions under which it was measured."""
    rounds, batch, alone = len(record.rows[0].ours[CLOCKS[0]]), record.images, record.one_by_one
    return [
        f"## {record.environment.device}",
        "",
        f"{record.data}: {batch:,} in a batch and {alone:,} one by one, severity {record.severity}, one thread, "
        f"{rounds} rounds; public: {record.public}; {made(record.environment)}. `{record.command}`",
        "",
        *table(HEADS, cells(record)),
    ]


def cells(record: CorruptionCosts) -> list[list[str]]:
    """A line for each corruption, and that of the medians of all."""
    rows = [[row.name, *(cell for clock in CLOCKS for cell in _cells(row, clock))] for row in record.rows]
    processor, wall = (f"**{record.median(clock):.1f}**" for clock in CLOCKS)
    return [*rows, ["median of all", "", "", processor, "", "", wall]]


def _cells(row: Timing, clock: str) -> list[str]:
    times = (quartiles([1e6 * seconds for seconds in of[clock]]) for of in (row.ours, row.public))
    return [*map(with_quartiles, times), with_quartiles(row.ratio(clock))]
