"""`bench export`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import folder_of_records, records_option, say
from bench.cli.store.filters import Filters, filter_options, no_such_run
from bench.errors import BenchError, UnknownNameError
from bench.records.selections import TEST
from bench.store.export import FORMATS

if TYPE_CHECKING:
    import pandas as pd

    from bench.columns.table import Columns

LATEX = "latex"
STDOUT = Path("-")
ENDINGS = {**{name: name for name in FORMATS}, "tex": LATEX}
"""The ending of a file -> its format."""


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMATS, LATEX]),
    help="Of the file. The default is the file's ending, or csv.",
)
@click.option("--rows", is_flag=True, help="The rows of the pages instead of the runs: means, differences, verdicts.")
@click.option("--metric", "metrics", multiple=True, metavar="[SET/]NAME", help="Only this metric. May be repeated.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False, readable=False, allow_dash=True),
    help="Write to this file, whole or not at all. The default, and `-`, is the standard output.",
)
@filter_options
@records_option
def export(form: str | None, rows: bool, metrics: Sequence[str], file: Path | None, out: Path, **asked: Any) -> None:
    """Write the records as one long table for other programs.

    There is a row for each finished run, selection rule, set and metric, with the settings of the run and its costs.
    With --rows there is one for each row of a page and metric that it shows: the mean over the seeds, the difference
    from the baseline with its interval and p-value, and the verdict. Values are not multiplied by 100: where a page
    shows percent, the column unit says `fraction`. The format latex gives the rows that the answers
    of the pages rest on, as tables for the package booktabs.

    A record that cannot be used is named and left out; the exit code is 1 then.
    """
    from bench.columns.frame import frame_of
    from bench.records.files import check_file, is_output, write_file
    from bench.tables.pages.exported import rows_frame

    file = None if file == STDOUT else file
    form = _format(form, file)
    if form == "parquet" and not file and sys.stdout.isatty():
        raise BenchError("parquet is not for a terminal: name a file with --file")
    folder = folder_of_records(out)
    if file:
        _check_outside(file, out)
        check_file(file)
    filters = Filters(**asked)
    tasks, unused = _columns(folder)
    for why in unused:
        say(f"warning: {why}", err=True)
    if form == LATEX and (rows or metrics):
        given = "--rows" if rows else "--metric"
        raise BenchError(f"the tables in LaTeX are those that the answers of the pages rest on: leave out {given}")
    if form == LATEX:
        content = _latex(tasks, folder, filters)
    else:
        content = FORMATS[form](_chosen(rows_frame(tasks) if rows else frame_of(tasks), folder, metrics, filters))
    if file:
        write_file(file, content)
        if not is_output(file):
            say(file)
    else:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    sys.exit(1 if unused else 0)


def _check_outside(file: Path, out: Path) -> None:
    """Check that a file lies in no folder of records, and has not the name of a record or of what lies beside one: it
    would take their place. Raises BenchError.
    """
    from bench.cli.store.pages import FOLDERS
    from bench.records.sidecar import NAME as SIDECAR
    from bench.store.verify import NAME as RECORD

    to = Path(os.path.realpath(file))
    for folder in FOLDERS:
        if to.is_relative_to(os.path.realpath(out / folder)):
            raise BenchError(f"{file} lies in {out / folder}, where the records are: name another file with --file")
    if to.is_file() and (RECORD.fullmatch(to.name) or SIDECAR.fullmatch(to.name)):
        raise BenchError(f"{file} is there and has the name of a record: name another file with --file")


ARCHIVES = ("7z", "bz2", "gz", "rar", "tar", "tgz", "xz", "z", "zip", "zst")
"""The endings of files that are pressed, which no format is."""


def _format(form: str | None, file: Path | None) -> str:
    """The format that is asked for. Raises BenchError where the file's ending is that of another one, or of none that
    is known, so that no program takes the file for something else.
    """
    suffix = file.suffix.removeprefix(".").lower() if file else ""
    if suffix in ARCHIVES:
        raise BenchError(f"{file} has the ending of an archive, and none is written: leave out .{suffix}")
    ending = ENDINGS.get(suffix, "")
    if form and ending and ending != form:
        raise BenchError(f"{file} has not the ending of {form}: leave out --format, or name another file")
    if not form and suffix and not ending:
        known = ", ".join(f".{name}" for name in ENDINGS)
        raise BenchError(f"{file} has none of the endings {known}: name another file, or the format with --format")
    return form or ending or "csv"


def _latex(tasks: "Sequence[Columns]", folder: Path, filters: Filters) -> bytes:
    """The tables in LaTeX of the tasks that are asked for."""
    from bench.tables.pages.exported import latex

    if filters.model or filters.methods:
        raise BenchError("the tables in LaTeX are those of whole tasks: leave out --model and --method")
    named = [(columns, columns.listed("dataset")[0], columns.listed("protocol")[0]) for columns in tasks]
    chosen = [columns for columns, dataset, protocol in named if filters.take(dataset, protocol, "", "")]
    if not chosen:
        raise no_such_run(folder, {f"{dataset} under {protocol}" for _, dataset, protocol in named})
    return latex(chosen).encode()


def _columns(folder: Path) -> "tuple[list[Columns], list[str]]":
    """The columns of the records, and what is said of those that cannot be used."""
    from bench.columns.reading import read_columns

    tasks, unused = read_columns(folder)
    return tasks, [f"skipped the record {path}: {why}" for path, why in unused.items()]


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
    return frame[_of_metrics(frame, metrics)] if metrics else frame


def _of_metrics(frame: "pd.DataFrame", metrics: Sequence[str]) -> "pd.Series[bool]":
    """Which rows are of metrics: of NAME for all sets, of SET/NAME for one. Raises UnknownNameError."""
    names = frame["metric"]
    # The rows of pages name the set with the metric, and are of the test set where they do not.
    columns = f"{TEST}/" + names if "set" not in frame else frame["set"] + "/" + names
    columns = columns.where(~names.str.contains("/"), names)
    chosen = names != names
    for metric in metrics:
        of_metric = (names == metric) | (columns == metric)
        if not of_metric.any():
            raise UnknownNameError("metric", metric, [*dict.fromkeys(names), *dict.fromkeys(columns)])
        chosen |= of_metric
    return chosen


def _tuples(frame: "pd.DataFrame") -> "list[tuple[str, ...]]":
    return list(frame.itertuples(index=False, name=None))
