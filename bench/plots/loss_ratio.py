"""Columns that follow from a record's history. Nothing here imports torch."""

import math
from collections.abc import Mapping, Sequence

from bench.columns.run import Run

LOSS_RATIO = "train/loss_ratio/class"
DECAY = 0.9
"""Of the averages in the loss ratio, per evaluation; the paper gives none."""


def names(result: Run) -> list[str]:
    """The names of the columns that `column` finds: those of the history, and those that follow from them.

    Args:
        result: the run.

    Returns:
        The names, sorted.
    """
    history, classes = result.history.keys() - {"epoch", "step"}, range(len(result.data.class_counts("train")))
    return sorted(history | {f"{LOSS_RATIO}{c}" for c in classes if f"train/loss/class{c}" in history})


def column(result: Run, name: str) -> Sequence[float | None] | None:
    """A column of the history, or the loss ratio of a class.

    Args:
        result: the run.
        name: of the column, such as `val/accuracy`, or `train/loss_ratio/class2`.

    Returns:
        One value for each evaluation; None if there is no such column.
    """
    if not name.startswith(LOSS_RATIO) or name not in names(result):
        return result.history.get(name)
    return loss_ratio(result.history, result.data.class_counts("train"), int(name.removeprefix(LOSS_RATIO)))


def loss_ratio(
    history: Mapping[str, Sequence[float | None]], counts: Sequence[int], label: int, decay: float = DECAY
) -> list[float]:
    """How much larger the loss of the samples of one class is than that of all others.

    It is the exponential moving average of the mean loss of the samples with this label, over that of the others.

    Args:
        history: that of a record, with the columns `train/loss/class0` and so on.
        counts: number of training samples of each class.
        label: the class.
        decay: of the averages, per evaluation. Default: 0.9; the paper gives none.

    Returns:
        A ratio for each evaluation.

    Source: Yan, Seto, Apostoloff 2022 (FORML), section 7.2, where the label is 2.
    """
    columns = [history[f"train/loss/class{c}"] for c in range(len(counts))]
    of_label = others = math.nan
    ratios = []
    for row in zip(*columns, strict=True):
        losses = [0.0 if loss is None else loss for loss in row]  # of a class without samples
        rest = [c for c in range(len(counts)) if c != label]
        now = losses[label], sum(counts[c] * losses[c] for c in rest) / sum(counts[c] for c in rest)
        of_label, others = (
            new if math.isnan(old) else decay * old + (1 - decay) * new
            for old, new in zip((of_label, others), now, strict=True)
        )
        ratios.append(of_label / others)
    return ratios
