"""Whether predictions that lie beside a record can be those that it counts. Nothing here imports torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.records.run import RunResult
from bench.records.selections import VAL
from bench.records.sidecar import Sidecar

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SAMPLES = ("y", "group", "index")
"""What is stored of the samples of a test set."""


def sets_predicted(result: RunResult, beside: Sidecar) -> list[str]:
    """The test sets and probes whose predictions are stored in the form of format 2.

    Args:
        result: the record.
        beside: what lies beside it.
    """
    names = (name.rpartition("/") for name, array in beside.arrays.items() if array.dtype.str == "<f2")
    return list(dict.fromkeys(of_set for of_set, _, rule in names if rule in result.selected.epochs))


def is_by_class(result: RunResult, name: str) -> bool:
    """Whether the group of a sample of a test set is its class.

    Args:
        result: the record.
        name: of the test set.
    """
    groups = len(result.about.groups)
    return groups > 1 and groups == len(result.about.classes) and len(result.data.counts.get(name, [])) == 1


def check_predictions(result: RunResult, beside: Sidecar) -> list[str]:
    """Compare stored predictions with what the record says of its test sets.

    Args:
        result: the record of a finished run.
        beside: what lies beside it.

    Returns:
        What is wrong; empty where nothing is, and where no predictions are stored.
    """
    predicted = sets_predicted(result, beside)
    if not predicted:
        return []
    counted = [name for name in result.selected.counts if name != VAL]
    return [what for name in dict.fromkeys([*predicted, *counted]) for what in _of_set(name, result, beside)]


def _of_set(name: str, result: RunResult, beside: Sidecar) -> Iterator[str]:
    """What is wrong with the predictions of one set."""
    size, classes = result.data.sizes.get(name, 0), len(result.about.classes)
    parts = {part: beside.arrays.get(f"{name}/{part}") for part in SAMPLES}
    known = {part: array for part, array in parts.items() if array is not None}
    wrong = [f"{name}/{part} is missing" for part in SAMPLES if part not in known and _is_labelled(name, result)]
    for part, array in known.items():
        if array.dtype.kind not in "iu" or array.shape != (size,):
            wrong.append(f"{name}/{part} has shape {list(array.shape)} of {array.dtype}, expected {size} whole numbers")
    for rule in result.selected.epochs:
        wrong += _of_logits(f"{name}/{rule}", beside.arrays.get(f"{name}/{rule}"), size, classes)
    if not wrong and known:
        wrong += _of_samples(name, result, known)
    if not wrong and {"y", "group"} <= known.keys():
        wrong += _of_counts(name, result, beside)
    yield from wrong


def _is_labelled(name: str, result: RunResult) -> bool:
    return name in result.data.counts or name in result.selected.counts


def _of_logits(where: str, logits: "Array | None", size: int, classes: int) -> Iterator[str]:
    if logits is None:
        yield f"{where} is missing"
    elif logits.shape != (size, classes):
        yield f"{where} has shape {list(logits.shape)}, expected {size} samples and {classes} classes"
    elif size and not (logits.max(-1) == 0).all():  # which NaN is not either
        yield f"{where} is not relative to the largest logit of each sample"


def _of_samples(name: str, result: RunResult, known: "dict[str, Array]") -> Iterator[str]:
    import numpy as np

    classes, groups = len(result.about.classes), len(result.about.groups)
    index = known.get("index")
    if index is not None and (index.size != np.unique(index).size or (index < 0).any()):
        yield f"{name}/index has a sample twice, or a number below 0"
    for part, most in (("y", classes), ("group", groups)):
        if part in known and known[part].size and not (known[part].min() >= 0 and known[part].max() < most):
            yield f"{name}/{part} has a number that is none of {most}"
            return
    if {"y", "group"} <= known.keys() and name in result.data.counts:
        rows = len(result.data.counts[name])
        if _table(known["group"], known["y"], rows, classes) != result.data.counts[name]:
            yield f"{name} has not as many samples of each class and group as the record counts"


def _of_counts(name: str, result: RunResult, beside: Sidecar) -> Iterator[str]:
    """Compare the right and all predictions, by group and class, with those of the record."""
    classes = len(result.about.classes)
    y, group = (beside.arrays[f"{name}/{part}"] for part in ("y", "group"))
    for rule, chosen in result.selected.items():
        if name not in chosen.counts:
            continue
        guess = beside.arrays[f"{name}/{rule}"].argmax(-1)
        rows = len(chosen.counts[name].right)
        hit = guess == y
        right, predicted = _table(group[hit], guess[hit], rows, classes), _table(group, guess, rows, classes)
        if (right, predicted) != (chosen.counts[name].right, chosen.counts[name].predicted):
            yield f"{name}/{rule} does not give the counts of the record"


def _table(group: "Array", y: "Array", rows: int, classes: int) -> list[list[int]]:
    """Samples by group (rows; without groups, one row) and class."""
    import numpy as np

    cell = y.astype(np.int64)
    if rows > 1:
        cell = cell + group.astype(np.int64) * classes
    counts: list[list[int]] = np.bincount(cell, minlength=rows * classes).reshape(rows, classes).tolist()
    return counts
