"""Unpacks what a checkpoint keeps of the values of attributes, into the objects that are there."""

import copy
import io
from collections import Counter, OrderedDict, deque
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import BenchError, PluginError
from bench.text import cut
from bench.training.state.packing import BASES, GENERATORS, name_of
from bench.training.task import Task
from bench.trees import instances

Part = tuple[Any, Any, str]
"""What is there, what was packed in its place, and the place."""
MADE_ANEW: dict[str, type] = {name_of(kind): kind for kind in (*BASES, OrderedDict, Counter, torch.Size)}
"""Containers that are made anew. One of another type needs one of its type that is there."""


class Restoration:
    """Puts one state back into an owner: into objects first, then into tensors. The rest is made anew.

    Args:
        owner: whose attributes they are; it has begun.
        attributes: what is there: name -> value.
    """

    def __init__(self, owner: Any, attributes: Mapping[str, Any]) -> None:
        self._owner, self._attributes = owner, dict(attributes)
        self._made: dict[int, Any] = {}  # id of what was packed -> the object that has its state now
        self._loaded: dict[Any, tuple[Any, str]] = {}  # object or memory -> what was packed for it, and the place
        self._live: dict[Any, Tensor] = {}  # layout of a tensor that was packed -> the one that has its values now
        task = self._attributes.get("task")
        splits = [s for s in (task.train, task.val, task.target) if s] if isinstance(task, Task) else []
        self._data = {_address(tensor) for split in splits for tensor in split.tensors.values()}
        optimizers = instances(torch.optim.Optimizer, self._attributes)
        self._held = {_address(p) for o in optimizers for group in o.param_groups for p in group["params"]}
        for module in instances(nn.Module, self._attributes):
            self._held |= {_address(buffer) for buffer in module.buffers()}

    def values(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes after that: name -> value.

        Args:
            state: from `bench.training.state.stored`.
        """
        attributes = [(self._attributes.get(name), saved, f"self.{name}") for name, saved in state.items()]
        parts = [part for attribute in attributes for part in self._stateful(*attribute)]
        for part in parts:
            if not isinstance(part[1], Tensor):
                self._load(*part)
        for present, saved, _ in parts:  # only now: what a module has loaded is not written again
            if isinstance(saved, Tensor):
                self._fill(present, saved)
        return {name: self._value(*attribute) for name, attribute in zip(state, attributes, strict=True)}

    def _stateful(self, present: Any, saved: Any, place: str) -> Iterator[Part]:
        """All tensors, and objects with a state of their own, in what was packed."""
        if isinstance(saved, Tensor) or (isinstance(saved, tuple) and saved[0] in ("state", "generator")):
            yield present, saved, place
        elif isinstance(saved, tuple) and saved[0] not in ("array", "constant", "owner"):
            for part in self._parts(present, saved, place):
                yield from self._stateful(*part)

    def _load(self, present: Any, saved: Any, place: str) -> None:
        """Give an object its state, unless another one that is there has it. If none has, `_value` raises."""
        kind, content, *more = saved
        if id(saved) in self._made or name_of(present) != more[-1]:
            return
        self._note(id(present), id(saved), place)
        self._made[id(saved)] = present
        plain = Restoration(self._owner, {})._value  # what is loaded are the values, and not the tensors that have them
        state = plain(None, content, place)
        if kind == "generator":
            next(write for known, (_, write) in GENERATORS.items() if isinstance(present, known))(present, state)
            return
        metadata, flags = plain(None, more[0], place)
        if metadata:
            state = OrderedDict(state)
            state._metadata = metadata  # type: ignore[attr-defined]  # the versions of the modules, as `nn.Module.load_state_dict` looks for them
        if isinstance(present, nn.Module):
            self._take(present, state, place)
        _give(present, state, place)
        if isinstance(present, nn.Module):
            _flag(present, *flags)

    def _take(self, module: nn.Module, state: Mapping[str, Any], place: str) -> None:
        """Note the memory that the state of a module is written to. What is the data's is copied before."""
        for part in module.modules():
            for name, buffer in part._buffers.items():
                if buffer is not None and _address(buffer) and _address(buffer) in self._data:
                    part._buffers[name] = buffer.clone()
        tensors: dict[str, Tensor] = {**dict(module.named_parameters(remove_duplicate=False))}
        tensors |= dict(module.named_buffers(remove_duplicate=False))
        for name, tensor in tensors.items():
            saved = state.get(name)
            if isinstance(saved, Tensor) and _address(saved) and _address(tensor):
                self._note(("memory", _address(tensor)), _address(saved), f"{place}.{name}")
                self._live[_layout(saved)] = tensor

    def _fill(self, present: Any, saved: Tensor) -> None:
        """Write a tensor in place where an optimiser or a module may hold it."""
        address, layout = _address(present), _layout(saved)
        if not address or not layout or layout in self._live:
            return
        theirs = address in self._data or ("memory", address) in self._loaded
        same = (present.shape, present.dtype) == (saved.shape, saved.dtype) and 0 not in present.stride()
        if same and not theirs and (present.requires_grad or address in self._held):
            present.data.copy_(saved)
            if present.is_leaf:
                present.requires_grad_(saved.requires_grad)
            self._note(("memory", address), _address(saved), "")
            self._live[layout] = present

    def _note(self, there: Any, saved: Any, place: str) -> None:
        """Note what has got a state, which must be the state of one thing alone."""
        known, other = self._loaded.setdefault(there, (saved, place))
        if known != saved:
            raise PluginError(
                f"{place} is {other} after `setup`, or shares its memory, and was another one at the checkpoint: make "
                f"a copy in `setup`"
            )

    def _value(self, present: Any, saved: Any, place: str) -> Any:
        """What was packed: the object that has its state now, or a new value."""
        if isinstance(saved, Tensor):
            live = self._live.get(_layout(saved))
            if live is None:
                return saved.to(present.device) if isinstance(present, Tensor) else saved
            return live if live.requires_grad == saved.requires_grad else live.detach()
        if not isinstance(saved, tuple):
            return saved
        kind, *content = saved
        if kind == "owner":
            return self._owner
        if kind == "constant":
            return present if name_of(present) == content[0] else _missing(present, place)
        if id(saved) not in self._made:
            if kind in ("state", "generator"):
                _missing(present, place)
            made = _array(*content) if kind == "array" else self._container(present, saved, place)
            if kind in ("tuple", "frozenset"):
                return made
            self._made[id(saved)] = made
        return self._made[id(saved)]

    def _parts(self, present: Any, saved: Any, place: str) -> Iterator[Part]:
        """The values in a container that was packed."""
        kind, content = saved[:2]
        if kind == "dict":
            known = present if isinstance(present, dict) else {}
            for key, item in content:
                key = self._value(None, key, place)
                yield known.get(key), item, f"{place}[{key!r}]"
            return
        items = list(present) if isinstance(present, list | tuple | deque) else []
        for i, item in enumerate(content):
            yield items[i] if i < len(items) else None, item, f"{place}[{i}]"

    def _container(self, present: Any, saved: Any, place: str) -> Any:
        """A new container, of the type that it had."""
        kind, content, name, maxlen = saved
        values: Any = [self._value(*part) for part in self._parts(present, saved, place)]
        if kind == "dict":
            values = dict(zip([self._key(key, place) for key, _ in content], values, strict=True))
        if name == name_of(deque):
            return deque(values, maxlen)
        if name in MADE_ANEW:
            return MADE_ANEW[name](values)
        if name_of(present) != name:
            _missing(present, place)
        if hasattr(present, "_make"):  # a named tuple
            return present._make(values)
        if isinstance(present, tuple | frozenset):
            return type(present)(values)
        made = copy.copy(present)  # with what else it knows, such as the default of a dictionary
        made.clear()
        (made.extend if isinstance(made, list | deque) else made.update)(values)
        return made

    def _key(self, packed: Any, place: str) -> Any:
        """The key of a dictionary. A tensor is one only as itself."""
        if isinstance(packed, Tensor) and _layout(packed) not in self._live:
            raise PluginError(
                f"{place} has a tensor as a key that is neither a module's nor an optimiser's in the attributes: use "
                f"its name or its number"
            )
        return self._value(None, packed, place)


def _give(present: Any, state: Any, place: str) -> None:
    """Load a state. Raises PluginError where it does not fit."""
    try:
        present.load_state_dict(state)
    except BenchError:
        raise
    except Exception as error:  # as many kinds as there are types of objects
        reason = f"{type(error).__name__}: {cut(' '.join(str(error).split()))}"
        raise PluginError(
            f"{place} does not take its state of the checkpoint ({reason}): `setup` must make {place} as it is at the "
            f"checkpoint"
        ) from error


def _flag(module: nn.Module, trained: Mapping[str, bool], training: Mapping[str, bool]) -> None:
    """Set which parameters are trained, and which parts are in training mode."""
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(trained.get(name, parameter.requires_grad))
    for name, part in module.named_modules():
        part.training = training.get(name, part.training)


def _missing(present: Any, place: str) -> NoReturn:
    """Raise PluginError: what only `setup` can make is not there."""
    raise PluginError(
        f"a checkpoint has the state of {place}, and there is {type(present).__name__}: make the object in `setup`"
    )


def _address(tensor: Any) -> int | None:
    """Where the values of a tensor begin; None or 0 where that does not tell."""
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or not tensor.numel():
        return None
    return tensor.data_ptr()


def _layout(tensor: Tensor) -> Any:
    """The same for tensors that are one memory, seen in one way; None where that does not tell."""
    address = _address(tensor)
    return (address, tensor.shape, tensor.stride(), tensor.dtype) if address else None


def _array(content: Tensor, scalar: bool) -> Any:
    """The array, or the number of numpy, whose file these bytes are."""
    array = np.load(io.BytesIO(content.cpu().numpy().tobytes()), allow_pickle=False)
    return array[()] if scalar else array
