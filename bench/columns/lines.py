"""Records -> columns: what of a record stands in which column. Nothing here imports torch."""

import json
import math
import os
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from bench.records.run import RunResult

if TYPE_CHECKING:
    import pyarrow as pa

Task = tuple[str, str]
"""The protocol, `name/version`, and the data set of runs: those of one task are compared in tables."""
SETTINGS = ("dataset", "method", "model", "protocol", "validation", "settings")
"""Columns of texts that identify a run, together with its options and its seed."""
OPTIONS = ("options", "model_options", "dataset_options", "protocol_options", "recipe")
"""Columns of the options that differ from the defaults, as JSON."""
SECTIONS = ("about", "resolved", "data", "code")
"""Columns of sections that many runs have in common, as JSON."""
SHARED = (*SETTINGS, *OPTIONS, *SECTIONS, "environment", "status", "off_recipe", "layout")
"""Columns whose texts are stored once for all runs that have the same. `environment` is without the date; `layout`
names the `values`, as JSON `[[rule, ...], [[set, [metric, ...]], ...]]`: under each rule, by set and metric.
"""
OWN = ("key", "path", "created", "command", "error", "costs")
"""Columns of texts that each run has for itself; the last three as JSON."""
COSTS = {
    "seconds": "float64",
    "steps": "int64",
    "parameters": "int64",
    "peak_memory_bytes": "int64",
    "peak_process_bytes": "int64",
    "threads": "int64",
    "stacked": "int64",
    "captured": "bool",
    "load": "float64",
}
"""Columns of costs -> their type. `seconds` are those of all of the training; the others have the name of the entry."""
STAMP = ("changed", "altered", "size", "inode")
"""Columns that tell whether a file is still the one that was read: the times of its last change, and of the last change
of what the file system knows of it, in nanoseconds; its size in bytes; its number.
"""
Stamp = tuple[int, int, int, int]
NO_STAMP: Stamp = (0, 0, 0, 0)
as_json = json.JSONEncoder(separators=(",", ":"), default=vars).encode
"""Values and sections as JSON, with names in the order that they have in the record."""


class Lines:
    """Collects the columns of records, those of each task apart."""

    def __init__(self) -> None:
        self._tasks: dict[Task, dict[str, list[Any]]] = {}
        self._codes: dict[tuple[Task, str], dict[str, int]] = defaultdict(dict)
        self._sections: dict[int, tuple[Any, str]] = {}

    def add(self, result: RunResult, file: str = "", stamp: Stamp = NO_STAMP) -> None:
        """Add a record.

        Args:
            result: the record.
            file: its file, by its name within the folder of records.
            stamp: of the file, before it was read.
        """
        task = result.spec.protocol, result.spec.dataset
        columns = self._tasks.setdefault(task, defaultdict(list))
        for name, value in self._entries(result).items():
            columns[name].append(value)
        for name, text in self._shared(result).items():
            codes = self._codes[task, name]
            columns[name].append(codes.setdefault(text, len(codes)))
        for name, number in zip(STAMP, stamp, strict=True):
            columns[name].append(number)
        columns["file"].append(os.fsencode(file))  # a name need not be a text

    def _entries(self, result: RunResult) -> dict[str, Any]:
        """The entries of a record in the columns that are not of shared texts."""
        entries: dict[str, Any] = {name: getattr(result.costs, name, None) for name in COSTS}
        entries |= {"seconds": result.costs.all_seconds, "seed": result.spec.seed}
        entries |= {"key": result.spec.key, "path": result.path, "created": result.environment.created}
        entries |= {"command": as_json(result.command), "error": as_json(result.error)}
        entries["costs"] = as_json(result.costs)
        return entries | {"epochs": list(result.selected.epochs.values()), "values": _values(result)}

    def _shared(self, result: RunResult) -> dict[str, str]:
        """The texts of a record in the columns of shared texts."""
        spec = result.spec
        environment = {name: value for name, value in vars(result.environment).items() if name != "created"}
        texts = {name: getattr(spec, name) for name in SETTINGS}
        texts |= {name: as_json(getattr(spec, name)) for name in OPTIONS}
        texts |= {name: self._text(getattr(result, name)) for name in SECTIONS}
        texts |= {"environment": as_json(environment), "off_recipe": as_json(result.off_recipe)}
        return texts | {"status": result.status, "layout": _layout(result)}

    def _text(self, section: Any) -> str:
        """The text of a section; of an object that many records share it is made once."""
        known = self._sections.get(id(section))
        if known is None:
            known = self._sections[id(section)] = section, as_json(section)  # held, so that no other gets its id
        return known[1]

    def tables(self) -> "dict[Task, pa.Table]":
        """The columns of each task that were collected."""
        return {task: self._table(task, columns) for task, columns in self._tasks.items()}

    def _table(self, task: Task, columns: dict[str, list[Any]]) -> "pa.Table":
        import pyarrow as pa

        kinds = dict.fromkeys(OWN, pa.string()) | {name: pa.type_for_alias(kind) for name, kind in COSTS.items()}
        kinds |= {"seed": pa.int64()} | dict.fromkeys(STAMP, pa.int64()) | {"inode": pa.uint64(), "file": pa.binary()}
        kinds |= {"epochs": pa.list_(pa.int64()), "values": pa.large_list(pa.float64())}
        arrays = {name: pa.array(columns[name], kind) for name, kind in kinds.items()}
        for name in SHARED:
            codes, texts = pa.array(columns[name], pa.int32()), pa.array(self._codes[task, name], pa.string())
            arrays[name] = pa.DictionaryArray.from_arrays(codes, texts)
        return pa.table(arrays)


def _layout(result: RunResult) -> str:
    """The names of the values that a record has of its selected models."""
    sets = [[of, list(metrics)] for of, metrics in result.selected.metrics.items()]
    return as_json([list(result.selected.epochs), sets])


def _values(result: RunResult) -> list[float]:
    """The values of these names; NaN for an undefined one."""
    values: list[float] = []
    for metrics in result.selected.metrics.values():
        for of_rules in metrics.values():
            values += [math.nan if value is None else value for value in of_rules]
    return values
