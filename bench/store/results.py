"""The folder of the records of runs, one JSON file each, with what lies beside it. Nothing here imports torch: tables
are made from records alone.
"""

import functools
import re
import warnings
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.records.files import check_writable, content_of_file, not_read, set_aside, write_whole
from bench.records.json_file import LARGEST, files_in, load, read_all, sort_out
from bench.records.run import RunResult
from bench.records.sidecar import Sidecar, remove_sidecars, sidecar_path
from bench.records.spec import RunSpec
from bench.store.beside import file_with_sidecar, files_of, sidecar_of_file

if TYPE_CHECKING:
    import pandas as pd

    from bench.columns.table import Columns


KEY = re.compile(rb'"key"\s*:\s*"([0-9a-f]{12})"')
"""The entry of a record that has its key. A nested entry of that name looks the same, so what is found only may be the
key.
"""


@dataclass(frozen=True)
class Found:
    """What a folder holds of a run.

    Attributes:
        finished: its record, if it is finished and the record can be used.
        unusable: file -> the reason why it cannot be used.
        files: those that hold the record, if it can be used: equal copies.
    """

    finished: RunResult | None
    unusable: dict[Path, str]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True)
class ResultStore:
    """A folder of records, `PROTOCOL-vN/DATASET/DATASET.METHOD.SEED.KEY.json`, each with its sidecar (`.DIGEST.xz`).

    Records of earlier versions, which lie in the folder itself, are read too. The subfolder SUPERSEDED has those whose
    place others have taken.

    Attributes:
        folder: the folder; it is made with the first record.
    """

    folder: Path

    def path(self, spec: RunSpec) -> Path:
        """The file of a run's record, whether it exists or not.

        Args:
            spec: that of the run.
        """
        return self.folder / spec.path

    def get(self, spec: RunSpec) -> RunResult | None:
        """The record of a finished run.

        Args:
            spec: that of the run.

        Returns:
            The record; None if there is none, if it tells of a failure, or if it cannot be used (`unusable`).
        """
        return self.find([spec])[0].finished

    def unusable(self, spec: RunSpec) -> dict[Path, str]:
        """Why the record of a run cannot be used.

        A record cannot be used if the file of its name holds no record, or the record of another run; nor if the folder
        holds different records of the run, or the run's record under other names alone.

        Args:
            spec: that of the run.

        Returns:
            File -> the reason; empty if nothing stands against it. The folder itself stands there if it cannot be read.
        """
        return self.find([spec])[0].unusable

    def find(self, specs: Sequence[RunSpec]) -> list[Found]:
        """What the folder holds of some runs: in files of their names, wherever these lie, and in files of other names
        in the folders of their tasks. These folders are looked at once, for all of the runs.

        Args:
            specs: those of the runs.

        Returns:
            What there is of each, in their order.
        """
        wanted = {spec.key: self.path(spec).name for spec in specs}
        tasks = {self.folder, *(self.path(spec).parent for spec in specs)}
        files: dict[str, set[Path]] = defaultdict(set)
        try:
            for path in files_in(self.folder):
                for key in keys_in_name(path) | (keys_in(path) if path.parent in tasks else frozenset()):
                    if key in wanted:
                        files[key].add(path)
        except OSError as error:
            folder = Path(error.filename or self.folder)
            return [Found(None, {folder: not_read(error)})] * len(specs)
        return [self._found(spec, files[spec.key]) for spec in specs]

    def _found(self, spec: RunSpec, files: set[Path]) -> Found:
        """What there is of a run in the files of its name, and in those that hold its key."""
        own = self.path(spec)
        records, damaged = read_all(files | {own}, RunResult)
        for path, record in records.items():
            if path.name == own.name and record.path != spec.path:
                damaged[path] = f"it holds the record that belongs in {record.path}"
        copies = {path: record for path, record in records.items() if record.path == spec.path}
        used, unused = sort_out(copies)
        unusable = {path: why for path, why in damaged.items() if path.name == own.name} | unused
        finished = next((result for result in used if result.ok), None)
        return Found(None, unusable) if unusable else Found(finished, {}, tuple(copies))

    def check_writable(self) -> None:
        """Check that records can be written, now rather than after hours of training. The folder is not made for it.

        Raises:
            StoreError: if they cannot.
        """
        check_writable(self.folder)

    def put(self, result: RunResult) -> Path:
        """Write a record, whole or not at all, and what lies beside it before that, so that a record never lacks it.

        A record of other data with the same revision, of other code or with other numbers, and files that cannot be
        used, are first put into the subfolder SUPERSEDED. So are files of the run that lie elsewhere, as those of
        earlier versions do, and a folder in the place of one.

        Args:
            result: the record, with what lies beside it (`RunResult.beside`).

        Returns:
            The file of the record.

        Raises:
            StoreError: if it cannot be written. Then what was there before is still there, or in SUPERSEDED.
        """
        path = self.path(result.spec)
        (found,) = self.find([result.spec])
        before = found.finished
        if before and path in found.files and not (before.data.may_be(result.data.content) and before.same_as(result)):
            set_aside(path, sidecar_path(path, before.sidecar), path.with_suffix(".npz"), copy=True)
        for other in (*found.unusable, *found.files):
            if other.suffix == ".json" and (other != path or other in found.unusable):  # and no folder of records
                set_aside(*files_of(other))
        (digest_in_use,) = [one.sidecar for one in read_all([path], RunResult)[0].values()] or [""]
        beside = sidecar_path(path, result.sidecar)
        try:
            if result.beside is not None and result.sidecar:
                if beside.is_dir():
                    set_aside(beside)
                write_whole(beside, result.beside.to_bytes())
            result.save(self.folder)
            digest_in_use = result.sidecar
        finally:  # what no record names goes: the new sidecar if its record could not be written, else the old one
            remove_sidecars(path, keep=digest_in_use)
        return path

    def sidecar(self, result: RunResult) -> Sidecar:
        """What lies beside a record.

        Args:
            result: the record, as this folder has it.

        Raises:
            StoreError: if it is missing, damaged, or belongs to another record.
        """
        if result.beside is not None:
            return result.beside
        own = self.path(result.spec)
        if result.sidecar and sidecar_path(own, result.sidecar).exists():  # so that no other folder is looked at
            return sidecar_of_file(result, own)
        files = self.find([result.spec])[0].files or (own,)
        return sidecar_of_file(result, file_with_sidecar(result, files))

    def load(self) -> tuple[list[RunResult], dict[Path, str]]:
        """Read all records of the folder. Nothing is changed.

        Returns:
            The records in the order of their names, and file -> the reason for each that cannot be used.
        """
        return load(self.folder, RunResult)

    def frame(self, metrics: Collection[str] | None = None) -> "pd.DataFrame":
        """A table for analysis with pandas: one row for each finished run, selection rule, set and metric.

        Options are JSON texts of what differs from the defaults. Rows with other options of the protocol or the data
        set are of other tasks. The column `code` has the hashes of the plugins: rows with other hashes were made by
        other code. The last columns are what the run took (`bench.records.sections.Costs`); `seconds` are those of all
        of its training. A record that cannot be used is left out with a warning.

        Args:
            metrics: the names of those that are shown; None for all.
        """
        from bench.columns.frame import frame_of

        return frame_of(self._columns(), metrics)

    def differences(self) -> "pd.DataFrame":
        """A table for analysis with pandas: what each run differs by from the run of its baseline with the same seed,
        under each selection rule and in each metric that the pages show (`bench.tables.pages.exported`).
        """
        from bench.tables.pages.exported import differences_of

        return differences_of(self._columns())

    def _columns(self) -> "list[Columns]":
        from bench.columns.reading import read_columns

        tasks, unused = read_columns(self.folder)
        for path, why in unused.items():
            warnings.warn(f"skipped the record {path}: {why}", stacklevel=3)
        return tasks


def keys_in_name(path: Path) -> frozenset[str]:
    """What may be the key of the record in a file, by its name.

    Args:
        path: the file.
    """
    return frozenset(path.name.split(".")[-2:-1])


def keys_in(path: Path) -> frozenset[str]:
    """What may be the key of the record in a file.

    Args:
        path: the file.

    Returns:
        Keys; empty if the file cannot be read.
    """
    try:
        about = path.stat()
        return _keys_in(path, about.st_mtime_ns, about.st_size)
    except (OSError, ValueError):
        return frozenset()


@functools.cache
def _keys_in(path: Path, changed: int, size: int) -> frozenset[str]:
    """Of a file that was last changed then and has this size: it is searched again when it has others."""
    return frozenset(key.decode() for key in KEY.findall(content_of_file(path, LARGEST)))
