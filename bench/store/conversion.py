"""Records of format 1 in the form of today. Nothing here imports torch."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.records.files import content_of_file
from bench.records.json_file import LARGEST
from bench.records.run import RunResult
from bench.records.sidecar import Sidecar
from bench.store.beside import ARRAYS, sidecar_of_file

LARGEST_FLOAT16 = 65504.0


def converted(result: RunResult, file: Path) -> RunResult:
    """A record of format 1 with its history, and what else was kept, as what lies beside it.

    Predictions are left out: they were not yet those that metrics of scores are defined on, and had no index.

    Args:
        result: the record.
        file: where it was read.

    Raises:
        StoreError: if its arrays are damaged, or belong to another record.
    """
    beside = _compact(result, _what_is_there(result, file))
    return replace(result, sidecar=beside.digest, beside=beside)


def _what_is_there(result: RunResult, file: Path) -> Sidecar:
    """What lies beside a record: its history alone, where its arrays were not kept."""
    if file.with_suffix(ARRAYS).exists():
        return sidecar_of_file(result, file)
    return Sidecar(json.loads(content_of_file(file, LARGEST))["history"])


def _compact(result: RunResult, beside: Sidecar) -> Sidecar:
    """Without predictions; weights as float16, and classes and groups in the smallest type."""
    arrays: dict[str, Any] = {}
    of_samples = {*result.selected.epochs, "y", "group"}
    for name, array in beside.arrays.items():
        of_set, _, what = name.rpartition("/")
        if of_set in result.selected.metrics and what in of_samples:
            continue
        if name == "train/weight":
            arrays[name] = array.clip(-LARGEST_FLOAT16, LARGEST_FLOAT16).astype("float16")
        elif array.dtype == "int16" and array.size and array.min() >= 0 and array.max() < 256:
            arrays[name] = array.astype("uint8")
        else:
            arrays[name] = array
    return Sidecar(beside.history, arrays)
