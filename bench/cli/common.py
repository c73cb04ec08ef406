"""What several commands share: options, the plugins, and tables on the terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from bench.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])
INTERRUPTED = 130
"""The exit code."""

out_option = click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("bench-results"),
    show_default=True,
    help="Folder to write the tables to. Records are in its subfolders 'results' and 'throughput'.",
)
data_dir_option = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the data files. The default is $BENCH_DATA or, where that is not set, the platform's cache folder.",
)
device_option = click.option(
    "--device", default="auto", show_default=True, help="The device: auto, cpu, cuda or cuda:N."
)
backend_option = click.option(
    "--backend", default="auto", show_default=True, help="The backend by which look-aheads find their derivatives."
)
eager_option = click.option(
    "--eager", is_flag=True, help="Do not capture and replay updates, as runs on a GPU and stacked runs do otherwise."
)
timeout_option = click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End a run as a failure that makes no progress (no step, no evaluation) for so long. A call of C code that "
    "does not return can be ended only with --isolate.",
)


def _debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[DEBUG] = value or context.meta.get(DEBUG, False)


DEBUG = "bench.debug"
debug_option = click.option(
    "--debug",
    is_flag=True,
    expose_value=False,
    callback=_debug,
    help="Show the tracebacks of errors in plugins, which are told in one line otherwise.",
)
unofficial_option = click.option(
    "--allow-unofficial-data", is_flag=True, help="Accept data files whose checksum is not the official one."
)


def settings_option(what: str, metavar: str = "NAME=VALUE") -> Callable[[Command], Command]:
    """The option `-o`, which may be given any number of times.

    Args:
        what: The help text of the option.
        metavar: What its value looks like in the help.
    """
    return click.option("-o", "--option", "options", multiple=True, metavar=metavar, help=what)


def installed() -> "Registry":
    """The installed plugins, with a warning for each that could not be loaded."""
    from bench import registry

    plugins = registry.installed()
    for plugin, why in plugins.broken.items():
        click.echo(f"warning: plugin {plugin} could not be loaded: {why}", err=True)
    return plugins


def table(title: str, rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> None:
    """Print a title and aligned columns. Lines are wrapped to the width of a terminal; elsewhere they stay whole."""
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
