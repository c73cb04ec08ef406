"""How records are written and read. Nothing here imports torch.

A field that has its default is not written, so that a later field changes no file that was written before it.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

from bench.recipe import Recipe


@dataclass(frozen=True)
class Section:
    """A part of a record: an entry of its file that has entries itself."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read a section.

        Args:
            values: what JSON gives. A field that is missing has its default.

        Raises:
            TypeError: where a field without a default is missing, or an entry is none of this version's.
        """
        return cls(**dict(values) | cls._nested(values))

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Entries that are not in memory as they are in the file, such as sections, read."""
        return {}

    def written(self) -> dict[str, Any]:
        """The section as its file has it."""
        return {name: as_written(value) for name, value in _told(self)}


def as_written(value: Any) -> Any:
    """A value as files have it: sections and other dataclasses as mappings, NaN and infinity as None.

    Args:
        value: anything that a record holds.
    """
    if isinstance(value, Section):
        return value.written()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: as_written(one) for name, one in _told(value)}
    if isinstance(value, Mapping):
        return {name: as_written(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_written(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _told(record: Any) -> Iterator[tuple[str, Any]]:
    """The fields that do not have their defaults."""
    for one in dataclasses.fields(record):
        value = getattr(record, one.name)
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        if value != default or type(value) is not type(default):
            yield one.name, value


@cache
def usual_recipe() -> dict[str, Any]:
    """The defaults of recipes, which never change, as JSON has them."""
    usual: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(Recipe())))
    return usual


def lines_of(name: str, value: Any, depth: int = 0) -> str:
    """The text of an entry of a file: of what has fields, with a line for each field; of what has entries itself by
    name, for each of these.

    Args:
        name: of the entry.
        value: as JSON has it.
        depth: the number of spaces before each line.
    """
    start = f"{' ' * depth}{json.dumps(name)}: "
    split = isinstance(value, dict) and value and (depth == 0 or all(isinstance(one, dict) for one in value.values()))
    if not split:
        return start + json.dumps(value, allow_nan=False, separators=(",", ":"))
    inside = ",\n".join(lines_of(name, one, depth + 1) for name, one in value.items())
    return f"{start}{{\n{inside}\n{' ' * depth}}}"
