"""Takes the records of one folder into another one, without replacing anything. Nothing here imports torch."""

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from bench.errors import StoreError
from bench.records.files import check_replaceable, check_writable, content_of_file, write_whole
from bench.records.json_file import JsonRecord, files_in, read_all
from bench.records.run import RunResult
from bench.records.sidecar import remove_sidecars, sidecar_path
from bench.store.beside import content_beside, file_with_sidecar, is_format_1, is_whole
from bench.store.claims import Claims
from bench.store.conversion import converted
from bench.store.reading import records_with_files
from bench.store.results import keys_in

R = TypeVar("R", bound=JsonRecord)
ALONE = ("command", "costs", "environment")
"""Entries in which two records of one run may differ that have the same numbers by the same code."""
NUMBERS = ("status", "error", "traceback", "data", "selected", "sidecar")


@dataclass
class Merged:
    """What was taken over, and what was not.

    Attributes:
        written: file of a record that was taken -> the one that it was taken from.
        there: the number of records that were there already.
        other_costs: that of records whose costs or dates alone are others than those of the record that is there.
        completed: that of records that were there, and got what was missing or damaged beside them.
        conflicts: file -> how it differs from the record of the same run that is there.
        left: file -> why it was not taken.
        busy: the files that were not taken because another process makes their runs.
    """

    written: dict[Path, Path] = field(default_factory=dict)
    there: int = 0
    other_costs: int = 0
    completed: int = 0
    conflicts: dict[Path, str] = field(default_factory=dict)
    left: dict[Path, str] = field(default_factory=dict)
    busy: list[Path] = field(default_factory=list)


def merge(source: Path, target: Path, kind: type[JsonRecord], merged: Merged) -> None:
    """Take over the records of a folder that another one lacks, each with what lies beside it.

    It may be ended at any time: what was taken is whole, and the next call takes the rest.

    Args:
        source: the folder whose records are taken. Nothing is changed there.
        target: the folder that they are taken into. What it has stays as it is.
        kind: what the records are.
        merged: is added to, as soon as something is known.

    Raises:
        StoreError: if the target cannot be read, and nothing is changed then, or cannot be written to.
    """
    records, unused = records_with_files(source, kind)
    merged.left |= unused
    if not records:
        return
    taking = _Taking(target, kind, merged)
    check_writable(target)
    with Claims(target) as claims:
        if target.is_dir():
            claims.remove_stale()
        for record, files in records:
            file = file_with_sidecar(record, files) if isinstance(record, RunResult) else files[0]
            taking.take(record, file, claims)


@dataclass
class _Taking(Generic[R]):
    """The records of one kind that are taken into a folder."""

    target: Path
    kind: type[R]
    merged: Merged

    def __post_init__(self) -> None:
        self._files: dict[str, set[Path]] = defaultdict(set)
        try:
            files = files_in(self.target)
        except OSError as error:
            raise StoreError(f"{error.filename} cannot be read: {error.strerror}; nothing was taken") from error
        for path in files:
            self._add(path)

    def _add(self, path: Path) -> None:
        """Note of which records a file may be."""
        for name in {path.name, *(keys_in(path) if self.kind is RunResult else ())}:
            self._files[name].add(path)

    def take(self, record: Any, file: Path, claims: Claims) -> None:
        """Take one record, if the folder has none of the same run. Raises StoreError if it cannot be written."""
        try:
            record = _of_today(record, file)
            if self._is_there(record, file, claims):
                return
            contents = _contents(record, file)
            check_replaceable(_places(self.target, record))
        except StoreError as error:
            self.merged.left[file] = str(error).removeprefix(f"{file.parent}{os.sep}")
            return
        if not claims.take(record.path):
            self.merged.busy.append(file)
            return
        path = self.target / record.path
        try:
            self._add(path)  # the process that held it may have recorded it meanwhile
            if not self._is_there(record, file, claims):
                _write(path, getattr(record, "sidecar", ""), *contents)
                self.merged.written[path] = file
        finally:
            claims.release(record.path)

    def _is_there(self, record: Any, file: Path, claims: Claims) -> bool:
        """Whether the folder has a record of the same run, which is compared with this one."""
        there = False
        for path, other in self._others(record):
            there = True
            if isinstance(other, str):
                self.merged.left[file] = f"{path} is in its place, and {other}: move that away"
            elif other == record:
                self.merged.there += 1
            elif different := what_differs(other, record):
                origin = f", taken from {self.merged.written[path]}," if path in self.merged.written else ""
                self.merged.conflicts[file] = f"{path}{origin} is another record of it: {different}"
            else:
                self.merged.other_costs += 1
            if not isinstance(other, str) and getattr(other, "sidecar", "") == getattr(record, "sidecar", "") != "":
                self._complete(path, record, file, claims)
        return there

    def _others(self, record: Any) -> Iterator[tuple[Path, Any]]:
        """The files that have a record of the same run, or its name, with the record or the reason that there is none.
        Of equal copies, the one in its own place, else one of its own name.
        """
        names = {record.file, *([record.spec.key] if isinstance(record, RunResult) else [])}
        files = set().union(*(self._files[name] for name in names))
        records, damaged = read_all(files, self.kind)
        for path, why in damaged.items():
            if path.name == record.file:
                yield path, why
        seen: list[Any] = []
        own = self.target / record.path
        for path, other in sorted(records.items(), key=lambda item: (item[0] != own, item[0].name != own.name)):
            if other.path == record.path:
                compared = _of_today(other, path)
                if compared not in seen:
                    yield path, compared
                seen.append(compared)
            elif path.name == record.file:
                yield path, f"it holds the record that belongs in {other.path}"

    def _complete(self, path: Path, record: Any, file: Path, claims: Claims) -> None:
        """Write what is missing or damaged beside a record that is there, and that has the same digest of it. Beside
        stray copies nothing is written.

        Raises StoreError where it cannot be written, or is not whole beside this record either.
        """
        own = self.target / record.path
        if path.name != own.name or (path != own and os.path.lexists(own)) or is_format_1(path):
            return
        if is_whole(record, path):
            return
        content, beside = _content(record, file), sidecar_path(path, record.sidecar)
        check_replaceable([beside])
        if not claims.take(record.path):
            self.merged.busy.append(file)
            return
        try:
            (now,) = read_all([path], RunResult)[0].values() or [None]  # as the process that held it has left it
            if now and now.sidecar == record.sidecar:
                write_whole(beside, content)
                self.merged.completed += 1
        finally:
            claims.release(record.path)


def _places(folder: Path, record: Any) -> list[Path]:
    """The files that a record and its sidecar have in a folder."""
    path = folder / record.path
    return [path, sidecar_path(path, record.sidecar)] if getattr(record, "sidecar", "") else [path]


def _contents(record: Any, file: Path) -> tuple[bytes, bytes]:
    """The content of the file of a record, and that of its sidecar. What was not converted is copied byte by byte.

    Raises StoreError where these cannot be read, or are none of the record.
    """
    beside = _content(record, file)
    if getattr(record, "beside", None) is not None:
        return record.to_json().encode(), beside
    try:
        content = content_of_file(file)
        whole = type(record).from_json(content.decode()) == record
    except (OSError, ValueError) as error:
        raise StoreError(f"it cannot be read any more: {error}") from error
    if not whole:
        raise StoreError("it has changed meanwhile: merge again")
    return content, beside


def _write(path: Path, digest: str, content: bytes, beside: bytes) -> None:
    """Write a record that a folder lacks, and before it what lies beside it.

    Raises StoreError if it cannot be written. Then neither is there.
    """
    try:
        if beside:
            write_whole(sidecar_path(path, digest), beside)
        write_whole(path, content)
    except BaseException:
        if not path.exists():  # it would be of no record
            remove_sidecars(path)
        raise


def _of_today(record: Any, file: Path) -> Any:
    """A record as format 2 has it. Raises StoreError where what lies beside one of format 1 is damaged."""
    old = isinstance(record, RunResult) and not record.sidecar and is_format_1(file)
    return converted(record, file) if old else record


def _content(record: Any, file: Path) -> bytes:
    """Of the sidecar of a record, verified; empty where it has none."""
    if not getattr(record, "sidecar", ""):
        return b""
    if record.beside is not None:
        made: bytes = record.beside.to_bytes()
        return made
    return content_beside(record, file)[0]


def what_differs(one: JsonRecord, other: JsonRecord) -> str:
    """In what two records of one run differ, beside their costs and dates.

    Args:
        one, other: the records.

    Returns:
        Words for a message; empty where nothing else differs.
    """
    ours, theirs = one.entries(), other.entries()
    names = [n for n in dict.fromkeys([*ours, *theirs]) if ours.get(n) != theirs.get(n)]
    if not isinstance(one, RunResult) or not isinstance(other, RunResult):
        return f"other {', '.join(names)}"
    words = [name for name in names if name not in (*ALONE, *NUMBERS)]
    if set(names) & {*NUMBERS}:
        words.insert(0, f"numbers ({_first_difference(one, other)})")
    return f"other {', '.join(words)}" if words else ""


def _first_difference(one: RunResult, other: RunResult) -> str:
    """The first number, or whatever else comes first, that two records do not share."""
    if one.status != other.status:
        return f"status {one.status!r} there, {other.status!r} here"
    ours, theirs = dict(_values(one)), dict(_values(other))
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name, "none") != theirs.get(name, "none"):
            return f"{name} is {ours.get(name, 'missing')} there, {theirs.get(name, 'missing')} here"
    different = (name for name in NUMBERS if getattr(one, name) != getattr(other, name))
    name = next(different)
    return {"sidecar": "in the history or the predictions"}.get(name, f"in {name}")


def _values(result: RunResult) -> Iterator[tuple[str, Any]]:
    """The selected epochs and metrics, by name."""
    for rule, epoch in result.selected.epochs.items():
        yield f"the epoch of {rule}", epoch
    metrics: Mapping[str, Any] = result.selected.metrics
    for of_set, values in metrics.items():
        for metric, of_rules in values.items():
            for rule, value in zip(result.selected.epochs, of_rules, strict=True):
                yield f"{of_set}/{metric} under {rule}", value
