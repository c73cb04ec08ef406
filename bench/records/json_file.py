"""Records as JSON files. All kinds are written and read here, with a digest that shows changes made by hand.

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
"""How JSON writes half a character (a surrogate). Without its other half no text can be made of it."""
LARGEST = 2**27
"""The bytes of the largest file that is read as a record: a thousand times what a record has."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


@dataclass(frozen=True)
class JsonRecord(ABC):
    """A record: a dataclass that is stored as a JSON file."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The name of its file, which is the same when what it records is repeated."""

    def entries(self) -> dict[str, Any]:
        """What its file holds without the digest: the format and the fields as JSON has them, in the order of their
        names.
        """
        entries: dict[str, Any] = json.loads(canonical({"format": FORMAT} | as_written(self)))
        return entries

    @classmethod
    @abstractmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """Make a record of the entries of a file.

        Args:
            values: name -> value, without the format and the digest.

        Raises:
            Exception: a KeyError, TypeError, AttributeError or ValueError where the entries do not make a record.
        """

    def check(self) -> None:
        """Check that the parts which tables and pictures read fit together.

        Raises:
            Exception: a ValueError, or an error of access, where they do not.
        """

    def values(self) -> dict[str, Any]:
        """The entries with their digest."""
        entries = self.entries()
        return entries | {"digest": digest(entries)}

    def to_json(self) -> str:
        """The text of the file, with a line for each entry, so that records can be read and compared. An entry `rows`
        comes last, with a line for each row.

        Raises:
            ValueError: for NaN and infinity, which JSON does not have.
        """
        values = self.values()
        rows = values.pop("rows", None)
        lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in values.items()]
        if rows is not None:
            row_lines = ",\n".join(f" {json.dumps(row, allow_nan=False)}" for row in rows)
            lines.append(f'"rows": [\n{row_lines}\n]')
        return "{\n" + ",\n".join(lines) + "\n}\n"

    def save(self, folder: Path) -> Path:
        """Write the record, whole or not at all. What lies under its name and cannot be read is moved into the
        subfolder SUPERSEDED.

        Args:
            folder: the folder of records.

        Returns:
            The file.

        Raises:
            StoreError: if it cannot be written.
        """
        path = folder / self.path
        if read_all([path], type(self))[1]:
            set_aside(path)
        write_whole(path, self.to_json().encode())
        return path

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a record.

        Args:
            text: the content of its file.

        Raises:
            ValueError: if it is not a whole record of this format, or was changed by hand.
        """
        try:
            values = json.loads(text, parse_constant=_refuse)
        except RecursionError:
            raise ValueError("not a record: it is nested too deeply") from None
        if HALF.search(text):
            json.dumps(values, ensure_ascii=False).encode()  # raises for a half that stands alone
        return cls.from_values(values)

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Read a record.

        Args:
            values: what JSON gives of its file.

        Raises:
            ValueError: as `from_json` does.
        """
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
    """Read all records of a folder. Nothing is changed.

    Args:
        folder: the folder; it need not exist.
        kind: what its records are.

    Returns:
        The records in the order of their names, and file -> the reason for each that cannot be used.
    """
    try:
        paths = files_in(folder)
    except OSError as error:
        return [], {folder: f"it cannot be read: {error.strerror}"}
    records, damaged = read_all(paths, kind)
    used, unused = sort_out(records)
    return used, dict(sorted((damaged | unused).items()))


def files_in(folder: Path) -> list[Path]:
    """What may be records: everything in a folder whose name ends in `.json`, in the order of the names.

    Args:
        folder: the folder; one that does not exist has no records.

    Raises:
        OSError: if it cannot be listed.
    """
    if not os.path.lexists(folder):
        return []
    return sorted(Path(entry) for entry in os.scandir(folder) if entry.name.endswith(".json"))


def read_all(paths: Iterable[Path], kind: type[K]) -> tuple[dict[Path, K], dict[Path, str]]:
    """Read the records in some files. Files that do not exist are left out.

    Args:
        paths: the files.
        kind: what the records are.

    Returns:
        File -> record, and file -> the reason for each that holds none.
    """
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
    """Tell which records can be used.

    Equal copies of a record are one record. Of different records of one run none is used, because nothing says which
    one is right. Nor is a record none of whose files has its own name, because that name says which run is meant.

    Args:
        records: file -> record.

    Returns:
        The records that can be used, each once, and file -> the reason for each that cannot.
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
