"""Makes records of today's format of those of earlier versions, in place.

Give it for a folder with records of earlier versions:

    python tools/convert_records.py leaderboards/results

Each record is read with its digest verified, written anew in the folder of its task with its history beside it, read
again and compared; then its old files are removed. Keys, numbers, costs and hashes of code stay as they are, so the
pages stay the same to the byte. What is of today's format is left alone, so an interrupted conversion goes on when the
command is given again. Records that cannot be used are named and left as they are, and the exit code is 1.

With `--complete FOLDER`, records without predictions get those of the same runs in another folder of records: of
repetitions of their own commands, by whatever code. What lies beside a record is replaced only where the repetition
gave the same numbers to the bit, its history included. The metrics of scores are an exception: since format 2 they are
defined on the stored predictions, so those of the repetition are taken over. The record says when and by which code
it was completed.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from bench.errors import BenchError, StoreError
from bench.records.files import write_whole
from bench.records.run import RunResult
from bench.records.sections import Completed
from bench.records.sidecar import Sidecar, sidecar_path, sidecars_of
from bench.store.conversion import converted
from bench.store.repetition import different_number
from bench.store.results import ResultStore


def convert(folder: Path) -> dict[Path, str]:
    """Convert all records of a folder.

    Args:
        folder: the folder of records.

    Returns:
        File -> the reason for each that was left as it is.
    """
    store = ResultStore(folder)
    results, left = store.load()
    for result in results:
        try:
            convert_one(store, result)
        except StoreError as error:
            left[store.path(result.spec)] = str(error)
    return left


def convert_one(store: ResultStore, result: RunResult) -> None:
    """Convert one record. Raises StoreError where what lies beside it cannot be read, and then nothing is changed."""
    old = [path for path in store.find([result.spec])[0].files if path != store.path(result.spec)]
    old = old or ([] if result.sidecar or not result.ok else [store.path(result.spec)])
    if not old:
        return
    write(store, converted(result, old[0]))
    for path in old:
        for suffix in (".json", ".npz"):
            if path.with_suffix(suffix) != store.path(result.spec):
                path.with_suffix(suffix).unlink(missing_ok=True)


def write(store: ResultStore, result: RunResult) -> None:
    """Write a record and what lies beside it, and compare what is read with it. Raises StoreError if it differs."""
    path = store.path(result.spec)
    assert result.beside is not None
    if result.sidecar:
        write_whole(sidecar_path(path, result.sidecar), result.beside.to_bytes())
    result.save(store.folder)
    for left in sidecars_of(path):
        if left != sidecar_path(path, result.sidecar):
            left.unlink()
    again = RunResult.from_json(path.read_text("utf-8"))
    if again != result or ResultStore(store.folder).sidecar(again).digest != result.sidecar:
        raise StoreError(f"{path} is not what was to be written")


def complete(folder: Path, repetitions: Path) -> dict[Path, str]:
    """Give predictions to the records that have none.

    Args:
        folder: the folder of records.
        repetitions: the folder of records of the same runs, with predictions.

    Returns:
        File -> the reason for each record that a repetition did not complete.
    """
    store, other = ResultStore(folder), ResultStore(repetitions)
    repeated = {result.spec.key: result for result in other.load()[0] if result.ok}
    left = {}
    for result in store.load()[0]:
        again = repeated.get(result.spec.key)
        if again is None or has_predictions(before := store.sidecar(result)):
            continue
        beside = other.sidecar(again)
        if different := difference(replace(result, beside=before), replace(again, beside=beside)):
            left[store.path(result.spec)] = f"a repetition gives another {different}"
            continue
        by = Completed(again.environment.created, again.code.core, again.code.plugins, again.environment.git)
        data = replace(result.data, tests=again.data.tests)
        made = replace(result, selected=again.selected, data=data, completed=by, sidecar=beside.digest, beside=beside)
        write(store, made)
    return left


def has_predictions(beside: Sidecar) -> bool:
    """Whether there are predictions in what lies beside a record."""
    return any(name.endswith("/index") for name in beside.arrays)


def difference(result: RunResult, again: RunResult) -> str:
    """What is not the same to the bit in a repetition; empty where all is. It may have further metrics."""
    if again.data.content and not result.data.may_be(again.data.content):
        return "hash of the data"
    if lacking := result.selected.keys() - again.selected.keys():
        return f"selection: none by {', '.join(sorted(lacking))}"
    return different_number(result, again)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the folder of records")
    parser.add_argument("--complete", type=Path, metavar="FOLDER", help="records of repetitions, with predictions")
    asked = parser.parse_args()
    try:
        left = convert(asked.folder)
        if asked.complete:
            left |= complete(asked.folder, asked.complete)
    except BenchError as error:
        sys.exit(f"error: {error}")
    for path, why in left.items():
        print(f"left as it is: {path}: {why}", file=sys.stderr)
    sys.exit(1 if left else 0)


if __name__ == "__main__":
    main()
