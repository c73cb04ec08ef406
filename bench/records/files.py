"""Files that are written whole or not at all. Nothing here imports torch."""

import itertools
import os
import secrets
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.errors import StoreError

NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""The flag by which opening a pipe does not wait for its writer. Windows has none."""
SUPERSEDED = "superseded"
"""The subfolder of a folder of records for those that others have taken the place of."""


def check_writable(folder: Path) -> None:
    """Make a folder if it does not exist, and raise StoreError if it cannot be written to.

    To be called before hours of computing whose result is to be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}; name another folder with --out") from error


def content_of_file(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file, or of a link to one: a pipe or a device is not opened to wait for its end.

    Args:
        path: the file.
        most: bytes that it may have; None: any number.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no file, or a larger one.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("it is no file")
        if most is not None and about.st_size > most:
            raise ValueError(f"it has {about.st_size:,} bytes, more than {most:,}")
        return file.read()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | NO_WAIT)


def set_aside(*paths: Path, copy: bool = False) -> Path:
    """Move files of one folder that differ in their suffixes alone into its subfolder SUPERSEDED. Nothing is replaced
    there: a name that is taken gets a number.

    Args:
        paths: the files, or whatever else has these names; those that do not exist are left out.
        copy: whether they stay too, so that nothing is missing here until others have taken their place.

    Returns:
        What the first one is called now.

    Raises:
        StoreError: if they cannot be moved.
    """
    folder = paths[0].parent / SUPERSEDED
    for number in itertools.count():
        count = f".{number}" if number else ""
        moved = [folder / f"{path.stem}{count}{path.suffix}" for path in paths]
        if not any(map(os.path.lexists, moved)):
            break
    try:
        folder.mkdir(exist_ok=True)
        for path, to in zip(paths, moved, strict=True):
            if not os.path.lexists(path):
                continue
            if copy:
                write_whole(to, path.read_bytes())
            else:
                path.rename(to)
    except OSError as error:
        raise StoreError(f"cannot move {paths[0]} to {folder}: {error.strerror}; nothing was replaced") from error
    return moved[0]


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
