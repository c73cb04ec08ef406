"""Forward-mode derivatives along the operations of a pass that was run before.

A `Tape` notes the torch functions that a model calls in its training pass, with what their derivatives need of the
inputs and outputs (mostly what the graph holds anyway). Derivatives then run along the notes: the model's code is not
run again, its primal values and dropout masks are those of the training pass, and no buffer is moved. Functions with a
rule (`bench.meta.rules`) cost what their derivative costs; any other is called once more, by itself, on dual tensors.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils.weak import WeakTensorKeyDictionary

from bench.errors import MetaStepError
from bench.meta.functional import RandomState
from bench.meta.rules import RULES, Derivative, Tangent, Value

RANDOM = {
    F.scaled_dot_product_attention,
    F.multi_head_attention_forward,
    F.dropout1d,
    F.dropout2d,
    F.dropout3d,
    F.alpha_dropout,
    F.feature_alpha_dropout,
    F.rrelu,
    F.gumbel_softmax,
}
"""Functions that may draw random numbers: called again, they must draw the same ones."""


class UnseenError(MetaStepError):
    """A model whose values a tape cannot follow."""


class Note(NamedTuple):
    """One call of a function. Places number the values that depend on the parameters."""

    derivative: Derivative
    inputs: set[int]
    outputs: list[int | None]
    precision: Callable[[], AbstractContextManager[Any]]


class Tape(TorchFunctionMode):
    """Notes what is computed from the parameters while it is entered.

    Raises UnseenError where it loses sight of a value: behind a custom autograd.Function or a scripted function, and
    where a tensor is changed through one of its views.
    """

    def __init__(self, parameters: Iterable[Tensor], where: Callable[[], str] = str) -> None:
        """where: names the module that is being run, for messages."""
        super().__init__()
        self._where = where
        self._seen = WeakTensorKeyDictionary()  # tensor -> (its place, its version then)
        self._uses: list[int] = []  # by place
        self._notes: list[Note] = []
        self._kept: list[tuple[Tensor, int]] = []
        self._parameters = [self._new_place(p) for p in parameters]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function is F.dropout:
            function, args, kwargs = _with_mask(*args, **kwargs)
        values: list[Value] = []
        noted = _mapped(Tensor, (args, kwargs), lambda t: self._value(t, values, function))
        if not torch.is_grad_enabled() or all(v.place is None for v in values):
            out = function(*args, **kwargs)
        else:
            out = self._note(function, args, kwargs, values, noted)
        return out[0] if function is torch.native_dropout else out

    def place(self, value: Tensor) -> int | None:
        """Of the value that the derivative is wanted of; None where it does not depend on the parameters."""
        place = self._value(value, [], "the model").place
        if place is not None:
            self._uses[place] += 1
        return place

    def derivative(self, direction: Sequence[Tensor], place: int | None) -> Tensor | None:
        """The tangent at a place along a direction in the parameters' space, to be called within a dual level."""
        if any(tensor._version != version for tensor, version in self._kept):
            raise UnseenError("a value of the training pass was changed in place before the derivative was taken")
        tangents = dict(zip(self._parameters, direction, strict=True))
        uses = list(self._uses)

        def tangent(p: int | None) -> Tensor | None:
            return None if p is None else tangents.get(p)

        for note in self._notes:
            if not note.inputs.isdisjoint(tangents):
                with note.precision():
                    found = note.derivative(tangent)
                for p, t in zip(note.outputs, found if isinstance(found, tuple) else (found,), strict=True):
                    if p is not None and t is not None:
                        tangents[p] = t
            for p in note.inputs:
                uses[p] -= 1
                if not uses[p]:  # nobody needs it any more, and others need its memory
                    tangents.pop(p, None)
        return tangent(place)

    def _note(self, function: Any, args: Any, kwargs: Any, values: list[Value], noted: Any) -> Any:
        """Call the function and note its derivative."""
        rule = RULES.get(function)
        if rule is None and _in_place(function, kwargs):  # its inputs are needed as they were
            noted = _mapped(Value, noted, lambda v: v._replace(tensor=v.tensor.detach().clone()))
        random = RandomState(values[0].tensor.device) if function in RANDOM else None
        with sdpa_kernel(SDPBackend.MATH) if kwargs.get("dropout_p") else nullcontext():
            out = function(*args, **kwargs)
        outs = out if isinstance(out, tuple | list) else (out,)
        for v in values:
            if v.place is not None and self._changed(v.tensor) and not any(v.tensor is o for o in outs):
                raise UnseenError(f"{resolve_name(function)} changes a tensor in place{self._in_module()}")
        places = [self._new_place(o) if isinstance(o, Tensor) and o.requires_grad else None for o in outs]
        if any(place is not None for place in places):
            derivative = rule(self._keep, out, *noted[0], **noted[1]) if rule else None
            derivative = derivative or self._by_duals(function, noted, random)
            inputs = {v.place for v in values if v.place is not None}
            for place in inputs:
                self._uses[place] += 1
            self._notes.append(Note(derivative, inputs, places, _precision(values[0].tensor.device.type)))
        return out

    def _by_duals(self, function: Any, noted: Any, random: RandomState | None) -> Derivative:
        """The function's own forward-mode derivative, by calling it again."""
        _mapped(Value, noted, self._keep)
        name, where = resolve_name(function), self._in_module()

        def dual(value: Value, tangent: Tangent) -> Tensor:
            primal, t = value.tensor.detach(), tangent(value.place)
            return primal if t is None else forward_ad.make_dual(primal, t)

        def derivative(tangent: Tangent) -> tuple[Tensor | None, ...]:
            args, kwargs = _mapped(Value, noted, lambda v: dual(v, tangent))
            try:
                with random.replayed() if random else nullcontext():
                    out = function(*args, **kwargs)
            except NotImplementedError as error:
                raise MetaStepError(f"{name}{where} has no forward-mode derivative in torch") from error
            outs = out if isinstance(out, tuple | list) else (out,)
            return tuple(forward_ad.unpack_dual(o).tangent if isinstance(o, Tensor) else None for o in outs)

        return derivative

    def _value(self, tensor: Tensor, values: list[Value], function: Any) -> Value:
        place, _ = self._seen.get(tensor, (None, 0))
        if place is None and tensor.requires_grad and torch.is_grad_enabled():
            raise UnseenError(f"an input of {_name(function)}{self._in_module()} comes from no torch function")
        if place is not None and self._changed(tensor):
            raise UnseenError(f"an input of {_name(function)}{self._in_module()} was changed through a view")
        values.append(Value(tensor, place))
        return values[-1]

    def _changed(self, tensor: Tensor) -> bool:
        return bool(self._seen[tensor][1] != tensor._version)

    def _new_place(self, tensor: Tensor) -> int:
        self._seen[tensor] = len(self._uses), tensor._version
        self._uses.append(0)
        return len(self._uses) - 1

    def _keep(self, value: Value) -> Tensor:
        tensor = value.tensor.detach()
        self._kept.append((tensor, tensor._version))
        return tensor

    def _in_module(self) -> str:
        return f" (module {where})" if (where := self._where()) else ""


def _with_mask(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> tuple[Any, Any, Any]:
    """Dropout by the function that also returns its mask; it draws the same numbers."""
    if inplace or not training or p == 0:
        return F.dropout, (x, p, training, inplace), {}
    return torch.native_dropout, (x, p, True), {}


def _in_place(function: Any, kwargs: dict[str, Any]) -> bool:
    name = getattr(function, "__name__", "")
    return bool(kwargs.get("inplace")) or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _name(function: Any) -> str:
    return function if isinstance(function, str) else str(resolve_name(function) or function)


def _precision(kind: str) -> Callable[[], AbstractContextManager[Any]]:
    """The autocast of this moment, to be entered again."""
    if not torch.is_autocast_enabled(kind):
        return nullcontext
    dtype = torch.get_autocast_dtype(kind)
    return lambda: torch.autocast(kind, dtype)


def _mapped(kind: type, tree: Any, f: Callable[[Any], Any]) -> Any:
    """Arguments with every value of this kind replaced."""
    if isinstance(tree, kind):
        return f(tree)
    if isinstance(tree, dict):
        return {k: _mapped(kind, v, f) for k, v in tree.items()}
    if type(tree) is list:
        return [_mapped(kind, v, f) for v in tree]
    return tuple(_mapped(kind, v, f) for v in tree) if type(tree) is tuple else tree
