"""The records of a folder with their files. Nothing here imports torch."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from bench.records.json_file import JsonRecord, files_in, read_all, sort_out

R = TypeVar("R", bound=JsonRecord)


def records_with_files(folder: Path, kind: type[R]) -> tuple[list[tuple[R, tuple[Path, ...]]], dict[Path, str]]:
    """Read all records of a folder. Nothing is changed.

    Args:
        folder: the folder; it need not exist.
        kind: what its records are.

    Returns:
        Each record that can be used, with its files: equal copies, of which the first has the record's own name. And
        file, or folder, -> the reason for each that cannot be used.
    """
    unread: dict[Path, str] = {}
    records, damaged = read_all(files_in(folder, unread=unread), kind)
    used, unused = sort_out(records)
    files: dict[str, list[Path]] = defaultdict(list)
    for path, record in records.items():
        files[record.path].append(path)
    return [(record, _own_first(record, files[record.path])) for record in used], dict(
        sorted((damaged | unused | unread).items())
    )


def _own_first(record: JsonRecord, files: Iterable[Path]) -> tuple[Path, ...]:
    return tuple(sorted(files, key=lambda path: path.name != record.file))
