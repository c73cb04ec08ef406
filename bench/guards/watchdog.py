"""A clock that ends a run without progress, and an observer that reports progress to the clock."""

import importlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from bench.errors import OptionError, TimedOutError
from bench.failures import Interrupts
from bench.guards.ending import ENDING
from bench.training.meter import Meter
from bench.training.observer import Observer

if TYPE_CHECKING:
    from bench.training.method import Method


LEAST = 1.0
"""Seconds that a run has at least to end itself."""


class RelayingObserver(Observer):
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
    If the same time passes once more, a thread ends the process, where that is allowed (`bench.guards.ending`).

    Args:
        seconds: seconds without progress after which the error is raised; None: it is never raised.
        give_up: called by that thread before the end, to record the run. It returns the line that is printed.

    Raises:
        OptionError: if there are no alarms: on Windows, and in every thread but the main one.
    """

    def __init__(self, seconds: float | None, give_up: Callable[[], str]) -> None:
        self.seconds = seconds
        self._give_up = give_up
        self._progress_at = time.perf_counter()
        self._quiet_until = 0.0
        self._over = threading.Event()
        self._ending = threading.Lock()
        if seconds is not None and not can_ring():
            raise OptionError("--timeout needs --isolate on this system, which has no alarms (SIGALRM)")

    def beat(self) -> None:
        """Note progress: the clock starts anew."""
        self._progress_at = time.perf_counter()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Within this context the clock runs.

        Raises:
            TimedOutError: if there was no progress for too long.
        """
        if self.seconds is None:
            yield
            return
        # The first optimiser imports it, which takes seconds, and an alarm in between would break it.
        importlib.import_module("torch._dynamo")
        self.beat()
        interval = min(1.0, self.seconds / 4)
        if ENDING.is_allowed:
            threading.Thread(target=self._end, args=(interval,), daemon=True, name="bench watchdog").start()
        before = signal.signal(signal.SIGALRM, self._ring)
        signal.setitimer(signal.ITIMER_REAL, interval, interval)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
            with self._ending:  # so that no run is given up while it is recorded
                self._over.set()

    def _silence(self) -> float:
        """Seconds since the last progress, at least. Steps are told of at most once in SHOW_SECONDS."""
        return time.perf_counter() - self._progress_at - Meter.SHOW_SECONDS

    def _ring(self, number: int, frame: FrameType | None) -> None:
        assert self.seconds is not None
        if self._silence() > self.seconds and time.perf_counter() > self._quiet_until:
            self._quiet_until = time.perf_counter() + Meter.SHOW_SECONDS  # so that this error can be handled
            raise TimedOutError(f"no progress for {self.seconds:g} seconds")

    def _end(self, interval: float) -> None:
        """Runs in a thread, as the main one may be in C code, or handle every error."""
        assert self.seconds is not None
        while not self._over.wait(interval):
            with self._ending:
                if self._silence() > self.seconds + max(self.seconds, LEAST) and not self._over.is_set():
                    try:
                        line = self._give_up()
                    except BaseException as error:  # a full disk, for example
                        line = f"{type(error).__name__}: {error}"
                    ENDING.end(line)


def can_ring() -> bool:
    """Whether an alarm of the system can interrupt this thread."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()
