"""Records as JSON files: all kinds are written and read here, with a digest by which changes by hand are known.

Nothing here imports torch: tables are made from records alone.
"""

import json
import os
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from bench.errors import BenchError
from bench.records.files import content_of_file, set_aside, write_whole
from bench.records.shape import check_shape
from bench.records.spec import canonical, digest
from bench.records.written import as_written

FORMAT = 1
HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How half a character is written; without its other half no text can be made of it."""
LARGEST = 2**27
"""Bytes of the largest file that is read as a record, a thousand times what one has."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@dataclass(frozen=True)
class JsonRecord(ABC):
    """A record, which is a JSON file."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The name of its file: the same for a repetition."""

    def entries(self) -> dict[str, Any]:
        """What its file holds, the digest apart: the format, and the fields as JSON has them, in their names' order."""
        entries: dict[str, Any] = json.loads(canonical({"format": FORMAT} | as_written(self)))
        return entries

    @classmethod
    @abstractmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From these entries without the format. May raise KeyError, TypeError or AttributeError."""

    def check(self) -> None:
        """Raises ValueError, or an error of access, where parts that tables and pictures read do not fit together."""

    def values(self) -> dict[str, Any]:
        """The entries with their digest."""
        entries = self.entries()
        return entries | {"digest": digest(entries)}

    def to_json(self) -> str:
        """One line for each entry, so that a record can be read and compared; last `rows`, where it has any, with a
        line for each. Raises ValueError for NaN, which JSON does not have.
        """
        values = self.values()
        rows = values.pop("rows", None)
        lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in values.items()]
        if rows is not None:
            row_lines = ",\n".join(f" {json.dumps(row, allow_nan=False)}" for row in rows)
            lines.append(f'"rows": [\n{row_lines}\n]')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def save(self, folder: Path) -> Path:
        """Write it, whole or not at all. What lies under its name and cannot be read is moved into the subfolder
        SUPERSEDED. Raises StoreError.
        """
        path = folder / self.path
        if read_all([path], type(self))[1]:
            set_aside(path)
        write_whole(path, self.to_json().encode())
        return path

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError when the text is not a whole record of this format, or was changed."""
        try:
            values = json.loads(text, parse_constant=_refuse)
        except RecursionError:
            raise ValueError("not a record: it is nested too deeply") from None
        if HALF.search(text):
            json.dumps(values, ensure_ascii=False).encode()  # raises for a half that stands alone
        return cls.from_values(values)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """From what JSON gives; raises ValueError as `from_json` does."""
        try:
            entries = dict(values)
            if entries["format"] != FORMAT:
                newer = isinstance(entries["format"], int) and entries["format"] > FORMAT
                why = ": it was written by a newer version of bench" if newer else ""
                raise ValueError(f"format {entries['format']}, expected {FORMAT}{why}")
            known_digest = entries.pop("digest")
            if digest(entries) != known_digest:
                raise ValueError(f"its content does not have its digest {known_digest}: it was changed by hand")
            del entries["format"]
            record = cls.of(entries)
            check_shape(record, cls, "")
            record.check()
            return record
        except (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, BenchError) as error:
            raise ValueError(f"not a record: {error}") from error


K = TypeVar("K", bound=JsonRecord)


def load(folder: Path, kind: type[K]) -> tuple[list[K], dict[Path, str]]:
    """All records of a folder by file name, and the files that cannot be used with the reason. Nothing is deleted."""
    try:
        paths = files_in(folder)
    except OSError as error:
        return [], {folder: f"it cannot be read: {error.strerror}"}
    records, damaged = read_all(paths, kind)
    used, unused = sort_out(records)
    return used, dict(sorted((damaged | unused).items()))


def files_in(folder: Path) -> list[Path]:
    """What may be records: everything whose name ends in `.json`, in the order of the names; nothing where there is no
    folder. Raises OSError where it cannot be listed.
    """
    if not os.path.lexists(folder):
        return []
    return sorted(Path(entry) for entry in os.scandir(folder) if entry.name.endswith(".json"))


def read_all(paths: Iterable[Path], kind: type[K]) -> tuple[dict[Path, K], dict[Path, str]]:
    """The records in these files, and the reason for each that holds none."""
    records, damaged = {}, {}
    for path in sorted(paths):
        try:
            records[path] = kind.from_json(content_of_file(path, LARGEST).decode())
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():
                damaged[path] = "it is a link to nothing"
        except OSError as error:
            damaged[path] = f"it cannot be read: {error.strerror}"
        except ValueError as error:
            damaged[path] = str(error)
    return records, damaged


def sort_out(records: Mapping[Path, K]) -> tuple[list[K], dict[Path, str]]:
    """The records that can be used, each once, and the reason for each file whose record cannot.

    Equal copies of a record are one record. Of different records of one run none is used, as nothing says which is
    right, and none that lacks a file of its own name, as the name says which run is meant.
    """
    copies_by_name: dict[str, dict[Path, K]] = defaultdict(dict)
    for path, record in records.items():
        copies_by_name[record.path][path] = record
    used: list[K] = []
    unused: dict[Path, str] = {}
    for name, copies in sorted(copies_by_name.items()):
        first, *others = copies.values()
        if any(other != first for other in others):
            names = ", ".join(path.name for path in copies)
            unused |= dict.fromkeys(copies, f"{names} are different records of one run: move all but one away")
        elif name not in {path.name for path in copies}:
            unused |= dict.fromkeys(copies, f"it holds the record that belongs in {name}: rename it, or move it away")
        else:
            used.append(first)
    return used, unused
