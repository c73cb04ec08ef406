"""Whether what a file holds has the types that the code says. A right digest does not tell it: whoever wrote the file
may have computed the digest of anything.
"""

import dataclasses
import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

PLAIN = {str, bool, int, float, types.NoneType}
"""Types whose values need no look inside: one value of each stands for all of a list or a mapping."""
hints_of = functools.cache(get_type_hints)


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
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return
    if origin in (Union, types.UnionType):
        if type(value) not in arguments and not any(_fits(value, argument, where) for argument in arguments):
            raise _mismatch(value, kind, where)
    elif dataclasses.is_dataclass(kind) and isinstance(value, kind):  # type: ignore[arg-type]
        hints = hints_of(type(value))
        for field in dataclasses.fields(kind):
            check_shape(getattr(value, field.name), hints[field.name], f"{where}.{field.name}".removeprefix("."))
    elif origin in (dict, Mapping) and isinstance(value, dict):
        named = dict(zip(map(type, value.values()), value.items(), strict=True))
        for name, entry in named.values() if named.keys() <= PLAIN else value.items():
            check_shape(entry, arguments[1], f"{where}.{name}")
    elif origin in (list, tuple, Sequence) and isinstance(value, list | tuple):
        by_type = dict(zip(map(type, value), value, strict=True))
        for entry in by_type.values() if by_type.keys() <= PLAIN else value:  # histories are long
            check_shape(entry, arguments[0], where)
    elif not _is_plain(value, kind):
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
