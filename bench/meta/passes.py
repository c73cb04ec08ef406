"""Training passes: each keeps the graph of its outputs and can tell their derivative J v along a direction v.

They differ in how J v is found, and in what it costs (in units of F, one forward pass of the model; a step of ERM is 3 F).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad, grad
from torch.nn.attention import SDPBackend, sdpa_kernel

from bench.meta.functional import Parameters, RandomState

Head = Callable[[Tensor], Tensor]
"""Logits [.., B, C] -> outputs [.., B, ...]."""


class Pass(Protocol):
    """A training pass. J is the Jacobian of its outputs with respect to the parameters.

    value: [.., B, ...], the outputs, attached: backward through them gives the gradients of the parameters.
    """

    value: Tensor

    def transposed(self, u: Tensor) -> Sequence[Tensor]:
        """J^T u, in the shapes of the parameters, from a u in the shape of `value`; the graph is kept."""
        ...

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        """J v, in the shape of `value`, from a direction v in the shapes of the parameters; the graph is kept."""
        ...


class Dual:
    """Forward mode: the model is run again on dual tensors, with the same random numbers. 3 F; for every model whose
    operators have forward-mode derivatives. Attention runs on the math kernel, the only one that has.
    """

    def __init__(self, parameters: Parameters, x: Tensor, head: Head, random: RandomState) -> None:
        self._parameters, self._x, self._head, self._random = parameters, x, head, random
        self.value = head(parameters.model(x))

    def transposed(self, u: Tensor) -> Sequence[Tensor]:
        return grad(self.value, self._parameters.tensors, u, retain_graph=True, materialize_grads=True)

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        with torch.no_grad(), forward_ad.dual_level(), sdpa_kernel(SDPBackend.MATH), self._random.replayed():
            pairs = zip(self._parameters.tensors, direction, strict=True)
            duals = [forward_ad.make_dual(p.detach(), v) for p, v in pairs]
            value, tangent = forward_ad.unpack_dual(self._head(self._parameters.at(duals)(self._x)))
            return torch.zeros_like(value) if tangent is None else tangent


class Reverse:
    """Twice reverse mode: J^T u is linear in u, and its derivative with respect to u along v is J v. Few operations, so the
    cheapest where these are small; and for models whose operators have double backward but no forward mode.
    """

    def __init__(self, parameters: Parameters, x: Tensor, head: Head, random: RandomState) -> None:
        self._parameters = parameters
        with sdpa_kernel(SDPBackend.MATH):
            self.value = head(parameters.model(x))
        self._recorded: tuple[Tensor, Sequence[Tensor]] | None = None

    def transposed(self, u: Tensor) -> Sequence[Tensor]:
        u = u.detach().requires_grad_()
        found = grad(self.value, self._parameters.tensors, u, create_graph=True, materialize_grads=True)
        self._recorded = u, found
        return [t.detach() for t in found]

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        if self._recorded is None:
            self.transposed(torch.ones_like(self.value))
        assert self._recorded
        u, transposed = self._recorded
        pairs = [(t, v) for t, v in zip(transposed, direction, strict=True) if t.requires_grad]
        (found,) = grad([t for t, _ in pairs], u, [v for _, v in pairs], retain_graph=True, materialize_grads=True)
        return found


PASSES: Mapping[str, Callable[[Parameters, Tensor, Head, RandomState], Pass]] = {
    "auto": Dual,
    "dual": Dual,
    "reverse": Reverse,
}
