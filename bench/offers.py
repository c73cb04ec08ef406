"""Checks of what a plugin offers. They are made when a plugin is loaded, and by the checks of `bench.testing`."""

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterator
from typing import Any, Literal, Union, get_args, get_origin

from bench.errors import OptionError, PluginError
from bench.options import Option, convert, options_of, show

NEEDED = {
    "methods": ("fit", "update"),
    "protocols": ("name", "version", "metrics", "default", "splits"),
    "metrics": ("function", "higher_is_better", "unit"),
    "workloads": ("model", "shape"),
    "rivals": ("rival_of", "update"),
}
"""Kind -> attributes that an offer must have. Data sets and models are functions and need none."""

CLASSES = ("methods", "protocols", "rivals")
"""Kinds whose offers are classes."""

ARGUMENTS = {"datasets": ("files",), "models": ("shape", "classes")}
"""Kind whose offers are functions -> the arguments that they are called with before their options."""

RESERVED = ("dataset", "method", "model", "protocol", "recipe", "seed", "validation")
"""Names that no option may have, because tables, records and the command line use them for something else."""

NAME = re.compile(r"\w[\w.+-]*")
"""The form of a name: it becomes a word of commands and a part of file names."""
MEMBER = re.compile(r"\w[\w.+-]*/(\*|\w[\w./+-]*)")
"""The form of the name of a family, such as `timm/*`, and of a member, such as `timm/resnet18`."""


def check_offer(kind: str, name: Any, value: Any) -> None:
    """Check that an offer of a plugin is what its hook asks for, and that its name and options can be typed.

    Args:
        kind: what is offered, one of `bench.registry.KINDS`.
        name: the name that it is offered by.
        value: the class, function or object that is offered.

    Raises:
        PluginError: for an offer that cannot be used, with the first reason.
    """
    offer = f"bench_{kind} offers {name!r}"
    if not isinstance(name, str) or not (NAME.fullmatch(name) or (kind in ARGUMENTS and MEMBER.fullmatch(name))):
        raise PluginError(f"{offer}: a name must be a text of letters, digits and _ . + -, without spaces")
    if reason := next(_defects(kind, name, value), ""):
        raise PluginError(f"{offer}, which is not what the hook asks for: {reason}")
    own_name = getattr(value, "name", "") if isinstance(value, type) else ""
    if own_name and own_name != name:
        raise PluginError(f"{offer}, and its class has the name {own_name!r}: they must be the same")


def _defects(kind: str, name: Any, value: Any) -> Iterator[str]:
    """Reasons why an offer cannot be used, the most basic one first."""
    if kind in CLASSES and not isinstance(value, type):
        yield f"it is no class, but {value!r}"
    missing = [attribute for attribute in NEEDED.get(kind, ()) if not hasattr(value, attribute)]
    if missing:
        yield f"it has no {', '.join(missing)}"
    if kind not in NEEDED and not callable(value):
        yield "it cannot be called"
    if kind == "metrics":
        yield from _defects_of_metric(value)
    if kind == "workloads":
        yield from _defects_of_workload(value)
    if kind == "rivals" and not (isinstance(value.rival_of, str) and value.rival_of):
        yield f"its rival_of must be the name of a method, not {value.rival_of!r}"
    if kind in CLASSES:
        yield from _defects_of_class(kind, value)
    if kind in ARGUMENTS:
        yield from _defects_of_function(kind, name, value)


def _defects_of_metric(metric: Any) -> Iterator[str]:
    if not callable(metric.function):
        yield "its function cannot be called"
    if not any(metric.higher_is_better is valid for valid in (True, False, None)):
        yield f"its higher_is_better must be True, False or None, not {metric.higher_is_better!r}"
    if not isinstance(metric.unit, str) or not metric.unit.strip() or not metric.unit.isprintable():
        yield f"its unit must be % or the name of another unit, not {metric.unit!r}"


def _defects_of_workload(workload: Any) -> Iterator[str]:
    shape = workload.shape
    if not isinstance(workload.model, str) or not workload.model:
        yield f"its model must be the name of one, not {workload.model!r}"
    if not isinstance(shape, tuple) or not shape or not all(type(size) is int and size > 0 for size in shape):
        yield f"its shape must be a tuple (C, H, W) or (D,) of sizes, not {shape!r}"


def _defects_of_class(kind: str, value: Any) -> Iterator[str]:
    if inspect.isabstract(value):
        yield f"it has no {', '.join(sorted(value.__abstractmethods__))}"
    if kind == "protocols":
        yield from _defects_of_protocol(value)
    for cls in value.__mro__:
        if "__dataclass_params__" not in vars(cls):
            yield from (f"option {name!r} needs @dataclass above class {cls.__name__}" for name in _undecorated(cls))
    try:
        options = options_of(value)
    except Exception as error:
        yield _reason(error)
        return
    arguments = inspect.signature(value).parameters
    for name in arguments:
        if name not in options:
            yield f"its argument {name!r} is no option: options are the fields of a dataclass"
    for name in options:
        if name not in arguments:
            yield f"option {name!r} is no argument of its __init__"
        yield from _collisions(kind, value, name)
    yield from _defects_of_options(options)


def _defects_of_protocol(value: Any) -> Iterator[str]:
    if not isinstance(value.name, str) or not value.name:
        yield f"its name must be a text, not {value.name!r}"
    if type(value.version) is not int or value.version < 1:
        yield f"its version must be a whole number of at least 1, not {value.version!r}"
    if not isinstance(value.default, bool):
        yield f"its default must be True or False, not {value.default!r}"


def _undecorated(cls: type) -> list[str]:
    """Names in a class that is no dataclass that were meant as options: annotated names with a value."""
    annotations = vars(cls).get("__annotations__", {})
    return [
        name
        for name, annotation in annotations.items()
        if name in vars(cls) and not name.startswith("_") and "ClassVar" not in str(annotation)
    ]


def _collisions(kind: str, value: type, name: str) -> Iterator[str]:
    """Reasons why an option cannot have a name."""
    if kind != "protocols" and name in RESERVED:
        yield f"option {name!r} has a name that means something else in tables and commands: choose another"
    if name in getattr(value, "RESERVED", ()):
        yield f"option {name!r} has the name of an attribute that the training sets: choose another"
    for cls in value.__mro__:
        fields = dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()
        if name in vars(cls) and name not in [field.name for field in fields]:
            yield f"option {name!r} has the name of an attribute of class {cls.__name__}: choose another"
        elif isinstance(vars(cls).get(name), types.FunctionType | property | classmethod | staticmethod):
            yield f"option {name!r} has the name of a method of class {cls.__name__}: choose another"


def _defects_of_function(kind: str, name: str, value: Callable[..., Any]) -> Iterator[str]:
    try:
        options = options_of(value)
        signature = inspect.signature(value, follow_wrapped=False)  # of the function that is called, also for a family
    except Exception as error:
        yield _reason(error)
        return
    family = {"name": "member"} if name.endswith("/*") else {}
    try:
        signature.bind(*ARGUMENTS[kind], **family, **{option: None for option in options if option not in family})
    except TypeError as error:
        yield f"it cannot be called with {', '.join((*ARGUMENTS[kind], *family))} and its options: {error}"
    yield from _defects_of_options(options)


def _defects_of_options(options: dict[str, Option]) -> Iterator[str]:
    for name, option in options.items():
        if name.startswith("_"):
            yield f"option {name!r} begins with an underscore: state that is no option is a field(init=False)"
        if not _is_supported(option.type):
            yield f"option {name!r} has the type {_type_name(option.type)}, which no command can give: {VALID}"
        try:
            same = convert(option.type, show(option.default)) == option.default
        except (ValueError, TypeError, OverflowError):
            same = False
        if not same:
            yield f"option {name!r} has the default {option.default!r}, which is no value of its type {option}"


VALID = "bool, int, float, str, a Literal of texts and numbers, a tuple[.., ...] of these, or one of all these or None"


def _is_supported(kind: Any) -> bool:
    """Whether every value of a type can be written on a command line and is read as the same value."""
    if get_origin(kind) in (Union, types.UnionType):
        others = [a for a in get_args(kind) if a is not type(None)]
        return len(others) == 1 and _is_supported(others[0]) and "none" not in map(show, _literals(others[0]))
    if get_origin(kind) is tuple:
        entry, *rest = get_args(kind) or (None,)
        unwritable = any(not show(value) or "," in show(value) for value in _literals(entry))
        return rest == [...] and _is_scalar(entry) and not unwritable
    return _is_scalar(kind)


def _is_scalar(kind: Any) -> bool:
    if get_origin(kind) is not Literal:
        return kind in (bool, int, float, str)
    texts = [show(value) for value in get_args(kind)]
    plain = all(value is None or type(value) in (bool, int, str) for value in get_args(kind))
    return plain and len(set(texts)) == len(texts) and all(text.isprintable() for text in texts)


def _literals(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _type_name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, OptionError) else f"{type(error).__name__}: {error}"
