"""The columns of records as one table for analysis with pandas. Nothing here imports torch."""

import json
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from bench.columns.lines import COSTS, OPTIONS
from bench.columns.seeds import plugins_of
from bench.columns.table import Columns, Layout
from bench.records.spec import canonical

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

BEFORE = (
    *("key", "protocol", "dataset", "method", "options", "model", "off_recipe"),
    *("dataset_options", "protocol_options", "model_options", "recipe", "code", "validation"),
)
"""The first columns, which say what a run is; `options` are those of the method."""
CHOSEN = ("seed", "rule", "epoch", "set", "metric", "value")
"""The columns after them: the value of a metric."""
READ: dict[str, Callable[[str], str]] = dict.fromkeys(OPTIONS, lambda text: canonical(json.loads(text)))
READ["off_recipe"] = lambda text: ",".join(json.loads(text))
"""Columns whose texts are shown otherwise than they are stored."""


def frame_of(tasks: Sequence[Columns], metrics: Collection[str] | None = None) -> "pd.DataFrame":
    """A table with one row for each finished run, selection rule, set and metric: what the run is, the value, and what
    the run took.

    Args:
        tasks: the columns of each task.
        metrics: the names of those that are shown; None for all.

    Returns:
        The table, in the order of the tasks and their runs.
    """
    import pandas as pd

    frames = [_frame_of(columns, metrics) for columns in tasks]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=[*BEFORE, *CHOSEN, *COSTS])


def _frame_of(columns: Columns, metrics: Collection[str] | None) -> "pd.DataFrame":
    import numpy as np
    import pandas as pd

    runs = np.flatnonzero(columns.finished)
    layouts = [_Shown(layout, metrics) for layout in columns.layouts]
    shown = [layouts[code] for code in columns.codes("layout")[runs].tolist()]
    rows = np.repeat(runs, [len(one.names) for one in shown])
    data: dict[str, Any] = {name: _repeated(*_texts(columns, name), rows) for name in BEFORE}
    data["seed"] = columns.numbers("seed")[rows]
    names = list(zip(*(name for one in shown for name in one.names), strict=True)) or [(), (), ()]
    values, epochs = (
        _chosen(columns, name, runs, [getattr(one, name) for one in shown]) for name in ("values", "epochs")
    )
    data |= {"rule": names[0], "epoch": epochs, "set": names[1], "metric": names[2], "value": values}
    return pd.DataFrame(data | {name: columns.numbers(name)[rows] for name in COSTS})


class _Shown:
    """What is shown of the values of a layout, rule by rule.

    Attributes:
        names: rule, set and metric of each value.
        values, epochs: the place of each value, and of the epoch of its rule, in the columns of these names.
    """

    def __init__(self, layout: Layout, metrics: Collection[str] | None) -> None:
        named = sorted(enumerate(layout.names), key=lambda one: layout.rules.index(one[1][0]))
        named = [(place, name) for place, name in named if metrics is None or name[2] in metrics]
        self.names = [name for _, name in named]
        self.values = [place for place, _ in named]
        self.epochs = [layout.rules.index(rule) for rule, _, _ in self.names]


def _chosen(columns: Columns, name: str, runs: "NDArray[Any]", places: Sequence[Sequence[int]]) -> "NDArray[Any]":
    """The entries at some places of the lists of some runs, one after the other."""
    import numpy as np

    entries, starts = columns.lists(name)
    of_runs = [start + np.array(of_run, dtype=np.int64) for start, of_run in zip(starts[runs], places, strict=True)]
    found: NDArray[Any] = entries[np.concatenate([np.array([], dtype=np.int64), *of_runs])]
    return found


def _texts(columns: Columns, name: str) -> "tuple[Sequence[str], Sequence[int]]":
    """The different texts of a column as they are shown, and for each run the place of its text there."""
    if name == "key":
        return columns.listed(name), range(len(columns))
    if name == "code":
        return plugins_of(columns), range(len(columns))
    read = READ.get(name, str)
    return [read(text) for text in columns.different(name)], columns.listed_codes(name)


def _repeated(texts: Sequence[str], codes: Sequence[int], rows: "NDArray[Any]") -> "pd.Series[str]":
    """The text of each row."""
    import numpy as np
    import pandas as pd

    return pd.Series(texts, dtype=str).take(np.array(codes, dtype=np.int64)[rows]).reset_index(drop=True)
