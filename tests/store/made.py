"""Records with predictions that are right by construction."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.records.run import RunResult
from bench.records.selections import Counts, Selected, Selections
from bench.records.sidecar import Sidecar

Y = [0, 0, 0, 1]
LAST, BEST = [0, 0, 0, 0], [0, 1, 0, 1]
"""The predicted classes after epoch 3, and after the best epoch, 2."""


TPRD = 1 - 2 / 3
"""After the best epoch: two of three samples of class 0, and the one of class 1, are right."""


def logits(classes: list[int]) -> np.ndarray[Any, Any]:
    """[4, 2] as they are stored: 0 for the predicted class, less for the other."""
    return np.array([[0.0, -1.5] if guess == 0 else [-0.25, 0.0] for guess in classes], np.float16)


def predicted(make_result: Callable[..., RunResult], arrays: dict[str, Any] | None = None, **fields: Any) -> RunResult:
    """A record of four test samples. After epochs 1, 2, 3 the validation accuracy is 0.5, 0.8, 0.7; of the four test
    samples 2, 3, 3 are right. `tprd` is 1 after epochs 1 and 3, and 1/3 after epoch 2.

    `arrays` are put over those that lie beside it.
    """
    history: dict[str, list[Any]] = {"epoch": [1, 2, 3], "step": [5, 10, 15], "train/loss": [2.0, 1.0, 0.5]}
    history |= {"val/accuracy": [0.5, 0.8, 0.7], "val/tprd": [0.3, 0.2, 0.1]}
    history |= {"test/accuracy": [0.5, 0.75, 0.75], "test/tprd": [1.0, TPRD, 1.0]}
    known: dict[str, Any] = {"test/last": logits(LAST), "test/best_val_accuracy": logits(BEST)}
    known |= {"test/y": np.array(Y, np.uint8), "test/group": np.array(Y, np.uint8)}
    known |= {"test/index": np.array([7, 3, 5, 1], np.int32)}
    beside = Sidecar(history, {name: array for name, array in (known | (arrays or {})).items() if array is not None})
    selected = {
        "last": Selected(
            3,
            {"test": {"accuracy": 0.75, "tprd": 1.0}, "val": {"accuracy": 0.7}},
            {"test": Counts([[3, 0]], [[4, 0]])},
        ),
        "best_val_accuracy": Selected(
            2,
            {"test": {"accuracy": 0.75, "tprd": TPRD}, "val": {"accuracy": 0.8}},
            {"test": Counts([[2, 1]], [[2, 2]])},
        ),
    }
    given: dict[str, Any] = {
        "data": {"sizes": {"train": 10, "val": 10, "test": 4}, "counts": {"test": [[3, 1]]}},
        "selected": Selections.of(selected, {"accuracy"}),
        "beside": beside,
        "sidecar": beside.digest,
    }
    return make_result(**given | fields)


def refuse_to_list(locked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder one that cannot be listed, also for root."""
    scan = os.scandir

    def refused(folder: Any) -> Any:
        if os.fspath(folder) == str(locked):
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refused)
