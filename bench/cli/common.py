"""What several commands share: options, the plugins, the standard streams, and tables on the terminal."""

import io
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.errors import BenchError
from bench.options import GREATEST, convert
from bench.text import IN_ASCII, visible

if TYPE_CHECKING:
    from bench.registry import Registry

Command = TypeVar("Command", bound=Callable[..., Any])

GREATEST_SEED = 2**32 - 1
"""As numpy's, which plugins may give it to."""
MOST_SEEDS = 10_000


class WholeNumber(click.IntRange):
    """Whole numbers as those of `-o`: in ASCII digits, of 64 bits."""

    def __init__(self, min: int, max: int = GREATEST) -> None:
        super().__init__(min, max)

    def _describe_range(self) -> str:
        """For the help, where the number of bits would only distract."""
        return super()._describe_range() if self.max != GREATEST else f"x>={self.min}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            number = convert(int, value)
        except (ValueError, TypeError):
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return super().convert(number, param, ctx)


class Number(click.FloatRange):
    """Finite numbers."""

    def _describe_range(self) -> str:
        """For the help; empty where every number is in it."""
        return super()._describe_range() if (self.min, self.max) != (None, None) else ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


def folder_option(what: str) -> Callable[[Command], Command]:
    """The option `--out`, of the folder of the records and the tables.

    Args:
        what: What the command does with it, for the help.
    """
    return click.option(
        "--out",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path("bench-results"),
        show_default=True,
        help=what,
    )


out_option = folder_option(
    "Folder to write the tables to. Records are in its subfolders 'results', 'throughput' and 'corruptions'."
)
"""Of commands that write tables."""
records_option = folder_option("Folder of the records of runs, which are in its subfolder 'results'.")
"""Of commands that read records alone."""
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
    type=Number(min=0, min_open=True),
    metavar="SECONDS",
    help="End a run as a failure that makes no progress (no step, no evaluation) for so long. One that cannot be ended "
    "is recorded after twice that time and ends the command, unless --isolate is given.",
)


def _debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    context.meta[DEBUG] = value or context.meta.get(DEBUG, False)


DEBUG = "bench.debug"
WORDS = "bench.words"
"""The name, in a command's context, of the words that it was given."""
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
    return click.option(
        "-o", "--option", "options", multiple=True, metavar=metavar, help=what, callback=refuse_options_as_values
    )


def refuse_options_as_values(ctx: click.Context, option: click.Parameter, values: Sequence[str]) -> Sequence[str]:
    """For options that take NAME=VALUE: refuse the next option, which is taken for the value that was left out."""
    for value in values:
        if value.startswith("-") and "=" not in value:
            raise click.BadOptionUsage(option.opts[0], f"Option '{option.opts[0]}' requires an argument.", ctx)
    return values


def names(ctx: click.Context, option: click.Parameter, values: Sequence[str]) -> list[str]:
    """For options that take names: those of `A,B` and of the option given several times, each once."""
    found = [name for value in values for name in value.split(",")]
    if "" in found:
        given = " ".join(values)
        raise click.BadParameter(f"a name is empty in {given!r}; several are given as A,B", ctx, option)
    return list(dict.fromkeys(refuse_options_as_values(ctx, option, found)))


def installed(refuse_duplicates: bool = True, warn: bool = True) -> "Registry":
    """The installed plugins, with a warning for each that could not be loaded.

    Args:
        refuse_duplicates: Whether a name that two plugins offer is an error; if not, the second plugin is a broken one.
        warn: Whether to warn; a command that does not says itself which are broken.
    """
    from bench import registry

    try:
        plugins = registry.installed()
    except registry.DuplicateNameError:
        if refuse_duplicates:
            raise
        plugins = registry.load(registry.installed_entry_points(), refuse_duplicates=False)
    for plugin, why in plugins.broken.items() if warn else ():
        say(f"warning: plugin {plugin} could not be loaded: {why}", err=True)
    return plugins


def folder_of_records(out: Path) -> Path:
    """The folder of the records of runs. Raises BenchError where there is none."""
    folder = out / "results"
    if not folder.is_dir():
        raise BenchError(f"{out} has no folder 'results' with records: name the folder with --out")
    return folder


class _Output(io.FileIO):
    """A standard stream that takes everything: after the first error nothing more is written, and nothing raised. So
    neither a command nor a plugin that prints fails because nobody can read it.
    """

    error: OSError | None = None

    def write(self, data: Any, /) -> int:
        if self.error is None:
            try:
                return super().write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes


def prepare_streams() -> None:
    """Put the null device in the place of standard streams that are closed, and an `_Output` under the others. Where
    these have no sign for a character, as `±` in ASCII, it gets another one.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # else the next file that is opened would be the output
        os.set_inheritable(number, True)
    os.close(number)
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 (as long as the process lives)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=IN_ASCII)
            own = stream is getattr(sys, f"__{name}__")  # not that of a program that calls a command
            if own and type(_raw(stream)) is io.FileIO:  # nor a console of Windows
                setattr(sys, name, _on_output(stream))


def _raw(stream: io.TextIOWrapper) -> object:
    return getattr(stream.buffer, "raw", stream.buffer)  # there is no buffer after `python -u`


def _on_output(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    output: Any = _Output(stream.fileno(), "wb", closefd=False)
    output.name = stream.name
    return io.TextIOWrapper(
        io.BufferedWriter(output) if isinstance(stream.buffer, io.BufferedWriter) else output,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def unwritten() -> OSError | None:
    """Why a standard stream did not take all that was written to it; None if it did."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and isinstance(output := _raw(stream), _Output):
            stream.flush()
            if output.error:
                return output.error
    return None


def say(text: object, err: bool = False) -> None:
    """Print lines, on the error stream if `err`. What a terminal would obey is made visible."""
    click.echo(visible(str(text), keep="\n\t"), err=err)


def warn_of(unused: "Mapping[Path, str]") -> None:
    """Name each file whose record cannot be used, with the reason."""
    for path, why in unused.items():
        say(f"warning: skipped the record {path}: {why}", err=True)


def fits(rows: Sequence[Sequence[str]], heads: Sequence[str]) -> bool:
    """Whether a table has no line that is longer than a terminal is wide. Elsewhere lines may have any length."""
    from rich.cells import cell_len
    from rich.console import Console

    console = Console()
    widths = (max(cell_len(visible(cell)) for cell in column) + 2 for column in zip(heads, *rows, strict=True))
    return not console.is_terminal or sum(widths) <= console.width


def table(title: str, rows: Sequence[Sequence[str]], heads: Sequence[str] = (), width: int = 0) -> None:
    """Print a title and aligned columns. Lines are wrapped to the width of a terminal; elsewhere they stay whole.

    Args:
        title: The line above; empty: none.
        rows: The cells.
        heads: Of the columns; empty: none.
        width: The greatest width, to which lines are wrapped elsewhere too; 0: that of the terminal.
    """
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if width:
        console.width = min(console.width, width) if console.is_terminal else width
    elif not console.is_terminal:
        console.width = 1000
    columns = Table(box=None, show_header=bool(heads), pad_edge=False, padding=(0, 2, 0, 0))
    for i in range(max(map(len, rows), default=0)):
        columns.add_column(heads[i] if heads else "", no_wrap=i != 1, overflow="fold")
    for row in rows:
        columns.add_row(*map(visible, row))
    if title:
        console.print(visible(title), style="bold")
    if console.is_terminal:
        console.print(columns)
    else:
        with console.capture() as capture:
            console.print(columns)
        for line in capture.get().splitlines():
            console.print(line.rstrip(), soft_wrap=True)  # rich fills the last column with blanks
    console.print()
