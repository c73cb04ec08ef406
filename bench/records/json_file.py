"""Records as JSON files, with a digest by which changes by hand are known. Nothing here imports torch."""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from bench.records.sections import Environment, entries
from bench.records.spec import canonical, digest
from bench.records.store import write_whole

FORMAT = 1


@dataclass(frozen=True)
class JsonRecord(ABC):
    """A record with `rows`."""

    @property
    @abstractmethod
    def path(self) -> str:
        """The name of its file: the same for a repetition on the same kind of device."""

    @classmethod
    @abstractmethod
    def of(cls, values: dict[str, Any]) -> Self:
        """From what JSON gives for its fields, and the environment. May raise KeyError, TypeError or AttributeError."""

    def save(self, folder: Path) -> Path:
        """Write it, whole or not at all. Raises StoreError."""
        path = folder / self.path
        write_whole(path, self.to_json().encode())
        return path

    def to_json(self) -> str:
        """One line for each field and for each row."""
        values = self.values()
        rows = ",\n".join(f" {json.dumps(row)}" for row in values["rows"])
        fields = [f"{json.dumps(n)}: {json.dumps(v)}" for n, v in values.items() if n != "rows"]
        return "{\n" + ",\n".join([*fields, f'"rows": [\n{rows}\n]']) + "\n}\n"

    def values(self) -> dict[str, Any]:
        """As they are kept, with their digest."""
        values: dict[str, Any] = json.loads(canonical({"format": FORMAT} | entries(self)))
        return values | {"digest": digest(values)}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Self:
        """Raises ValueError when they are not a whole record of this format, or were changed."""
        try:
            values = dict(values)
            if values.pop("digest") != digest(values) or values.pop("format") != FORMAT:
                raise ValueError(f"not a record of format {FORMAT}, or changed by hand")
            return cls.of(values | {"environment": Environment.read(values["environment"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record: {error}") from error


K = TypeVar("K", bound=JsonRecord)


def load(folder: Path, kind: type[K]) -> tuple[list[K], dict[Path, str]]:
    """All records of a folder by file name, and the damaged files with the reason."""
    records, damaged = [], {}
    for path in sorted(folder.glob("*.json")):
        try:
            records.append(kind.from_values(json.loads(path.read_text("utf-8"))))
        except (OSError, ValueError) as error:
            damaged[path] = str(error)
    return records, damaged
