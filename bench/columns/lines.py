"""Records -> columns: what of a record stands in which column. Nothing here imports torch."""

import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
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
OWN = ("key", "path", "created", "command", "error", "costs", "context", "resampled")
"""Columns of texts that each run has for itself; all from `command` on as JSON. `context` has what its numbers stand
beside: `oracle_epoch`, `oracle` and `floor`.
"""
CONTEXT = ("oracle_epoch", "oracle", "floor")
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
        chosen = result.selected
        context = {name: value for name in CONTEXT if (value := getattr(chosen, name)) is not None}
        entries["context"] = as_json(context)
        entries["resampled"] = as_json(chosen.resampled) if chosen.resampled else "{}"
        return entries | {"epochs": list(result.selected.epochs.values()), "values": _values(result)}

    def _shared(self, result: RunResult) -> dict[str, str]:
        """The texts of a record in the columns of shared texts."""
        spec = result.spec
        environment = {name: value for name, value in vars(result.environment).items() if name != "created"}
        texts = {name: getattr(spec, name) for name in SETTINGS}
        texts |= {name: as_json(options) if (options := getattr(spec, name)) else "{}" for name in OPTIONS}
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

        arrays = {name: _texts([text.encode() for text in columns[name]]) for name in OWN}
        arrays["file"] = _texts(columns["file"], pa.binary())
        kinds = COSTS | {"seed": "int64"} | dict.fromkeys(STAMP, "int64") | {"inode": "uint64"}
        arrays |= {name: numbers(columns[name], kind) for name, kind in kinds.items()}
        arrays |= {"epochs": _lists(columns["epochs"], "int64"), "values": _lists(columns["values"], "float64")}
        for name in SHARED:
            texts = _texts([text.encode() for text in self._codes[task, name]])
            arrays[name] = pa.DictionaryArray.from_arrays(numbers(columns[name], "int32"), texts)
        return pa.table(arrays)


# Arrays are made from numpy's: from lists, pyarrow makes them with the help of pandas, whose import takes long.


def _texts(texts: Sequence[bytes], kind: "pa.DataType | None" = None) -> "pa.Array":
    import numpy as np
    import pyarrow as pa

    ends = np.zeros(len(texts) + 1, dtype=np.int32)
    np.cumsum([len(text) for text in texts], out=ends[1:])
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(texts))]
    return pa.Array.from_buffers(kind or pa.string(), len(texts), buffers)


def numbers(numbers: Sequence[float | None], kind: str) -> "pa.Array":
    """Numbers or truth values as an array.

    Args:
        numbers: the numbers; None for missing ones.
        kind: their type, by the name that numpy has for it.
    """
    import numpy as np
    import pyarrow as pa

    known = np.array([0 if number is None else number for number in numbers], dtype=kind)
    there = np.array([number is not None for number in numbers], dtype=bool)
    data, valid = (np.packbits(one, bitorder="little") if one.dtype == bool else one for one in (known, there))
    return pa.Array.from_buffers(pa.type_for_alias(kind), len(numbers), [pa.py_buffer(valid), pa.py_buffer(data)])


def _lists(lists: Sequence[Sequence[float]], kind: str) -> "pa.Array":
    import numpy as np
    import pyarrow as pa

    ends = np.zeros(len(lists) + 1, dtype=np.int64)
    np.cumsum([len(one) for one in lists], out=ends[1:])
    flat = np.array([number for one in lists for number in one], dtype=kind)
    entries = pa.Array.from_buffers(pa.type_for_alias(kind), len(flat), [None, pa.py_buffer(flat)])
    buffers = [None, pa.py_buffer(ends)]
    return pa.Array.from_buffers(pa.large_list(entries.type), len(lists), buffers, children=[entries])


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
