"""Finds one record by its key or its file. Nothing here imports torch."""

import os
import re
from pathlib import Path

from bench.errors import BenchError, StoreError
from bench.records.blocks import IS_BESIDE
from bench.records.json_file import files_in, read_all, sort_out
from bench.records.run import RunResult
from bench.store.results import keys_in, keys_in_name
from bench.store.verify import with_way_out
from bench.text import join_first

KEY = re.compile(r"[0-9a-fA-F]{4,12}")
"""A key, or a beginning of one that may be given for it."""

SHORT = re.compile(r"[0-9a-fA-F]{1,3}")
"""A beginning that is too short: too many keys have it."""


def record_in(path: Path) -> RunResult:
    """The record in a file.

    Args:
        path: the file.

    Raises:
        StoreError: if it holds none.
    """
    records, damaged = read_all([path], RunResult)
    if path in records:
        return records[path]
    if path not in damaged:
        raise StoreError(f"{path}: it does not exist")
    why = damaged[path]
    raise StoreError(f"{path}: {why if IS_BESIDE in why else with_way_out(path, why)}")


def record_of_key(folder: Path, beginning: str) -> tuple[RunResult, Path]:
    """The record of a run, and its file.

    Args:
        folder: of the records; it need not exist.
        beginning: of the key, as KEY has it.

    Raises:
        BenchError: if no run, or more than one, has such a key.
        StoreError: if the record cannot be used.
    """
    beginning = beginning.lower()
    if not os.path.lexists(folder):
        raise BenchError(f"{folder} does not exist: name the folder of the runs with --out")
    unread: dict[Path, str] = {}
    files = files_in(folder, unread=unread)
    named = [path for path in files if any(key.startswith(beginning) for key in keys_in_name(path))]
    chosen = named or [path for path in files if any(key.startswith(beginning) for key in keys_in(path))]
    records, damaged = read_all(chosen, RunResult)
    records = {path: record for path, record in records.items() if record.spec.key.startswith(beginning)}
    keys = sorted({record.spec.key for record in records.values()})
    if len(keys) > 1:
        raise BenchError(f"{beginning} begins the keys of {len(keys)} runs: {join_first(keys, 5)}; give more digits")
    used, unused = sort_out(records)
    if used:
        return used[0], next(path for path in records if path.name == used[0].file)
    for path, why in damaged.items():
        raise StoreError(f"{path}: {with_way_out(path, why)}")
    for path, why in (unused | unread).items():
        raise StoreError(f"{path}: {why}")
    if not files:
        raise BenchError(f"{folder} has no records: make some with `bench run`, or name another folder with --out")
    raise BenchError(f"no record in {folder} has a key that begins with {beginning}")
