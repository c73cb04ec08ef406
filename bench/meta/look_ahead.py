"""The look-ahead: the gradient of a validation loss after a virtual step, with respect to what weighted that step.

With a virtual step theta~ = step(theta, g), g = grad_theta inner(outputs(theta), hyper), where `outputs` are what the
model gives on the training batch (per-sample losses, or logits) and `hyper` is what weights them,

    d val(theta~) / d hyper = d/d hyper < grad_outputs inner(outputs, hyper), J v >,   v = slope * grad val(theta~),

with J the Jacobian of the outputs with respect to theta and slope = d theta~ / d g, element by element (-lr for a plain
step). J v is one forward-mode pass along v: there is no double backward through the model, and the result is exact, also
through BatchNorm's coupling of the samples. For `inner = mean(s * losses)` and a plain step this is the familiar
-lr / B * <grad val, grad l_i> (Ren et al., Learning to Reweight Examples, 2018, equation 12).
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.errors import MetaStepError
from bench.meta.functional import Parameters, RandomState
from bench.meta.passes import PASSES, Head, Pass, Validation
from bench.meta.virtual import Slope, VirtualStep

Inner = Callable[[Tensor, Sequence[Tensor]], Tensor]
"""(outputs [.., B, ...], hyper) -> [..], the loss of the virtual step."""
NO_PASS = "a derivative needs a training pass (`outputs`) before it, and each pass gives one"


class LookAhead:
    """The meta-step of one model: a training pass whose graph is kept, and derivatives through a virtual step from it.

    A step of a method is `outputs` once, `gradient` or `derivative` once, and then a backward pass of its own through the
    outputs, which are attached.
    """

    def __init__(self, model: nn.Module, backend: str = "auto", check: bool = True) -> None:
        """backend: `auto`, or one of BACKENDS. check: whether what is chosen is compared with double backward once."""
        self.model, self.parameters = model, Parameters(model)
        self._backend, self._check = backend, check
        self._pass: Pass | None = None

    def outputs(self, x: Tensor, head: Head) -> Tensor:
        """head(model(x)): the training pass. head: logits [.., B, C] -> outputs [.., B, ...], computed from the logits
        alone, without random numbers; it is called again for derivatives.
        """
        self._pass = PASSES["replay" if self._backend == "auto" else self._backend](
            self.parameters, x, head, RandomState(x.device)
        )
        return self._pass.value

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        """J v [.., B, ...]: of the outputs along a direction v in parameter space. The training pass is used up, except
        for the graph of its outputs.
        """
        if self._pass is None:
            raise MetaStepError(NO_PASS)
        found, self._pass = self._pass.derivative(direction), None
        return found

    def gradient(
        self, inner: Inner, hyper: Sequence[Tensor], val: Validation, step: VirtualStep | None
    ) -> tuple[Tensor, ...]:
        """d val(theta~) / d hyper, one tensor for each of `hyper` (leaves that require grad).

        step: the virtual step; None where the weights are zero, so that there is none: theta~ = theta, and the gradient is
        that per unit of a step descended, d val(theta - g) / d hyper.
        """
        if self._pass is None:
            raise MetaStepError(NO_PASS)
        value = self._pass.value.detach().requires_grad_()
        (u,) = grad(inner(value, hyper).sum(), value, create_graph=True)
        slope: Slope = -1.0
        at: Sequence[Tensor] = self.parameters.tensors
        if step is not None:
            with torch.no_grad():
                at, slope = step(at, self._pass.transposed(u.detach()))
        tangent, self._pass = self._pass.along(val, at, slope), None
        return grad((u * tangent).sum(), list(hyper))


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
    """The same by differentiating through the virtual step, as the public codes have it: the slow truth for tests."""
    parameters = Parameters(model)
    with sdpa_kernel(SDPBackend.MATH), random.replayed():
        value = head(parameters.at(parameters.tensors)(x))
        g = grad(inner(value, hyper).sum(), parameters.tensors, create_graph=True, materialize_grads=True)
    moved, _ = step(parameters.tensors, g)
    with sdpa_kernel(SDPBackend.MATH), random.replayed():
        return grad(val(parameters.at(moved)).sum(), list(hyper))
