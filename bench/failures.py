"""Errors of plugin code: one line that names the plugin and the place, and what tells them from a Ctrl-C."""

import inspect
import signal
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any, Self

from bench.errors import BenchError, PluginFailureError
from bench.registry import Plugin

LONGEST = 500
"""The greatest number of characters of a message in one line; the traceback holds the whole message."""
INTERRUPTING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Numbers of the signals by which a user interrupts a command. Windows has no SIGHUP."""


@dataclass(frozen=True)
class Part:
    """Something that a plugin offers and whose code runs, such as a method.

    Attributes:
        kind: the kind of thing in the singular, such as `method`.
        name: the name that the plugin offers it by.
        plugin: the plugin that offers it.
        source: the class, function or object itself; None: only the plugin's module is known.
    """

    kind: str
    name: str
    plugin: Plugin
    source: Any = None

    def __str__(self) -> str:
        return f"{self.plugin.distribution} {self.plugin.version}: {self.kind} {self.name}"

    @property
    def modules(self) -> set[str]:
        """Full names of the modules that its code is written in, without those of Python and of the core."""
        classes = inspect.getmro(self.source) if isinstance(self.source, type) else (self.source,)
        names = {getattr(each, "__module__", None) or "" for each in classes} | {self.plugin.module}
        return {name for name in names if _package(name) not in ("", "builtins", "bench", "functools")}

    def owns(self, frame: FrameType) -> bool:
        """Whether a frame runs a method of this part's object.

        Args:
            frame: a frame of a traceback.
        """
        own = frame.f_locals.get("self")
        if self.kind == "model":  # a function that makes a module of torch, which is not imported for this
            return any(base.__module__ == "torch.nn.modules.module" for base in type(own).__mro__)
        return isinstance(self.source, type) and isinstance(own, self.source)


def one_line(error: BaseException, parts: Sequence[Part]) -> str:
    """Describe an error of plugin code in one line.

    Args:
        error: the error.
        parts: the parts that were running, the most likely cause of an error first.

    Returns:
        The distribution, its version, the kind and the name of the part, and the type, place and message of the error.
        A BenchError is shown without its type and place.
    """
    frame, line, part = _origin(error, parts)
    whose = f"{part}: " if part else ""
    if isinstance(error, BenchError):
        return whose + message(error)
    where = f" in {frame.f_code.co_name}, {_path(frame)}:{line}" if frame else ""
    said = message(error)
    return f"{whose}{type(error).__name__}{where}" + (f": {said}" if said else "")


def place_of_exit(error: SystemExit, own: Sequence[str]) -> str:
    """Describe the place of a SystemExit that was raised outside of some packages.

    Args:
        error: the SystemExit.
        own: full names of modules and packages that may end the program.

    Returns:
        The place and the message in one line; empty if one of these packages has raised it.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    if any(f"{_module(frame)}.".startswith(f"{name}.") for name in own):
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


def _origin(error: BaseException, parts: Sequence[Part]) -> tuple[FrameType | None, int, Part | None]:
    """Frame and line of the innermost place in a plugin's code, or else in the core's, and the part that it is in."""
    places = list(traceback.walk_tb(error.__traceback__))[::-1]
    packages = {_package(name) for part in parts for name in part.modules}
    for frame, line in places:
        if _package(_module(frame)) in packages:
            return frame, line, _part_of(frame, parts)
    likely = parts[0] if parts else None
    for frame, line in places:
        if _package(_module(frame)) == "bench" and not _module(frame).startswith("bench.guards."):
            return frame, line, likely
    return (*places[0], likely) if places else (None, 0, likely)


def _part_of(frame: FrameType, parts: Sequence[Part]) -> Part:
    """The part that a frame belongs to, by its object, else by its module, else by its package."""
    module = _module(frame)
    for part in parts:
        if part.owns(frame):
            return part
    for part in parts:
        if module in part.modules:
            return part
    return next(part for part in parts if _package(module) in map(_package, part.modules))


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _package(module: str) -> str:
    return module.partition(".")[0]


def _path(frame: FrameType) -> str:
    """The path of a frame's file, starting at the top package."""
    name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    module = _module(frame).split(".")
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
