"""Typed options, read from text: the fields of a dataclass, or the keyword-only parameters of a function."""

import contextlib
import dataclasses
import functools
import inspect
import math
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from bench.errors import OptionError
from bench.text import cut


@dataclass(frozen=True)
class Option:
    """One option of a method, model, protocol or recipe.

    Attributes:
        type: as annotated.
        default: its value where none is given.
    """

    type: Any
    default: Any

    def __str__(self) -> str:
        return f"{describe(self.type)} (default {show(self.default) or 'empty'})"


def named_value(text: str, prefixes: Sequence[str] = (), example: str = "") -> tuple[str, str]:
    """The name and the value of a text NAME=VALUE.

    Args:
        text: what the user wrote, such as `model.width=16`.
        prefixes: if there are any, the name must be one of them, a dot and a name.
        example: a valid text, which the message shows.

    Returns:
        The name with its prefix, and the value as text.

    Raises:
        OptionError: for a text of another form.
    """
    name, equals, value = text.partition("=")
    prefix, _, last = name.rpartition(".")
    if equals and last and (prefix in prefixes or not prefixes):
        return name, value
    forms = [f"{prefix}.NAME=VALUE" for prefix in prefixes] or ["NAME=VALUE"]
    such_as = f", such as {example}" if example else ""
    raise OptionError(f"option {cut(text)!r}: expected {' or '.join(forms)}{such_as}")


def named_values(texts: Iterable[str], prefixes: Sequence[str] = (), example: str = "") -> dict[str, str]:
    """The values of several texts NAME=VALUE.

    Args:
        texts: what the user wrote.
        prefixes, example: as for `named_value`.

    Returns:
        Name with its prefix -> value as text.

    Raises:
        OptionError: for a text of another form, and for a name that is given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, value = named_value(text, prefixes, example)
        if name in values:
            raise OptionError(f"option {name} is given twice")
        values[name] = value
    return values


def options_of(target: Callable[..., Any]) -> dict[str, Option]:
    """The options of a dataclass (its init fields) or of a function (its keyword-only parameters with a type
    and a default).

    Returns:
        Name -> option, in the order of their definition. A default is of the annotated type where that takes it: of
        `rate: float = 1` it is 1.0, as the value that a command gives.

    Raises:
        OptionError: for a field without a default, and for an annotation that cannot be read.
    """
    options = {}
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        for field in dataclasses.fields(target):
            if field.init:
                options[field.name] = _option(field.name, field.type, _default(field), _scope(target, field.name))
        return options
    for parameter in inspect.signature(target).parameters.values():
        annotation = parameter.annotation
        is_complete = parameter.empty not in (annotation, parameter.default)
        if parameter.kind is parameter.KEYWORD_ONLY and is_complete:
            options[parameter.name] = _option(parameter.name, annotation, parameter.default, _globals(target))
    return options


def _option(name: str, annotation: Any, default: Any, scope: dict[str, Any]) -> Option:
    """An option, whose annotation may be a text that is read in a scope."""
    try:
        kind = get_type_hints(types.SimpleNamespace(__annotations__={name: annotation}), scope)[name]
    except Exception as error:
        raise OptionError(
            f"option {name!r} has an annotation that cannot be read when it runs ({error}): import what it names at "
            f"the top of the module, not under TYPE_CHECKING"
        ) from None
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if (converted := convert(kind, default)) == default:
            default = converted
    return Option(kind, default)


def _scope(cls: type, name: str) -> dict[str, Any]:
    """The names that an annotation of a class's field can use."""
    owner = next((base for base in cls.__mro__ if name in vars(base).get("__annotations__", {})), cls)
    return {**vars(sys.modules.get(owner.__module__, types)), **vars(owner)}


def _globals(function: Any) -> dict[str, Any]:
    """The names that an annotation of a function's parameter can use."""
    function = inspect.unwrap(function)
    if isinstance(function, functools.partial):
        return _globals(function.func)
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]
    elif not hasattr(function, "__globals__"):
        function = type(function).__call__
    return getattr(function, "__globals__", {})


def parse(known: Mapping[str, Option], given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Convert given options to their types.

    Args:
        known: all options that there are, by name.
        given: name -> the value as text, or already of its type.
        what: what the options belong to, for messages, such as `method forml`.

    Returns:
        Name -> value of its option's type, for each of `given`.

    Raises:
        OptionError: for an unknown name, or a value that its option does not take.
    """
    values = {}
    for name, value in given.items():
        if not known:
            raise OptionError(f"{what} has no options (got {cut(name)!r})")
        if name not in known:
            valid = "; ".join(f"{n}: {o}" for n, o in known.items())
            raise OptionError(f"{what} has no option {cut(name)!r}; valid: {valid}")
        option = known[name]
        try:
            values[name] = convert(option.type, value)
        except (ValueError, TypeError, OverflowError):
            raise OptionError(f"option {name}={cut(show(value))} of {what}: expected {option}") from None
    return values


def convert(kind: Any, value: Any) -> Any:
    """Convert a value to an annotated type.

    Args:
        kind: `bool`, `int`, `float`, `str`, a `Literal`, a tuple of these of any length, or one of these or None.
        value: text as it is written on the command line, or a value already.

    Raises:
        ValueError, TypeError: when the type does not take the value.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _one_of(arguments, value)
    if origin in (Union, types.UnionType):
        if value is None or value == "none":
            return None if type(None) in arguments else _fail()
        return convert(next(a for a in arguments if a is not type(None)), value)
    if origin is tuple:
        parts = value.split(",") if isinstance(value, str) and value else value
        return tuple(_entry(arguments[0], part) for part in parts)
    if kind is bool:
        return _bool(value)
    if kind is int:
        return _int(value)
    if kind is float:
        return _float(value)
    return value if kind is str and isinstance(value, str) and (not value or value.isprintable()) else _fail()


WHOLE_NUMBER = re.compile("[+-]?[0-9]+")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
GREATEST = 2**63 - 1
"""Whole numbers are those of 64 bits, as torch's are."""


def _entry(kind: Any, part: Any) -> Any:
    """An entry of a tuple; texts that are empty or hold a comma could not be written on the command line."""
    if isinstance(part, str) and (not part or "," in part):
        _fail()
    return convert(kind, part)


def _bool(value: Any) -> bool:
    texts = {"true": True, "True": True, "false": False, "False": False}
    return texts[str(value)] if str(value) in texts else _fail()


def _int(value: Any) -> int:
    """Python also reads `1_000`, ` 3 ` and the digits of every script, which nobody means to write."""
    if isinstance(value, str) and WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > GREATEST:
        _fail()
    return int(value)


def _float(value: Any) -> float:
    """JSON has neither infinity nor NaN, and -0.0 would be another text for 0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and NUMBER.fullmatch(value)):
        _fail()
    number = float(value)
    return number + 0.0 if math.isfinite(number) else _fail()


def describe(kind: Any) -> str:
    """An annotated type in words, for help texts and messages."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "|".join(map(show, arguments))
    if origin in (Union, types.UnionType):
        return " or ".join("none" if a is type(None) else describe(a) for a in arguments)
    if origin is tuple:
        return f"{describe(arguments[0])},..."
    return {bool: "true|false", int: "int", float: "float", str: "text"}.get(kind, str(kind))


def show(value: Any) -> str:
    """A value as it is written on the command line."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, tuple | list):
        return ",".join(map(show, value))
    if isinstance(value, float):
        return str(value).removesuffix(".0").replace("e-0", "e-")
    return str(value)


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
        if default != field.default_factory():
            raise OptionError(f"option {field.name!r} has another default each time, so that no run could be repeated")
        return default
    raise OptionError(f"option {field.name!r} needs a default")


def _one_of(allowed: tuple[Any, ...], value: Any) -> Any:
    by_text = {show(a): a for a in allowed}
    return by_text[show(value)] if show(value) in by_text else _fail()


def _fail() -> Any:
    raise ValueError
