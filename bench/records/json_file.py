"""Records as JSON files. All kinds are written and read here, with a digest that shows changes made by hand.

Nothing here imports torch: tables are made from records alone.
"""

import json
import os
import re
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from bench.errors import BenchError
from bench.records.blocks import as_object, entries_of, why_no_record
from bench.records.files import SUPERSEDED, content_of_file, not_read, set_aside, write_whole
from bench.records.shape import check_shape, misfit
from bench.records.spec import canonical, digest, digest_of_texts
from bench.records.written import as_written, lines_of

HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes half a character (a surrogate). Without its other half no text can be made of it."""
LARGEST = 2**27
"""The bytes of the largest file that is read as a record: a thousand times what a record has."""


@dataclass(frozen=True)
class JsonRecord(ABC):
    """A record: a dataclass that is stored as a JSON file."""

    FORMAT: ClassVar[int] = 1
    """The number of the form of its file, raised when older programs could not read it any more."""
    SHARED: ClassVar[tuple[str, ...]] = ()
    """The names of entries that many records have in common, so that they are read once."""

    @property
    @abstractmethod
    def path(self) -> str:
        """Its file in the folder of records, `NAME` or `FOLDER/NAME`: the same when what it records is repeated."""

    @property
    def file(self) -> str:
        """The name of its file, without its folder."""
        return self.path.rpartition("/")[2]

    def entries(self) -> dict[str, Any]:
        """What its file holds without the digest: the format and the fields as JSON has them, in the order of their
        names.
        """
        entries: dict[str, Any] = json.loads(canonical({"format": self.FORMAT} | as_written(self)))
        return entries

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        """The entries of a file of an older format as those of this one.

        Args:
            values: name -> value, with the format and without the digest.
        """
        return values

    @classmethod
    @abstractmethod
    def of(cls, values: dict[str, Any], texts: Mapping[str, str]) -> Self:
        """Make a record of the entries of a file.

        Args:
            values: name -> value, without the format and the digest.
            texts: name -> the value as canonical JSON, by which what many records have in common can be known.

        Raises:
            Exception: a KeyError, TypeError, AttributeError or ValueError where the entries do not make a record.
        """

    def check_types(self) -> None:
        """Check that every entry has the type that the code says.

        Raises:
            ValueError: with the first that has not.
        """
        check_shape(self, type(self), "")

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
        """The text of the file, with a line for each field, so that records can be read and compared. An entry `rows`
        comes last, with a line for each row.

        Raises:
            ValueError: for NaN and infinity, which JSON does not have.
        """
        values = self.values()
        rows = values.pop("rows", None)
        lines = [lines_of(name, value) for name, value in values.items()]
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
            values, texts = entries_of(text, cls.SHARED)
        except RecursionError:
            raise ValueError("not a record: it is nested too deeply") from None
        if "\\u" in text and HALF.search(text):
            json.dumps(values, ensure_ascii=False).encode()  # raises for a half that stands alone
        return cls.from_values(as_object(values), texts)

    @classmethod
    def from_values(cls, values: dict[str, Any], known: Mapping[str, str] | None = None) -> Self:
        """Read a record.

        Args:
            values: what JSON gives of its file.
            known: name -> canonical text, of entries whose texts are known.

        Raises:
            ValueError: as `from_json` does.
        """
        try:
            entries = dict(values)
            form = entries["format"]
            if type(form) is not int or not 1 <= form <= cls.FORMAT:
                newer = type(form) is int and form > cls.FORMAT
                why = ": it was written by a newer version of bench" if newer else ""
                raise ValueError(f"format {form}, expected {cls.FORMAT}{why}")
            known_digest = entries.pop("digest")
            known = known or {}
            texts = {name: known[name] if name in known else canonical(value) for name, value in entries.items()}
            if digest_of_texts(texts) != known_digest:
                raise ValueError(f"its content does not have its digest {known_digest}: it was changed by hand")
            if form != cls.FORMAT:
                entries = cls.upgraded(entries)
                texts = {name: canonical(value) for name, value in entries.items()}
            del entries["format"]
            record = cls.of(entries, texts)
            record.check_types()
            record.check()
            return record
        except KeyError as error:
            raise ValueError(f"not a record: it has no {error.args[0]}") from error
        except (TypeError, AttributeError, LookupError, ArithmeticError, RecursionError, BenchError) as error:
            raise ValueError(f"not a record: {misfit(error)}") from error


K = TypeVar("K", bound=JsonRecord)


def load(folder: Path, kind: type[K]) -> tuple[list[K], dict[Path, str]]:
    """Read all records of a folder. Nothing is changed.

    Args:
        folder: the folder; it need not exist.
        kind: what its records are.

    Returns:
        The records in the order of their names, and file -> the reason for each that cannot be used.
    """
    unread: dict[Path, str] = {}
    records, damaged = read_all(files_in(folder, unread=unread), kind)
    used, unused = sort_out(records)
    return used, dict(sorted((damaged | unused | unread).items()))


def files_in(folder: Path, *endings: str, unread: dict[Path, str] | None = None) -> list[Path]:
    """What may be records: everything in a folder and its subfolders whose name ends in `.json`, in the order of the
    paths. Subfolders that are called SUPERSEDED, or whose names begin with a dot, are left out. Links to folders are
    followed, and each folder is looked at once.

    Args:
        folder: the folder; one that does not exist has no records.
        endings: of the names, if others are asked for.
        unread: folder -> the reason, is given each folder that cannot be listed, and the others are listed; None to
            raise an error for the first one.

    Raises:
        OSError: if it, or a subfolder, cannot be listed.
    """
    return sorted(Path(entry) for entry in entries_in(folder, *endings, unread=unread))


def entries_in(folder: Path, *endings: str, unread: dict[Path, str] | None = None) -> Iterator[os.DirEntry[str]]:
    """As `files_in`, one after the other in any order.

    Args:
        folder, endings, unread: as for `files_in`.

    Raises:
        OSError: if the folder, or a subfolder, cannot be listed.
    """
    if os.path.lexists(folder):
        yield from _entries_in(os.fspath(folder), endings or (".json",), set(), unread)


def _entries_in(
    folder: str, endings: tuple[str, ...], known: set[tuple[int, int]], unread: dict[Path, str] | None
) -> Iterator[os.DirEntry[str]]:
    try:
        about = os.stat(folder)
        if (identity := (about.st_dev, about.st_ino)) in known:
            return
        known.add(identity)
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError as error:
        if unread is None:
            raise
        unread[Path(error.filename or folder)] = not_read(error)
        return
    for entry in sorted(entries, key=lambda entry: entry.is_symlink()):  # a folder is found under its own name first
        if entry.name.endswith(endings):
            yield entry
        elif entry.is_dir() and entry.name != SUPERSEDED and not entry.name.startswith("."):
            yield from _entries_in(entry.path, endings, known, unread)


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
            damaged[path] = not_read(error)
        except ValueError as error:
            damaged[path] = why_no_record(error)
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
    for _, copies in sorted(copies_by_name.items()):
        first, *others = copies.values()
        if any(other != first for other in others):
            names = ", ".join(_told_apart(copies))
            also = ", each with its sidecar" if any(getattr(copy, "sidecar", "") for copy in copies.values()) else ""
            why = f"{names} are different records of one run: move all but one away{also}"
            unused |= dict.fromkeys(copies, why)
        elif first.file not in {path.name for path in copies}:
            why = f"it holds the record that belongs in {first.path}: rename it, or move it away"
            unused |= dict.fromkeys(copies, why)
        else:
            used.append(first)
    return used, unused


def _told_apart(paths: Iterable[Path]) -> list[str]:
    """The names of files; with their folders, where these alone tell them apart."""
    names = [path.name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
