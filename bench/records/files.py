"""Files that are written whole or not at all, and what processes that were killed have left. Nothing here imports
torch.
"""

import errno
import itertools
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO

from bench.errors import StoreError
from bench.records.processes import MARK, Process

PART = re.compile(rf".+\.({MARK})-[0-9a-f]{{8}}\.part")
"""The form of the names of files and folders that are being made (`part_of`)."""
ABANDONED_SECONDS = 24 * 3600
"""After so many seconds without a change, what another machine was making counts as left by a process that was killed.
"""

NO_WAIT = getattr(os, "O_NONBLOCK", 0)
"""The flag by which opening a pipe does not wait for its writer. Windows has none."""
SUPERSEDED = "superseded"
"""The name of the subfolder, in a folder of records, for records whose place others have taken."""


RIGHTS = ", as the right to read it is missing: ask its owner for it, or give it with chmod"
"""What is said of a file that cannot be read for that reason. Nothing is wrong with it, as far as is known."""
OTHER_FOLDER = "name another folder with --out"
"""What to do where there is no right to write into a folder of records."""
MOST_LINKS = 40
"""So many links are followed to a file, as by the system."""


def way_out(error: OSError, instead: str) -> str:
    """What to do where a file cannot be written.

    Args:
        error: why not.
        instead: what else can be done where there is no right to write, such as to name another folder.
    """
    full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
    return f"; free some space, or {instead}" if full else f"; {instead}"


def check_writable(folder: Path, instead: str = OTHER_FOLDER) -> None:
    """Check that a folder can be written to, before hours of computing whose result is to go there. The folder is not
    made.

    Args:
        folder: the folder; it need not exist.
        instead: what to do where it cannot, for the message.

    Raises:
        StoreError: if it cannot be written to.
    """
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as error:
        raise StoreError(f"cannot write to {folder}: {error.strerror}{way_out(error, instead)}") from error


def check_replaceable(files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Check that files can take their places, before hours of computing whose result they are to hold: that no folder
    lies there, and no file in the place of a folder. Nothing is made.

    Args:
        files: what is to be written. A file, or a link, that is there is replaced by it.
        folders: what is to be made where it does not exist.

    Raises:
        StoreError: for the first place that is taken.
    """
    for path in files:
        if path.is_dir() and not path.is_symlink():
            raise StoreError(f"{path} is a folder, and a file is to be written there: move it away")
    for path in folders:
        if os.path.lexists(path) and not path.is_dir():
            raise StoreError(f"{path} is no folder, and files are to be written into it: move it away")


def content_of_file(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file, or of a link to one. A pipe or a device is not read, so this never waits for its
    end.

    Args:
        path: the file.
        most: the bytes that it may have; None: any number.

    Returns:
        The bytes.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no regular file, or a larger one.
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


def not_read(error: OSError) -> str:
    """Why something cannot be read, and what to do where it is not allowed.

    Args:
        error: of reading it.
    """
    return f"it cannot be read: {error.strerror}{RIGHTS if isinstance(error, PermissionError) else ''}"


def set_aside(*paths: Path, copy: bool = False) -> Path:
    """Move files of one folder, whose names begin with that of the first one without its suffix, into its subfolder
    SUPERSEDED.

    Nothing is replaced there: where a name is taken, the files get a number after that beginning.

    Args:
        paths: the files, or whatever else has these names. Those that do not exist are left out.
        copy: whether to copy them instead, so that nothing is missing here until others have taken their place.

    Returns:
        The new path of the first one.

    Raises:
        StoreError: if they cannot be moved.
    """
    folder, stem = paths[0].parent / SUPERSEDED, paths[0].stem
    for number in itertools.count():
        count = f".{number}" if number else ""
        moved = [folder / f"{stem}{count}{path.name.removeprefix(stem)}" for path in paths]
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
    """Write a file, whole or not at all. It gets the permissions that the user's umask leaves.

    Args:
        path: the file; its folder is made if it does not exist.
        content: its bytes, or a function that writes them to an open file.

    Raises:
        StoreError: if it cannot be written. Then what was there before is still there.
    """
    part = part_of(path)
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        with suppress(OSError):  # there may be no such file, or no such folder
            part.unlink()
        if isinstance(error, OSError):
            full = "" if error.errno != errno.ENOSPC else "; free some space"
            raise StoreError(f"cannot write {path}: {error.strerror}; nothing was changed there{full}") from error
        raise


def check_file(path: Path) -> None:
    """Check that a file that a user has named can be written, before what it is to hold is computed. Nothing is made.

    Args:
        path: the file, as for `write_file`.

    Raises:
        StoreError: if it cannot.
    """
    if _open_number(path) is None and not _is_stream(path):
        to = Path(os.path.realpath(path))
        check_replaceable([to])
        check_writable(to.parent, "name another file with --file")


def write_file(path: Path, content: bytes) -> None:
    """Write a file that a user has named. What a link leads to is written, and the link stays. A file is written whole
    or not at all; a pipe, a device and an open file of this process, such as /dev/stdout, are written to.

    Args:
        path: the file, or a link to it.
        content: its bytes.

    Raises:
        StoreError: if it cannot be written.
    """
    number = _open_number(path)
    if number is None and not _is_stream(path):
        write_whole(Path(os.path.realpath(path)), content)
        return
    try:
        if number == 1:  # with what a command has printed before
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return
        descriptor = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
        with open(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise StoreError(f"cannot write to {path}: {error.strerror}") from error


def behind_link(path: Path) -> Path:
    """The file that is to be written in the place of a page or a picture: where a link lies there, what it leads to, so
    that the link stays; but the link itself where it leads to something that is no file, such as a device.

    Args:
        path: the place.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() and not _is_stream(path) else path


def is_output(path: Path) -> bool:
    """Whether a path is the standard output, where nothing else is to be printed then.

    Args:
        path: such as /dev/stdout.
    """
    return _open_number(path) == 1


def _is_stream(path: Path) -> bool:
    """Whether something is there that cannot be replaced by a file, nor is a folder."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _open_number(path: Path) -> int | None:
    """The number of the open file of this process that a path leads to, such as 1 for /dev/stdout; None for others."""
    folders = re.compile(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd")
    for _ in range(MOST_LINKS):
        path = Path(os.path.realpath(path.parent), path.name)
        if path.name.isdigit() and folders.fullmatch(str(path.parent)):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / os.readlink(path)
    return None


def part_of(path: Path) -> Path:
    """The name of a file or folder while it is being made, a new one each time: `NAME.PID-MACHINE-START-HEX.part`.

    From that name `remove_abandoned` knows whether the process that makes it is still alive.

    Args:
        path: the name that it will have.
    """
    return path.with_name(f"{path.name}.{Process.this().mark}-{secrets.token_hex(4)}.part")


def remove_abandoned(folder: Path) -> None:
    """Remove what processes were making in a folder (`part_of`) when they were killed. No other file is touched.

    Of a process on another machine it cannot be known, so what it was making stays for ABANDONED_SECONDS.

    Args:
        folder: the folder.
    """
    for path in folder.glob("*.part"):
        match = PART.fullmatch(path.name)
        with suppress(OSError):  # another process may have been quicker
            if match and (Process.of_mark(match[1]).is_dead or _age(path) > ABANDONED_SECONDS):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _age(path: Path) -> float:
    """Seconds since the last change of a file, or of anything in a folder."""
    return time.time() - max(found.lstat().st_mtime for found in (path, *path.rglob("*")))
