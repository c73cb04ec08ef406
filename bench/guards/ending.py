"""Ends a process in which plugin code never returns and cannot be interrupted."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import NoReturn


class Ending:
    """Whether a run that cannot be ended otherwise may end its process, and what has to be done before that.

    It may where a command is the only thing that this process does; in a program that calls `run` it may not.
    """

    def __init__(self) -> None:
        self.is_allowed = False
        """Whether the process may be ended."""
        self._before: list[Callable[[], object]] = []

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Within, the process may be ended."""
        self.is_allowed = True
        try:
            yield
        finally:
            self.is_allowed = False

    @contextlib.contextmanager
    def before(self, tidy: Callable[[], object]) -> Iterator[None]:
        """Within, something is tidied up before the process is ended.

        Args:
            tidy: called from another thread than the main one, which hangs; what was given last is called first.
        """
        self._before.append(tidy)
        try:
            yield
        finally:
            self._before.remove(tidy)

    def end(self, line: str) -> NoReturn:
        """End the process with exit code 1, whatever runs in it.

        Args:
            line: said on the error stream.
        """
        for tidy in reversed(self._before):
            with contextlib.suppress(BaseException):
                tidy()
        for write in (lambda: sys.stderr.write(f"{line}\n"), sys.stdout.flush, sys.stderr.flush):
            with contextlib.suppress(BaseException):
                write()
        os._exit(1)


ENDING = Ending()
"""That of this process."""
