"""The gradient of a validation loss after a virtual step, with respect to what weighted that step.

With a virtual step theta~ = step(theta, g), g = grad_theta inner(outputs(theta), hyper), where `outputs` are what the
model gives on the training batch (per-sample losses, or logits) and `hyper` is what weights them,

    d val(theta~) / d hyper = d/d hyper < grad_outputs inner(outputs, hyper), J v >,   v = slope * grad val(theta~),

with J the Jacobian of the outputs with respect to theta and slope = d theta~ / d g, element by element (-lr for a
plain step). J v is one forward-mode pass along v: there is no double backward through the model, and the result is
exact, also through BatchNorm's coupling of the samples. For `inner = mean(s * losses)` and a plain step this is the
familiar -lr / B * <grad val, grad l_i> (Ren et al., Learning to Reweight Examples for Robust Deep Learning, 2018).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.meta.functional import Parameters, RandomState
from bench.meta.passes import Head, Pass, Validation
from bench.meta.virtual import Slope, VirtualStep

Inner = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(outputs [.., B, ...], hyper) -> [..], the loss of the virtual step."""


def gradient(
    made: Pass, inner: Inner, hyper: Sequence[Tensor], val: Validation, step: VirtualStep | None
) -> tuple[Tensor, ...]:
    """The meta-gradient d val(theta~) / d hyper from a training pass.

    Args:
        made: the training pass.
        inner: the loss of the virtual step.
        hyper: what weights that loss, as leaves that require grad.
        val: the validation loss.
        step: the virtual step; None if the weights are zero: then there is no step, theta~ = theta, and the gradient is
            the one for each unit of a descent, d val(theta - g) / d hyper.

    Returns:
        One tensor for each of `hyper`.
    """
    value = made.value.detach().requires_grad_()
    (u,) = grad(inner(value, hyper).sum(), value, create_graph=True)
    at: Sequence[Tensor] = made.parameters.tensors
    slope: Slope = -1.0
    if step is not None:
        with torch.no_grad():
            at, slope = step(at, made.transposed(u.detach()))
    return grad(u, list(hyper), made.along(val, at, slope))


def gradient_by_double_backward(
    model: nn.Module,
    x: Tensor,
    head: Head,
    inner: Inner,
    hyper: Sequence[Tensor],
    val: Validation,
    step: VirtualStep,
    random: RandomState,
) -> tuple[Tensor, ...]:
    """The meta-gradient by differentiating through the virtual step, as the public codes do: the slow truth for tests.

    Args:
        model: the model, run on the inputs x of the training batch.
        head: what is computed from the logits.
        inner, hyper, val, step: as for `gradient`.
        random: the state of the generators for both passes.
    """
    parameters = Parameters(model)
    with sdpa_kernel(SDPBackend.MATH), parameters.buffers_spared():
        with random.replayed():
            value = head(model(x))
        g = grad(inner(value, hyper).sum(), parameters.tensors, create_graph=True, materialize_grads=True)
        moved, _ = step(parameters.tensors, g)
        with random.replayed(), parameters.held(moved) as net:
            v = grad(val(net).sum(), moved, materialize_grads=True)
        return grad(moved, list(hyper), v)
