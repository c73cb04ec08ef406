"""The columns of records that were read before. They can be removed at any time. Nothing here imports torch."""

import hashlib
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench.columns.lines import Task
from bench.errors import StoreError
from bench.records.files import content_of_file, remove_abandoned, write_whole
from bench.records.spec import digest

if TYPE_CHECKING:
    import pyarrow as pa

FOLDER = ".columns"
"""The subfolder, in a folder of records."""
SUFFIX = ".arrow"
SETTLED = 2 * 10**9
"""Nanoseconds after which a file that is changed once more has another time: the clocks of file systems are coarse."""
LENGTH = hashlib.sha256().digest_size


def load(folder: Path) -> "list[pa.Table]":
    """The columns that were kept, a table for each task. Files that are damaged, or that other code has made, are left
    out.

    Args:
        folder: of the records.
    """
    found = []
    with suppress(OSError):
        for path in sorted((folder / FOLDER).glob(f"*{SUFFIX}")):
            with suppress(OSError, ValueError):
                found.append(_load(path))
    return found


def _load(path: Path) -> "pa.Table":
    """Raises ValueError for a file that this code has not made."""
    import pyarrow as pa

    content = memoryview(content_of_file(path))
    if _seal(content[LENGTH:]) != content[:LENGTH]:
        raise ValueError(f"{path} is damaged, or was made by other code")
    return pa.ipc.open_stream(content[LENGTH:]).read_all()


def save(folder: Path, tables: "Mapping[Task, pa.Table]", tasks: Collection[Task], started: int) -> None:
    """Keep the columns of some tasks. Where nothing can be written, nothing is kept.

    Args:
        folder: of the records.
        tables: task -> its columns, of the tasks whose files are written anew.
        tasks: all tasks that have records: the files of others are removed.
        started: the time before the records were read, in nanoseconds. Records that were changed just before are not
            kept, because they may be changed again without a trace.
    """
    place = folder / FOLDER
    with suppress(OSError, StoreError):
        if not place.exists():
            write_whole(place / ".gitignore", b"*\n")
        remove_abandoned(place)
        for task, table in tables.items():
            write_whole(_path(place, task), _content(table, started))
        for path in set(place.glob(f"*{SUFFIX}")) - {_path(place, task) for task in tasks}:
            path.unlink()


def _path(place: Path, task: Task) -> Path:
    return place / f"{digest(list(task))}{SUFFIX}"


def _content(table: "pa.Table", started: int) -> bytes:
    import pyarrow as pa
    from pyarrow import compute

    last = compute.max_element_wise(table.column("changed"), table.column("altered"))
    settled = compute.and_(compute.greater(last, 0), compute.less(last, started - SETTLED))
    table = table.filter(settled).unify_dictionaries().combine_chunks()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_table(table)
    content = memoryview(sink.getvalue())
    return b"".join([_seal(content), content])


def _seal(content: memoryview) -> bytes:
    """What a file begins with: a digest of its content and of the code that reads records."""
    seal = hashlib.sha256(_reader())
    seal.update(content)
    return seal.digest()


@cache
def _reader() -> bytes:
    """A digest of the sources of the modules that read records, and of what these use."""
    root = Path(bench.__file__).parent
    found = hashlib.sha256()
    for path in sorted(path for place in ("", "records", "columns") for path in (root / place).glob("*.py")):
        found.update(path.read_bytes())
    return found.digest()
