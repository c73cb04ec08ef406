"""Values inside nested dictionaries, lists and tuples."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def instances(kind: type[T], tree: Any) -> Iterator[T]:
    """All values of one type in a tree, in order.

    Args:
        kind: the type. What is inside such a value is not looked at.
        tree: nested dictionaries, lists and tuples, or a single value.
    """
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        parts = tree.values() if isinstance(tree, dict) else tree
        for part in parts:
            yield from instances(kind, part)


def mapped(kind: type[T], tree: Any, function: Callable[[T], Any]) -> Any:
    """A copy of a tree in which a function has replaced every value of one type.

    Named tuples are left as they are, because they cannot be rebuilt from a list of their parts.

    Args:
        kind: the type.
        tree: nested dictionaries, lists and tuples, or a single value.
        function: value of this type -> what replaces it.
    """
    if isinstance(tree, kind):
        return function(tree)
    if isinstance(tree, dict):
        return {key: mapped(kind, value, function) for key, value in tree.items()}
    if type(tree) is list:
        return [mapped(kind, value, function) for value in tree]
    if type(tree) is tuple:
        return tuple(mapped(kind, value, function) for value in tree)
    return tree
