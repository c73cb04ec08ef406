"""The records of a folder with their files, and the files that belong to none. Nothing here imports torch."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from bench.records.files import PART, SUPERSEDED
from bench.records.json_file import JsonRecord, files_in, read_all, sort_out
from bench.records.sidecar import SUFFIX
from bench.store.beside import ARRAYS
from bench.store.claims import LINKS, RunClaim, holder_of
from bench.store.claims import NAME as CLAIM

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


def strangers(folder: Path) -> Iterator[Path]:
    """The files of a folder of records whose names no file of `bench` there has. Hidden ones, and those in SUPERSEDED,
    are left out.

    Args:
        folder: of the records.
    """
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != SUPERSEDED and not name.startswith("."))
        for name in sorted(names):
            ours = name.endswith((".json", SUFFIX, ARRAYS)) or any(
                form.fullmatch(name) for form in (CLAIM, LINKS, PART)
            )
            if not ours and not name.startswith("."):
                yield Path(root, name)


def stale_claims(folder: Path, now: float) -> list[Path]:
    """The files of claims that hold no run any more, as their processes are dead.

    Args:
        folder: of the records.
        now: the time.
    """
    stale = []
    for base in sorted(folder.rglob("*.claim")):
        if CLAIM.fullmatch(base.name) and not holder_of(base, now):
            stale.append(base)
    for path in sorted(folder.rglob("*.claim.*")):
        if LINKS.fullmatch(path.name) and not os.path.lexists(path.with_suffix("")) and not _lives(path, now):
            stale.append(path)  # it took over a claim that is gone since
    return stale


def _lives(path: Path, now: float) -> bool:
    """Whether the process of a claim is there, as far as it is known."""
    claim = RunClaim.read(path)
    return claim is not None and not claim.is_stale(now)
