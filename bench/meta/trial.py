"""The trial of a backend: the meta-gradient of a few samples, and what it is compared with."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import grad

from bench.errors import MetaStepError
from bench.meta.finite_difference import Differences, relative_error
from bench.meta.full_precision import full_precision
from bench.meta.functional import Net, Parameters, RandomState
from bench.meta.gradient import gradient, gradient_by_double_backward
from bench.meta.passes import PASSES
from bench.meta.virtual import gradient_step

SAMPLES = 8  # in the small batch
STEP = gradient_step(0.1)
TOLERANCE = 1e-6
"""The largest relative error of a right meta-gradient in float64. An exact backend has 1e-13 (1e-7 if the model casts
to float32), a wrong one 1e-5 or more. For a model that casts to fewer digits, the limit is larger in proportion.
"""
UNREACHED = (
    "the logits of the model depend on none of its trained parameters (cut off by a detach, no_grad, argmax, or a "
    "checkpoint with use_reentrant=True): a look-ahead needs some to step on"
)
REENTRANT = (
    "the model calls torch.utils.checkpoint with use_reentrant=True, which lets no gradient be taken by itself: "
    "give it use_reentrant=False"
)


@dataclass(frozen=True)
class Comparison:
    """How a backend's meta-gradient compares with others.

    Attributes:
        error: its relative error against another way to compute it; None if there is none.
        against: the name of that way, or why there is none.
        differences_error: its relative error against central differences; None if they could not tell.
        wrong: what is wrong with it, in words; empty if nothing is.
        by_differences: whether central differences have shown that it is wrong.
    """

    error: float | None = None
    against: str = "not checked"
    differences_error: float | None = None
    wrong: str = ""
    by_differences: bool = False


class BackendTrial:
    """The meta-gradient of a copy of a model on a few samples with made-up labels.

    Args:
        model: the model, or the stack of models; it is copied.
        x: inputs of a training batch, [.., B, *shape].
        stacked: whether the model is a stack.
        samples: how many samples of the batch are used; all if it has fewer.

    Attributes:
        model: the copy.
        x: the inputs of the small batch, [.., b, *shape].
        random: the state of the random generators, from which every pass draws.
        logits: the model's logits for x, [.., b, C].
        labels: the made-up labels of all runs, one after another, [.. * b].
        w: the weights at which meta-gradients are taken, [.., b].
    """

    def __init__(self, model: nn.Module, x: Tensor, stacked: bool, samples: int = SAMPLES) -> None:
        self.model = copy.deepcopy(model)
        self.x = x.detach().narrow(int(stacked), 0, min(samples, x.shape[int(stacked)]))
        self.random = RandomState(x.device)
        self.logits = self._logits()
        self.labels = torch.arange(self.logits[..., 0].numel(), device=x.device) % self.logits.shape[-1]
        self.w = torch.linspace(-1, 1, self.labels.numel(), device=x.device).view(self.logits.shape[:-1])
        self._differences: Differences | None = None
        self._truth: Tensor | None = None
        self._against = ""

    def in_type(self, dtype: torch.dtype) -> "BackendTrial | None":
        """The same trial with another type of numbers.

        Args:
            dtype: the type of the parameters, the buffers and the inputs.

        Returns:
            The trial; None if the device or the model cannot compute in this type.
        """
        other = copy.copy(self)
        other._differences, other._truth = None, None
        try:
            numbers = [t for t in (*self.model.parameters(), *self.model.buffers()) if t.is_floating_point()]
            if any(t.dtype != dtype for t in numbers):
                other.model = copy.deepcopy(self.model).to(dtype)
            other.x = self.x.to(dtype) if self.x.is_floating_point() else self.x
            other.logits = other._logits()
        except Exception:
            return None
        return other if other.logits.dtype == dtype else None

    def compare(self, backend: str) -> Comparison:
        """Compare a backend's meta-gradient with central differences, and in float64 also with double backward, which
        has more digits.

        Double backward counts only where it agrees with the differences itself. Where an operator has no double
        backward, forward mode on the model (backend `dual`) takes its place, under the same condition.

        Args:
            backend: its name.

        Returns:
            The errors, and what is wrong.

        Raises:
            MetaStepError: as `gradient` does.
        """
        found = self.gradient(backend)
        off, is_right = self._off_differences(found)
        if not is_right:
            wrong = f"its meta-gradient is {off:.0e} off from central differences of the virtual step"
            return Comparison(differences_error=off, wrong=wrong, by_differences=True)
        if self._truth is None and self.logits.dtype == torch.float64:
            self._truth, self._against = self._most_exact(backend)
        if self._truth is None:
            lacking = "no double backward" if self.logits.dtype == torch.float64 else "no float64"
            checked = "not checked" if off is None else "central differences alone"
            return Comparison(None, f"{checked}: {lacking}", off)
        error = relative_error(found, self._truth)
        rounding = 10 * self._differences.epsilon if self._differences else 0.0
        wrong = (
            ""
            if error < max(TOLERANCE, rounding)
            else f"its meta-gradient is {error:.0e} off from that by {self._against}"
        )
        return Comparison(error, self._against, off, wrong)

    def float32_error(self, backend: str) -> float | None:
        """The relative error of the meta-gradient in the run's precision and with its attention kernels, against that
        in float32 with the mathematical kernel.

        Args:
            backend: its name.

        Returns:
            The error; None if the model cannot be computed in float32.
        """
        with suppress(MetaStepError):
            if other := self.in_type(torch.float32):
                exact = other.gradient(backend, full_precision(self.x.device))
                return relative_error(self.gradient(backend).to(exact.dtype), exact)
        return None

    def train(self) -> None:
        """Make a plain training pass, forward and backward, so that an error of the model itself shows as what it is.

        Raises:
            MetaStepError: if the logits depend on no parameter that is trained, or the model has a checkpoint through
                which no gradient can be taken by itself.
            Exception: whatever the model raises.
        """
        parameters = Parameters(self.model)
        with self.random.replayed(), parameters.buffers_spared():
            loss = self._losses(self.model(self.x)).sum()
            if not loss.requires_grad:
                raise MetaStepError(UNREACHED)
            try:
                grad(loss, parameters.tensors, allow_unused=True)
            except RuntimeError as error:
                if "use_reentrant" in str(error):
                    raise MetaStepError(REENTRANT) from error
                raise

    def gradient(self, backend: str, precision: AbstractContextManager[Any] | None = None) -> Tensor:
        """The meta-gradient of the small batch by a backend.

        Args:
            backend: its name.
            precision: a context in which everything is computed; None: no other than the present one.

        Returns:
            The gradient with respect to `w`, [.., b].

        Raises:
            MetaStepError: if the backend cannot take the model.
        """
        w = self._weights()
        parameters = Parameters(self.model)
        with (
            self.random.replayed(),
            parameters.buffers_spared(),
            module_names(self.model) as where,
            precision or nullcontext(),
        ):
            try:
                made = PASSES[backend](parameters, self.x, self._losses, self.random, where)
                return gradient(made, _inner, [w], self._val, STEP)[0]
            except MetaStepError:
                raise
            except (NotImplementedError, RuntimeError) as error:  # mostly an operator without that derivative
                at = f" (module {where()})" if where() else ""
                raise MetaStepError(f"{str(error).splitlines()[0]}{at}") from error

    def _off_differences(self, found: Tensor) -> tuple[float | None, bool]:
        """The relative error against central differences, None if there are none, and whether it is no larger than that
        of a right gradient.
        """
        with suppress(NotImplementedError, RuntimeError):
            if self._differences is None:
                self._differences = Differences(
                    self.model, self.x, self._losses, _inner, self._weights(), self._val, STEP, self.random
                )
            return self._differences.compare(found)
        return None, True

    def _most_exact(self, backend: str) -> tuple[Tensor | None, str]:
        """The meta-gradient by a way with more digits than differences have, and its name."""
        with suppress(NotImplementedError, RuntimeError):
            (truth,) = gradient_by_double_backward(
                self.model, self.x, self._losses, _inner, [self._weights()], self._val, STEP, self.random
            )
            if self._agrees_with_differences(truth):
                return truth, "double backward"
        with suppress(MetaStepError):
            if backend != "dual" and self._agrees_with_differences(truth := self.gradient("dual")):
                return truth, "dual numbers"
        return None, ""

    def _agrees_with_differences(self, truth: Tensor) -> bool:
        """Whether it does, or there are none."""
        return self._off_differences(truth)[1]

    def _weights(self) -> Tensor:
        return self.w.to(self.logits.dtype).requires_grad_()

    def _logits(self) -> Tensor:
        with torch.no_grad():
            parameters = Parameters(self.model)
            return parameters.at(parameters.tensors)(self.x)

    def _losses(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, -2), self.labels, reduction="none").view(logits.shape[:-1])

    def _val(self, net: Net) -> Tensor:
        return self._losses(net(self.x.flip(self.logits.dim() - 2))).mean(-1)


def _inner(value: Tensor, hyper: Sequence[Tensor]) -> Tensor:
    """A weighted loss that depends on the weight of a single sample too."""
    return (hyper[0].exp() * value).mean(-1)


@contextmanager
def module_names(model: nn.Module) -> Iterator[Callable[[], str]]:
    """Within this context, tell which module of a model is being run.

    Args:
        model: the model.

    Returns:
        A function that gives the module's name; after an exception, that of the module that raised it; empty outside of
        all modules.
    """
    running: list[str] = []

    def enter(name: str) -> Callable[..., None]:
        return lambda module, args: running.append(name)

    def leave(module: nn.Module, args: Any, out: Any) -> None:
        running.pop()

    handles: list[Any] = []
    for name, module in model.named_modules():
        handles += [module.register_forward_pre_hook(enter(name)), module.register_forward_hook(leave)]
    try:
        yield lambda: running[-1] if running else ""
    finally:
        for handle in handles:
            handle.remove()
