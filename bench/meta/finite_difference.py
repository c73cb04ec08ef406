"""What meta-gradients are checked against: the virtual step itself, made with slightly different weights.

What a training does with given weights is computed as it stands: the gradient of the weighted loss by a plain backward
pass, the step, and the validation loss at the moved parameters. The central difference of that loss between two nearby
values of the weights is its derivative, whatever the backward passes of the model contain. No backward pass is
differentiated for it, so an operator whose derivative is cut or wrong does not make the difference wrong too.
"""

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad
from torch.overrides import TorchFunctionMode

from bench.meta.functional import Parameters, RandomState, normal_numbers
from bench.meta.gradient import Inner
from bench.meta.passes import Head, Validation
from bench.meta.virtual import VirtualStep
from bench.trees import instances

DIRECTIONS = 2
"""The number of random directions of the weights. A wrong gradient escapes only if its error is orthogonal to all of
them.
"""
STEPS = (1e-6, 1e-7, 1e-8)
"""Distances h of the weights in float64. Right gradients are within 1e-7 of the differences then: rounding contributes
1e-16 / h, and a kink like that of ReLU seldom lies between two weights so close. Where one does, the next distance
decides.
"""
TOLERANCE = 1e-4
"""A gradient whose relative error is below this is right; the largest error that was seen of a right one is 1e-7."""
COARSE_STEPS = (1e-3, 3e-3, 1e-2, 3e-2)
"""Distances h where values are rounded to float32 or less, which hides a smaller change of the weights."""
COARSE_TOLERANCE = 2e-3
"""The same as TOLERANCE, at COARSE_STEPS: in float32 smooth models have an error of 1e-4."""
SPREADS = 3
"""A gradient is wrong only if it is this many times as far off as the differences at three neighbouring steps are from
each other, as rounding, curvature and kinks move those too: no ordinary model is to be refused. Right ones have 1.2 at
most (ResNets and MobileNets in float32), wrong ones of small models 7 to 100."""
MOST = 0.05
"""The largest relative error that is reported of a gradient that was not shown to be wrong. Beyond it, the differences
cannot tell anything.
"""


def relative_error(found: Tensor, truth: Tensor) -> float:
    """The norm of the difference of two tensors, divided by the larger one of their norms.

    Args:
        found, truth: tensors of one shape.

    Returns:
        A number from 0 to 2; 0 if both are zero.
    """
    scale = torch.maximum(found.norm(), truth.norm()).clamp_min(torch.finfo(found.dtype).tiny)
    return float((found - truth).norm() / scale)


class Differences:
    """Central differences of the validation loss after a virtual step, as a function of the weights in that step.

    All passes start from the same state of the random generators. Afterwards the model's buffers are as they were.

    Attributes:
        epsilon: the relative spacing of the coarsest numbers in the training pass.
    """

    def __init__(
        self,
        model: nn.Module,
        x: Tensor,
        head: Head,
        inner: Inner,
        w: Tensor,
        val: Validation,
        step: VirtualStep,
        random: RandomState,
    ) -> None:
        """Make the training pass, which does not depend on the weights.

        Args:
            model: the model.
            x: inputs of the training batch, [.., B, *shape].
            head: what is computed from the logits.
            inner: the loss of the virtual step.
            w: the weights at which derivatives are taken, [.., B].
            val: the validation loss.
            step: the virtual step.
            random: the state of the random generators for all passes.
        """
        self._parameters = Parameters(model)
        self._inner, self._w, self._val, self._step, self._random = inner, w.detach(), val, step, random
        self._derivatives: dict[float, Tensor] = {}
        self._directions = normal_numbers(DIRECTIONS, *w.shape).to(self._w)
        narrowing = Narrowing()
        with self._parameters.buffers_spared():
            with random.replayed(), narrowing:
                self._value = head(model(x))
            self._buffers = self._parameters.buffers()
        self.epsilon = max(narrowing.epsilon, _epsilon(self._value))
        self._rounds = self.epsilon > torch.finfo(torch.float64).eps
        self._steps = COARSE_STEPS if self._rounds else STEPS

    def compare(self, gradient: Tensor) -> tuple[float | None, bool]:
        """Compare a meta-gradient with the differences.

        Args:
            gradient: that of the validation loss with respect to the weights, [.., B].

        Returns:
            Its relative error at the distance at which it agrees best, and whether it is right. The error is None, and
            the gradient counts as right, where the differences cannot tell: those at different distances are too far
            from each other (kinks, curvature, rounding), or the loss hardly changes. The error is infinite where a pass
            cannot be repeated.
        """
        wanted, best = (self._directions * gradient).sum(-1), float("inf")
        least = COARSE_TOLERANCE if self._rounds else TOLERANCE
        for h in self._steps:
            best = min(best, relative_error(wanted, self._at(h)))
            if best < least:
                return best, True
        once, again = self._loss(self._w), self._loss(self._w)
        if relative_error(once, again) > 100 * self.epsilon:  # more than the order of sums can make
            return float("inf"), False
        widest = max(self._steps)
        noise = self.epsilon * float(once.norm()) / widest
        if max(float(wanted.norm()), float(self._at(widest).norm())) < 10 * noise:
            return None, True
        spreads = [relative_error(self._at(a), self._at(b)) for a, b in itertools.pairwise(self._steps)]
        spread = min(map(max, itertools.pairwise(spreads)))
        if best >= SPREADS * spread:
            return best, False
        return best if best < MOST else None, True

    def _at(self, h: float) -> Tensor:
        """The derivatives [K, ..] of each run along the K directions, from weights that are h apart from w."""
        if h not in self._derivatives:
            both = [(self._loss(self._w + h * d), self._loss(self._w - h * d)) for d in self._directions]
            self._derivatives[h] = torch.stack([(above - below) / (2 * h) for above, below in both])
        return self._derivatives[h]

    def _loss(self, w: Tensor) -> Tensor:
        """The validation loss [..] after the virtual step with these weights, as a training computes it."""
        loss = self._inner(self._value, [w]).sum()
        tensors = self._parameters.tensors
        gradient = grad(loss, tensors, retain_graph=True, materialize_grads=True)
        moved, _ = self._step(tensors, gradient)
        at = [p.detach().requires_grad_() for p in moved]  # some models do other things without gradients
        with self._random.replayed():
            return self._val(self._parameters.at(at, self._buffers)).detach()


class Narrowing(TorchFunctionMode):
    """Finds out, while this mode is entered, whether a model that is given float64 rounds some of its values to fewer
    digits.

    Attributes:
        epsilon: the relative spacing of the coarsest numbers that a function has made out of float64.
    """

    epsilon = torch.finfo(torch.float64).eps

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = function(*args, **(kwargs or {}))
        spacing = max((_epsilon(t) for t in instances(Tensor, out)), default=0.0)
        if spacing > self.epsilon and any(t.dtype == torch.float64 for t in instances(Tensor, (args, kwargs))):
            self.epsilon = spacing
        return out


def _epsilon(t: Tensor) -> float:
    """The relative spacing of a tensor's numbers; 0 for integers."""
    return torch.finfo(t.dtype).eps if t.is_floating_point() else 0.0
