"""Packs the values of attributes for a checkpoint: what `torch.load` reads with `weights_only`."""

import io
import random
from collections import deque
from collections.abc import Callable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.meta import LookAhead
from bench.training.capture.update import CaptureOutcome
from bench.training.task import Task

PLAIN = (type(None), bool, int, float, complex, str, torch.dtype)
"""Types whose values are stored as they are. A subclass, such as an enumeration, is not."""
CONSTANT = (Task, LookAhead, CaptureOutcome, ModuleType, type, torch.device)
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
BASES = (dict, list, tuple, set, frozenset, deque)
"""Containers whose content is stored."""


class UnstorableError(TypeError):
    """A value that has no form without pickling."""


def name_of(value: Any) -> str:
    """The full name of a function or class, or that of the class of another value."""
    named = value if hasattr(value, "__qualname__") and hasattr(value, "__module__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


class Packer:
    """Packs the values of one state: a plain value as it is, another one as its kind and its content.

    Args:
        attributes: of the owner, which may stand in its own containers.
        constants: whether values that are made anew may stand in containers.
    """

    def __init__(self, attributes: Mapping[str, Any], constants: bool = True) -> None:
        self._attributes, self._constants = attributes, constants
        self._packed: dict[int, tuple[Any, Any]] = {}  # id -> the value, kept so that no other gets its id; and packed

    def packed(self, value: Any) -> Any:
        """The packed value, the same one for the same object."""
        if type(value) in PLAIN:
            return value
        if isinstance(value, Tensor):
            if value.grad_fn:
                raise UnstorableError("a tensor with the graph that it was computed by")
            return value
        if id(value) not in self._packed:
            self._packed[id(value)] = value, None
            try:
                self._packed[id(value)] = value, self._content(value)
            except UnstorableError:
                del self._packed[id(value)]
                raise
        packed = self._packed[id(value)][1]
        if packed is None:
            raise UnstorableError(f"a {type(value).__name__} that holds itself")
        return packed

    def _content(self, value: Any) -> tuple[Any, ...]:
        kind = name_of(value)
        for known, (read, _) in GENERATORS.items():
            if isinstance(value, known):
                return "generator", self.packed(read(value)), kind
        if getattr(value, "__dict__", None) is self._attributes:
            return ("owner",)
        if isinstance(value, CONSTANT):
            if not self._constants:
                raise UnstorableError(type(value).__name__)
            return "constant", kind
        if hasattr(value, "state_dict"):
            return self._state(value, kind)
        if isinstance(value, np.generic) or type(value) is np.ndarray:
            return "array", _array_as_bytes(np.asarray(value)), isinstance(value, np.generic)
        if isinstance(value, dict):
            return "dict", [(self._key(key), self.packed(item)) for key, item in value.items()], kind, None
        for base in BASES:
            if isinstance(value, base):
                return base.__name__, [self.packed(item) for item in value], kind, getattr(value, "maxlen", None)
        raise UnstorableError(type(value).__name__)

    def _state(self, value: Any, kind: str) -> tuple[Any, ...]:
        """The state, the versions of the modules, and which parameters are trained and modules in training mode."""
        if not hasattr(value, "load_state_dict"):
            raise UnstorableError(f"{type(value).__name__}, which has a state_dict and no load_state_dict")
        state, flags = value.state_dict(), None
        if isinstance(value, nn.Module):
            trained = {name: parameter.requires_grad for name, parameter in value.named_parameters()}
            flags = trained, {name: module.training for name, module in value.named_modules()}
        packer = Packer(self._attributes, constants=False)
        return "state", packer.packed(dict(state)), packer.packed((getattr(state, "_metadata", None), flags)), kind

    def _key(self, key: Any) -> Any:
        packed = self.packed(key)
        if isinstance(packed, tuple) and packed[0] in ("state", "generator", "owner", "constant"):
            raise UnstorableError(f"a dictionary with {type(key).__name__} as a key")
        return packed


def _array_as_bytes(array: "np.ndarray[Any, Any]") -> Tensor:
    """The bytes of numpy's own file format."""
    file = io.BytesIO()
    try:
        np.save(file, array, allow_pickle=False)
    except ValueError:
        raise UnstorableError("an array of Python objects") from None
    return torch.frombuffer(bytearray(file.getvalue()), dtype=torch.uint8)
