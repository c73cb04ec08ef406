"""The meta-step: the gradient of a validation loss after a virtual step, with respect to what weighted that step.

With a virtual SGD step `theta~ = theta - lr * grad_theta inner(outputs(theta), hyper)`, where `outputs` are what the
model gives on the training batch (per-sample losses, or logits) and `hyper` is what weights them,

    d val(theta~) / d hyper = -lr * d/d hyper < grad_outputs inner(outputs, hyper), J v >,    v = grad val(theta~),

with J the Jacobian of the outputs with respect to theta. J v is one forward-mode pass along v: there is no double
backward through the model, and the result is exact, also through BatchNorm's coupling of the samples. The graph of the
training pass is left for the final gradient. For `inner = mean(s * losses)` this is the familiar
-lr / B * <v, grad l_i> (Ren et al., Learning to Reweight Examples, 2018, equation 12).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad, grad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Net = Callable[[Tensor], Tensor]
"""The model as a function of its input, with given parameters in place of its own."""
Inner = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(outputs [.., B, ...], hyper) -> [..], the loss of the virtual step."""


class RandomState:
    """The state of the global generators before a forward pass, so that a second one draws the same dropout masks."""

    def __init__(self, device: torch.device) -> None:
        self._devices = [device] if device.type == "cuda" else []
        self._cpu = torch.get_rng_state()
        self._cuda = [torch.cuda.get_rng_state(d) for d in self._devices]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """The generators stand where they stood; afterwards they are put back."""
        with torch.random.fork_rng(self._devices):
            torch.set_rng_state(self._cpu)
            for device, state in zip(self._devices, self._cuda, strict=True):
                torch.cuda.set_rng_state(state, device)
            yield


def trainable(model: nn.Module) -> dict[str, Tensor]:
    """The parameters that training moves, by name."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def with_parameters(model: nn.Module, parameters: Mapping[str, Tensor]) -> Net:
    """The model with these parameters. Its buffers are cloned at each call: a pass that is not the training's own must
    not move BatchNorm's running statistics.
    """

    def net(x: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        return functional_call(model, {**parameters, **buffers}, (x,))  # type: ignore[no-any-return]

    return net


def directional_derivative(
    model: nn.Module, direction: Mapping[str, Tensor], outputs: Callable[[Net], Tensor], random: RandomState
) -> Tensor:
    """J v: the derivative of `outputs(net)` along `direction` in parameter space, by forward-mode duals.

    random: state before the pass whose outputs these are. Attention runs on the math kernel, the only one with a
    forward-mode derivative.
    """
    with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH), random.replayed():
        duals = {name: forward_ad.make_dual(p.detach(), direction[name]) for name, p in trainable(model).items()}
        value, tangent = forward_ad.unpack_dual(outputs(with_parameters(model, duals)))
        return torch.zeros_like(value) if tangent is None else tangent


def meta_gradient(
    model: nn.Module,
    value: Tensor,
    outputs: Callable[[Net], Tensor],
    inner: Inner,
    hyper: Sequence[Tensor],
    val: Callable[[Net], Tensor],
    lr: float,
    random: RandomState,
) -> tuple[Tensor, ...]:
    """d val(theta - lr * grad inner) / d hyper, one tensor for each of `hyper` (leaves that require grad).

    value: [.., B, ...], the outputs of the training pass, attached to its graph, which is kept.
    outputs: computes the same from a net. val: [..], the validation loss of a net; stacked runs are summed over.
    """
    parameters = trainable(model)
    step = grad(inner(value, hyper).sum(), list(parameters.values()), retain_graph=True, materialize_grads=True)
    moved = {
        name: (p.detach() - lr * g).requires_grad_() for (name, p), g in zip(parameters.items(), step, strict=True)
    }
    with random.replayed():  # the training's own draws must not depend on the method
        loss = val(with_parameters(model, moved)).sum()
    v = dict(zip(moved, grad(loss, list(moved.values()), materialize_grads=True), strict=True))
    tangent = directional_derivative(model, v, outputs, random)
    value = value.detach().requires_grad_()
    (sensitivity,) = grad(inner(value, hyper).sum(), value, create_graph=True)
    return grad(-lr * (sensitivity * tangent).sum(), list(hyper))


def meta_gradient_by_double_backward(
    model: nn.Module,
    outputs: Callable[[Net], Tensor],
    inner: Inner,
    hyper: Sequence[Tensor],
    val: Callable[[Net], Tensor],
    lr: float,
    random: RandomState,
) -> tuple[Tensor, ...]:
    """The same by differentiating through the virtual step: the slow truth for tests, as the public codes have it."""
    parameters = trainable(model)
    with sdpa_kernel(SDPBackend.MATH), random.replayed():
        value = outputs(with_parameters(model, parameters))
        step = grad(inner(value, hyper).sum(), list(parameters.values()), create_graph=True, materialize_grads=True)
    moved = {name: p - lr * g for (name, p), g in zip(parameters.items(), step, strict=True)}
    with sdpa_kernel(SDPBackend.MATH), random.replayed():
        return grad(val(with_parameters(model, moved)).sum(), list(hyper))
