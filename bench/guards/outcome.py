"""How a run ended: its status and, if it failed, the message and the traceback for its record."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import torch

from bench.errors import BenchError, DivergedError, NotApplicableError, PluginError, StoreError, TimedOutError
from bench.failures import Interrupts, message, one_line, whole_traceback
from bench.parts import Part
from bench.records.run import DIVERGED, NOT_APPLICABLE, OK, OUT_OF_MEMORY, PLUGIN_ERROR, REFUSED, TIMED_OUT


@dataclass
class Outcome:
    """How a run ended. As a context, it catches errors and turns them into a failure of the run.

    Three kinds of errors pass through: an interrupt by the user, a StoreError, and a BenchError that is the user's own
    mistake.

    Attributes:
        parts: the parts of plugins that run; the message of a failure names the one that has raised the error.
        interrupts: notes whether the user has interrupted.
        is_bad_input: returns whether a BenchError that is raised now is the user's own mistake.
        status: OK, or the kind of failure (`bench.records.run`).
        error: the message of the failure in one line; empty if the run did not fail.
        traceback: the traceback of the failure; empty if the message says everything.
    """

    parts: Sequence[Part] = ()
    interrupts: Interrupts = field(default_factory=Interrupts)
    is_bad_input: Callable[[], bool] = lambda: False
    status: str = OK
    error: str = ""
    traceback: str = ""

    @property
    def ok(self) -> bool:
        """Whether the run has not failed."""
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
        """Note a failure. Only the first one is kept, because later ones may be its consequences.

        Args:
            status: the kind of failure (`bench.records.run`).
            error: the message in one line.
            traceback: the traceback as Python prints it; empty if there is none.
        """
        if self.ok:
            self.status, self.error, self.traceback = status, error, traceback


def _failure(error: BaseException, parts: Sequence[Part]) -> tuple[str, str, str]:
    """Status, message in one line, and traceback for an error."""
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
