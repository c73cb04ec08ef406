"""Files that are written whole or not at all. Nothing here imports torch."""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.errors import StoreError


def check_writable(folder: Path) -> None:
    """Make a folder if it does not exist, and raise StoreError if it cannot be written to.

    To be called before hours of computing whose result is to be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error


SUPERSEDED = "superseded"
"""The folder, inside that of records, of those in whose place newer ones of the same key were put."""


def keep_aside(record: Path) -> None:
    """Copy a record, and the arrays beside it, to the folder SUPERSEDED, before a newer one takes its place.

    The copies are named after the record's content too, so that none takes the place of another.

    Raises:
        StoreError: if a copy cannot be written; then nothing was changed.
    """
    content = record.read_bytes()
    folder = record.with_name(SUPERSEDED)
    check_writable(folder)
    stem = f"{record.stem}.{hashlib.sha256(content).hexdigest()[:12]}"
    arrays = record.with_suffix(".npz")
    if arrays.exists():
        write_whole(folder / f"{stem}.npz", arrays.read_bytes())
    write_whole(folder / f"{stem}.json", content)


def write_whole(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write a file, whole or not at all. It has the permissions that the user's umask leaves.

    Args:
        path: the file; its folder exists.
        content: its bytes, or a function that writes them to an open file.

    Raises:
        StoreError: if it cannot be written. Then there is what was there before.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):  # there may be no such file, or no such folder
            part.unlink()
        if isinstance(error, OSError):
            raise StoreError(f"cannot write {path}: {error.strerror}; nothing was changed there") from error
        raise
