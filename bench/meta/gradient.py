"""The gradient of a validation loss after a virtual step, with respect to what weighted the loss of that step.

The virtual step is theta~ = step(theta, g) with g = grad_theta inner(outputs(theta), hyper). Here `outputs` are what
the model gives on the training batch (per-sample losses, or logits), and `hyper` is what weights them. Then

    d val(theta~) / d hyper = d/d hyper < grad_outputs inner(outputs, hyper), J v >,   v = slope * grad val(theta~),

with J the Jacobian of the outputs with respect to theta and slope = d theta~ / d g, element by element (-lr for a plain
step). J v is one forward-mode pass along v. There is no double backward through the model, and the result is exact,
also where BatchNorm couples the samples.

Source: for `inner = mean(s * losses)` and a plain step this is the familiar -lr / B * <grad val, grad l_i> of Ren et
al., Learning to Reweight Examples for Robust Deep Learning, 2018.
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
"""The loss of the virtual step: (outputs [.., B, ...], hyper) -> one value for each run, [..]."""


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
            that of a descent of unit size, d val(theta - g) / d hyper.

    Returns:
        One tensor for each of `hyper`, in its shape.

    Raises:
        MetaStepError: if the backend cannot take the derivative.
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
    """The meta-gradient by differentiating through the virtual step, as public implementations do. It is slow, and
    serves as what the fast ways are compared with.

    Args:
        model: the model.
        x: inputs of the training batch, [.., B, *shape].
        head: what is computed from the logits.
        inner, hyper, val, step: as for `gradient`; there must be a step.
        random: the state of the random generators, from which both passes draw.

    Returns:
        One tensor for each of `hyper`, in its shape.
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
