"""The choice of the backend for a model: backends are tried on a small batch, and compared with double backward."""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import grad

from bench.errors import MetaStepError, UnknownNameError
from bench.meta.functional import Net, Parameters, RandomState
from bench.meta.gradient import gradient, gradient_by_double_backward
from bench.meta.passes import PASSES, Head
from bench.meta.virtual import gradient_step
from bench.records.sections import MetaStep

BACKENDS = ("auto", *PASSES)
SAMPLES = 8  # in the small batch
STEP = gradient_step(0.1)
TOLERANCE = 1e-6
"""The largest relative error in float64. An exact backend has 1e-13 (1e-7 if the model casts to float32), a wrong one
1e-5 or more."""
SMALL = 10_000_000  # samples times parameters of a dense network below which calls cost more than arithmetic


def check_backend(name: str) -> None:
    """Raises UnknownNameError for what is not one of BACKENDS."""
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)


def choose(model: nn.Module, x: Tensor, head: Head, backend: str, stacked: bool, check: bool) -> MetaStep:
    """Choose the first backend that takes this model as it is and, in float64, agrees with double backward.

    The model and the generators are as before afterwards.

    Args:
        model: the model, or the stack of models.
        x: inputs of a training batch.
        head: what is computed from the logits.
        backend: one of BACKENDS; `auto` tries them by their cost.
        stacked: whether the model is a stack.
        check: whether to compare with double backward.

    Raises:
        UnknownNameError: for an unknown backend.
        MetaStepError: if no backend takes the model, with all reasons; if a backend that was asked for by name does not
            take it, with the reason and a backend that works.
    """
    check_backend(backend)
    start, refused = time.perf_counter(), dict[str, str]()
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        trial = BackendTrial(model, x, stacked)
        exact = trial.in_float64() if check else None
        for name in _order(model, len(x), stacked) if backend == "auto" else [backend]:
            try:
                if name == "per_sample":
                    _look_at_head(model, x, head)
                trial.gradient(name)
                error, against = (
                    exact.error(name) if exact else (None, "not checked: no float64" if check else "not checked")
                )
            except MetaStepError as reason:
                refused[name] = str(reason)
                continue
            if error is None or error < TOLERANCE:
                return MetaStep(name, error, against, refused, time.perf_counter() - start)
            refused[name] = f"its meta-gradient is {error:.0e} off from that by {against}"
    trial.train()  # an error of the model itself is not this one's
    if backend == "auto":
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise MetaStepError(f"no backend can take the derivatives of this model: {reasons}")
    works = choose(model, x, head, "auto", stacked, check).backend
    raise MetaStepError(f"backend {backend}: {refused[backend]}; backend {works} works for this model")


def _order(model: nn.Module, samples: int, stacked: bool) -> Sequence[str]:
    """The names of the backends in the order of their cost for this model."""
    parameters = Parameters(model).tensors
    dense = all(p.dim() <= 2 + stacked for p in parameters)
    if stacked or (dense and samples * sum(p.numel() for p in parameters) < SMALL):
        return "reverse", "replay", "dual"
    return "per_sample", "replay", "dual", "reverse"


def _look_at_head(model: nn.Module, x: Tensor, head: Head) -> None:
    """Raise MetaStepError unless the outputs are one loss for each sample, computed from its own logits."""
    parameters = Parameters(model)
    with torch.no_grad():
        logits = parameters.at(parameters.tensors)(x)
    losses = head(logits.requires_grad_())
    if losses.shape != x.shape[:1]:
        raise MetaStepError("the outputs are not one loss for each sample")
    (of_even,) = grad(losses[::2].sum(), logits)
    if of_even[1::2].any():
        raise MetaStepError("the losses of samples depend on the logits of others")


class BackendTrial:
    """A meta-gradient of a copy of the model on a few samples with made-up labels."""

    def __init__(self, model: nn.Module, x: Tensor, stacked: bool) -> None:
        self.model = copy.deepcopy(model)
        self.x = x.detach().narrow(int(stacked), 0, min(SAMPLES, x.shape[int(stacked)]))
        self.random = RandomState(x.device)
        self.logits = self._logits()
        self.labels = torch.arange(self.logits[..., 0].numel(), device=x.device) % self.logits.shape[-1]
        self.w = torch.linspace(-1, 1, self.labels.numel(), device=x.device).view(self.logits.shape[:-1])
        self.truth: Tensor | None = None
        self.against = ""

    def in_float64(self) -> "BackendTrial | None":
        """The same trial in float64; None if the device has no float64, or the model insists on its own precision."""
        other = copy.copy(self)
        try:
            other.model, other.x = copy.deepcopy(self.model).double(), self.x.double()
            other.logits = other._logits()
        except Exception:
            return None
        return other if other.logits.dtype == torch.float64 else None

    def error(self, backend: str) -> tuple[float | None, str]:
        """The relative error of a backend, and what it was compared with: double backward, or forward mode on the model
        itself if an operator has no double backward. Raises as `gradient` does.
        """
        gradient = self.gradient(backend)
        if self.truth is None:
            self.truth, self.against = self._truth(backend)
        if self.truth is None:
            return None, self.against
        scale = self.truth.norm().clamp_min(torch.finfo(gradient.dtype).tiny)
        return float((gradient - self.truth).norm() / scale), self.against

    def _truth(self, backend: str) -> tuple[Tensor | None, str]:
        w = self.w.to(self.logits.dtype).requires_grad_()
        with suppress(NotImplementedError, RuntimeError):
            (truth,) = gradient_by_double_backward(
                self.model, self.x, self._losses, _inner, [w], self._val, STEP, self.random
            )
            return truth, "double backward"
        with suppress(MetaStepError):
            if backend != "dual":
                return self.gradient("dual"), "dual numbers"
        return None, "not checked: no double backward"

    def train(self) -> None:
        """Make a plain training pass, forward and backward."""
        parameters = Parameters(self.model)
        with self.random.replayed(), parameters.buffers_spared():
            loss = self._losses(self.model(self.x)).sum()
            if loss.requires_grad:
                grad(loss, parameters.tensors, allow_unused=True)

    def gradient(self, backend: str) -> Tensor:
        """The meta-gradient by a backend. Raises MetaStepError if the backend cannot take the model."""
        w = self.w.to(self.logits.dtype).requires_grad_()
        parameters = Parameters(self.model)
        with self.random.replayed(), parameters.buffers_spared(), module_names(self.model) as where:
            try:
                made = PASSES[backend](parameters, self.x, self._losses, self.random, where)
                return gradient(made, _inner, [w], self._val, STEP)[0]
            except MetaStepError:
                raise
            except (NotImplementedError, RuntimeError) as error:  # mostly an operator without that derivative
                at = f" (module {where()})" if where() else ""
                raise MetaStepError(f"{str(error).splitlines()[0]}{at}") from error

    def _logits(self) -> Tensor:
        with torch.no_grad():
            parameters = Parameters(self.model)
            return parameters.at(parameters.tensors)(self.x)

    def _losses(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, -2), self.labels, reduction="none").view(logits.shape[:-1])

    def _val(self, net: Net) -> Tensor:
        return self._losses(net(self.x.flip(self.logits.dim() - 2))).mean(-1)


def _inner(value: Tensor, hyper: Sequence[Tensor]) -> Tensor:
    return (hyper[0].softmax(-1) * value).sum(-1)


@contextmanager
def module_names(model: nn.Module) -> Iterator[Callable[[], str]]:
    """Gives a function that names the module that is being run, or after an exception the one that raised it."""
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
