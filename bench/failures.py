"""What plugin code raises: told in one line, with the plugin, the kind and the place, and told apart from a Ctrl-C."""

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
"""Characters of a message that is told; the traceback has it whole."""
INTERRUPTING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command, where something listens to them."""


def one_line(error: BaseException, parts: Sequence[Part]) -> str:
    """An error of plugin code in a line: distribution, version, kind and name, and the type, the place and the message.

    Args:
        error: that was raised.
        parts: what was running, what is most likely to have raised it first.
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
    """Where code that is not one's own has ended the program; empty where one's own code has.

    Args:
        error: that was raised.
        own: names of modules and packages.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    if any(f"{module_of(frame)}.".startswith(f"{name}.") for name in own):
        return ""
    return f"{type(error).__name__} in {frame.f_code.co_name}, {_path(frame)}:{line}: {message(error)}"


def message(error: BaseException) -> str:
    """The message of an error as one line, of LONGEST characters at the most."""
    try:
        text = " ".join(str(error).split())
    except Exception as broken:  # the plugin's own `__str__`
        text = f"its message cannot be shown ({type(broken).__name__})"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def whole_traceback(error: BaseException) -> str:
    """What Python prints of an error, with all that it came from."""
    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return "".join(traceback.format_tb(error.__traceback__))


def _path(frame: FrameType) -> str:
    """The file of a frame, from its top package on."""
    name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    module = module_of(frame).split(".")
    return "/".join([*module, name] if name == "__init__.py" else [*module[:-1], name])


class Interrupts:
    """Within this context, tells whether the user has interrupted: a plugin may raise KeyboardInterrupt too, or swallow
    the real one.

    Attributes:
        heard: whether a signal came. Where signals cannot be listened to, in a thread, every KeyboardInterrupt is real.
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
        """Raises KeyboardInterrupt if the user has interrupted and something swallowed that."""
        if self.heard:
            raise KeyboardInterrupt

    def are_why(self, error: BaseException) -> bool:
        """Whether an error is there because the user has interrupted."""
        return self.heard or (isinstance(error, KeyboardInterrupt) and not self._listening)


@contextmanager
def plugin_code(*parts: Part) -> Iterator[None]:
    """Within, whatever plugin code raises is a PluginFailureError with one line; BenchErrors and a Ctrl-C pass.

    Args:
        parts: what is running.
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
