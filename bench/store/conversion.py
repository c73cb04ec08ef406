"""Records of format 1 in the form of today. Torch is imported where predictions are converted."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.records.files import content_of_file
from bench.records.json_file import LARGEST
from bench.records.run import RunResult
from bench.records.sidecar import Sidecar
from bench.store.beside import ARRAYS, sidecar_of_file

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def converted(result: RunResult, file: Path) -> RunResult:
    """A record of format 1 with its history, and its predictions where they were kept, as what lies beside it.

    Args:
        result: the record.
        file: where it was read.

    Raises:
        StoreError: if its arrays are damaged, or belong to another record.
    """
    beside = compact(what_is_there(result, file))
    return replace(result, sidecar=beside.digest, beside=beside)


def what_is_there(result: RunResult, file: Path) -> Sidecar:
    """What lies beside a record of format 1: its history alone, where its arrays were not kept.

    Args:
        result, file: as for `converted`.

    Raises:
        StoreError: as `converted` does.
    """
    if file.with_suffix(ARRAYS).exists():
        return sidecar_of_file(result, file)
    return Sidecar(json.loads(content_of_file(file, LARGEST))["history"])


def compact(beside: Sidecar) -> Sidecar:
    """What lay beside a record of format 1, in the form of today: of predictions, those of the test sets and probes, as
    `bench.predictions.stored_logits` has them; weights as float16; classes and groups in the smallest type.

    Args:
        beside: what lay there.
    """
    if not beside.arrays:
        return beside
    import numpy as np

    arrays: dict[str, Any] = {}
    for name, array in beside.arrays.items():
        if name.startswith("val/"):
            continue
        if array.dtype == np.float32 and array.ndim == 2 and not name.endswith("/x"):
            arrays[name] = _stored(array)
        elif name == "train/weight":
            arrays[name] = np.clip(array, *_limits()).astype(np.float16)
        elif array.dtype == np.int16 and array.size and array.min() >= 0 and array.max() < 256:
            arrays[name] = array.astype(np.uint8)
        else:
            arrays[name] = array
    return Sidecar(beside.history, arrays)


def _stored(logits: "Array") -> "Array":
    import torch

    from bench.predictions import stored_logits

    array: Array = stored_logits(torch.from_numpy(logits)).numpy()
    return array


def _limits() -> tuple[float, float]:
    import numpy as np

    about = np.finfo(np.float16)
    return float(about.min), float(about.max)
