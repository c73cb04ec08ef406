"""Whether what a file holds has the types that the code says, and the values that metrics have. A right digest does not
tell it: whoever wrote the file may have computed the digest of anything.
"""

import dataclasses
import functools
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from bench.metrics import METRICS

PLAIN = {str: {str}, bool: {bool}, int: {int}, float: {int, float}, types.NoneType: {types.NoneType}}
"""Type whose values need no look inside -> the types that JSON gives for it."""


ROUNDING = 1e-9
"""By so much a fraction may be outside [0, 1]."""


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The types of the fields of a dataclass."""
    return get_type_hints(kind)


def check_shape(value: Any, kind: Any, where: str) -> None:
    """Check that a value is of an annotated type.

    Args:
        value: what JSON gave, or dataclasses that were made of it.
        kind: the type: a dataclass, `str`, `bool`, `int`, `float` (also an int), None, a union, a list, a mapping whose
            keys are texts, or `Any`.
        where: the place in the record, such as `costs.load`, for the message.

    Raises:
        ValueError: if it is not, with the place, the value and the type.
    """
    if not _quick(kind)(value):
        _check(value, kind, where)


@functools.cache
def _quick(kind: Any) -> Callable[[Any], bool]:
    """A quick test for a type. Where it fails, `_check` has the last word: it takes longer and says what is wrong."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: True
    if (plain := _plain(kind)) is not None:
        return lambda value: type(value) in plain
    if origin in (Union, types.UnionType):
        tests = [_quick(argument) for argument in arguments]
        return lambda value: any(test(value) for test in tests)
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = [(field.name, _quick(hints[field.name])) for field in dataclasses.fields(kind)]
        return lambda value: type(value) is kind and all(test(getattr(value, name)) for name, test in fields)
    if origin in (dict, Mapping, list, Sequence):
        inner = arguments[-1]
        expected = dict if origin in (dict, Mapping) else list
        entries: Callable[[Any], Any] = dict.values if expected is dict else iter
        of_entry, plain_entry = _quick(inner), _plain(inner)
        if plain_entry is not None:
            return lambda value: type(value) is expected and plain_entry.issuperset(map(type, entries(value)))
        return lambda value: type(value) is expected and all(map(of_entry, entries(value)))
    return lambda value: False


def _plain(kind: Any) -> set[type] | None:
    """The types of the values of a type without parts, or of a union of these; None for another type."""
    kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
    known = [PLAIN.get(types.NoneType if one is None else one) for one in kinds]
    return set().union(*known) if None not in known else None  # type: ignore[arg-type]


def _check(value: Any, kind: Any, where: str) -> None:
    """As `check_shape`, with every part looked at."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if not any(_fits(value, argument, where) for argument in arguments):
            raise _mismatch(value, kind, where)
    elif dataclasses.is_dataclass(kind) and isinstance(value, kind):  # type: ignore[arg-type]
        hints = hints_of(type(value))
        for field in dataclasses.fields(kind):
            check_shape(getattr(value, field.name), hints[field.name], f"{where}.{field.name}".removeprefix("."))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        for name, entry in value.items():
            check_shape(entry, arguments[1], f"{where}.{name}")
    elif origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        for entry in value:
            check_shape(entry, arguments[0], where)
    elif kind is not Any and not _is_plain(value, kind):
        raise _mismatch(value, kind, where)


def _fits(value: Any, kind: Any, where: str) -> bool:
    try:
        check_shape(value, kind, where)
    except ValueError:
        return False
    return True


def _is_plain(value: Any, kind: Any) -> bool:
    """Whether a value is of a type without parts. A truth value is no number, and an int is a float too."""
    if kind in (None, types.NoneType):
        return value is None
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, int | float if kind is float else kind) if isinstance(kind, type) else False


def _mismatch(value: Any, kind: Any, where: str) -> ValueError:
    name = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    shown = repr(value)
    return ValueError(f"{where} is {shown[:60]}{'...' if len(shown) > 60 else ''}, expected {name}")


def check_values(where: str, metric: str, values: Sequence[float | None]) -> None:
    """Check the values of a metric.

    Args:
        where: the place in the record, for the message.
        metric: its name.
        values: None where undefined.

    Raises:
        ValueError: for infinity, and for values of a metric of the core that are no fractions.
    """
    known = [value for value in values if value is not None]
    if not known:
        return
    least, most = (-ROUNDING, 1 + ROUNDING) if metric in METRICS else (-sys.float_info.max, sys.float_info.max)
    for value in (min(known), max(known)):
        if not least <= value <= most:
            raise ValueError(f"{where} is {value}, which no {metric} is")


MISSING = re.compile(r"(\w+)\.__init__\(\) missing \d+ required (?:keyword-only |positional )?arguments?: (.+)")
UNEXPECTED = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(.+?)'.*")


def misfit(error: Exception) -> str:
    """Why entries make no part of a record, in words: those of Python are about its functions.

    Args:
        error: of making it.
    """
    if missing := MISSING.fullmatch(str(error)):
        return f"{_part(missing[1])} lacks {missing[2]}"
    if unexpected := UNEXPECTED.fullmatch(str(error)):
        return f"{_part(unexpected[1])} has an entry {unexpected[2]!r}, which no record has"
    return str(error)


def _part(kind: str) -> str:
    """The part of a record that a type holds: `Costs` is the entry `costs`, `RunSpec` the entry `spec`."""
    name = kind.removeprefix("Run")
    return "it" if name == "Result" or name.endswith("Record") else f"its entry {name[0].lower()}{name[1:]}"
