"""Makes records of earlier versions tell what records of today tell of their data and of what their numbers are beside.

That is the hash of their test sets, by which pages know whether seeds share them; the number of samples that these and
the training sets are drawn from; what the best constant prediction scores there; what the epoch that is best there
would give; what disparities are by chance alone; how far a fixed test set decides the metrics; and whom the task is of
use to. Give it for a folder of records, with the data files at hand:

    python tools/data_of_records.py leaderboards/results --data-dir DIR

The test sets of each run are drawn again by its own command, without training. They are taken over only where they are
the run's: the hash of the data set, and their sizes and counts, must be the same. Of records that have the hash it is
compared. What was trained and measured stays as it is. Records whose data cannot be drawn again, or differ, are named
and left as they are, and the exit code is 1.
"""

import argparse
import shlex
import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from bench.cli.run import experiments_asked_for, run
from bench.data.content import content_of_tests
from bench.data.split import Split, Splits
from bench.errors import BenchError
from bench.records.run import RunResult
from bench.records.sections import Data
from bench.records.selections import TEST
from bench.runs.build import splits_of
from bench.runs.experiment import Experiment
from bench.runs.recording import in_context
from bench.store.results import ResultStore


def complete(folder: Path, data_dir: Path | None) -> dict[str, str]:
    """Complete all records of a folder.

    Args:
        folder: the folder of records.
        data_dir: that of the data files; None for the usual one.

    Returns:
        File -> the reason for each that was left as it was.
    """
    left: dict[str, str] = {}
    by_command: dict[str, list[RunResult]] = defaultdict(list)
    results, unusable = ResultStore(folder).load()
    for result in results:
        if result.ok:
            by_command[result.command.rpartition(" --seed ")[0]].append(result)
    for command, of_command in by_command.items():
        try:
            experiment = _experiment(command, data_dir)
            for result in of_command:
                _complete(result, experiment, folder, left)
        except BenchError as error:
            left |= {result.path: str(error) for result in of_command}
    return left | {str(path): why for path, why in unusable.items()}


def _experiment(command: str, data_dir: Path | None) -> Experiment:
    """What a command runs."""
    words = shlex.split(command)[2:] + (["--data-dir", str(data_dir)] if data_dir else [])
    asked = run.make_context("run", [*words, "--allow-unofficial-data"])
    methods = asked.params.pop("methods")
    (experiment,) = experiments_asked_for(methods, asked.params)  # the command of a record is of one method
    return experiment


def _complete(result: RunResult, experiment: Experiment, folder: Path, left: dict[str, str]) -> None:
    """Complete one record, or say in `left` why not."""
    splits = splits_of(experiment, result.spec.seed)
    data = _data(experiment, splits)
    if different := difference(result.data, data):
        left[result.path] = f"other {different}"
        return
    beside = ResultStore(folder).sidecar(result)
    now = replace(
        result,
        about=replace(result.about, problem=experiment.protocol.problem),
        data=replace(result.data, tests=data.tests, pool=data.pool),
        beside=beside,
    )
    now = in_context(now, experiment, splits.tests.get(TEST))
    if now.values() != result.values():
        now.save(folder)


def _data(experiment: Experiment, splits: Splits) -> Data:
    """What a record says of the test sets of a run."""
    groups = 1 if experiment.protocol.group_is_class else len(experiment.protocol.groups(experiment.dataset))
    return Data(
        content=experiment.dataset.content,
        tests=content_of_tests(experiment.dataset, splits.tests),
        pool=len(experiment.dataset.train),
        sizes={name: len(split) for name, split in splits.tests.items()},
        counts={name: _counts(split, groups, len(experiment.dataset.classes)) for name, split in splits.tests.items()},
    )


def _counts(split: Split, groups: int, classes: int) -> list[list[int]]:
    """The samples of each group (rows; one row where the group is the class) and class (columns)."""
    counts = [[0] * classes for _ in range(groups)]
    for group, y in zip(split.group.tolist(), split.y.tolist(), strict=True):
        counts[group if groups > 1 else 0][y] += 1
    return counts


def difference(ours: Data, drawn: Data) -> str:
    """What a record says of its test sets that those drawn again are not; empty where all is the same."""
    if not ours.may_be(drawn.content):
        return "hash of the data"
    if ours.tests not in ("", drawn.tests):
        return "test sets"
    for name, size in drawn.sizes.items():
        if ours.sizes.get(name, size) != size:
            return f"size of {name}"
    for name, counts in drawn.counts.items():
        if ours.counts.get(name, counts) != counts:
            return f"counts of {name}"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of records")
    parser.add_argument("--data-dir", type=Path, help="the folder of the data files")
    asked = parser.parse_args()
    try:
        left = complete(asked.folder, asked.data_dir)
    except BenchError as error:
        sys.exit(f"error: {error}")
    for path, why in left.items():
        print(f"left as it is: {path}: {why}", file=sys.stderr)
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
