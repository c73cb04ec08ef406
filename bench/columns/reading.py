"""The records of a folder -> the columns of each task. Nothing here imports torch."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from bench.columns import cache
from bench.columns.lines import NO_STAMP, STAMP, Stamp, Task, numbers
from bench.columns.parts import read_parts
from bench.columns.table import Columns
from bench.records.json_file import entries_in, read_all, sort_out
from bench.records.run import RunResult

if TYPE_CHECKING:
    import pyarrow as pa

WORTH_KEEPING = 1000
"""So many records that were read make it worth to keep the columns: it takes seconds to read them again."""


def read_columns(
    folder: Path, keep: bool = True, stamps: Mapping[str, Stamp] | None = None
) -> tuple[list[Columns], dict[Path, str]]:
    """Read all records of a folder. Records that were read before, and whose files are the same, are not read again.

    Args:
        folder: the folder; it need not exist.
        keep: whether what was read may be kept in the subfolder `cache.FOLDER`, which can be removed at any time.
        stamps: its files, where they were looked at just now (`stamps_of`); None to do it.

    Returns:
        The columns of each task, in the order of their folders, with the runs in the order of the names of their files;
        and file, or folder, -> the reason for each that cannot be used.
    """
    started = time.time_ns()
    unread: dict[Path, str] = {}
    stamps = stamps_of(folder, unread) if stamps is None else stamps
    tables: dict[Task, list[pa.Table]] = defaultdict(list)
    missing = dict(stamps)
    for table in cache.load(folder):
        if unchanged := _unchanged(table, missing):
            tables[_task(unchanged)].append(unchanged)
    damaged: dict[Path, str] = {}
    new: Counter[Task] = Counter()
    for part in read_parts(folder, list(missing.items())):
        damaged |= part.damaged
        for task, table in part.tables.items():
            tables[task].append(table)
            new[task] += table.num_rows
    found = {task: _in_order(tables.pop(task)) for task in list(tables)}
    if keep and not unread and new.total() >= WORTH_KEEPING:  # what was kept of folders that were not read stays
        cache.save(folder, {task: table for task, table in found.items() if new[task]}, found.keys(), started)
    left_out, unused = _not_used(folder, found.values())
    columns = [Columns(_without(table, left_out), folder) for table in found.values()]
    columns = sorted((one for one in columns if len(one)), key=lambda one: one.listed("path")[0])
    return columns, dict(sorted((damaged | unused | unread).items()))


def stamps_of(folder: Path, unread: dict[Path, str] | None = None) -> dict[str, Stamp]:
    """The files of a folder that may be records, by their names within it, and what tells whether each is the same as
    before; `NO_STAMP` where that cannot be told.

    Args:
        folder, unread: as for `bench.records.json_file.files_in`.

    Raises:
        OSError: if it cannot be listed.
    """
    start = len(os.path.join(folder, ""))
    entries = sorted(entries_in(folder, unread=unread), key=attrgetter("path"))
    return {entry.path[start:]: _stamp(entry) for entry in entries}


def _stamp(entry: "os.DirEntry[str]") -> Stamp:
    try:
        about = entry.stat()
    except OSError:
        return NO_STAMP
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino


def _unchanged(table: "pa.Table", missing: dict[str, Stamp]) -> "pa.Table | None":
    """The runs whose files are the same as when they were read, which are then no longer missing; None for none."""
    columns = [table.column(name).to_pylist() for name in ("file", *STAMP)]
    same = []
    for name, *stamp in zip(*columns, strict=True):
        file = os.fsdecode(name)
        same.append(missing.get(file) == tuple(stamp) != NO_STAMP)
        if same[-1]:
            del missing[file]
    return table if all(same) else table.filter(numbers(same, "bool")) if any(same) else None


def _task(table: "pa.Table") -> Task:
    """The task of a table's runs."""
    return table.column("protocol")[0].as_py(), table.column("dataset")[0].as_py()


def _in_order(tables: "list[pa.Table]") -> "pa.Table":
    """One table, with the runs in the order of the names of their files."""
    import pyarrow as pa

    table = pa.concat_tables(tables)
    names = table.column("path").to_pylist()
    order = sorted(range(len(names)), key=names.__getitem__)
    return table if order == list(range(len(names))) else table.take(numbers(order, "int64"))


def _not_used(folder: Path, tables: "Iterable[pa.Table]") -> tuple[set[bytes], dict[Path, str]]:
    """The files whose runs are left out: copies of others, and those that `sort_out` refuses, with its reasons."""
    files: dict[str, list[bytes]] = defaultdict(list)
    for table in tables:
        for path, file in zip(*(table.column(name).to_pylist() for name in ("path", "file")), strict=True):
            files[path].append(file)
    odd = [
        os.fsdecode(file)
        for path, copies in files.items()
        if len(copies) > 1 or copies[0].rpartition(b"/")[2] != os.fsencode(path.rpartition("/")[2])
        for file in copies
    ]
    records, damaged = read_all([folder / file for file in odd], RunResult)
    used, unused = sort_out(records)
    shown = set(map(id, used))
    kept = {path for path, record in records.items() if id(record) in shown}
    return {os.fsencode(file) for file in odd if folder / file not in kept}, damaged | unused


def _without(table: "pa.Table", left_out: set[bytes]) -> "pa.Table":
    """The runs of the other files."""
    if not left_out:
        return table
    kept = [file not in left_out for file in table.column("file").to_pylist()]
    return table.filter(numbers(kept, "bool"))
