"""What the corruptions cost beside a public implementation: records -> a page. Nothing here imports torch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.records.json_file import JsonRecord
from bench.records.sections import Environment
from bench.tables.markdown import MARK, code, folded, plain, table
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
What a corruption of `bench.images.corruptions` costs for one image on the CPU, beside the public implementation,
which takes one image at a time. The two run interleaved in one process, with one thread each, on the same images.
Ours gets them as a batch of bytes, the public one as PIL images, and both return bytes. In each round both do their
part twice, and the second time counts, as for a batch among many. Times are given as processor time and as
wall-clock time; each ratio, how many times as fast ours is, is that of two times of one round. Cells are medians and
[quartiles] over the rounds."""


@dataclass(frozen=True)
class Timing:
    """The times of one corruption.

    Attributes:
        name: The corruption.
        ours, public: Clock (one of CLOCKS) -> seconds for an image, by round.
    """

    name: str
    ours: Mapping[str, Sequence[float]]
    public: Mapping[str, Sequence[float]]

    def ratio(self, clock: str) -> Quartiles:
        """How many times as fast as the public implementation ours is.

        Args:
            clock: one of CLOCKS.

        Returns:
            The quartiles over the rounds.
        """
        return paired(self.public[clock], self.ours[clock])


@dataclass(frozen=True)
class CorruptionCosts(JsonRecord):
    """The record of the cost of all corruptions on one device.

    Attributes:
        command: The exact command.
        public: The other implementation, with its version.
        data: What the images are.
        severity: That of all corruptions.
        images, one_by_one: The number of images that ours got in a round, and that the public one got.
        rows: One for each corruption.
        environment: Versions, device, plugins and git state.
    """

    command: str
    public: str
    data: str
    severity: int
    images: int
    one_by_one: int
    rows: Sequence[Timing]
    environment: Environment

    def check(self) -> None:
        """Whether the page can show it."""
        for row in self.rows:
            rounds = {len(of.get(clock, ())) for of in (row.ours, row.public) for clock in CLOCKS}
            times = [seconds for of in (row.ours, row.public) for clock in of.values() for seconds in clock]
            if len(rounds) > 1 or min(rounds) < 2 or min(times) <= 0:
                raise ValueError(f"{row.name} is not timed in the same rounds, two or more, by times above 0")
        if "torch" not in self.environment.versions:
            raise ValueError("it does not say the version of torch")

    @property
    def path(self) -> str:
        """The name of its file: the same for a repetition on the same kind of device."""
        return re.sub("[^a-z0-9]+", "-", self.environment.device.lower()).strip("-") + ".json"

    @classmethod
    def of(cls, values: dict[str, Any], texts: Mapping[str, str]) -> "CorruptionCosts":
        values["environment"] = Environment.read(values["environment"])
        return cls(**values | {"rows": [Timing(**row) for row in values["rows"]]})

    def median(self, clock: str) -> float:
        """The median over all corruptions of how many times as fast as the public implementation ours is.

        Args:
            clock: one of CLOCKS.

        Returns:
            The median.
        """
        return median(row.ratio(clock).median for row in self.rows)


def render(records: Iterable[CorruptionCosts]) -> dict[str, str]:
    """The page of what corruptions cost.

    Args:
        records: of any devices.

    Returns:
        File name -> content; empty if there are no records.
    """
    in_order = sorted(records, key=lambda record: record.path)
    if not in_order:
        return {}
    lines = [f"{MARK}# Cost of the corruptions", "", _answer(in_order), ""]
    lines += [*folded("How this is measured", [NOTES]), ""]
    for record in in_order:
        lines += [*section(record), ""]
    return {PAGE: "\n".join(lines)}


def _answer(records: Sequence[CorruptionCosts]) -> str:
    """How much faster the corruptions are than the public ones, in a sentence for each device."""
    parts = []
    for record in records:
        times = sorted((row.ratio(CLOCKS[0]).median, row.name) for row in record.rows)
        (low, slowest), (high, fastest) = times[0], times[-1]
        where, ratio = plain(record.environment.device), record.median(CLOCKS[0])
        parts.append(f"**On {where} a corruption of one image is {ratio:.1f} times as fast as the public one.**")
        parts.append(
            f"This is the median of {len(times)} in processor time; they go from {low:.1f} ({plain(slowest)}) to "
            f"{high:.1f} ({plain(fastest)})."
        )
    return "\n".join(parts)


def section(record: CorruptionCosts) -> list[str]:
    """The part of the page for one record: its table, and the conditions under which it was measured.

    Args:
        record: the record.

    Returns:
        Lines of markdown.
    """
    rounds = len(record.rows[0].ours[CLOCKS[0]])
    return [
        f"## {plain(record.environment.device)}",
        "",
        f"{plain(record.data)}: {record.images:,} in a batch and {record.one_by_one:,} one by one, "
        f"severity {record.severity}, one thread, "
        f"{rounds} rounds; public: {plain(record.public)}; {plain(made(record.environment))}. {code(record.command)}",
        "",
        *table(HEADS, cells(record)),
    ]


def cells(record: CorruptionCosts) -> list[list[str]]:
    """The cells of the table of one record.

    Args:
        record: the record.

    Returns:
        A row for each corruption, and one with the medians over all.
    """
    rows = [[plain(row.name), *(cell for clock in CLOCKS for cell in _cells(row, clock))] for row in record.rows]
    processor, wall = (f"**{record.median(clock):.1f}**" for clock in CLOCKS)
    return [*rows, ["median of all", "", "", processor, "", "", wall]]


def _cells(row: Timing, clock: str) -> list[str]:
    times = (quartiles([1e6 * seconds for seconds in of[clock]]) for of in (row.ours, row.public))
    return [*map(with_quartiles, times), with_quartiles(row.ratio(clock))]
