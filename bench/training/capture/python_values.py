"""What an update can read in Python, which a capture of it holds as constants.

`python_values` finds all of it, between epochs, and `settings` what takes next to no time to find, between updates.

It is the plain values of the method and which objects it has: its attributes, what is in containers, the settings and
the state of optimisers, and the attributes of modules and other objects. The values of tensors do not belong to it,
because a replay reads them where they are.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.data.batches import BalancedBatches
from bench.data.split import Split
from bench.meta import LookAhead
from bench.streams import RandomStreams
from bench.training.task import Task

PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.device, torch.dtype, np.generic)
OPAQUE = (Task, Split, RandomStreams, BalancedBatches, LookAhead, torch.Generator)
OPAQUE += (FunctionType, MethodType, BuiltinFunctionType, ModuleType, type)  # type: ignore[assignment]
"""Types of whose values only the identity counts. What validation batches and look-aheads change is replayed too."""


class Identity:
    """Equal for the same object alone, which it keeps alive: another one cannot have its place in memory."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def plain_names(attributes: Mapping[str, Any]) -> list[str]:
    """The names of the attributes that hold plain values."""
    return [name for name, value in attributes.items() if isinstance(value, PLAIN)]


def settings(
    attributes: Mapping[str, Any], plain: Iterable[str], optimizers: Iterable[torch.optim.Optimizer]
) -> dict[str, Any]:
    """The plain attributes, and the settings of optimisers such as their learning rates, as `python_values` gives them.

    Args:
        attributes: of the method.
        plain: names of those that are looked at.
        optimizers: whose settings.
    """
    found: dict[str, Any] = {name: attributes.get(name) for name in plain}
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    found[""] = [{name: value for name, value in group.items() if name != "params"} for group in groups]
    return found


def python_values(attributes: Mapping[str, Any], optimizers: Iterable[torch.optim.Optimizer]) -> dict[str, Any]:
    """What an update can read in Python, in a form that compares equal as long as nothing of it has changed.

    Args:
        attributes: of the method.
        optimizers: further ones.

    Returns:
        Name of the attribute -> its values; and, under an empty name, those of the optimisers.
    """
    met: set[int] = set()
    found = {name: _seen(value, met) for name, value in attributes.items()}
    return found | {"": [_seen(optimizer, met) for optimizer in optimizers]}


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The names of the attributes of which something has changed."""
    return [name for name in {**before, **after} if before.get(name) != after.get(name)]


def _seen(value: Any, met: set[int]) -> Any:
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, OPAQUE) or id(value) in met:
        return Identity(value)
    if isinstance(value, Tensor):  # a capture knows which ones have a gradient; a GPU knows their places
        place = value.data_ptr() if value.layout is torch.strided else 0
        return Identity(value), value.requires_grad, place
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()  # of an array of objects, which these are
    met.add(id(value))
    if isinstance(value, dict):
        keys = [key if isinstance(key, PLAIN) else Identity(key) for key in value]
        return keys, [_seen(item, met) for item in value.values()]
    if isinstance(value, list | tuple | deque):
        return type(value), [_seen(item, met) for item in value]
    if isinstance(value, set | frozenset):
        return {item if isinstance(item, PLAIN) else Identity(item) for item in value}
    return Identity(value), _attributes(value, met)


def _attributes(value: Any, met: set[int]) -> list[Any]:
    """The attributes of an object, those in slots too."""
    known = dict(getattr(value, "__dict__", {}))
    known |= {name: getattr(value, name) for name in _slots(type(value)) if hasattr(value, name)}
    return [(name, _seen(item, met)) for name, item in known.items()]


def _slots(kind: type) -> list[str]:
    """The names of the slots of a class and its bases."""
    declared = [vars(base).get("__slots__", ()) for base in kind.__mro__]
    return [name for names in declared for name in ([names] if isinstance(names, str) else names) if name != "__dict__"]
