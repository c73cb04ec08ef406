"""Typed options, read from text: the fields of a dataclass, or the keyword-only parameters of a function."""

import dataclasses
import inspect
import math
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
    """The options of a dataclass (its init fields) or of a function (its keyword-only parameters with defaults).

    Returns:
        Name -> option, in the order of their definition.

    Raises:
        OptionError: for a field without a default.
    """
    hints = get_type_hints(target)
    if dataclasses.is_dataclass(target):
        defaults = {f.name: _default(f) for f in dataclasses.fields(target) if f.init}
    else:
        parameters = inspect.signature(target).parameters.values()
        defaults = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}
    return {name: Option(hints.get(name, str), default) for name, default in defaults.items()}


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
        except (ValueError, TypeError):
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
        parts = [p for p in value.split(",") if p] if isinstance(value, str) else value
        return tuple(convert(arguments[0], part) for part in parts)
    if kind is bool:
        return _one_of((True, False), str(value).lower())
    if kind is int and isinstance(value, float | bool):
        return _fail()
    if kind is float:
        return number if math.isfinite(number := float(value)) else _fail()  # JSON has no infinity and no NaN
    if kind in (int, str):
        return kind(value)
    return _fail()


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
        return field.default_factory()
    raise OptionError(f"option {field.name!r} needs a default")


def _one_of(allowed: tuple[Any, ...], value: Any) -> Any:
    by_text = {show(a): a for a in allowed}
    return by_text[show(value)] if show(value) in by_text else _fail()


def _fail() -> Any:
    raise ValueError
