"""The state of a training for its checkpoint: it is written without pickling, and read without running code."""

import io
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.errors import PluginError
from bench.meta import LookAhead
from bench.training.capture.update import CaptureOutcome
from bench.training.task import Task

PLAIN = (type(None), bool, int, float, complex, str)
"""Types whose values are stored as they are. A subclass, such as an enumeration, is not."""
CONSTANT = (Task, LookAhead, CaptureOutcome, ModuleType, type, torch.device, torch.dtype)
CONSTANT += (FunctionType, MethodType, BuiltinFunctionType)  # type: ignore[assignment]
"""Types whose values `begin` makes anew: they have no state of a training."""
GENERATORS: dict[type, tuple[Callable[[Any], Any], Callable[[Any, Any], None]]] = {
    torch.Generator: (lambda made: made.get_state(), lambda made, state: made.set_state(state.cpu())),
    np.random.Generator: (
        lambda made: made.bit_generator.state,
        lambda made, state: setattr(made.bit_generator, "state", state),
    ),
    np.random.RandomState: (lambda made: made.get_state(legacy=False), lambda made, state: made.set_state(state)),
    random.Random: (lambda made: made.getstate(), lambda made, state: made.setstate(state)),
}
"""Type of a generator of random numbers -> how its state is read and put back."""


class UnstorableError(TypeError):
    """A value that has no form without pickling."""


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of some attributes, as `torch.load` reads it with `weights_only`.

    These are numbers, texts, tensors, numpy arrays, generators of random numbers, whatever has a `state_dict`, and
    lists, tuples, sets and dictionaries of these. Other attributes are left out (`lost`).

    Args:
        values: name -> value.
    """
    kept = {}
    for name, value in values.items():
        try:
            kept[name] = _packed(value)
        except UnstorableError:
            continue
    return kept


def lost(values: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint does not keep of some attributes, although it may change in a training.

    Args:
        values: name -> value.

    Returns:
        Name -> the type that cannot be stored.
    """
    found = {}
    for name, value in values.items():
        try:
            _packed(value)
        except UnstorableError as error:
            if not isinstance(value, CONSTANT):
                found[name] = str(error)
    return found


def restore(owner: Any, state: Mapping[str, Any]) -> None:
    """Put back the attributes that `stored` gave. What has a `state_dict`, and tensors, are changed in place.

    Args:
        owner: whose attributes they are; it has begun.
        state: from `stored`.

    Raises:
        PluginError: where an object that has to be there for its state is not.
    """
    for name, saved in state.items():
        setattr(owner, name, _restored(getattr(owner, name, None), saved, f"self.{name}"))


def _packed(value: Any) -> Any:
    """A plain value as it is; another one as its kind and its content."""
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        if value.grad_fn:
            raise UnstorableError("a tensor with the graph that it was computed by")
        return value
    for kind, (read, _) in GENERATORS.items():
        if isinstance(value, kind):
            return "generator", _packed(read(value))
    if isinstance(value, CONSTANT):
        raise UnstorableError(type(value).__name__)
    if hasattr(value, "state_dict"):
        state = value.state_dict()
        return "state", _packed(dict(state)), _packed(getattr(state, "_metadata", None))
    if isinstance(value, np.ndarray | np.generic):
        return "array", _array_as_bytes(np.asarray(value)), isinstance(value, np.generic)
    if isinstance(value, dict):
        return "dict", [(_packed(key), _packed(item)) for key, item in value.items()]
    for kind in (list, tuple, set, frozenset, deque):
        if isinstance(value, kind):
            return kind.__name__, [_packed(item) for item in value]
    raise UnstorableError(type(value).__name__)


def _restored(present: Any, saved: Any, place: str) -> Any:
    """The value that was packed; what is there is changed in place where that is possible."""
    if isinstance(saved, Tensor):
        if isinstance(present, Tensor) and present.shape == saved.shape:
            present.data.copy_(saved)  # in place, because an optimiser may hold the tensor
            return present
        return saved
    if not isinstance(saved, tuple):
        return saved
    kind, content, *more = saved
    if kind == "array":
        array = _array_of_bytes(content)
        return array[()] if more[0] else array
    if kind in ("state", "generator"):
        state = _restored(None, content, place)
        if more and (metadata := _restored(None, more[0], place)):
            state = OrderedDict(state)
            state._metadata = metadata  # type: ignore[attr-defined]  # the versions of the modules, as `nn.Module.load_state_dict` looks for them
        _put_back(present, kind, state, place)
        return present
    if kind == "dict":
        known = present if isinstance(present, dict) else {}
        items = {}
        for key, item in content:
            key = _restored(None, key, place)
            items[key] = _restored(known.get(key), item, f"{place}[{key!r}]")
        return _refilled(present, dict, items)
    known_items = list(present) if isinstance(present, list | tuple | deque) else []
    known_items += [None] * (len(content) - len(known_items))
    values = [_restored(known_items[i], item, f"{place}[{i}]") for i, item in enumerate(content)]
    return _refilled(present, CONTAINERS[kind], values)


CONTAINERS: dict[str, type] = {kind.__name__: kind for kind in (list, tuple, set, frozenset, deque)}


def _put_back(present: Any, kind: str, state: Any, place: str) -> None:
    setters = [write for known, (_, write) in GENERATORS.items() if isinstance(present, known)]
    if kind == "generator" and setters:
        setters[0](present, state)
    elif kind == "state" and hasattr(present, "load_state_dict"):
        present.load_state_dict(state)
    else:
        raise PluginError(
            f"a checkpoint has the state of {place}, and there is {type(present).__name__}: make the object in `setup`"
        )


def _refilled(present: Any, kind: type, values: Any) -> Any:
    """A container with other values: the same one where it can be changed, because others may hold it."""
    if isinstance(present, kind) and isinstance(present, list | dict | set | deque):
        present.clear()
        add: Callable[[Iterable[Any]], None] = getattr(present, "update", None) or present.extend  # type: ignore[union-attr]
        add(values)
        return present
    if isinstance(present, tuple) and hasattr(present, "_make"):  # a named tuple
        return present._make(values)
    return kind(values)


def _array_as_bytes(array: "np.ndarray[Any, Any]") -> Tensor:
    """The bytes of numpy's own file format."""
    file = io.BytesIO()
    try:
        np.save(file, array, allow_pickle=False)
    except ValueError:
        raise UnstorableError("an array of Python objects") from None
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)


def _array_of_bytes(content: Tensor) -> "np.ndarray[Any, Any]":
    array: np.ndarray[Any, Any] = np.load(io.BytesIO(content.cpu().numpy().tobytes()), allow_pickle=False)
    return array
