"""What the rows of a page are called: what all of them share is said once. Nothing here imports torch."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.tables.markdown import plain
from bench.tables.rows import MARKS, Row


@dataclass(frozen=True)
class Names:
    """The names of some rows.

    Attributes:
        shared: the changes and the marks that all rows have, which no name repeats.
    """

    shared: Sequence[str] = ()

    @classmethod
    def of(cls, rows: Sequence[Row]) -> "Names":
        """The names of the rows of one page. A row that stands alone keeps all of its name.

        Args:
            rows: the rows.
        """
        if len({(row.label, row.changes) for row in rows}) < 2:
            return cls()
        parts = [[*row.marks, *row.all_changes] for row in rows]
        return cls([part for part in parts[0] if all(part in others for others in parts)])

    def __call__(self, row: Row) -> str:
        """The name of a row, as markdown."""
        return plain(self.plain(row))

    def plain(self, row: Row) -> str:
        """The name of a row: its method and options, its marks, and what differs from the recipe."""
        marks = [mark for mark in row.marks if mark not in self.shared]
        changes = [change for change in row.all_changes if change not in self.shared]
        return " ".join([row.label, *marks]) + (f" ({', '.join(changes)})" if changes else "")

    def sentence(self) -> str:
        """What all rows share, in a sentence of markdown; empty for nothing."""
        changes = [part for part in self.shared if part not in MARKS]
        marks = [part for part in self.shared if part in MARKS]
        sentences = [f"All rows: {plain(', '.join(changes))}."] if changes else []
        return " ".join(sentences + ([f"All rows are marked {' and '.join(marks)}."] if marks else []))
