"""The page of pictures as it follows from the records; `python -m tests.figures` draws the pictures and writes the
tables anew, after records or a section of the page were added.
"""

import re
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from click import Command

from bench.cli import main
from bench.cli.plot import chosen
from bench.cli.run import experiments_of
from bench.plots.select import Series, mean_and_band, shared
from bench.tables.markdown import table

ROOT = Path(__file__).parents[1]
PAGE, FOLDER = ROOT / "leaderboards/figures.md", ROOT / "leaderboards/figures"
EPOCHS = (1, 10, 100, 1000, 10_000)
GENERATED = ("moons", "separable", "digits")
"""Data sets that need no files, or have theirs from a library."""
TABLE = re.compile(r"<!-- (.*) -->\n((?:\|.*\n)*)")


@dataclass(frozen=True)
class Section:
    """One picture of the page.

    prose: what is said of it. commands: the lines that make it, the last of which draws it. image: its file. columns:
        those of the history that are in its table, or `counts` of training samples. epochs: in the table. cells: that
        table, as it stands on the page.
    """

    prose: str
    commands: list[str]
    image: Path
    columns: list[str]
    epochs: list[int]
    cells: str

    @property
    def plot(self) -> list[str]:
        """The words of the command that draws it."""
        return shlex.split(self.commands[-1])[1:]

    @property
    def needs_files(self) -> bool:
        return values(self.plot)["dataset"] not in GENERATED

    def keys(self) -> set[str]:
        """Of the runs that its commands make."""
        found = set()
        for command in self.commands[:-1]:
            asked = values(shlex.split(command)[1:])
            methods, seeds, single = (asked.pop(name) for name in ("methods", "seeds", "single"))
            experiments = experiments_of(methods, asked)
            found |= {e.spec(seed).key for e in experiments for seed in single or range(seeds or 1)}
        return found

    @cached_property
    def series(self) -> list[Series]:
        """What is drawn."""
        asked = values(self.plot)
        return chosen(asked | {"records": ROOT / asked["records"]})

    def table(self) -> str:
        return self._counts() if self.columns == ["counts"] else self._history()

    def _counts(self) -> str:
        """Training samples of the first seed: all, and those of the largest and of the smallest class."""
        rows = []
        for one in self.series:
            of_class = one.any.class_counts("train")
            numbers = [f"{n:,}" for n in (sum(of_class), max(of_class), min(of_class))]
            rows.append([one.label(shared(self.series)), *numbers])
        return "\n".join(table(("", "samples", "largest class", "smallest class"), rows)) + "\n"

    def _history(self) -> str:
        """Mean and, of several seeds, standard deviation of each column after some epochs."""
        series, rows = self.series, []
        for column in self.columns:
            for one in series:
                places = [one.any.history["epoch"].index(epoch) for epoch in self.epochs]
                means, deviations = mean_and_band(one.column(column)[:, places])
                spread = [f" ± {d:.3f}" if len(one.runs) > 1 else "" for d in deviations]
                numbers = [f"{m:.3f}{d}" for m, d in zip(means, spread, strict=True)]
                rows.append([column, one.label(shared(series)), str(len(one.runs)), *numbers])
        heads = ["", "", "seeds", *(f"epoch {epoch:,}" for epoch in self.epochs)]
        return "\n".join(table(heads, rows)) + "\n"


def sections() -> list[Section]:
    """Of the page, in its order."""
    found = []
    for text in PAGE.read_text().split("\n## ")[1:]:
        commands = re.search(r"```\n(.*?)```", text, re.DOTALL)
        image, cells = re.search(r"!\[.*?\]\((.*?)\)", text), TABLE.search(text)
        assert commands and image and cells, text.split("\n")[0]
        columns, _, epochs = cells[1].partition(" @ ")
        found.append(
            Section(
                prose=text[: commands.start()],
                commands=commands[1].replace("\\\n", " ").splitlines(),
                image=PAGE.parent / image[1],
                columns=columns.split(),
                epochs=[int(epoch) for epoch in epochs.split()] or list(EPOCHS),
                cells=cells[2],
            )
        )
    return found


def values(words: list[str]) -> dict[str, Any]:
    """The options of a command of `bench`, by name."""
    name, *rest = words
    command = main.commands[name]
    assert isinstance(command, Command)
    return command.make_context(name, rest).params


def make() -> None:
    """Write the tables and draw the pictures, from the root of the repository."""
    every = iter(found := sections())
    PAGE.write_text(TABLE.sub(lambda m: f"<!-- {m[1]} -->\n{next(every).table()}", PAGE.read_text()))
    for section in found:
        main(section.plot, standalone_mode=False)


if __name__ == "__main__":
    make()
