"""The layers of models in which the samples of a batch do not see each other.

In such a model the gradient of sample i's loss with respect to a layer's parameters is a product of two things: the
layer's input x_i, and delta_i, the gradient of that loss with respect to the layer's output. One backward pass down to
the outputs of the layers finds all deltas. After that no pass through the rest of the network is needed: J^T u is each
layer's weight gradient with u_i delta_i in place of delta_i, and (J v)_i is <delta_i, layer(x_i; v)> summed over the
layers.

With coupled samples (BatchNorm in training mode) these products would be wrong without any error. A function that is
not known to keep samples apart is therefore refused.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode, resolve_name

from bench.errors import MetaStepError
from bench.meta.functional import same_precision
from bench.trees import instances

aten = torch.ops.aten


class CoupledError(MetaStepError):
    """Raised for a model that is not known to keep the samples of a batch apart."""


Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x, weight, bias) -> the layer's output, which is linear in weight and bias together."""
Gradients = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(x, delta) -> the gradients of weight and bias, summed over the samples."""


class Layer(NamedTuple):
    """One call of a layer with parameters.

    Attributes:
        x: its input [B, ...], detached.
        edge: the place in the autograd graph at which the gradient with respect to its output arrives.
        weight, bias: the positions of its parameters among the model's trained ones; `bias` is None where it has none.
        apply: computes the layer with other parameters.
        gradients: computes the gradients of its parameters.
        dense: whether it is a matrix product with one row for each sample.
        precision: gives the autocast context in which it ran.
    """

    x: Tensor
    edge: GradientEdge
    weight: int
    bias: int | None
    apply: Apply
    gradients: Gradients
    dense: bool
    precision: Callable[[], AbstractContextManager[Any]]


class Layers(TorchFunctionMode):
    """Collects the layers that a model calls on a batch, while this mode is entered.

    Args:
        parameters: the model's trained parameters, in order.
        samples: B, the number of samples in the batch.
        where: names the module that is being run, for messages; by default nothing is named.

    Attributes:
        found: the layers in the order of their calls.

    Raises:
        CoupledError: within the mode, for a function that may mix samples, uses a parameter in another way than the
            layers known here, or broadcasts over samples; and for a value whose origin was not seen.
    """

    def __init__(self, parameters: Sequence[Tensor], samples: int, where: Callable[[], str] = str) -> None:
        super().__init__()
        self.found: list[Layer] = []
        self._number = {id(p): i for i, p in enumerate(parameters)}
        self._nodes: set[Any] = set()  # of the graph, made by the functions that were seen
        self._samples, self._where = samples, where

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [t for t in instances(Tensor, (args, kwargs)) if t.requires_grad]
        others = [t for t in inputs if id(t) not in self._number]
        seen = all(t.grad_fn in self._nodes for t in others)
        out = function(*args, **kwargs)
        outs = [t for t in instances(Tensor, out) if t.requires_grad]
        if not (inputs and outs):
            return out
        if not seen:
            self._refuse("an input of {} comes from no torch function", function)
        if function not in APART and function not in LAYERS:
            self._refuse("{} is not known to keep the samples of a batch apart", function)
        trained = len(inputs) > len(others)
        if trained and function not in LAYERS:
            self._refuse("{} uses a parameter", function)
        if any(t.shape[:1] != (self._samples,) for t in (*others, *outs)):
            self._refuse("{} has a tensor whose first dimension is not the batch", function)
        if function in LAYERS:
            self._add(function, LAYERS[function](*args, **kwargs), others, trained, out)
        elif function not in RESHAPING and any(t.dim() != outs[0].dim() for t in others):
            self._refuse("{} broadcasts over samples", function)
        self._nodes.update(t.grad_fn for t in outs)
        return out

    def end(self, logits: Tensor) -> None:
        """Check that the logits were computed from what was seen. To be called after the pass.

        Args:
            logits: the output of the model, [B, C].

        Raises:
            CoupledError: if they come from a function that torch did not report.
        """
        if logits.requires_grad and logits.grad_fn not in self._nodes:
            self._refuse("the logits come from no torch function")

    def _add(self, function: Any, call: "Call", others: Sequence[Tensor], trained: bool, out: Tensor) -> None:
        if call.mixes:
            self._refuse("{} takes the batch for a dimension of features", function)
        if any(t is not call.x for t in others) or id(call.x) in self._number:
            self._refuse("{} multiplies with what is no parameter", function)
        if not trained:
            return
        if call.lacks:
            self._refuse(call.lacks)
        weight, bias = (self._number.get(id(p)) if p is not None else None for p in (call.weight, call.bias))
        if weight is None or (call.bias is not None and bias is None):
            self._refuse("a layer is frozen in part")
        dense = call.is_matrix and call.x.dim() == 2
        edge = get_gradient_edge(out)
        precision = same_precision(out.device)
        self.found.append(Layer(call.x.detach(), edge, weight, bias, call.apply, call.gradients, dense, precision))

    def _refuse(self, why: str, function: Any = None) -> NoReturn:
        why, where = why.format(resolve_name(function) or function), self._where()
        raise CoupledError(f"{why} (module {where})" if where else why)


class Call(NamedTuple):
    """How a layer function was called.

    Attributes:
        x: the input [B, ...].
        weight, bias: the layer's parameters; None where it has none.
        apply: computes the layer with other parameters.
        gradients: computes the gradients of its parameters.
        mixes: whether the function takes the first dimension for something else than the batch.
        is_matrix: whether it multiplies with a matrix.
        lacks: why its gradients cannot be computed here; empty where they can.
    """

    x: Tensor
    weight: Tensor | None
    bias: Tensor | None
    apply: Apply
    gradients: Gradients
    mixes: bool
    is_matrix: bool = False
    lacks: str = ""


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        delta = delta.flatten(0, -2)
        return delta.mT @ x.flatten(0, -2).to(delta.dtype), delta.sum(0)

    return Call(input, weight, bias, F.linear, gradients, input.dim() < 2, is_matrix=True)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call:
    word = "a convolution with padding as a word has no per-sample rule: give the number"

    def apply(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        return F.conv2d(x, w, b, stride, padding, dilation, groups)

    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        x, w = x.to(delta.dtype), weight.detach().to(delta.dtype)
        pairs = [[n, n] if isinstance(n, int) else list(n) for n in (stride, padding, dilation)]
        wanted = [False, True, True]
        _, of_weight, of_bias = aten.convolution_backward(delta, x, w, [len(w)], *pairs, False, [0, 0], groups, wanted)
        return of_weight, of_bias

    return Call(input, weight, bias, apply, gradients, input.dim() != 4, lacks=word if isinstance(padding, str) else "")


def _layer_norm(
    x: Tensor, shape: list[int], weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        scaled = delta * F.layer_norm(x, shape, eps=eps)
        return scaled.flatten(0, -1 - len(shape)).sum(0), delta.flatten(0, -1 - len(shape)).sum(0)

    mixes = len(shape) >= x.dim()
    return Call(x, weight, bias, lambda x, w, b: F.layer_norm(x, shape, w, b, eps), gradients, mixes)


def _group_norm(
    x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Call:
    def gradients(x: Tensor, delta: Tensor) -> tuple[Tensor, Tensor]:
        others = [0, *range(2, x.dim())]
        return (delta * F.group_norm(x, groups, eps=eps)).sum(others), delta.sum(others)

    return Call(x, weight, bias, lambda x, w, b: F.group_norm(x, groups, w, b, eps), gradients, mixes=False)


LAYERS: Mapping[Any, Callable[..., Call]] = {
    F.linear: _linear,
    F.conv2d: _conv2d,
    F.layer_norm: _layer_norm,
    F.group_norm: _group_norm,
}
RESHAPING = {torch.flatten, Tensor.flatten, Tensor.view, Tensor.reshape, torch.reshape}
APART = {
    *RESHAPING,
    *(F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.gelu, F.silu, F.elu, F.selu, F.celu, F.leaky_relu),
    *(F.softplus, F.mish, F.relu6, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid),
    *(torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.tanh, Tensor.tanh, F.tanh, F.dropout, F.dropout2d),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d),
    *(torch.add, Tensor.add, Tensor.add_, torch.sub, Tensor.sub, torch.mul, Tensor.mul, Tensor.div, torch.cat),
    *(Tensor.contiguous, Tensor.to, Tensor.float, Tensor.double),
}
"""Functions that keep samples apart, given that the first dimension of all that they take and give is the batch, and
that they do not broadcast: [B] - [B, 1] compares all samples with all.
"""
