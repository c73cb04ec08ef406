"""For authors of data sets: reading files of comma-separated values, and making features of their columns."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
T = TypeVar("T")


@dataclass(frozen=True)
class Table:
    """The cells of a file as text, by column.

    Attributes:
        path: of the file, for messages.
        lines: for each row, the line of the file in which it ends, counted from 1, for messages.
        cells: name of a column -> its cells, one for each row.
    """

    path: Path
    lines: Sequence[int]
    cells: Mapping[str, Sequence[str]]

    def __len__(self) -> int:
        return len(self.lines)

    def numbers(self, column: str, low: float, high: float) -> Floats:
        """The cells of a column as numbers.

        Args:
            column: name of the column.
            low, high: least and greatest valid number.

        Returns:
            [N] float64.

        Raises:
            DataError: with the line, for a cell that is not a number from `low` to `high`.
        """

        def number(cell: str) -> float:
            if not low <= (value := float(cell)) <= high:
                raise ValueError
            return value

        return np.array(self._each(column, number, f"a number in {low:g}..{high:g}"), np.float64)

    def codes(self, column: str, values: Sequence[str]) -> Integers:
        """The cells of a column as positions in a list of all valid cells.

        Args:
            column: name of the column.
            values: the valid cells, numbered from 0 in this order.

        Returns:
            [N] int64.

        Raises:
            DataError: with the line, for a cell that is not among `values`.
        """
        code = {value: i for i, value in enumerate(values)}.__getitem__
        return np.array(self._each(column, code, f"one of {', '.join(values)}"), np.int64)

    def where(self, keep: Callable[[str], bool], column: str) -> "Table":
        """Some rows of the table.

        Args:
            keep: whether a row stays, given its cell in the column.
            column: name of the column.

        Returns:
            The table of these rows.
        """
        rows = [i for i, cell in enumerate(self.cells[column]) if keep(cell)]
        cells = {name: [column[i] for i in rows] for name, column in self.cells.items()}
        return Table(self.path, [self.lines[i] for i in rows], cells)

    def _each(self, column: str, read: Callable[[str], T], expected: str) -> list[T]:
        numbers = []
        for line, cell in zip(self.lines, self.cells[column], strict=True):
            try:
                numbers.append(read(cell))
            except (KeyError, ValueError):
                raise DataError(
                    f"{self.path} is damaged: line {line}, column {column!r}: expected {expected}, not {cell!r}"
                ) from None
        return numbers


def read_table(path: Path, columns: Sequence[str], names: Sequence[str] = ()) -> Table:
    """Read some columns of a file of comma-separated values.

    Blank lines, and lines that begin with "|" (comments in UCI's files), are skipped.

    Args:
        path: of the file.
        columns: names of the columns to read. Of columns with the same name the first is read.
        names: of all columns of the file; empty: its first line holds them.

    Raises:
        DataError: for a file without rows, a column that is missing, and a row with too few or too many cells.
    """
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True)
            rows = [(reader.line_num, row) for row in reader if row and not row[0].startswith("|")]
    except csv.Error as error:
        raise DataError(f"{path} is damaged: it is not a text of comma-separated values ({error})") from error
    names = names or (rows.pop(0)[1] if rows else ())
    if not rows:
        raise DataError(f"{path} is damaged: it has no rows")
    for column in columns:
        if column not in names:
            raise DataError(f"{path} is damaged: it has no column {column!r}; its columns are {', '.join(names)}")
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path} is damaged: line {line} has {len(row)} cells, not {len(names)}")
    cells = {}
    for column in columns:
        place = list(names).index(column)
        cells[column] = [row[place].strip() for _, row in rows]
    return Table(path, [line for line, _ in rows], cells)


def one_hot(codes: Integers, count: int) -> Floats:
    """Encode codes as features.

    Args:
        codes: [N], from 0 to count - 1.
        count: number of different codes.

    Returns:
        [N, count] float64: 1 at each code, 0 elsewhere.
    """
    return np.eye(count)[codes]


def buckets(values: Floats, edges: Sequence[float]) -> Floats:
    """Encode the buckets that numbers are in as features.

    Args:
        values: [N].
        edges: where one bucket ends and the next begins, in rising order; an edge belongs to the bucket below it.

    Returns:
        [N, len(edges) + 1] float64: 1 at the bucket of each value, 0 elsewhere.
    """
    return one_hot(np.digitize(values, edges, right=True), len(edges) + 1)


def above(values: Floats, edges: Sequence[float]) -> Floats:
    """Encode comparisons of numbers with edges as features.

    Args:
        values: [N].
        edges: what they are compared with.

    Returns:
        [N, len(edges)] float64: 1 where a value is above an edge, else 0.
    """
    return (values[:, None] > np.array(edges)).astype(np.float64)
