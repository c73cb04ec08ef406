"""Training passes: each keeps the graph of its outputs and gives their derivative J v along a direction v.

They differ in how they compute J v and in what that costs. Costs are given in units of F, the cost of one forward pass
of the model; a training step of ERM costs 3 F.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad, grad
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from bench.errors import MetaStepError
from bench.meta.functional import Net, Parameters, RandomState
from bench.meta.per_sample import CoupledError, Layer, Layers
from bench.meta.tape import Tape
from bench.meta.virtual import Slope

Head = Callable[[Tensor], Tensor]
"""What a method computes from the logits: logits [.., B, C] -> outputs [.., B, ...]."""
Validation = Callable[[Net], Tensor]
"""The loss on validation data of a net, one value for each run: [..]."""


class Pass(ABC):
    """A training pass. J is the Jacobian of its outputs with respect to the parameters.

    Args:
        parameters: the model and its trained parameters.
        x, head: inputs of the training batch, [.., B, *shape], and what is computed from their logits.
        random: the state of the random generators before the pass.
        where: names the module that is being run, for messages; by default nothing is named.

    Attributes:
        value: the outputs [.., B, ...] with their graph: backward through them gives the gradients of the parameters.

    Raises:
        MetaStepError: if the backend cannot take this model or these outputs.
    """

    value: Tensor

    def __init__(
        self, parameters: Parameters, x: Tensor, head: Head, random: RandomState, where: Callable[[], str] = str
    ) -> None:
        self.parameters, self._x, self._head, self._random = parameters, x, head, random
        self._run(where)

    @abstractmethod
    def _run(self, where: Callable[[], str]) -> None:
        """The pass: set `value`."""

    @abstractmethod
    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        """J v, in the shape of `value`, from one tensor for each parameter, in its shape. The graph is kept.

        Raises:
            MetaStepError: if the derivative of a function is not known.
        """

    def transposed(self, u: Tensor) -> Sequence[Tensor]:
        """J^T u, one tensor for each parameter, from a u in the shape of `value`. The graph is kept."""
        return grad(self.value, self.parameters.tensors, u, retain_graph=True, materialize_grads=True)

    def along(self, val: Validation, at: Sequence[Tensor], slope: Slope) -> Tensor:
        """J v for v = slope * grad val(at), in the shape of `value`.

        Args:
            val: the validation loss. Of stacked runs, the gradient of the sum of their losses is taken.
            at: values of the parameters at which it is taken.
            slope: a factor for all parameters, or a tensor for each.
        """
        at = [p.detach().requires_grad_() for p in at]
        # replayed, because the training's own draws must not depend on the method
        with self._random.replayed(), self.parameters.held(at) as net:
            v: Sequence[Tensor] = grad(val(net).sum(), at, materialize_grads=True)
        del at
        if isinstance(slope, float):
            return slope * self.derivative(v)
        return self.derivative([s * g for s, g in zip(slope, v, strict=True)])


class Dual(Pass):
    """Backend `dual`, forward mode: the model is run again on dual tensors, with the same random numbers.

    It costs 3 F and takes every model whose operators have forward-mode derivatives. Attention runs on the mathematical
    kernel, the only one that has them.
    """

    def _run(self, where: Callable[[], str]) -> None:
        self._buffers = self.parameters.buffers()  # a model may read what the pass moves
        with sdpa_kernel(SDPBackend.MATH):  # another kernel would drop other attention weights
            self.value = self._head(self.parameters.model(self._x))

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        math = sdpa_kernel(SDPBackend.MATH)
        with torch.enable_grad(), _NoTangents(), forward_ad.dual_level(), math, self._random.replayed():
            pairs = zip(self.parameters.tensors, direction, strict=True)
            duals = [forward_ad.make_dual(p.detach(), v) for p, v in pairs]
            return _tangent(self._head(self.parameters.at(duals, self._buffers)(self._x)))


class Replay(Pass):
    """Backend `replay`, forward mode along the notes of the training pass (`bench.meta.tape`).

    It costs 2 F, as the values of that pass are used again: most layers need one pass of the tangents alone.
    """

    def _run(self, where: Callable[[], str]) -> None:
        self._tape = Tape(self.parameters.tensors, where)
        with self._tape:
            logits = self.parameters.model(self._x)
        self._place, self._logits = self._tape.place(logits), logits.detach()
        self.value = self._head(logits)

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        with forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH):
            with torch.no_grad():
                tangent = self._tape.derivative(direction, self._place)
            if tangent is None:
                return torch.zeros_like(self.value)
            with torch.enable_grad(), _NoTangents():
                return _tangent(self._head(forward_ad.make_dual(self._logits, tangent)))


class Reverse(Pass):
    """Backend `reverse`, reverse mode twice: J^T u is linear in u, and its derivative with respect to u along v is J v.

    It calls few operators, so it is the cheapest where these are small. It also serves models whose operators have
    double backward but no forward mode.
    """

    def _run(self, where: Callable[[], str]) -> None:
        self._recorded: tuple[Tensor, Sequence[Tensor]] | None = None
        with sdpa_kernel(SDPBackend.MATH):
            self.value = self._head(self.parameters.model(self._x))

    def transposed(self, u: Tensor) -> Sequence[Tensor]:
        u = u.detach().requires_grad_()
        transposed = grad(self.value, self.parameters.tensors, u, create_graph=True, materialize_grads=True)
        self._recorded = u, transposed
        return [t.detach() for t in transposed]

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        if self._recorded is None:
            self.transposed(torch.ones_like(self.value))
        assert self._recorded
        u, transposed = self._recorded
        pairs = [(t, v) for t, v in zip(transposed, direction, strict=True) if t.requires_grad]
        (jv,) = grad([t for t, _ in pairs], u, [v for _, v in pairs], retain_graph=True, materialize_grads=True)
        return jv


class PerSample(Pass):
    """Backend `per_sample`, for models whose samples do not see each other: by the deltas of `bench.meta.per_sample`.

    It costs 1 F, and saves as much in every further backward pass. The outputs must be one loss for each sample.
    """

    def _run(self, where: Callable[[], str]) -> None:
        with Layers(self.parameters.tensors, len(self._x), where) as seen:
            logits = self.parameters.model(self._x)
        seen.end(logits)
        if not seen.found:
            raise CoupledError("no layer with parameters is used")
        losses = self._head(logits)
        if losses.shape != self._x.shape[:1]:
            raise CoupledError("the outputs are not one loss for each sample")
        deltas = grad(losses.sum(), [layer.edge for layer in seen.found], allow_unused=True)
        self._layers = [(layer, d) for layer, d in zip(seen.found, deltas, strict=True) if d is not None]
        tensors = self.parameters.tensors
        self.value = _WeightedGradients.apply(losses.detach(), self._layers, *tensors)  # type: ignore[no-untyped-call]

    def transposed(self, u: Tensor) -> Sequence[Tensor]:
        return weighted_gradients(self._layers, self.parameters.tensors, u)

    def derivative(self, direction: Sequence[Tensor | None]) -> Tensor:
        """J v, as for every pass. None in `direction` stands for zero, for which nothing is computed."""
        total = torch.zeros_like(self.value)
        for layer, delta in self._layers:
            v, b = direction[layer.weight], None if layer.bias is None else direction[layer.bias]
            if v is not None:
                with layer.precision():
                    y = layer.apply(layer.x, v, b)
            elif b is not None:
                y = b.expand_as(delta)
            else:
                continue
            total += torch.linalg.vecdot(y.to(total.dtype).flatten(1), delta.to(total.dtype).flatten(1))
        return total

    def along(self, val: Validation, at: Sequence[Tensor], slope: Slope) -> Tensor:
        """J v for v = slope * grad val(at), as for every pass.

        A dense weight's part of (J v)_i is sum_j <delta_i, delta'_j> <x_i, x'_j> over the validation samples j, whose
        inputs and deltas are written with a dash. For batches that are smaller than the layer this is less work than v
        itself.
        """
        if not isinstance(slope, float):
            return super().along(val, at, slope)
        at = [p.detach().requires_grad_() for p in at]
        net, seen = self.parameters.at(at), []

        def collecting(x: Tensor) -> Tensor:
            with Layers(at, len(x)) as layers:
                logits = net(x)
            layers.end(logits)
            seen.extend(layers.found)
            return logits

        with self._random.replayed():
            loss = val(collecting).sum()
        pairs = _small_pairs(self._layers, seen)
        small = {layer.weight for layer, _, _ in pairs}
        rest = [i for i in range(len(at)) if i not in small]
        wanted = {id(other): other.edge for _, _, other in pairs}
        ends: list[Any] = [*wanted.values(), *(at[i] for i in rest)]
        gradients = grad(loss, ends, allow_unused=True)
        delta_of = dict(zip(wanted, gradients, strict=False))  # the gradients after these are those of `rest`
        v: list[Tensor | None] = [None] * len(at)
        for i, g in zip(rest, gradients[len(wanted) :], strict=True):
            v[i] = torch.zeros_like(at[i]) if g is None else g
        total = self.derivative(v)
        for layer, delta, other in pairs:
            if (delta_ := delta_of[id(other)]) is not None:
                with layer.precision():
                    total += ((layer.x @ other.x.mT) * (delta @ delta_.mT)).sum(1)
        return slope * total


def _small_pairs(layers: Sequence[tuple[Layer, Tensor]], others: Sequence[Layer]) -> list[tuple[Layer, Tensor, Layer]]:
    """Each call of a dense layer in training (with its delta) and each in validation, of those layers for which the
    products of samples are less work.
    """
    pairs = [(layer, delta, other) for layer, delta in layers for other in others if layer.weight == other.weight]
    large = {layer.weight for layer, delta, other in pairs if not _is_small(layer, delta, other)}
    return [pair for pair in pairs if pair[0].weight not in large]


def _is_small(layer: Layer, delta: Tensor, other: Layer) -> bool:
    if not (layer.dense and other.dense):
        return False
    (b, inputs), (c, _), outputs = layer.x.shape, other.x.shape, delta.shape[1]
    return b * c * (inputs + outputs) < (b + c) * inputs * outputs


def weighted_gradients(
    layers: Sequence[tuple[Layer, Tensor]], parameters: Sequence[Tensor], u: Tensor
) -> Sequence[Tensor]:
    """J^T u from layers and their deltas: one tensor for each parameter, in its shape and dtype.

    Args:
        layers: each call of a layer, with the gradients [B, ...] of the samples' losses with respect to its output.
        parameters: the model's trained parameters, in order.
        u: [B].
    """
    sums: list[Tensor | None] = [None] * len(parameters)
    for layer, delta in layers:
        gradients = layer.gradients(layer.x, delta * u.view(-1, *[1] * (delta.dim() - 1)).to(delta.dtype))
        for number, g in zip((layer.weight, layer.bias), gradients, strict=True):
            if number is not None:
                before = sums[number]
                sums[number] = g if before is None else before + g
    return [torch.zeros_like(p) if g is None else g.to(p.dtype) for p, g in zip(parameters, sums, strict=True)]


class _WeightedGradients(torch.autograd.Function):
    """Losses whose backward is J^T. It must not hold the pass, which holds the losses: a cycle is freed late."""

    @staticmethod
    def forward(ctx: Any, losses: Tensor, layers: Sequence[tuple[Layer, Tensor]], *parameters: Tensor) -> Tensor:
        ctx.layers, ctx.parameters = layers, parameters
        return losses

    @staticmethod
    def backward(ctx: Any, u: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise MetaStepError("the losses of backend per_sample have no second derivatives: take another backend")
        return None, None, *weighted_gradients(ctx.layers, ctx.parameters, u)


class _NoTangents(TorchFunctionMode):
    """Under no_grad, as a model or a head may have it within, there are no tangents either: backward sees constants."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with nullcontext() if torch.is_grad_enabled() else forward_ad._set_fwd_grad_enabled(False):
            return function(*args, **(kwargs or {}))


def _tangent(dual: Tensor) -> Tensor:
    value, tangent = forward_ad.unpack_dual(dual)
    return torch.zeros_like(value) if tangent is None else tangent


PASSES: Mapping[str, type[Pass]] = {"per_sample": PerSample, "replay": Replay, "dual": Dual, "reverse": Reverse}
