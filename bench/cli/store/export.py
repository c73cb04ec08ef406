"""`bench export`."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import folder_of_records, out_option, say
from bench.cli.store.filters import Filters, filter_options, no_such_run
from bench.errors import BenchError, UnknownNameError
from bench.store.export import FORMATS

if TYPE_CHECKING:
    import pandas as pd


@click.command()
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="Of the file. The default is the file's ending, or csv."
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Only this metric. May be repeated.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write to this file, whole or not at all. The default is the standard output.",
)
@filter_options
@out_option
def export(form: str | None, metrics: Sequence[str], file: Path | None, out: Path, **asked: Any) -> None:
    """Write the records as one long table for other programs.

    There is a row for each finished run, selection rule, set and metric, with the settings of the run and its costs.

    A record that cannot be used is named and left out; the exit code is 1 then.
    """
    from bench.records.files import check_replaceable, check_writable, write_whole

    form = _format(form, file)
    if form == "parquet" and not file and sys.stdout.isatty():
        raise BenchError("parquet is not for a terminal: name a file with --file")
    folder = folder_of_records(out)
    if file:
        if file.exists() and not file.is_file():
            raise BenchError(f"{file} is no file that can be replaced: name another one with --file")
        check_replaceable([file])
        check_writable(file.parent)
    frame, unused = _frame(folder)
    for why in unused:
        say(f"warning: {why}", err=True)
    content = FORMATS[form](_chosen(frame, folder, metrics, Filters(**asked)))
    if file:
        write_whole(file, content)
        say(file)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    sys.exit(1 if unused else 0)


ARCHIVES = ("7z", "bz2", "gz", "rar", "tar", "tgz", "xz", "z", "zip", "zst")
"""The endings of files that are pressed, which no format is."""


def _format(form: str | None, file: Path | None) -> str:
    """The format that is asked for. Raises BenchError where the file's ending is that of another one, or of none that
    is known, so that no program takes the file for something else.
    """
    ending = file.suffix.removeprefix(".").lower() if file else ""
    if ending in ARCHIVES:
        raise BenchError(f"{file} has the ending of an archive, and none is written: leave out .{ending}")
    if form and ending in FORMATS and ending != form:
        raise BenchError(f"{file} has not the ending of {form}: leave out --format, or name another file")
    if not form and ending and ending not in FORMATS:
        known = ", ".join(f".{name}" for name in FORMATS)
        raise BenchError(f"{file} has none of the endings {known}: name another file, or the format with --format")
    return form or ending or "csv"


def _frame(folder: Path) -> "tuple[pd.DataFrame, list[str]]":
    """The long table, and what is said of records that cannot be used."""
    from bench.store.results import ResultStore

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        frame = ResultStore(folder).frame()
    return frame, [str(warning.message) for warning in caught if warning.category is UserWarning]


def _chosen(frame: "pd.DataFrame", folder: Path, metrics: Sequence[str], filters: Filters) -> "pd.DataFrame":
    """The rows that are asked for. Raises BenchError, which lists what there is, where there are none."""
    if frame.empty:
        raise no_such_run(folder, set())
    names = frame[["dataset", "protocol", "model", "method"]].drop_duplicates()
    taken = [row for row in _tuples(names) if filters.take(*row)]
    if not taken:
        raise no_such_run(folder, {f"{method} on {data} ({model})" for data, _, model, method in _tuples(names)})
    if len(taken) < len(names):
        rows = frame.set_index(["dataset", "protocol", "model", "method"]).index
        frame = frame[rows.isin(taken)]
    known = dict.fromkeys(frame["metric"])
    for metric in metrics:
        if metric not in known:
            raise UnknownNameError("metric", metric, known)
    return frame[frame["metric"].isin(metrics)] if metrics else frame


def _tuples(frame: "pd.DataFrame") -> "list[tuple[str, ...]]":
    return list(frame.itertuples(index=False, name=None))
