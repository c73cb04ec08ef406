"""The lines of the table of `bench doctor`."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.failures import one_line
from bench.text import cut

OK, LOOK = "ok", "look"
"""The marks: of what was checked and is right, and of what somebody should look at. Most lines have none."""
LONGEST = 500
"""Characters of what is found, up to which it is shown whole."""


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        what: what was looked at, in a word or two.
        found: what was found.
        mark: OK or LOOK; empty where nothing is right or wrong about it.
        broken: whether it counts in the exit code.
    """

    what: str
    found: str
    mark: str = ""
    broken: bool = False

    @property
    def cells(self) -> tuple[str, str, str]:
        """The line as it is shown, to the public perhaps: the home folder, which names the user, is `~`."""
        return self.what, cut(without_home(self.found), LONGEST), self.mark


def without_home(text: str) -> str:
    """The text with `~` in the place of the user's home folder."""
    try:
        home = str(Path.home())
    except RuntimeError:  # there is none
        return text
    return re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text) if len(home) > 1 else text


def lines_of(what: str, look: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    """The lines of one part of the table. An error ends this part alone, with a line that says so.

    Args:
        what: what is looked at, for that line.
        look: gives the lines.
    """
    try:
        yield from look()
    except (Exception, SystemExit) as error:
        yield Line(what, f"cannot be told: {one_line(error, ())}", LOOK)
