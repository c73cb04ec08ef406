"""What the rows of a page are called: what all of them share is said once. Nothing here imports torch."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.options import show
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


def is_called(row: Row, name: str) -> bool:
    """Whether a name is the label of a row, or that with further options at the values that they have there anyway.

    Args:
        row: the row.
        name: such as `focal[gamma=2]`, where gamma is 2 by default.
    """
    spec, used = row.first.spec, row.first.resolved.options
    begin = f"{spec.method}["
    if not (name.startswith(begin) and name.endswith("]")):
        return name == row.label
    named = _options_in(name.removeprefix(begin)[:-1], {f"{option}={show(value)}" for option, value in used.items()})
    return named is not None and spec.options.keys() <= {text.partition("=")[0] for text in named}


def _options_in(text: str, known: Collection[str]) -> set[str] | None:
    """The options that stand in a text, with commas between them. Values may have commas themselves.

    Args:
        text: such as `a=1,b=1,10`.
        known: those that it may have, such as `b=1,10`.

    Returns:
        Those of `known` that it is made of; None if it is not.
    """
    if not text:
        return set()
    for option in known:
        rest = text.removeprefix(option)
        if rest != text and (not rest or rest[0] == ","):
            others = _options_in(rest[1:].lstrip(), known)
            if others is not None and option not in others:
                return others | {option}
    return None
