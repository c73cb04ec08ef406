"""Makes any number of records, to measure how tables and pages of many runs are made.

They are signed copies of committed records, of several tasks, with other seeds and other options: valid in every
respect, but that nobody has made these runs. What nobody has made has no history and no predictions. The numbers are
those of real runs, moved a little for each run, so that there is something to compare.

    python tools/many_records.py 100000 /tmp/many
    /usr/bin/time -v bench leaderboard --out /tmp/many

measures 100,000 records, cold: remove `/tmp/many/results/.columns` before it is measured again. What the time command
calls the maximum resident set size is that of the largest process alone. With `--from`, records are added, as with

    python tools/many_records.py 10 /tmp/many --from 100000
    /usr/bin/time -v bench leaderboard --out /tmp/many
"""

import argparse
import random
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bench.metrics import METRICS
from bench.options import show
from bench.records.run import RunResult
from bench.records.selections import VAL, Selections
from bench.records.spec import canonical, digest
from bench.store.results import ResultStore

ROOT = Path(__file__).parents[1]
LEAST = 0.95
"""What numbers are multiplied by at least."""
FIRST_SEED = 1000
"""No committed run has a seed from here on, so the copies have other keys."""
ROWS = 6
"""Of so many rows of each task there are copies: of the baseline and of some that follow."""
Row = Sequence[RunResult]
"""The runs of different seeds that a row of a table has."""


def templates(folder: Path) -> list[Row]:
    """The rows that are copied, those of one task after another.

    Args:
        folder: of the real records.
    """
    runs: dict[str, dict[str, list[RunResult]]] = defaultdict(lambda: defaultdict(list))
    for result in ResultStore(folder).load()[0]:
        if result.ok:
            setting = canonical([not result.about.baseline, result.command.rpartition(" --seed ")[0]])
            runs[result.spec.folder][setting].append(result)
    return [rows[setting] for rows in runs.values() for setting in sorted(rows)[:ROWS]]


def copy(rows: Sequence[Row], seeds: int, number: int) -> RunResult:
    """A made-up record.

    Args:
        rows: those that are copied.
        seeds: the number of seeds of each setting.
        number: of the record. Other numbers give other records.
    """
    setting, seed = divmod(number, seeds)
    repetition, row = divmod(setting, len(rows))
    chance = random.Random(number)
    real = chance.choice(rows[row])
    made = with_option(real, repetition, FIRST_SEED + seed)
    slower = chance.uniform(0.9, 1.1)
    costs = replace(real.costs, train_seconds=real.costs.train_seconds * slower)
    return replace(made, costs=costs, selected=_selected(real, chance), sidecar="", completed=None)


def _selected(real: RunResult, chance: random.Random) -> Selections:
    """The moved numbers of a record. The best epoch on the test set stays no worse than any that a rule selects."""
    selected = moved(real.selected, chance)
    if real.about.higher_is_better[real.about.metrics[0]] is False and selected.oracle is not None:
        selected = replace(selected, oracle=selected.oracle * LEAST)
    return selected


def with_option(result: RunResult, repetition: int, seed: int) -> RunResult:
    """The record with another seed and, but for the first repetition, with another value of an option of its method or,
    where that has none, of the learning rate.
    """
    spec, resolved, off_recipe = replace(result.spec, seed=seed), result.resolved, result.off_recipe
    command = result.command.rpartition(" --seed ")[0]
    if repetition:
        numbers = [name for name, value in resolved.options.items() if isinstance(value, float) and value > 0]
        section, name = ("options", numbers[0]) if numbers else ("recipe", "lr")
        value = getattr(resolved, section)[name] * (1 + repetition / 1000)
        changed: dict[str, Any] = {section: {**getattr(spec, section), name: value}}
        spec = replace(spec, **changed)
        resolved = replace(resolved, **{section: {**getattr(resolved, section), name: value}})
        option = name if numbers else f"recipe.{name}"
        off_recipe = off_recipe if numbers else [*dict.fromkeys([*off_recipe, option])]
        command += f" -o {option}={show(value)}"
        spec = replace(spec, settings=digest([spec.settings, option, value]))
    command += f" --seed {seed}"
    return replace(result, spec=spec, resolved=resolved, off_recipe=off_recipe, command=command)


def moved(selected: Selections, chance: random.Random) -> Selections:
    """The numbers of selected models, each fraction moved towards 0 by up to a twentieth. Those of the validation data,
    by which epochs are selected, stay as they are, and so does the accuracy where the predictions were counted.
    """
    metrics: dict[str, dict[str, list[float | None]]] = {}
    for of, values in selected.metrics.items():
        fixed = {*values} if of == VAL else {"accuracy"} if of in selected.counts else set()
        metrics[of] = {
            metric: _moved(of_rules, selected, chance) if metric in METRICS.keys() - fixed else of_rules
            for metric, of_rules in values.items()
        }
    return replace(selected, metrics=metrics)


def _moved(of_rules: list[float | None], selected: Selections, chance: random.Random) -> list[float | None]:
    """The values under each rule; rules that select the same epoch have the same value."""
    factors = {epoch: chance.uniform(LEAST, 1.0) for epoch in selected.epochs.values()}
    return [
        None if value is None else value * factors[epoch]
        for value, epoch in zip(of_rules, selected.epochs.values(), strict=True)
    ]


def write(rows: Sequence[Row], seeds: int, folder: Path, numbers: Sequence[int]) -> None:
    """Write made-up records.

    Args:
        rows, seeds: as for `copy`.
        folder: of the made-up records.
        numbers: theirs.
    """
    for number in numbers:
        made = copy(rows, seeds, number)
        path = folder / made.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(made.to_json(), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("number", type=int, metavar="N", help="how many records are written")
    parser.add_argument("folder", type=Path, metavar="DIR", help="they go to DIR/results")
    parser.add_argument("--from", type=int, default=0, dest="first", help="how many there are already (default 0)")
    parser.add_argument("--seeds", type=int, default=10, help="the number of seeds of each setting (default 10)")
    parser.add_argument(
        "--records", type=Path, default=ROOT / "leaderboards" / "results", help="folder of the records to copy"
    )
    asked = parser.parse_args()
    rows = templates(asked.records)
    numbers = range(asked.first, asked.first + asked.number)
    parts = [numbers[start : start + 500] for start in range(0, len(numbers), 500)]
    with ProcessPoolExecutor() as processes:
        list(processes.map(partial(write, rows, asked.seeds, asked.folder / "results"), parts))


if __name__ == "__main__":
    main()
