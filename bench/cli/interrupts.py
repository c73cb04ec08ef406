"""Ctrl-C, SIGTERM and SIGHUP: heard at once, and acted on as soon as Python can."""

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from bench.cli.common import say
from bench.failures import INTERRUPTING

CODES: dict[int, int] = {number: 128 + number for number in INTERRUPTING}
"""Signal -> exit code of a command that it ends. Windows has no SIGHUP."""
APART = 0.5
"""Seconds by which a second signal is later than the first: what is nearer was sent together with it, by a terminal
that closes or by a program that passes signals on."""


class SignalListener:
    """While a command runs, makes a KeyboardInterrupt of the first signal and ends the process at the second.

    Python calls a handler between two of its own steps alone, and one of them may be long: a matrix product, a file
    that is read. A thread therefore says at once that the signal was heard, and another signal ends the process from
    there. It is silent only as long as C code holds Python's global lock.

    Signals that are ignored stay so: `nohup` and the jobs of a shell in the background rely on it.
    """

    def __init__(self) -> None:
        self.heard: int | None = None
        """The first signal."""

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Within, signals are heard. Outside of the main thread Python does not allow it, and nothing is changed."""
        self.heard = None
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [number for number in CODES if signal.getsignal(number) is not signal.SIG_IGN]
        received, sent = socket.socketpair()
        sent.setblocking(False)
        teller = threading.Thread(target=self._say, args=(received, numbers), daemon=True, name="bench interrupts")
        teller.start()
        wakeup = signal.set_wakeup_fd(sent.fileno(), warn_on_full_buffer=False)
        before = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(wakeup)
            sent.close()  # which ends the thread, when it has said what it knows
            teller.join(1)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Interrupt what runs, once: what is tidied up because of it is not interrupted again."""
        if self.heard is None:
            self.heard = number
            raise KeyboardInterrupt

    def _say(self, received: socket.socket, numbers: list[int]) -> None:
        """Runs in a thread: Python's C code sends the number of each signal, whatever the main thread does."""
        first = None
        echo = 0
        with received:
            while heard := received.recv(64):
                for number in filter(numbers.__contains__, heard):
                    if first is None:
                        _tell(
                            f"\n{signal.Signals(number).name} heard: ends as soon as it can; a second one ends at once"
                        )
                        echo = number if self._wake(number) else 0
                        first = time.monotonic()
                    elif number == echo:
                        echo = 0
                    elif time.monotonic() - first > APART:
                        _tell(f"\n{signal.Signals(number).name} heard again: ended at once")
                        os._exit(CODES[number])

    def _wake(self, number: int) -> bool:
        """If the system gave the signal to another thread, the main one sleeps on: send it there. Returns whether."""
        time.sleep(0.05)
        if self.heard is not None or not hasattr(signal, "pthread_kill"):
            return False
        signal.pthread_kill(threading.main_thread().ident or 0, number)
        return True


def _tell(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # the terminal may be what has gone
        print(text, file=sys.stderr, flush=True)


SIGNALS = SignalListener()
"""The listener of this process, for the command that runs."""


def exit_code() -> int:
    """The exit code of a command that was interrupted: 130, 143 after SIGTERM, 129 after SIGHUP."""
    return CODES.get(SIGNALS.heard or signal.SIGINT, CODES[signal.SIGINT])


def leave(done: str, to: str = "go on") -> NoReturn:
    """End an interrupted command.

    Args:
        done: what it had done by then, in words.
        to: what the same command does when it is given again.
    """
    say(f"\ninterrupted: {done}; give the same command again to {to}", err=True)
    sys.exit(exit_code())
