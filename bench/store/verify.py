"""Looks for what is wrong in a folder of records, and changes nothing. Nothing here imports torch."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import StoreError
from bench.records.files import SUPERSEDED
from bench.records.json_file import files_in, read_all
from bench.records.possible import check_beside, check_history
from bench.records.run import LAST, RunResult
from bench.records.sidecar import SUFFIX, Sidecar
from bench.store.beside import ARRAYS, is_format_1, sidecar_of_file
from bench.store.claims import LINKS, RunClaim, holder_of
from bench.store.claims import NAME as CLAIM
from bench.store.predicted import check_predictions, sets_predicted

NAME = re.compile(r".+\.\d+\.[0-9a-f]{12}\.json")
"""The names of records."""


@dataclass(frozen=True)
class Recomputed:
    """What was computed again from the predictions of one record.

    Attributes:
        values: how many values.
        different: what is not as the record has it.
    """

    values: int
    different: Sequence[str]


Recompute = Callable[[RunResult, Sidecar], Recomputed]
"""Computes the metrics of a record again from what lies beside it."""


@dataclass
class Verified:
    """What a folder of records holds.

    Attributes:
        records, sidecars: how many could be read.
        with_predictions: the sidecars that have some.
        recomputed: the records of which metrics were computed again, and `values` how many.
        problems: file -> what is wrong with it, and what to do.
    """

    records: int = 0
    sidecars: int = 0
    with_predictions: int = 0
    recomputed: int = 0
    values: int = 0
    problems: dict[Path, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, path: Path, *problems: str) -> None:
        """Note what is wrong with a file."""
        if problems:
            self.problems[path] += problems


def verify(folder: Path, recompute: Recompute | None = None) -> Verified:
    """Read all records of a folder and what lies beside them.

    Args:
        folder: of the records; one that does not exist has none.
        recompute: computes metrics of predictions again; None: they are not compared.

    Returns:
        What there is, and what is wrong.
    """
    found = Verified()
    copies: dict[str, dict[Path, str]] = defaultdict(dict)
    try:
        beside = files_in(folder, SUFFIX, ARRAYS)
        for path in files_in(folder):
            _verify_file(folder, path, found, copies, recompute)
    except OSError as error:
        found.add(Path(error.filename or folder), f"it cannot be read: {error.strerror}")
        return found
    for files in copies.values():
        if len(set(files.values())) > 1:
            for path in files:
                others = ", ".join(str(other) for other in files if other != path)
                found.add(path, f"{others} is another record of the same run: move all but one away")
    now = time.time()
    for path in beside:
        _verify_that_it_has_a_record(path, found, now)
    for path in _stale_claims(folder, now):
        found.add(path, "the process that held the run is gone: the next `bench run` into this folder removes it")
    return found


def _verify_file(
    folder: Path, path: Path, found: Verified, copies: dict[str, dict[Path, str]], recompute: Recompute | None
) -> None:
    """Verify what may be a record, and what lies beside it."""
    records, damaged = read_all([path], RunResult)
    for why in damaged.values():
        found.add(path, f"{why}; {_way_out(path, why)}")
    for result in records.values():
        found.records += 1
        copies[result.path][path] = result.values()["digest"]
        if path.name != result.file:
            found.add(path, f"it holds the record that belongs in {result.path}: rename it, or move it away")
        elif path != folder / result.path and not (path.parent == folder and is_format_1(path)):
            found.add(path, f"it belongs in {result.path}: move it there, with what lies beside it")
        _verify_beside(result, path, found, recompute)


def _way_out(path: Path, why: str) -> str:
    """What to do about a file that holds no record."""
    if "newer version" in why:
        return "use that version to read it"
    if NAME.fullmatch(path.name):
        return "restore it from a copy, or give the command of its run again with --force"
    return "no record has such a name, so move it away if it is none"


def _verify_beside(result: RunResult, path: Path, found: Verified, recompute: Recompute | None) -> None:
    """Verify what lies beside a record against it."""
    place = path.with_suffix(SUFFIX)
    try:
        beside = sidecar_of_file(result, path)
    except StoreError as error:
        what = str(error).removeprefix(f"{path.parent}{os.sep}")
        found.add(path, f"{what}; restore it from a copy, or repeat the run: {result.command} --force")
        return
    if result.sidecar:
        found.sidecars += 1
    elif os.path.lexists(place):
        found.add(place, f"{path.name} says that nothing lies beside it: move it away")
    different: list[str] = []
    try:
        check_history(beside.history)
        if result.ok:
            check_beside(result.selected, beside.history, LAST, result.about.select)
    except ValueError as error:
        different.append(str(error))
    if result.ok:
        different += _verify_predictions(result, beside, found, recompute)
    for what in different:
        found.add(path, f"{what}, as {place.name} has it; repeat the run: {result.command} --force")


def _verify_predictions(
    result: RunResult, beside: Sidecar, found: Verified, recompute: Recompute | None
) -> Sequence[str]:
    """What is different in predictions, and in the metrics that are computed of them."""
    if not sets_predicted(result, beside):
        return []
    found.with_predictions += 1
    different = check_predictions(result, beside)
    if different or recompute is None:
        return different
    again = recompute(result, beside)
    found.recomputed += again.values > 0
    found.values += again.values
    return again.different


def _verify_that_it_has_a_record(path: Path, found: Verified, now: float) -> None:
    """A sidecar is written before its record: where there is none, the process was killed in between or is at work."""
    record = path.with_suffix(".json")
    if os.path.lexists(record) or holder_of(record, now):
        return
    if not os.path.lexists(record) and os.path.lexists(path):
        found.add(
            path,
            f"it has no record {record.name}: writing was cut off between the two; give the command of that run "
            f"again, which replaces it, or move it to {SUPERSEDED}/",
        )


def _stale_claims(folder: Path, now: float) -> list[Path]:
    """The files of claims that hold no run any more, as their processes are dead."""
    stale = []
    for base in sorted(folder.rglob("*.claim")):
        if CLAIM.fullmatch(base.name) and not holder_of(base, now):
            stale.append(base)
    for path in sorted(folder.rglob("*.claim.*")):
        if LINKS.fullmatch(path.name) and not os.path.lexists(path.with_suffix("")) and not _lives(path, now):
            stale.append(path)  # it took over a claim that is gone since
    return stale


def _lives(path: Path, now: float) -> bool:
    """Whether the process of a claim is there, as far as it is known."""
    claim = RunClaim.read(path)
    return claim is not None and not claim.is_stale(now)
