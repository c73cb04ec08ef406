"""The layers of models whose samples do not see each other.

In such a model the gradient of sample i's loss for a layer is a product of its input x_i and of delta_i, the gradient
of that loss for the layer's output. One backward pass down to the outputs of the layers finds all deltas. From then on
a weighted gradient J^T u is each layer's weight gradient with u_i delta_i, and (J v)_i is <delta_i, layer(x_i; v)>
summed over the layers: neither needs the rest of the network again.

With coupled samples (BatchNorm in training mode) this is silently wrong. So a function that is not known to keep
samples apart is refused.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode, resolve_name

from bench.errors import MetaStepError

aten = torch.ops.aten


class CoupledError(MetaStepError):
    """A model that is not known to keep its samples apart."""


Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x, weight, bias) -> the layer's output, linear in weight and bias together."""
Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x, delta) -> the gradients of weight and bias, summed over samples."""


class Layer(NamedTuple):
    """One call of a layer with parameters.

    x: its input [B, ...], detached. edge: where in the graph the gradient for its output is.
    weight, bias: numbers of its parameters; `bias` None where it has none.
    dense: whether it is a matrix product of one row for each sample.
    """

    x: Tensor
    edge: GradientEdge
    weight: int
    bias: int | None
    apply: Apply
    gradients: Gradients
    dense: bool


class Layers(TorchFunctionMode):
    """Collects the layers that a model calls on a batch. Raises CoupledError for a function that may mix samples."""

    def __init__(self, parameters: Sequence[Tensor], samples: int, where: Callable[[], str] = str) -> None:
        """where: names the module that is being run, for messages."""
        super().__init__()
        self.found: list[Layer] = []
        self._number = {id(p): i for i, p in enumerate(parameters)}
        self._samples, self._where = samples, where

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = function(*args, **kwargs)
        inputs = [t for t in _tensors((args, kwargs)) if t.requires_grad]
        if not (inputs and isinstance(out, Tensor) and out.requires_grad):
            return out
        own = [t for t in inputs if id(t) in self._number]
        name = resolve_name(function)
        if function in LAYERS and own:
            self._add(LAYERS[function](*args, **kwargs), out)
        elif function not in APART and function not in LAYERS:
            self._refuse(f"{name} is not known to keep the samples of a batch apart")
        elif own:
            self._refuse(f"{name} uses a parameter")
        if any(t.shape[:1] != (self._samples,) for t in (*inputs, out) if id(t) not in self._number):
            self._refuse(f"{name} has a tensor whose first dimension is not the batch")
        return out

    def _add(self, call: "Call", out: Tensor) -> None:
        weight, bias = (self._number.get(id(p)) if p is not None else None for p in (call.weight, call.bias))
        if weight is None or (call.bias is not None and bias is None):
            self._refuse("a layer is frozen in part")
        assert weight is not None
        dense = call.is_matrix and call.x.dim() == 2
        edge = get_gradient_edge(out)
        self.found.append(Layer(call.x.detach(), edge, weight, bias, call.apply, call.gradients, dense))

    def _refuse(self, why: str) -> None:
        where = self._where()
        raise CoupledError(f"{why} (module {where})" if where else why)


class Call(NamedTuple):
    """What a layer function was called with."""

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    apply: Apply
    gradients: Gradients
    is_matrix: bool = False


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        delta = delta.flatten(0, -2)
        return delta.mT @ x.flatten(0, -2).to(delta.dtype), delta.sum(0)

    return Call(x, weight, bias, F.linear, gradients, True)


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call:
    if isinstance(padding, str):
        raise CoupledError("a convolution with padding as a word has no per-sample rule: give the number")
    pairs = [[n, n] if isinstance(n, int) else list(n) for n in (stride, padding, dilation)]

    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        x, w = x.to(delta.dtype), weight.detach().to(delta.dtype)
        wanted = [False, True, True]
        found = aten.convolution_backward(delta, x, w, [len(w)], *pairs, False, [0, 0], groups, wanted)
        return found[1], found[2]

    return Call(x, weight, bias, lambda x, w, b: F.conv2d(x, w, b, stride, padding, dilation, groups), gradients)


def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        scaled = delta * F.layer_norm(x, shape, eps=eps)
        return scaled.flatten(0, -1 - len(shape)).sum(0), delta.flatten(0, -1 - len(shape)).sum(0)

    return Call(x, weight, bias, lambda x, w, b: F.layer_norm(x, shape, w, b, eps), gradients)


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        others = [0, *range(2, x.dim())]
        return (delta * F.group_norm(x, groups, eps=eps)).sum(others), delta.sum(others)

    return Call(x, weight, bias, lambda x, w, b: F.group_norm(x, groups, w, b, eps), gradients)


LAYERS: Mapping[Any, Callable[..., Call]] = {
    F.linear: _linear,
    F.conv2d: _conv2d,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
}
APART = {
    *(F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.gelu, F.silu, F.elu, F.selu, F.celu, F.leaky_relu),
    *(F.softplus, F.mish, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid),
    *(torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.tanh, Tensor.tanh, F.tanh, F.dropout, F.dropout2d),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
    *(torch.add, Tensor.add, Tensor.add_, torch.sub, Tensor.sub, torch.mul, Tensor.mul, Tensor.div, torch.cat),
    *(torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape),
}
"""Functions that keep samples apart, given that the first dimension of all that they take and give is the batch."""


def _tensors(tree: Any) -> Iterable[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _tensors(part)
