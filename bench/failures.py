"""What plugin code raises: told in one line, with the plugin, the kind and the place, and told apart from a Ctrl-C."""

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
"""Characters of a message that is told; the traceback has it whole."""
INTERRUPTING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""Signals that end a command, where something listens to them."""


@dataclass(frozen=True)
class Part:
    """Something that a plugin offers and that runs in a command.

    Attributes:
        kind: what it is, in the singular, such as `method`.
        name: as it is registered.
        plugin: that offers it.
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
        """Names of the modules that its code stands in."""
        classes = inspect.getmro(self.source) if isinstance(self.source, type) else (self.source,)
        names = {getattr(each, "__module__", None) or "" for each in classes} | {self.plugin.module}
        return {name for name in names if _package(name) not in ("", "builtins", "bench", "functools")}

    def owns(self, frame: FrameType) -> bool:
        """Whether it is the object whose method a frame runs."""
        own = frame.f_locals.get("self")
        if self.kind == "model":  # a function that makes a module of torch, which is not imported for this
            return any(base.__module__ == "torch.nn.modules.module" for base in type(own).__mro__)
        return isinstance(self.source, type) and isinstance(own, self.source)


def one_line(error: BaseException, parts: Sequence[Part]) -> str:
    """An error of plugin code in a line: distribution, version, kind and name, and the type, the place and the message.

    Args:
        error: that was raised.
        parts: what was running, what is most likely to have raised it first.
    """
    frame, line, part = _origin(error, parts)
    whose = f"{part}: " if part else ""
    if isinstance(error, BenchError):
        return whose + message(error)
    where = f" in {frame.f_code.co_name}, {_path(frame)}:{line}" if frame else ""
    said = message(error)
    return f"{whose}{type(error).__name__}{where}" + (f": {said}" if said else "")


def place_of_exit(error: SystemExit, own: Sequence[str]) -> str:
    """Where code that is not one's own has ended the program; empty where one's own code has.

    Args:
        error: that was raised.
        own: names of modules and packages.
    """
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    if any(f"{_module(frame)}.".startswith(f"{name}.") for name in own):
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


def _origin(error: BaseException, parts: Sequence[Part]) -> tuple[FrameType | None, int, Part | None]:
    """The innermost place in a plugin's code, or else in the core's, and the part whose code it is."""
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
    """The part that a frame belongs to: by its object, by its module, or by its package."""
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
    """The file of a frame, from its top package on."""
    name = frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    module = _module(frame).split(".")
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
