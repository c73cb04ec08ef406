"""The parts of a command that plugins offer, and whose code it is that runs or has failed."""

import functools
import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from bench.registry import Plugin

Running = Callable[[str], AbstractContextManager[None]]
"""Gives the context in which code of the part of a kind runs, such as `protocol`, or of one of a name: `metric x`."""
Places = list[tuple[FrameType, int]]
"""Frames with the lines that they are in, the innermost first."""


@dataclass(frozen=True)
class Part:
    """Something that a plugin offers and that runs in a command.

    Attributes:
        kind: what it is, in the singular, such as `method`.
        name: as it is registered.
        plugin: that offers it.
        source: the class, function or object itself, or a tuple of those; None: only the plugin's module is known.
    """

    kind: str
    name: str
    plugin: Plugin
    source: Any = None

    def __str__(self) -> str:
        return f"{self.plugin.distribution} {self.plugin.version}: {self.kind} {self.name}"

    @property
    def sources(self) -> list[Any]:
        """The classes and functions that are its code, base classes and what a wrapper wraps too."""
        given = self.source if isinstance(self.source, tuple) else (self.source,)
        return [each for source in given if source is not None for each in _all_of(source)]

    @property
    def modules(self) -> set[str]:
        """Names of the modules that its code stands in."""
        names = {getattr(each, "__module__", None) or "" for each in self.sources} | {self.plugin.module}
        return {name for name in names if package_of(name) not in ("", "builtins", "bench", "functools")}

    def owns(self, value: object) -> bool:
        """Whether a value, the `self` of a function that runs, is an object of its class."""
        classes = self.source if isinstance(self.source, tuple) else (self.source,)
        return any(isinstance(each, type) and isinstance(value, each) for each in classes)

    def defines(self, frame: FrameType) -> bool:
        """Whether a frame runs its code: a function or a method of its sources, or one that is defined within these."""
        name, module = frame.f_code.co_qualname, module_of(frame)
        return any(
            getattr(source, "__code__", None) is frame.f_code
            or (source.__module__ == module and name.startswith(f"{source.__qualname__}."))
            for source in self.sources
        )

    def is_package_of(self, frame: FrameType) -> bool:
        """Whether a frame runs code of the packages that its code stands in."""
        return package_of(module_of(frame)) in map(package_of, self.modules)


def _all_of(source: Any) -> list[Any]:
    """A class with its bases; a function with those that it wraps."""
    if isinstance(source, type):
        return [each for each in inspect.getmro(source) if package_of(each.__module__) not in ("builtins", "bench")]
    if isinstance(source, functools.partial):
        return _all_of(source.func)
    if not hasattr(source, "__qualname__"):  # an object that can be called
        return _all_of(type(source))
    wrapped = getattr(source, "__wrapped__", None)
    return [getattr(source, "__func__", source), *(_all_of(wrapped) if wrapped is not None else [])]


def origin(places: Places, parts: Sequence[Part], kind: str = "") -> tuple[FrameType | None, int, Part | None]:
    """The innermost place in a plugin's code, or else in the core's, and the part whose code it is.

    Args:
        places: frames with their lines, the innermost first.
        parts: what was running.
        kind: of the part, where it is known; else empty.
    """
    known = next((part for part in parts if part.kind == kind), None)
    packages = {package_of(name) for part in parts for name in part.modules}
    for place, (frame, line) in enumerate(places):
        if package_of(module_of(frame)) in packages:
            return frame, line, known or _part_of([frame for frame, _ in places[place:]], parts, packages)
    likely = known or (parts[0] if parts else None)
    for frame, line in places:
        if package_of(module_of(frame)) == "bench" and not module_of(frame).startswith("bench.guards."):
            return frame, line, likely
    return (*places[0], likely) if places else (None, 0, likely)


def _part_of(frames: Sequence[FrameType], parts: Sequence[Part], packages: set[str]) -> Part:
    """The part that a frame of a plugin belongs to: the first whose code this frame is, or one that led to it; or else
    one whose file, module or package it is.

    Args:
        frames: this frame, and those that led to it, the innermost first.
        parts: what was running.
        packages: of the parts.
    """
    model = next((part for part in parts if part.kind == "model"), None)
    trained = _trained_modules(frames, parts)
    passes = [frame for frame in frames if _is_torch_module(frame.f_locals.get("self"))]
    for frame in frames:
        own = frame.f_locals.get("self")
        of_plugin = package_of(module_of(frame)) in packages
        of_model = trained is None or id(own) in trained or (of_plugin and type(own) in trained)
        if model and frame in passes and of_model:
            return model
        if of_plugin:
            sure = [part for part in parts if part.owns(own)] + [part for part in parts if part.defines(frame)]
            if sure:
                return sure[0]
    if model and passes:
        return model
    file, module = frames[0].f_code.co_filename, module_of(frames[0])
    by_file = [part for part in parts if any(_file(source) == file for source in part.sources)]
    by_module = [part for part in parts if module in part.modules]
    by_package = [part for part in parts if part.is_package_of(frames[0])]
    return [*by_file, *by_module, *by_package][0]


def _trained_modules(frames: Sequence[FrameType], parts: Sequence[Part]) -> set[Any] | None:
    """The identities and the classes of the modules of the model that a method trains, as it may be evaluated as a
    copy; None where no method with a model is running.
    """
    methods = [part for part in parts if part.kind == "method"]
    for frame in frames:
        own = frame.f_locals.get("self")
        model = getattr(own, "model", None) if any(method.owns(own) for method in methods) else None
        if model is not None and _is_torch_module(model):
            return {each for module in model.modules() for each in (id(module), type(module))}
    return None


def _is_torch_module(value: object) -> bool:
    """Without importing torch, which takes seconds."""
    return any(base.__module__ == "torch.nn.modules.module" for base in type(value).__mro__)


def _file(source: Any) -> str:
    try:
        return inspect.getsourcefile(source) or ""
    except (TypeError, OSError):
        return ""


def module_of(frame: FrameType) -> str:
    """The name of the module that a frame runs code of; empty for code without one."""
    return str(frame.f_globals.get("__name__", ""))


def package_of(module: str) -> str:
    """The top package of a module."""
    return module.partition(".")[0]
