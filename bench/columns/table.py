"""The columns of the runs of one task, and what is read out of them. Nothing here imports torch."""

import json
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bench.columns.lines import Lines, Task, numbers
from bench.errors import StoreError
from bench.records.json_file import read_all
from bench.records.run import OK, RunResult

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """Which values a run has.

    Attributes:
        rules: the selection rules that apply.
        sets: pairs of a set and its metrics.
    """

    rules: list[str]
    sets: list[tuple[str, list[str]]]

    @cached_property
    def names(self) -> list[tuple[str, str, str]]:
        """Rule, set and metric of each value, in the order of the column `values`."""
        return [(rule, of, metric) for of, metrics in self.sets for metric in metrics for rule in self.rules]

    @cached_property
    def places(self) -> dict[tuple[str, str, str], int]:
        """Rule, set and metric -> the place of the value."""
        return {name: place for place, name in enumerate(self.names)}


class Columns:
    """The columns of the runs of one task, under the names of `bench.columns.lines`. Different runs have different
    keys, but for records that were not read from a folder.

    Args:
        table: the columns.
        folder: of the records.
        records: the records themselves, in the order of the columns, where they were not read from a folder.
    """

    def __init__(self, table: "pa.Table", folder: Path = Path(), records: Sequence[RunResult] = ()) -> None:
        self.table = table.unify_dictionaries().combine_chunks()
        self.folder = folder
        self.records = records
        self._known: dict[Any, Any] = {}

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def take(self, rows: Sequence[int]) -> "Columns":
        """Some of the runs.

        Args:
            rows: their places, in the order that they are to have.
        """
        table = self.table.take(numbers(rows, "int64"))
        return Columns(table, self.folder, [self.records[row] for row in rows if self.records])

    def without(self, files: Collection[str]) -> "Columns":
        """The runs whose records do not lie in some files.

        Args:
            files: their names within the folder of records.
        """
        rows = [row for row, file in enumerate(self.listed("file")) if os.fsdecode(file) not in files]
        return self if len(rows) == len(self) else self.take(rows)

    def once(self, name: Any, make: Callable[[], T]) -> T:
        """What follows from the columns, computed when it is first asked for.

        Args:
            name: by which it is kept.
            make: computes it.
        """
        if name not in self._known:
            self._known[name] = make()
        found: T = self._known[name]
        return found

    def listed(self, name: str) -> list[Any]:
        """A column as a list of Python values.

        Args:
            name: of the column.
        """
        return self.once(("listed", name), lambda: self._array(name).to_pylist())

    def numbers(self, name: str) -> "NDArray[Any]":
        """A column of numbers.

        Args:
            name: of the column.

        Returns:
            [runs]; NaN where a run has none, and then all are floats.
        """
        return self.once(("numbers", name), lambda: self._array(name).to_numpy(zero_copy_only=False))

    def lists(self, name: str) -> "tuple[NDArray[Any], NDArray[np.int64]]":
        """A column of lists.

        Args:
            name: of the column, `values` or `epochs`.

        Returns:
            The entries of all lists, one after the other, and the place of the first of each list.
        """

        import numpy as np

        def lists() -> "tuple[NDArray[Any], NDArray[np.int64]]":
            array = self._array(name)
            entries: NDArray[Any] = np.from_dlpack(array.values)  # `to_numpy` imports pandas
            starts: NDArray[Any] = np.from_dlpack(array.offsets)
            return entries, starts[:-1]

        return self.once(("lists", name), lists)

    @cached_property
    def finished(self) -> list[bool]:
        """[runs]: whether a run has finished."""
        ok = [status == OK for status in self.different("status")]
        return [ok[code] for code in self.listed_codes("status")]

    def listed_codes(self, name: str) -> list[int]:
        """As `codes`, as a list.

        Args:
            name: of a column of shared texts.
        """
        return self.once(("listed codes", name), lambda: self.codes(name).tolist())

    def codes(self, name: str) -> "NDArray[np.int32]":
        """For each run the place of its text among the different texts of a column.

        Args:
            name: of a column of shared texts.
        """
        import numpy as np

        def codes() -> "NDArray[np.int32]":
            found: NDArray[Any] = np.from_dlpack(self._array(name).indices)
            return found

        return self.once(("codes", name), codes)

    def different(self, name: str) -> list[str]:
        """The different texts of a column.

        Args:
            name: of a column of shared texts.
        """
        return self.once(("different", name), lambda: self._array(name).dictionary.to_pylist())

    def decoded(self, name: str, code: int, read: Callable[[Any], Any] | None = None) -> Any:
        """What a text of a column says, which is read once for all runs that have it.

        Args:
            name: of a column of shared JSON texts.
            code: the place of the text among the different ones.
            read: what is made of the JSON value; always the same for one column.
        """
        known = self.once(("decoded", name), dict[int, Any])
        if code not in known:
            value = json.loads(self.different(name)[code])
            known[code] = read(value) if read else value
        return known[code]

    def values(self, rule: str, of: str, metric: str) -> list[float]:
        """The values of a metric.

        Args:
            rule: the selection rule.
            of: the set, such as `test`.
            metric: its name.

        Returns:
            [runs]; NaN where it is undefined or missing.
        """
        return self.once(("values", rule, of, metric), lambda: self._values((rule, of, metric)).tolist())

    def _values(self, name: tuple[str, str, str]) -> "NDArray[np.float64]":
        import numpy as np

        entries, starts = self.lists("values")
        place_by_layout = np.array([layout.places.get(name, -1) for layout in self.layouts], dtype=np.int64)
        places = place_by_layout[self.codes("layout")]
        there = places >= 0
        values = np.full(len(self), np.nan)
        values[there] = entries[starts[there] + places[there]]
        return values

    def has_rule(self, rule: str) -> list[bool]:
        """[runs]: whether a selection rule applies to a run.

        Args:
            rule: the selection rule.
        """

        def has() -> list[bool]:
            applies = [rule in layout.rules for layout in self.layouts]
            return [applies[layout] for layout in self.listed_codes("layout")]

        return self.once(("rule", rule), has)

    @cached_property
    def layouts(self) -> list["Layout"]:
        """What the different texts of the column `layout` say."""
        return [Layout(*json.loads(layout)) for layout in self.different("layout")]

    def record(self, row: int) -> RunResult:
        """The whole record of a run, which is read again where it was read from a folder.

        Args:
            row: the place of the run.

        Raises:
            StoreError: if it can no longer be read.
        """
        if self.records:
            return self.records[row]
        path = self.file(row)
        records, damaged = read_all([path], RunResult)
        if path not in records:
            raise StoreError(f"{path} can no longer be read: {damaged.get(path, 'it is gone')}")
        return records[path]

    def file(self, row: int) -> Path:
        """The file that the record of a run was read from.

        Args:
            row: the place of the run.
        """
        return self.folder / os.fsdecode(self.listed("file")[row])

    def _array(self, name: str) -> Any:
        return self.table.column(name).combine_chunks()


def columns_of(results: Iterable[RunResult]) -> list[Columns]:
    """The columns of records in memory.

    Args:
        results: the records.

    Returns:
        Those of each task, in the order in which the tasks are met, with the runs in the order of the records.
    """
    lines = Lines()
    records: dict[Task, list[RunResult]] = {}
    for result in results:
        lines.add(result)
        records.setdefault((result.spec.protocol, result.spec.dataset), []).append(result)
    return [Columns(table, records=records[task]) for task, table in lines.tables().items()]
