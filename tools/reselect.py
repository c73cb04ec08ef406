"""Makes what the selection rule of a protocol selects, in committed records, from their own histories.

For the day on which a protocol names another metric to select the epoch by (`Protocol.select`). The trainings stay as
they were: a record holds every metric of every evaluation. Records of runs that chose the metric themselves
(`recipe.select`) are left alone. So are those whose test sets were taken of the selected models alone, which have to be
run again; they are named.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench.metrics import METRICS
from bench.records.json_file import load
from bench.records.run import LAST, RunResult, best_val
from bench.records.sections import Selected
from bench.registry import installed


def best_epoch(result: RunResult, metric: str) -> int | None:
    """The position in the history of the earliest evaluation with the best validation value; None without a value."""
    sign = 1 if METRICS[metric].higher_is_better else -1
    values = result.history.get(f"val/{metric}", [])
    defined = [place for place, value in enumerate(values) if value is not None]
    return max(defined, key=lambda place: (sign * values[place], -place)) if defined else None


def reselected(result: RunResult, metric: str) -> RunResult:
    """The record with the selection rule of this metric in place of its own.

    Raises:
        ValueError: for a set that the history does not have.
    """
    own_rule = best_val(result.about.select)
    place = best_epoch(result, metric)
    selected = {rule: chosen for rule, chosen in result.selected.items() if rule != own_rule}
    if own_rule in result.selected and place is not None:
        metrics = {}
        for name, last in result.selected[LAST].metrics.items():
            if f"{name}/{next(iter(last))}" not in result.history:
                raise ValueError(f"{name} was evaluated after the training alone")
            metrics[name] = {key: result.history[f"{name}/{key}"][place] for key in last}
        selected[best_val(metric)] = Selected(int(result.history["epoch"][place]), metrics)
    about = replace(result.about, select=metric)
    resolved = replace(result.resolved, recipe=result.resolved.recipe | {"select": metric})
    return replace(result, about=about, resolved=resolved, selected=selected)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--records", type=Path, required=True, help="folder of the records, such as leaderboards/results"
    )
    folder = parser.parse_args().records
    protocols = installed().values("protocols")
    left = 0
    for result in load(folder, RunResult)[0]:
        protocol = protocols.get(result.spec.protocol_name)
        if (
            protocol is None
            or result.about.select == protocol.select
            or "select" in result.spec.recipe
            or not result.ok
        ):
            continue
        try:
            reselected(result, protocol.select).save(folder)
            print(f"{result.path}: {result.about.select} -> {protocol.select}")
        except ValueError as error:
            left += 1
            print(f"{result.path}: {error}: run it again", file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
