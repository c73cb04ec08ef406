"""How a run is repeated, and whether that gives the same numbers to the bit. Nothing here imports torch."""

import json
from pathlib import Path
from typing import Any

from bench.metrics import metric_of
from bench.records.run import RunResult
from bench.records.spec import canonical
from bench.text import shell_line

OUT, RECORDS = Path("bench-results"), "results"
"""Where commands write that name no folder, and the subfolder of the records there."""
SCORES = ("ece",)
"""Metrics of scores. Records of before format 2 have them of predictions that were not rounded yet."""


def command_again(result: RunResult, folder: Path, data: Path | None = None) -> str:
    """The command that repeats a run and replaces its record.

    Args:
        result: the record.
        folder: of the records.
        data: the folder of the data files, where the user has named one.
    """
    return f"{result.command} --force{out_of(folder)}" + (f" {shell_line(['--data-dir', str(data)])}" if data else "")


def out_of(folder: Path) -> str:
    """What a command needs to find or to write the records of a folder: ` --out FOLDER`; empty for the usual folder,
    and for one that is no output folder's.

    Args:
        folder: of the records.
    """
    elsewhere = folder.name == RECORDS and folder.parent != OUT
    return f" {shell_line(['--out', str(folder.parent)])}" if elsewhere else ""


def different_number(result: RunResult, again: RunResult) -> str:
    """The first number of a run that its repetition does not give to the bit; empty where it gives all.

    The repetition may have more: metrics and columns that came later. A selection rule that it lacks does not count.

    Args:
        result: the record, with what lies beside it.
        again: that of the repetition, with what lies beside it.
    """
    return difference(_numbers_of(result, again), _numbers_of(again, again))


def _numbers_of(result: RunResult, again: RunResult) -> dict[str, Any]:
    """What must be the same to the bit, as JSON has it: under the rules of the repetition."""
    left_out = () if result.selected.counts else SCORES
    assert result.beside is not None
    history = {name: of for name, of in result.beside.as_stored.history.items() if metric_of(name) not in left_out}
    selected = {
        rule: {
            name: {metric: value for metric, value in metrics.items() if metric not in left_out}
            for name, metrics in choice.metrics.items()
        }
        | {"epoch": choice.epoch}
        for rule, choice in result.selected.items()
        if rule in again.selected
    }
    data = {"sizes": result.data.sizes, "counts": result.data.counts}
    numbers: dict[str, Any] = json.loads(canonical({"data": data, "history": history, "selected": selected}))
    return numbers


def difference(then: Any, again: Any, place: str = "") -> str:
    """The first place at which nested values differ; empty for none. What is new in the repetition does not count.

    Args:
        then, again: the values.
        place: where these stand.
    """
    if isinstance(then, dict) and isinstance(again, dict):
        for name, value in then.items():
            if found := difference(value, again.get(name), f"{place} {name}".strip()):
                return found
        return ""
    return "" if then == again else place
