"""Which module makes the meta-gradient of a model wrong: each module is tried by itself, on what the model calls it
with.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from bench.meta.functional import RandomState, buffers_spared
from bench.trees import instances, mapped

FINE = 1e-6, 1e-5
"""The distance h of a central difference in float64, and the largest relative error of a right derivative, which has
1e-8.
"""
COARSE = 1e-2, 0.05
"""The same for models that compute in fewer digits than float64."""
UNREPEATABLE = (
    "gives two outputs for one input, as it draws from other generators than torch's global ones or keeps "
    "a state that is no buffer"
)
NOT_THE_DERIVATIVE = "has a backward that is not the derivative of its forward (detach, no_grad, or one of its own)"
NO_SECOND = "has a backward that cannot be differentiated and does not say so (once_differentiable, or no_grad in it)"


def culprit(model: nn.Module, x: Tensor, random: RandomState) -> str:
    """Find the module whose derivatives are wrong: the first one for which those of all modules inside it are right.

    Args:
        model: in float64 where possible. It is not needed afterwards.
        x: its inputs, [.., B, *shape].
        random: the state of the random generators before its pass.

    Returns:
        The module and its fault, such as `module 2 (Apply) has a backward that ...`; empty if no module is at fault by
        itself.
    """
    names = {module: name for name, module in model.named_modules()}
    faults: dict[str, str] = {}
    trying = False

    def before(module: nn.Module, args: Any, kwargs: Any) -> None:
        nonlocal trying
        if not trying and names[module] not in faults:
            trying = True
            try:
                faults[names[module]] = fault(module, args, kwargs)
            except Exception:  # a module that cannot be tried by itself is not accused
                faults[names[module]] = ""
            finally:
                trying = False

    handles = [module.register_forward_pre_hook(before, with_kwargs=True) for module in names]
    try:
        with random.replayed(), buffers_spared(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    wrong = {name for name, fault in faults.items() if fault}
    innermost = (name for name in faults if name in wrong and not any(_within(other, name) for other in wrong))
    name = next(innermost, None)
    if name is None:
        return ""
    kind = type(model.get_submodule(name)).__name__
    return f"module {name} ({kind}) {faults[name]}" if name else f"the model ({kind}) {faults[name]}"


def _within(name: str, other: str) -> bool:
    """Whether a module of this name is inside of the other one."""
    return name != other and (not other or name.startswith(f"{other}."))


def fault(module: nn.Module, args: Any, kwargs: Any) -> str:
    """What is wrong with the derivatives of a module.

    Args:
        module: the module.
        args, kwargs: what it is called with.

    Returns:
        The fault in words, UNREPEATABLE, NOT_THE_DERIVATIVE or NO_SECOND; empty if nothing is wrong.

    Raises:
        Exception: whatever the module raises when it is called by itself.
    """
    trial = ModuleTrial(module, args, kwargs)
    if not trial.repeats():
        return UNREPEATABLE
    if not trial.is_differentiated_rightly():
        return NOT_THE_DERIVATIVE
    return "" if trial.is_differentiated_twice() else NO_SECOND


class ModuleTrial:
    """The derivatives of one module, at inputs near those that it was called with.

    The inputs are moved a little, because behind a ReLU many of them are equal zeros, where a function such as
    max-pooling has no derivative.

    Args:
        module: the module.
        args, kwargs: what it is called with.
    """

    def __init__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._module = module
        self._generator = torch.Generator().manual_seed(0)
        self._called_with = (args, kwargs)
        self._inputs = [
            (t + 0.01 * t.std(correction=0) * self._like(t)).detach().requires_grad_()
            for t in instances(Tensor, (args, kwargs))
            if t.is_floating_point()
        ]
        self._parameters = [p for p in self._module.parameters() if p.requires_grad]
        device = self._inputs[0].device if self._inputs else torch.device("cpu")
        self._random = RandomState(device)
        self._ends = [*self._inputs, *self._parameters]
        outs = self._outputs()
        self._u = [self._like(out) for out in outs]
        self._epsilon = max((torch.finfo(t.dtype).eps for t in (*self._ends, *outs)), default=0.0)
        self._h, self._tolerance = FINE if self._epsilon <= torch.finfo(torch.float64).eps else COARSE

    def repeats(self) -> bool:
        """Whether two passes with the same inputs and the same random numbers give the same outputs, up to rounding."""
        first, second = ([out.detach() for out in self._outputs()] for _ in range(2))
        rtol = 100 * self._epsilon
        return all(torch.allclose(a, b, rtol=rtol, atol=0, equal_nan=True) for a, b in zip(first, second, strict=True))

    def is_differentiated_rightly(self) -> bool:
        """Whether the gradient of <u, outputs>, for a random u, agrees with central differences along a few random
        directions.
        """
        outs = self._outputs()
        if not any(out.requires_grad for out in outs):
            gradients: Any = [torch.zeros_like(t) for t in self._ends]
        else:
            gradients = grad(self._dot(outs, self._u), self._ends, materialize_grads=True)
        errors, sizes = [], []
        for _ in range(3):
            v = [self._like(t) for t in self._ends]
            wanted = float(self._dot(gradients, v))
            found = (self._moved(v, self._h) - self._moved(v, -self._h)) / (2 * self._h)
            errors.append(abs(found - wanted))
            sizes.append(max(abs(found), abs(wanted)))
        noise = self._epsilon / self._h * max(1.0, abs(float(self._dot(outs, self._u).detach())))
        return max(errors) <= self._tolerance * max(sizes) + noise

    def is_differentiated_twice(self) -> bool:
        """Whether the gradient of <u, outputs>, which is linear in u, has itself as its derivative along u.

        A module that raises an error here counts as right, because it says by itself that it has no double backward.
        """
        outs = [(out, u) for out, u in zip(self._outputs(), self._u, strict=True) if out.requires_grad]
        if not outs:
            return True
        us = [u.clone().requires_grad_() for _, u in outs]
        try:
            gradients = grad([o for o, _ in outs], self._ends, us, create_graph=True, materialize_grads=True)
            total = self._dot(gradients, [self._like(t) for t in self._ends])
            of_u: Any = [torch.zeros_like(u) for u in us]
            if total.requires_grad:
                of_u = grad(total, us, materialize_grads=True)
        except (NotImplementedError, RuntimeError):  # it says so
            return True
        return abs(float((self._dot(of_u, us) - total).detach())) <= self._tolerance * abs(float(total.detach()))

    def _moved(self, v: list[Tensor], h: float) -> float:
        """<u, outputs> with inputs and parameters moved by h v."""
        before = [t.detach().clone() for t in self._ends]
        with torch.no_grad():
            for t, direction in zip(self._ends, v, strict=True):
                t.add_(direction, alpha=h)
        value = float(self._dot(self._outputs(), self._u).detach())
        with torch.no_grad():
            for t, value_before in zip(self._ends, before, strict=True):
                t.copy_(value_before)
        return value

    def _outputs(self) -> list[Tensor]:
        """The floating-point outputs of a pass."""
        inputs = iter(self._inputs)
        args, kwargs = mapped(
            Tensor, self._called_with, lambda t: next(inputs).clone() if t.is_floating_point() else t.clone()
        )
        with torch.enable_grad(), self._random.replayed(), buffers_spared(self._module):
            out = self._module(*args, **kwargs)
        return [t for t in instances(Tensor, out) if t.is_floating_point()]

    def _dot(self, some: Any, others: Any) -> Tensor:
        products = [(a * b).sum() for a, b in zip(some, others, strict=True)]
        return torch.stack(products).sum() if products else torch.zeros(())

    def _like(self, t: Tensor) -> Tensor:
        """Normal random numbers of the shape of a tensor."""
        return torch.randn(t.shape, generator=self._generator, dtype=torch.float64).to(t)
