"""What several commands share: options, the plugins, and tables on the terminal."""

import re
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bench.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 130
"""The exit code."""
WIDEST = 110

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results"),
    show_default=True,
    help="Folder of the tables; the records are in its folders 'results' and 'throughput'.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the data files; else $BENCH_DATA, else the platform's cache folder.",
)
unofficial_option = click.option(
    "--allow-unofficial-data", is_flag=True, help="Accept files whose checksum is not the official one."
)


def settings_option(what: str, metavar: str = "NAME=VALUE") -> Callable[[Command], Command]:
    """`-o`, any number of times; `what` is its help."""
    return click.option("-o", "--option", "options", multiple=True, metavar=metavar, help=what)


def installed() -> "Registry":
    """The installed plugins, with a warning for each that could not be loaded."""
    from bench import registry

    found = registry.installed()
    for plugin, why in found.broken.items():
        click.echo(f"warning: plugin {plugin} could not be loaded: {why}", err=True)
    return found


def flowed(text: str) -> str:
    """A docstring whose paragraphs, list items and entries `name: what` are wrapped to the terminal's width."""
    width = min(shutil.get_terminal_size().columns, WIDEST)

    def wrapped(lines: list[str]) -> str:
        first, last = (" " * (len(line) - len(line.lstrip())) for line in (lines[0], lines[-1]))
        if len(lines) == 1 and BEGINS.match(lines[0]):
            last += "  " if lines[0].strip().startswith("-") else "    "
        words = " ".join(line.strip() for line in lines)
        return textwrap.fill(words, width, initial_indent=first, subsequent_indent=last, break_on_hyphens=False)

    return "\n".join(map(wrapped, _items(text.splitlines())))


def _items(lines: Sequence[str]) -> Iterator[list[str]]:
    """The lines of each paragraph, list item or entry, and each empty line."""
    item: list[str] = []
    for line in lines:
        if item and (not line.strip() or not item[0].strip() or item[-1].endswith(":") or BEGINS.match(line)):
            yield item
            item = []
        item.append(line)
    yield item


BEGINS = re.compile(r"\s*(- |[\w, `*]+:( |$))")


def table(title: str, rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> None:
    """A title and aligned columns, wrapped to a terminal's width; elsewhere the lines are whole."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000
    columns = Table(box=None, show_header=bool(heads), pad_edge=False, padding=(0, 2, 0, 0))
    for i in range(max(map(len, rows), default=0)):
        columns.add_column(heads[i] if heads else "", no_wrap=i != 1, overflow="fold")
    for row in rows:
        columns.add_row(*row)
    if title:
        console.print(title, style="bold")
    console.print(columns)
    console.print()
