"""Looks for what is wrong in a folder of records, and changes nothing. Nothing here imports torch."""

import os
import re
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import StoreError
from bench.records.files import RIGHTS
from bench.records.json_file import files_in, read_all
from bench.records.possible import check_beside, check_history
from bench.records.run import LAST, RunResult
from bench.records.sidecar import NAME as SIDECAR
from bench.records.sidecar import SUFFIX, Sidecar, sidecar_path
from bench.store.beside import ARRAYS, is_format_1, is_whole, sidecar_of_file
from bench.store.claims import holder_of
from bench.store.predicted import check_predictions, sets_predicted
from bench.store.reading import stale_claims, strangers
from bench.store.repetition import command_again
from bench.text import without_numbers

NAME = re.compile(r".+\.\d+\.[0-9a-f]{12}\.json")
"""The names of records."""


@dataclass(frozen=True)
class Recomputed:
    """What was computed again from the predictions of one record.

    Attributes:
        values: how many values.
        different: what is not as the record has it.
        failed: what could not be computed, for a reason that lies in a metric.
    """

    values: int
    different: Sequence[str]
    failed: Sequence[str] = ()


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
        failed: what could not be computed, and why -> the files of the records that it was to be compared with.
    """

    records: int = 0
    sidecars: int = 0
    with_predictions: int = 0
    recomputed: int = 0
    values: int = 0
    problems: dict[Path, list[str]] = field(default_factory=lambda: defaultdict(list))
    failed: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

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
    verifying = _Verifying(folder, recompute)
    verifying.all()
    return verifying.found


@dataclass
class _Verifying:
    """One look at a folder.

    Attributes:
        copies: file of a record as its spec has it -> the files where it was read -> its digest.
        elsewhere: file -> the record, of those that do not lie where their specs have them.
        named: file of a record -> its sidecar, as the record names it; None where it names none.
        failures: what could not be computed, without numbers -> as it was told of the first record.
        of_sidecar: digest of a sidecar -> the files of the records that have it -> those that their specs have.
    """

    folder: Path
    recompute: Recompute | None
    found: Verified = field(default_factory=Verified)
    copies: dict[str, dict[Path, str]] = field(default_factory=lambda: defaultdict(dict))
    elsewhere: dict[Path, RunResult] = field(default_factory=dict)
    named: dict[Path, Path | None] = field(default_factory=dict)
    of_sidecar: dict[str, dict[Path, str]] = field(default_factory=lambda: defaultdict(dict))
    failures: dict[str, str] = field(default_factory=dict)

    def all(self) -> None:
        """Verify everything."""
        unread: dict[Path, str] = {}
        beside = files_in(self.folder, SUFFIX, ARRAYS, unread=unread)  # before the records, which are written later
        for path in files_in(self.folder, unread=unread):
            self._file(path)
        for path, why in unread.items():
            self.found.add(path, why)
        for path in strangers(self.folder):
            self.found.add(path, "it is no file of `bench`, so move it away")
        for own, files in self.copies.items():
            if self._differ(own):
                for path in files:
                    others = ", ".join(str(other) for other in files if other != path)
                    what = f"{others} is another record of the same run: move all but one away"
                    self.found.add(path, f"{what}{self._with_sidecar(path)}")
        for path, result in self.elsewhere.items():
            self._elsewhere(result, path)
        now = time.time()
        for path in beside:
            if why := self._without_record(path, now):
                self.found.add(path, why)
        for path in stale_claims(self.folder, now):
            what = "the process that held the run is gone: the next `bench run` into this folder removes it"
            self.found.add(path, what)

    def _file(self, path: Path) -> None:
        """Verify what may be a record, and what lies beside it."""
        records, damaged = read_all([path], RunResult)
        for why in damaged.values():
            self.found.add(path, with_way_out(path, why))
        for result in records.values():
            self.found.records += 1
            self.copies[result.path][path] = result.values()["digest"]
            if result.sidecar:
                self.of_sidecar[result.sidecar][path] = result.path
            if path == self.folder / result.path or self._of_format_1(result, path):
                self._in_place(result, path)
            else:
                self.elsewhere[path] = result

    def _of_format_1(self, result: RunResult, path: Path) -> bool:
        """Whether a record lies where those of the first format did."""
        return path == self.folder / result.file and is_format_1(path)

    def _differ(self, own: str) -> bool:
        """Whether there are different records of a run."""
        return len(set(self.copies[own].values())) > 1

    def _first(self, own: str) -> Path:
        """Of equal copies of a record, the one in its place, or the first. The others are to be removed."""
        return min(self.copies[own], key=lambda file: file in self.elsewhere)

    def _elsewhere(self, result: RunResult, path: Path) -> None:
        """Say where a record belongs that lies elsewhere."""
        if self._differ(result.path):  # which has been said
            return
        first = self._first(result.path)
        beside = sidecar_path(path, result.sidecar)
        its_own = path.name == result.file or not NAME.fullmatch(path.name)  # and not what another run's record left
        is_there = bool(result.sidecar) and its_own and os.path.lexists(beside)
        also = f", with {beside.name}" if is_there else ""
        if path != first and is_there and not is_whole(result, first) and is_whole(result, path):
            to = sidecar_path(first, result.sidecar)
            self.found.add(path, f"it is a copy of {first} and has the whole sidecar: move {beside} to {to}")
        elif path != first:
            self.found.add(path, f"it is a copy of {first}: remove it{also}")
        elif path.name != result.file:
            self.found.add(path, f"it holds the record that belongs in {result.path}: rename it{also}, or move it away")
        else:
            self.found.add(path, f"it belongs in {result.path}: move it there{also}")
            if is_there or not os.path.lexists(sidecar_path(self.folder / result.path, result.sidecar)):
                self._in_place(result, path)

    def _in_place(self, result: RunResult, path: Path) -> None:
        """Verify what lies beside a record against it."""
        self.named[path] = sidecar_path(path, result.sidecar) if result.sidecar else None
        try:
            beside = sidecar_of_file(result, path)
        except StoreError as error:
            what = str(error).removeprefix(f"{path.parent}{os.sep}")
            if result.sidecar and sidecar_path(path, result.sidecar).is_dir():
                what = f"{what}; move that away"
            self.found.add(
                path, f"{what}; restore it from a copy, or repeat the run: {command_again(result, self.folder)}"
            )
            return
        self.found.sidecars += bool(result.sidecar)
        different: list[str] = []
        try:
            check_history(beside.history)
            if result.ok:
                check_beside(result.selected, beside.history, LAST, result.about.select)
        except (ValueError, TypeError, LookupError) as error:
            different.append(str(error))
        if result.ok:
            different += self._predictions(result, beside, path)
        for what in different:
            self.found.add(
                path, f"{what}, by what lies beside it; repeat the run: {command_again(result, self.folder)}"
            )

    def _predictions(self, result: RunResult, beside: Sidecar, path: Path) -> Sequence[str]:
        """What is different in predictions, and in the metrics that are computed of them."""
        if not sets_predicted(result, beside):
            return []
        self.found.with_predictions += 1
        different = check_predictions(result, beside)
        if different or self.recompute is None:
            return different
        again = self.recompute(result, beside)
        self.found.recomputed += again.values > 0
        self.found.values += again.values
        for what in again.failed:
            told = self.failures.setdefault(without_numbers(what), what)
            self.found.failed[told].append(path)
        return again.different

    def _with_sidecar(self, path: Path) -> str:
        """What is said of the sidecar of a record that is to be moved; empty where there is none beside it."""
        digests = [digest for digest, files in self.of_sidecar.items() if path in files]
        beside = [sidecar_path(path, digest).name for digest in digests if os.path.lexists(sidecar_path(path, digest))]
        return f", each with its sidecar, which is here {beside[0]}" if beside else ""

    def _without_record(self, path: Path, now: float) -> str:
        """Why what may lie beside a record lies beside none; empty where it does."""
        match = SIDECAR.fullmatch(path.name)
        if not match and path.suffix == SUFFIX:
            return "no sidecar has such a name, so move it away"
        record = path.with_name(f"{match[1]}.json") if match else path.with_suffix(".json")
        if holder_of(record, now) or not os.path.lexists(path):  # its record is being written
            return ""
        is_left = match and record in self.named and self.named[record] != path
        if os.path.lexists(record) and not is_left:
            return ""
        belonging = (sidecar_path(self.folder / one.path, one.sidecar) for one in self.elsewhere.values())
        if not is_left and path in belonging:
            return ""  # it is said where that record belongs
        if path.is_dir():
            return "it is a folder, in a place where sidecars lie, so move it away"
        if match and (others := self._records_of(record.name, match[2])):
            return _of_another(record, others)
        if is_left:
            return f"{record.name} is of another sidecar: it was left by a process that was killed, so remove it"
        if not NAME.fullmatch(record.name):
            return f"it has no record {record.name}, and no run's record has such a name, so move it away"
        return (
            f"it has no record {record.name}: writing was cut off between the two; give the command of that run again, "
            f"which replaces it, or move it away"
        )

    def _records_of(self, name: str, digest: str) -> list[Path]:
        """The files of the records whose sidecar has a digest: those of the run that a name tells, or of any run where
        it tells none. Runs with the same numbers, such as failures at their beginning, have the same digest.
        """
        files = [
            path
            for path, own in self.of_sidecar.get(digest, {}).items()
            if (not NAME.fullmatch(name) or own.rpartition("/")[2] == name)
            and (path == self._first(own) or self._differ(own))
        ]
        return sorted(files, key=lambda file: file in self.elsewhere)


def _of_another(beside: Path, files: Sequence[Path]) -> str:
    """What to do with a sidecar that lies beside no record, or beside another one, and has the digest of a record.

    Args:
        beside: the file that a record beside it would have.
        files: those of the records that have its digest.
    """
    whole = []
    for file in files:
        for result in read_all([file], RunResult)[0].values():
            if is_whole(result, file):
                whole.append(file)
            elif is_whole(result, beside):
                return f"it is the sidecar of {file}, which lacks it: move it to {sidecar_path(file, result.sidecar)}"
    if whole:
        return f"it has the digest of the sidecar of {whole[0]}, which is whole: remove it"
    return f"it has the digest of the sidecar of {files[0]}, and is damaged: move it away"


def with_way_out(path: Path, why: str) -> str:
    """Why a file holds no record that can be used, and what to do about it.

    Args:
        path: the file.
        why: the reason, as `bench.records.json_file.read_all` gives it.
    """
    if RIGHTS in why:
        return why
    if "newer version" in why:
        return f"{why}; use that version to read it"
    if NAME.fullmatch(path.name):
        return f"{why}; restore it from a copy, or give the command of its run again with --force"
    return f"{why}; no record has such a name, so move it away if it is none"
