"""How a run ended: its status and, of a failure, the line and the traceback for its record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import torch

from bench.errors import BenchError, DivergedError, NotApplicableError, PluginError, StoreError, TimedOutError
from bench.failures import Interrupts, Part, message, one_line, whole_traceback
from bench.records.run import DIVERGED, NOT_APPLICABLE, OK, OUT_OF_MEMORY, PLUGIN_ERROR, REFUSED, TIMED_OUT


@dataclass
class Outcome:
    """Whether all went well; as a context, it takes what is raised within and makes a failure of it.

    Attributes:
        parts: what runs, for the line of a failure.
        interrupts: tells whether the user has interrupted: that passes.
        is_bad_input: whether a BenchError that is raised now would be the user's own mistake: then it passes too.
        status: OK or the kind of failure.
        error, traceback: of a failure.
    """

    parts: Sequence[Part] = ()
    interrupts: Interrupts = field(default_factory=Interrupts)
    is_bad_input: Callable[[], bool] = lambda: False
    status: str = OK
    error: str = ""
    traceback: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return self.status == OK

    def __enter__(self) -> "Outcome":
        return self

    def __exit__(self, _: object, error: BaseException | None, place: TracebackType | None) -> bool:
        if error is None:
            return False
        if self.interrupts.are_why(error):
            if isinstance(error, KeyboardInterrupt):
                return False
            raise KeyboardInterrupt from error
        if isinstance(error, StoreError):
            return False
        named = isinstance(error, DivergedError | NotApplicableError | PluginError)
        if isinstance(error, BenchError) and not named and self.is_bad_input():
            return False
        self.fail(*_failure(error, self.parts))
        return True

    def fail(self, status: str, error: str, traceback: str = "") -> None:
        """Note a failure. The first one stays: what follows comes from it."""
        if self.ok:
            self.status, self.error, self.traceback = status, error, traceback


def _failure(error: BaseException, parts: Sequence[Part]) -> tuple[str, str, str]:
    """Status, line and traceback of a failure."""
    if isinstance(error, DivergedError):
        return DIVERGED, message(error), ""
    if isinstance(error, NotApplicableError):
        return NOT_APPLICABLE, message(error), ""
    if isinstance(error, TimedOutError):
        return TIMED_OUT, one_line(error, parts), whole_traceback(error)
    if isinstance(error, BenchError) and not isinstance(error, PluginError):
        return REFUSED, message(error), whole_traceback(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in message(error):
        return OUT_OF_MEMORY, str(error).split("\n")[0], ""
    return PLUGIN_ERROR, one_line(error, parts), whole_traceback(error)
