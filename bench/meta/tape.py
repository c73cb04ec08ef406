"""Forward-mode derivatives along the operations of a pass that has already run.

A `Tape` notes the torch functions that a model calls in its training pass, with what their derivatives need of the
inputs and outputs, most of which the autograd graph holds anyway. Derivatives then run along these notes. The model's
code is not run again, its primal values and dropout masks are those of the training pass, and no buffer is moved. A
function that has a rule (`bench.meta.rules`) costs what its derivative costs; any other function is called once more,
by itself, on dual tensors.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from bench.meta.functional import RandomState, same_precision
from bench.meta.rules import RULES, Derivative, Tangent, Value
from bench.trees import instances, mapped

DROPOUT = {F.scaled_dot_product_attention: 4, F.multi_head_attention_forward: 10}
"""Attention functions -> the position of their dropout probability among the arguments."""
RANDOM = {
    *DROPOUT,
    *(F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout, F.feature_alpha_dropout),
    *(torch.dropout, torch.feature_dropout, torch.alpha_dropout, torch.feature_alpha_dropout),
    *(torch.dropout_, torch.feature_dropout_, torch.alpha_dropout_, torch.feature_alpha_dropout_),
    *(F.rrelu, torch.rrelu, torch.rrelu_, F.gumbel_softmax, F.fractional_max_pool2d, F.fractional_max_pool3d),
    *(F.fractional_max_pool2d_with_indices, F.fractional_max_pool3d_with_indices),
    *(torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu),
}
"""Functions that may draw random numbers. When they are called again for their derivative, they must draw the same
ones.
"""
UNSEEN_CHANGES = {torch.batch_norm, torch.native_batch_norm}
"""Functions that move buffers without changing their version counters, so that the tape could not notice it."""


class UnseenError(MetaStepError):
    """Raised for a model whose values a tape cannot follow."""


class Note(NamedTuple):
    """One call of a function. A place is the number of a value that depends on the parameters.

    Attributes:
        derivative: from the tangents of the inputs to those of the outputs.
        inputs: the places of the inputs.
        outputs: the place of each output; None for one that does not depend on the parameters.
        precision: gives the autocast context in which the function ran.
    """

    derivative: Derivative
    inputs: set[int]
    outputs: list[int | None]
    precision: Callable[[], AbstractContextManager[Any]]


class Tape(TorchFunctionMode):
    """Notes what is computed from the parameters while this mode is entered.

    Args:
        parameters: the parameters with respect to which derivatives will be taken, in order.
        where: names the module that is being run, for messages; by default nothing is named.

    Raises:
        UnseenError: within the mode, where the tape loses sight of a value: behind a custom autograd.Function or a
            scripted function, and where a tensor is changed through one of its views.
    """

    def __init__(self, parameters: Iterable[Tensor], where: Callable[[], str] = str) -> None:
        super().__init__()
        self._where = where
        self._seen = WeakTensorKeyDictionary()  # tensor -> (its place, its version then)
        self._uses: list[int] = []  # by place
        self._notes: list[Note] = []
        self._kept: list[tuple[Tensor, int]] = []
        self._parameters = [self._new_place(p) for p in parameters]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        asked = function
        if function is F.dropout:
            function, args, kwargs = _with_mask(*args, **kwargs)
        values: list[Value] = []
        noted = mapped(Tensor, (args, kwargs), lambda t: self._value(t, values, function))
        if not torch.is_grad_enabled() or all(v.place is None for v in values):
            out = function(*args, **kwargs)
        else:
            out = self._note(function, args, kwargs, values, noted)
        return out if function is asked else out[0]

    def place(self, value: Tensor) -> int | None:
        """The place of a value whose derivative is wanted. To be called once for it, before `derivative`, which frees
        the tangents that nothing needs any more.

        Args:
            value: what the pass has computed, such as the logits.

        Returns:
            Its place; None where it does not depend on the parameters.

        Raises:
            UnseenError: if the value comes from no torch function, or was changed through a view.
        """
        place = self._value(value, [], "the model").place
        if place is not None:
            self._uses[place] += 1
        return place

    def derivative(self, direction: Sequence[Tensor], place: int | None) -> Tensor | None:
        """The tangent at a place, along a direction in the space of the parameters. To be called within a dual level of
        `torch.autograd.forward_ad`.

        Args:
            direction: one tensor for each parameter, in its shape.
            place: from `place`.

        Returns:
            The tangent in the shape of the value; None where it is zero.

        Raises:
            UnseenError: if a value of the training pass was changed in place since.
            MetaStepError: if a function has no forward-mode derivative in torch.
        """
        if any(tensor._version != version for tensor, version in self._kept):
            raise UnseenError("a value of the training pass was changed in place before the derivative was taken")
        tangents = dict(zip(self._parameters, direction, strict=True))
        uses = list(self._uses)

        def tangent(p: int | None) -> Tensor | None:
            return None if p is None else tangents.get(p)

        for note in self._notes:
            if not note.inputs.isdisjoint(tangents):
                with note.precision():
                    result = note.derivative(tangent)
                of_outputs = result if isinstance(result, tuple) else (result,)
                for p, t in zip(note.outputs, of_outputs, strict=True):
                    if p is not None and t is not None:
                        tangents[p] = t
            for p in note.inputs:
                uses[p] -= 1
                if not uses[p]:  # nobody needs it any more, and others need its memory
                    tangents.pop(p, None)
        return tangent(place)

    def _note(self, function: Any, args: Any, kwargs: Any, values: list[Value], noted: Any) -> Any:
        """Call the function and note its derivative."""
        rule, in_place = RULES.get(function), _in_place(function, kwargs)
        if rule is None and in_place:  # its inputs are needed as they were
            noted = mapped(Value, noted, lambda v: v._replace(tensor=v.tensor.detach().clone()))
        versions = [v.tensor._version for v in values]
        random = RandomState(values[0].tensor.device) if function in RANDOM else None
        with sdpa_kernel(SDPBackend.MATH) if drops(function, args, kwargs) else nullcontext():
            out = function(*args, **kwargs)
        outs = out if isinstance(out, tuple | list) else (out,)
        for v, version in zip(values, versions, strict=True):
            changed = v.tensor._version != version and not any(v.tensor is o for o in outs)
            changes_again = changed and (v.place is not None or rule is None)  # if it is called again
            if changes_again or function in UNSEEN_CHANGES:
                raise UnseenError(f"{_name(function)} changes a tensor in place{self._in_module()}")
        places = [self._placed(o) for o in outs]
        if any(place is not None for place in places):
            derivative = rule(self._keep, out, *noted[0], **noted[1]) if rule else None
            derivative = derivative or self._by_duals(function, noted, in_place, random)
            inputs = {v.place for v in values if v.place is not None}
            for place in inputs:
                self._uses[place] += 1
            self._notes.append(Note(derivative, inputs, places, same_precision(values[0].tensor.device)))
        return out

    def _by_duals(self, function: Any, noted: Any, in_place: bool, random: RandomState | None) -> Derivative:
        """The function's own forward-mode derivative, by calling it again."""
        for value in instances(Value, noted):
            self._keep(value)
        where = self._in_module()

        def dual(value: Value, tangent: Tangent) -> Any:
            primal, t = value.tensor.detach(), tangent(value.place)
            if t is None:
                return primal
            return forward_ad.make_dual(primal, t.clone() if in_place else t)  # t may be that of other places too

        def derivative(tangent: Tangent) -> tuple[Tensor | None, ...]:
            args, kwargs = mapped(Value, noted, lambda v: dual(v, tangent))
            try:
                with random.replayed() if random else nullcontext():
                    out = function(*args, **kwargs)
            except NotImplementedError as error:
                raise MetaStepError(f"{_name(function)}{where} has no forward-mode derivative in torch") from error
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

    def _placed(self, out: Any) -> int | None:
        if not isinstance(out, Tensor):
            return None
        if out.requires_grad:
            return self._new_place(out)
        self._seen.pop(out, None)  # detached in place
        return None

    def _keep(self, value: Value) -> Tensor:
        tensor = value.tensor.detach()
        self._kept.append((tensor, tensor._version))
        return tensor

    def _in_module(self) -> str:
        return f" (module {where})" if (where := self._where()) else ""


def _with_mask(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> tuple[Any, Any, Any]:
    """Dropout by the function that also returns its mask; it draws the same numbers."""
    if inplace or not training or p == 0:
        return F.dropout, (x,), {"p": p, "training": training, "inplace": inplace}
    return torch.native_dropout, (x, p, True), {}


def drops(function: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a call is one of attention with dropout. Such a call has to use the mathematical kernel in the training
    pass too, as other kernels draw other masks.

    Args:
        function: the function as `torch.overrides` sees it.
        args, kwargs: its arguments.
    """
    at = DROPOUT.get(function)
    return at is not None and bool(args[at] if len(args) > at else kwargs.get("dropout_p"))


def _in_place(function: Any, kwargs: dict[str, Any]) -> bool:
    name = getattr(function, "__name__", "")
    return bool(kwargs.get("inplace")) or name.startswith("__i") or (name.endswith("_") and not name.endswith("__"))


def _name(function: Any) -> str:
    return function if isinstance(function, str) else str(resolve_name(function) or function)
