"""Values inside nested dictionaries, lists and tuples."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


def instances(kind: type[T], tree: Any) -> Iterator[T]:
    """All values of this kind, in order."""
    if isinstance(tree, kind):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from instances(kind, part)


def mapped(kind: type[T], tree: Any, function: Callable[[T], Any]) -> Any:
    """The tree with every value of this kind replaced by what the function makes of it.

    Only plain lists and tuples are walked, and not named ones, which could not be built anew from their parts.
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
