"""Which rows answer one question together: the families of tests. Nothing here imports torch."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from bench.tables.rows import Row


@dataclass(frozen=True)
class Family:
    """The rows of one task that are tested together.

    Attributes:
        title: what tells them from the others of the task; empty for the main family.
        rows: in the order of their names.
        main: whether this is the question that the protocol asks: which methods, in their default configuration and by
            the recipe, differ from the baseline. All others are exploratory.
    """

    title: str
    rows: Sequence[Row]
    main: bool = False


def families_of(rows: Sequence[Row]) -> list[Family]:
    """The families of a task: its methods in their default configuration; for each method its other options; and what
    is off the recipe.

    Where all methods have options given, these are the methods that are compared, and the family is exploratory.

    Args:
        rows: those of one task.
    """
    recipe = [row for row in rows if not row.first.off_recipe]
    default = [row for row in recipe if not row.first.spec.options]
    families = [Family("", default, main=True)]
    if all(row.first.about.baseline for row in default):
        families = [Family("", recipe)]
    else:
        by_method: dict[str, list[Row]] = defaultdict(list)
        for row in recipe:
            if row.first.spec.options:
                by_method[row.first.spec.method].append(row)
        families += [Family(f"other options of {method}", of) for method, of in sorted(by_method.items())]
    families.append(Family("off the recipe", [row for row in rows if row.first.off_recipe]))
    return [family for family in families if family.rows]
