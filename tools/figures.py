"""Makes the pictures and the tables of leaderboards/figures.md from the committed records.

Every section of the page holds the commands that make its records, then the command that draws its picture, and a table
below a comment that names the table's columns. This program fills the tables and runs the commands that draw. Give it
after records or a section were added, and commit the page and the pictures together.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bench.columns.reading import read_columns
from bench.errors import BenchError
from bench.plots.select import Array, Series, matching, mean_and_band, series_of, shared, with_sidecars
from bench.tables.markdown import table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "leaderboards/figures.md"
EPOCHS = [1, 10, 100, 1000, 10_000]
"""Those of a table whose comment names none."""
COMMANDS = re.compile(r"```\n(.*?)```", re.DOTALL)
IMAGE = re.compile(r"!\[(.*?)\]\((.*?)\)")
"""What the picture shows, for those who do not see it, and its file."""
TABLE = re.compile(r"<!-- (.*) -->\n((?:\|.*\n)*)")
"""The comment, and the lines of the table below it."""


@dataclass(frozen=True)
class Section:
    """One picture of the page.

    Args:
        prose: What is said of the picture, with the heading.
        commands: The lines that make it, the last of which draws it.
        alt: What it shows, in words.
        image: Its file.
        columns: Columns of the history that are in its table, or `counts` of training samples.
        epochs: The epochs in the table.
        cells: The table as it stands on the page.
    """

    prose: str
    commands: list[str]
    alt: str
    image: Path
    columns: list[str]
    epochs: list[int]
    cells: str

    @property
    def plot(self) -> list[str]:
        """The words of the command that draws the picture, without `bench`."""
        return shlex.split(self.commands[-1])[1:]

    @property
    def series(self) -> list[Series]:
        """What the picture shows, as `bench plot` selects it."""
        options = plot_options(self.plot)
        return matching(
            recorded(ROOT / options.records),
            dataset=options.dataset,
            protocol=options.protocol,
            model=options.model,
            methods=options.methods,
            settings=dict(text.split("=", 1) for text in options.settings),
        )

    def table(self) -> str:
        """The table as the records give it."""
        if self.columns == ["counts"]:
            return self._counts()
        return self._history()

    def _counts(self) -> str:
        """Training samples of the first seed: all, and those of the largest and of the smallest class."""
        series = self.series
        rows = []
        for one in series:
            of_class = one.first.data.class_counts("train")
            numbers = [sum(of_class), max(of_class), min(of_class)]
            rows.append([one.label(shared(series)), *(f"{number:,}" for number in numbers)])
        return "\n".join(table(("", "samples", "largest class", "smallest class"), rows)) + "\n"

    def _history(self) -> str:
        """Mean and, of several seeds, standard deviation of each column after some epochs."""
        series = self.series
        rows = []
        for column in self.columns:
            for one in series:
                label = one.label(shared(series))
                rows.append([column, label, str(len(one.runs)), *self._numbers(one, column)])
        heads = ["", "", "seeds", *(f"epoch {epoch:,}" for epoch in self.epochs)]
        return "\n".join(table(heads, rows)) + "\n"

    def _numbers(self, one: Series, column: str) -> list[str]:
        """One cell for each epoch."""
        places = [one.first.history["epoch"].index(epoch) for epoch in self.epochs]
        means, deviations = mean_and_band(values_of(one, column)[:, places])
        cells = []
        for mean, deviation in zip(means, deviations, strict=True):
            spread = f" ± {deviation:.3f}" if len(one.runs) > 1 else ""
            cells.append(f"{mean:.3f}{spread}")
        return cells


def values_of(one: Series, column: str) -> Array:
    """[seeds, evaluations] of a column. Raises BenchError where a run has none."""
    values = one.column(column)
    if values is None:
        raise BenchError(f"the runs of {one.label()} have no column {column}")
    return values


def plot_options(words: Sequence[str]) -> argparse.Namespace:
    """Those options of `bench plot` that select runs; the others are left to the command."""
    parser = argparse.ArgumentParser(prog="bench plot", allow_abbrev=False)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--dataset")
    parser.add_argument("--protocol")
    parser.add_argument("--model")
    parser.add_argument("--method", dest="methods", action="append", default=[])
    parser.add_argument("-o", dest="settings", action="append", default=[])
    return parser.parse_known_args(words)[0]


@cache
def recorded(folder: Path) -> list[Series]:
    """All series of a folder of records; read once, as most sections share the folder.

    Raises BenchError for damaged records, as tables without them would be wrong.
    """
    tasks, damaged = read_columns(folder)
    if damaged:
        raise BenchError(f"damaged records: {', '.join(map(str, damaged))}; `bench leaderboard` says why")
    found = [with_sidecars(one) for one in series_of(tasks)]
    if left_out := [why for _, of_series in found for why in of_series]:
        raise BenchError(left_out[0])
    return [one for one, _ in found if one]


def sections(page: Path = PAGE) -> list[Section]:
    """The sections of the page, in its order. Raises BenchError for one that lacks a part."""
    return [section_of(text, page.parent) for text in page.read_text().split("\n## ")[1:]]


def section_of(text: str, folder: Path) -> Section:
    """The parts of a section, whose picture lies below this folder."""
    commands = COMMANDS.search(text)
    image = IMAGE.search(text)
    cells = TABLE.search(text)
    if not (commands and image and cells):
        heading = text.split("\n")[0]
        raise BenchError(f"section {heading!r} lacks its commands, its picture or the comment above its table")
    columns, _, epochs = cells[1].partition(" @ ")
    return Section(
        prose=text[: commands.start()],
        commands=commands[1].replace("\\\n", " ").splitlines(),
        alt=image[1],
        image=folder / image[2],
        columns=columns.split(),
        epochs=[int(epoch) for epoch in epochs.split()] or EPOCHS,
        cells=cells[2],
    )


def fill(page: Path) -> None:
    """Write the tables anew."""
    tables = iter([section.table() for section in sections(page)])
    page.write_text(TABLE.sub(lambda match: f"<!-- {match[1]} -->\n{next(tables)}", page.read_text()))


def draw(section: Section) -> None:
    """Run the command that draws the picture, whose paths begin at the root of the source tree.

    Raises BenchError where the command fails; it has said why.
    """
    command = [sys.executable, "-m", "bench.cli", *section.plot]
    if subprocess.run(command, cwd=ROOT).returncode:
        raise BenchError(f"{section.image.name} was not drawn: {section.commands[-1]}")


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page (default: leaderboards/figures.md)")
    page = parser.parse_args(words).page
    try:
        fill(page)
        for section in sections(page):
            draw(section)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
