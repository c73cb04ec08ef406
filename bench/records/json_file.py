"""Records as JSON files: all kinds are written and read here, with a digest by which changes by hand are known.

Nothing here imports torch: tables are made from records alone.
"""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from bench.records.files import write_whole
from bench.records.sections import as_written
from bench.records.spec import canonical, digest

FORMAT = 1


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
        """Write it, whole or not at all. Raises StoreError."""
        path = folder / self.path
        write_whole(path, self.to_json().encode())
        return path

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError when the text is not a whole record of this format, or was changed."""
        return cls.from_values(json.loads(text))

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """From what JSON gives; raises ValueError as `from_json` does."""
        try:
            entries = dict(values)
            if entries["format"] != FORMAT:
                raise ValueError(f"format {entries['format']}, expected {FORMAT}")
            known_digest = entries.pop("digest")
            if digest(entries) != known_digest:
                raise ValueError(f"its content does not have its digest {known_digest}: it was changed by hand")
            del entries["format"]
            return cls.of(entries)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record: {error}") from error


K = TypeVar("K", bound=JsonRecord)


def load(folder: Path, kind: type[K]) -> tuple[list[K], dict[Path, str]]:
    """All records of a folder by file name, and the damaged files with the reason. Nothing is deleted."""
    records, damaged = [], {}
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(kind.from_json(path.read_text("utf-8")))
        except (OSError, ValueError) as error:
            damaged[path] = str(error)
    return records, damaged
