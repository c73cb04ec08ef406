"""Errors of plugin code: one line that names the plugin and the place, and what tells them from a Ctrl-C."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from bench.errors import BenchError, NamedError, PluginError, PluginFailureError
from bench.parts import Part, module_of, origin

LONGEST = 500
"""The greatest number of characters of a message in one line; the traceback holds the whole message."""
INTERRUPTING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Numbers of the signals by which a user interrupts a command. Windows has no SIGHUP."""


def one_line(error: BaseException, parts: Sequence[Part]) -> str:
    """Describe an error of plugin code in one line.

    Args:
        error: the error.
        parts: the parts that were running, the most likely cause of an error first.

    Returns:
        The distribution, its version, the kind and the name of the part, and the type, place and message of the error.
        A BenchError is shown without its type and place.
    """
    kind = error.kind if isinstance(error, PluginError) else ""
    frame, line, part = origin(list(traceback.walk_tb(error.__traceback__))[::-1], parts, kind)
    whose = f"{part}: " if part else ""
    if isinstance(error, BenchError):
        return message(error) if isinstance(error, NamedError) else whose + message(error)
    said = message(error)
    return f"{whose}{type(error).__name__}{_where(frame, line)}" + (f": {said}" if said else "")


def told(error: BaseException, parts: Sequence[Part]) -> str:
    """An error in a line without whose it is, for a message that says this: the type, the place in a plugin's code if
    there is one, and the message.

    Args:
        error: that was raised.
        parts: whose code is looked for.
    """
    frame, line, part = origin(list(traceback.walk_tb(error.__traceback__))[::-1], parts)
    is_plugins = frame and part and part.is_package_of(frame)
    said = message(error)
    return f"{type(error).__name__}{_where(frame, line) if is_plugins else ''}" + (f": {said}" if said else "")


def hangs(parts: Sequence[Part]) -> tuple[str, str]:
    """Where the main thread is, to be called from another one.

    Args:
        parts: what is running.

    Returns:
        In a line, as of an error: distribution, version, kind and name, and the place; and what Python prints of it.
    """
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    frame_now, line, part = origin(list(traceback.walk_stack(frame)), parts)
    whose = f"{part}: " if part else ""
    return f"{whose}it hangs{_where(frame_now, line)}", "".join(traceback.format_stack(frame))


def _where(frame: FrameType | None, line: int) -> str:
    return f" in {frame.f_code.co_name}, {_path(frame)}:{line}" if frame else ""


def place_of_exit(error: SystemExit, own: Sequence[str]) -> str:
    """Describe the place of a SystemExit that was raised outside of some packages.

    Args:
        error: the SystemExit.
        own: full names of modules and packages that may end the program.

    Returns:
        The place and the message in one line; empty if one of these packages has raised it.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    if any(f"{module_of(frame)}.".startswith(f"{name}.") for name in own):
        return ""
    return f"{type(error).__name__} in {frame.f_code.co_name}, {_path(frame)}:{line}: {message(error)}"


def message(error: BaseException) -> str:
    """The message of an error in one line of at most LONGEST characters.

    Args:
        error: the error.
    """
    try:
        text = " ".join(str(error).split())
    except Exception as broken:  # the plugin's own `__str__`
        text = f"its message cannot be shown ({type(broken).__name__})"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def whole_traceback(error: BaseException) -> str:
    """The traceback of an error as Python prints it, with the errors that caused it.

    Args:
        error: the error.
    """
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__))


def _path(frame: FrameType) -> str:
    """The path of a frame's file, starting at the top package."""
    name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    module = module_of(frame).split(".")
    return "/".join([*module, name] if name == "__init__.py" else [*module[:-1], name])


class Interrupts:
    """A context that notes whether the user has interrupted.

    A KeyboardInterrupt alone does not show it: a plugin may raise one itself, or catch the user's. Outside of the main
    thread Python lets nobody handle signals, and every KeyboardInterrupt counts as the user's.

    Attributes:
        heard: whether one of the signals INTERRUPTING has come.
    """

    def __init__(self) -> None:
        self.heard = False
        self._listening = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._listening = threading.current_thread() is threading.main_thread()
        for number in INTERRUPTING if self._listening else ():
            handler = signal.getsignal(number)
            if callable(handler):
                self._before[number] = handler
                signal.signal(number, self._hear)
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as in the background of a shell
        self._listening = self._listening and (ignored or signal.SIGINT in self._before)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.heard = True
        self._before[number](number, frame)

    def check(self) -> None:
        """Raise again an interrupt that plugin code has caught.

        Raises:
            KeyboardInterrupt: if the user has interrupted.
        """
        if self.heard:
            raise KeyboardInterrupt

    def are_why(self, error: BaseException) -> bool:
        """Whether an error was raised because the user has interrupted.

        Args:
            error: the error.
        """
        return self.heard or (isinstance(error, KeyboardInterrupt) and not self._listening)


@contextmanager
def plugin_code(*parts: Part) -> Iterator[None]:
    """Within this context, errors of plugin code become a PluginFailureError with one line.

    A BenchError and an interrupt by the user pass through unchanged.

    Args:
        parts: the parts that are running, the most likely cause of an error first.

    Raises:
        PluginFailureError: for an error that is no BenchError, KeyboardInterrupt and SystemExit of plugins included.
        KeyboardInterrupt: if the user has interrupted.
    """
    with Interrupts() as interrupts:
        try:
            yield
        except BenchError:
            raise
        except BaseException as error:
            if interrupts.are_why(error):
                raise KeyboardInterrupt from error
            raise PluginFailureError(one_line(error, parts)) from error
