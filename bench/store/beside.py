"""What lies beside the file of one record. Nothing here imports torch."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from bench.errors import StoreError
from bench.records.files import content_of_file
from bench.records.format_1 import sidecar_of
from bench.records.json_file import LARGEST as LARGEST_RECORD
from bench.records.json_file import read_all
from bench.records.run import RunResult
from bench.records.sidecar import LARGEST, Sidecar, remove_sidecars, sidecar_path, sidecars_of

ARRAYS = ".npz"
"""The ending of the file of arrays that lay beside records of format 1."""


def files_of(file: Path) -> tuple[Path, ...]:
    """The file of a record and all that may lie beside it, in this and in earlier versions.

    Args:
        file: that of the record.
    """
    return file, *sidecars_of(file), file.with_suffix(ARRAYS)


def sidecar_of_file(result: RunResult, file: Path) -> Sidecar:
    """What lies beside a record, verified. Of a record of format 1, its history, and its arrays if there are some.

    Args:
        result: the record.
        file: where it was read.

    Raises:
        StoreError: if it is missing, damaged, or belongs to another record.
    """
    return content_beside(result, file)[1] if result.sidecar else _sidecar_of_format_1(file)


def is_whole(result: RunResult, file: Path) -> bool:
    """Whether what lies beside a record is there, undamaged and its own.

    Args:
        result: the record.
        file: where it was read, or where a copy of it would lie.
    """
    try:
        sidecar_of_file(result, file)
    except StoreError:
        return False
    return True


def file_with_sidecar(result: RunResult, files: Sequence[Path]) -> Path:
    """Of equal copies of a record, the first whose sidecar is whole; the first of all if none is.

    Args:
        result: the record.
        files: its files.
    """
    if len(files) == 1:
        return files[0]
    return next((file for file in files if is_whole(result, file)), files[0])


def content_beside(result: RunResult, file: Path) -> tuple[bytes, Sidecar]:
    """The content of a sidecar, and what it says.

    Args:
        result: a record that has one.
        file: where the record was read.

    Raises:
        StoreError: as `sidecar_of_file` does.
    """
    path = sidecar_path(file, result.sidecar)
    try:
        content = content_of_file(path, LARGEST)
        return content, Sidecar.from_bytes(content, result.sidecar)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error
    except (StoreError, ValueError) as error:
        raise StoreError(f"{path}: {error}") from error


def remove_unnamed(file: Path) -> None:
    """Remove the sidecars beside a record that it does not name. A sidecar is written before its record, so a process
    that has died in between has left them.

    Args:
        file: that of the record. If it does not exist, all of them go; if it cannot be read, none, as it is not known
            which is its own.
    """
    named = [result.sidecar for result in read_all([file], RunResult)[0].values()]
    if named or not os.path.lexists(file):
        remove_sidecars(file, keep="".join(named))


def is_format_1(file: Path) -> bool:
    """Whether a file that holds a record has the first format, in which the history is an entry of the record.

    Args:
        file: that of the record.
    """
    return "history" in _values(file)


def _values(file: Path) -> dict[str, object]:
    values: dict[str, object] = json.loads(content_of_file(file, LARGEST_RECORD))
    return values


def _sidecar_of_format_1(file: Path) -> Sidecar:
    """What a record of the first format holds itself, and what lies beside it. Of a later one, nothing."""
    values = _values(file)
    return sidecar_of(values, file.with_suffix(ARRAYS)) if "history" in values else Sidecar()
