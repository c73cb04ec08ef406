"""A clock that ends a run without progress, and an observer that reports progress to the clock."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from bench.errors import OptionError, TimedOutError
from bench.failures import Interrupts
from bench.training.meter import Meter
from bench.training.observer import Observer

if TYPE_CHECKING:
    from bench.training.method import Method


class Heard(Observer):
    """An observer that calls a function at each event, and then passes the event on to another observer.

    Args:
        observer: the other observer. If it raises KeyboardInterrupt, that counts as an interrupt by the user.
        interrupts: the interrupts of the run. One that plugin code has caught is raised again at the next event.
        beat: the function, which is called without arguments.
    """

    def __init__(self, observer: Observer, interrupts: Interrupts, beat: Callable[[], None]) -> None:
        self._observer, self._interrupts, self._beat = observer, interrupts, beat

    def _tell(self, of: str, *what: Any) -> None:
        self._interrupts.check()
        self._beat()
        try:
            getattr(self._observer, of)(*what)
        except KeyboardInterrupt:
            self._interrupts.heard = True
            raise

    def stage(self, name: str) -> None:
        self._tell("stage", name)

    def begin(self, method: "Method", epoch: int) -> None:
        self._tell("begin", method, epoch)

    def step(self, epoch: int, step: int, loss: float | None) -> None:
        self._tell("step", epoch, step, loss)

    def evaluating(self, epoch: int) -> None:
        self._tell("evaluating", epoch)

    def evaluated(self, row: dict[str, Any], speed: float) -> None:
        self._tell("evaluated", row, speed)

    def saved(self, epoch: int) -> None:
        self._tell("saved", epoch)

    def note(self, text: str) -> None:
        self._tell("note", text)


class Watchdog:
    """A clock that raises TimedOutError in the main thread when `beat` was not called for too long.

    It uses an alarm of the system, which interrupts any Python code, sleeping and waiting for locks included. The alarm
    comes again each second, because plugin code may catch the error. It cannot interrupt C code that does not return.

    Args:
        seconds: seconds without progress after which the error is raised; None: it is never raised.

    Raises:
        OptionError: if there are no alarms: on Windows, and in every thread but the main one.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._heard_at = time.perf_counter()
        if seconds is not None and not can_ring():
            raise OptionError("--timeout needs --isolate on this system, which has no alarms (SIGALRM)")

    def beat(self) -> None:
        """Note progress: the clock starts anew."""
        self._heard_at = time.perf_counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the clock runs.

        Raises:
            TimedOutError: if there was no progress for too long.
        """
        if self.seconds is None:
            yield
            return
        self.beat()
        interval = min(1.0, self.seconds / 4)
        before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        assert self.seconds is not None
        # Steps are reported once in SHOW_SECONDS at most.
        if time.perf_counter() - self._heard_at > self.seconds + Meter.SHOW_SECONDS:
            self._heard_at = time.perf_counter() - self.seconds  # gives the handling of this error time
            raise TimedOutError(f"no progress for {self.seconds:g} seconds")


def can_ring() -> bool:
    """Whether an alarm of the system can interrupt this thread."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
