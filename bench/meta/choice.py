"""Which backend takes a model's derivatives: tried on a small batch in float64, and compared with double backward."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import MetaStepError, UnknownNameError
from bench.meta.functional import Net, Parameters, RandomState
from bench.meta.gradient import gradient, gradient_by_double_backward
from bench.meta.passes import PASSES, Head
from bench.meta.virtual import gradient_step

BACKENDS = ("auto", *PASSES)
SAMPLES = 8  # of the small batch
TOLERANCE = 1e-8  # relative, in float64; exact ones have 1e-13 at most, wrong ones 1e-5 at least
SMALL = 10_000_000  # samples times parameters of a dense network below which calls cost more than arithmetic


@dataclass(frozen=True)
class Choice:
    """A backend and why it is right.

    error: relative error to double backward; None where that does not exist or was not looked at.
    refused: the reason, for each backend that would have been preferred.
    """

    backend: str
    error: float | None = None
    refused: dict[str, str] = field(default_factory=dict)


def choose(model: nn.Module, x: Tensor, head: Head, backend: str, stacked: bool, check: bool) -> Choice:
    """The first backend that takes this model and agrees with double backward. The model and the generators are as
    before.

    x, head: a training batch and what is computed from its logits.
    Raises UnknownNameError, and MetaStepError with the reasons if none does; of a backend that was asked for by name,
    its reason and the backend that works.
    """
    if backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    refused: dict[str, str] = {}
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        trial = Trial(model, x, stacked)
        for name in _order(model, x, head, stacked) if backend == "auto" else [backend]:
            try:
                error = trial.error(name, check)
            except MetaStepError as reason:
                refused[name] = str(reason)
                continue
            if error is None or error < TOLERANCE:
                return Choice(name, error, refused)
            refused[name] = f"its meta-gradient is {error:.0e} off from that by double backward"
    if backend == "auto":
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise MetaStepError(f"no backend can take the derivatives of this model: {reasons}")
    works = choose(model, x, head, "auto", stacked, check).backend
    raise MetaStepError(f"backend {backend}: {refused[backend]}; backend {works} works for this model")


def _order(model: nn.Module, x: Tensor, head: Head, stacked: bool) -> Sequence[str]:
    """By cost."""
    parameters = Parameters(model)
    size = sum(p.numel() for p in parameters.tensors)
    dense = all(p.dim() <= 2 + stacked for p in parameters.tensors)
    if stacked or (dense and len(x) * size < SMALL):
        return "reverse", "replay", "dual"
    with torch.no_grad():
        per_sample = head(parameters.at(parameters.tensors)(x)).shape == x.shape[:1]
    return ("per_sample", "replay", "dual", "reverse") if per_sample else ("replay", "dual", "reverse")


class Trial:
    """A meta-gradient of a copy of the model on a few samples with made-up labels."""

    def __init__(self, model: nn.Module, x: Tensor, stacked: bool) -> None:
        x = x.detach().narrow(int(stacked), 0, min(SAMPLES, x.shape[int(stacked)]))
        self.model = copy.deepcopy(model)
        self.random = RandomState(x.device)
        try:
            self.x, self.exact = x.double(), True
            self.logits = self._logits(self.model.double())
        except (RuntimeError, TypeError):  # no float64 on this device, or a model that insists on float32
            self.model = copy.deepcopy(model)
            self.x, self.exact = x, False
            self.logits = self._logits(self.model)
        self.labels = torch.arange(self.logits[..., 0].numel(), device=x.device) % self.logits.shape[-1]
        self.slow: Tensor | None = None

    def error(self, backend: str, check: bool) -> float | None:
        """Relative error to double backward, where that exists and is asked for. Raises MetaStepError for a model that
        the backend cannot take.
        """
        w = torch.linspace(-1, 1, self.labels.numel(), dtype=self.logits.dtype, device=self.labels.device)
        w = w.view(self.logits.shape[:-1]).requires_grad_()
        step = gradient_step(0.1)
        with self.random.replayed(), module_names(self.model) as where:
            try:
                made = PASSES[backend](Parameters(self.model), self.x, self._losses, self.random, where)
                (found,) = gradient(made, _inner, [w], self._val, step)
            except MetaStepError:
                raise
            except (NotImplementedError, RuntimeError) as error:
                if not _lacks_derivative(error):
                    raise
                at = f" (module {where()})" if where() else ""
                raise MetaStepError(f"{str(error).splitlines()[0]}{at}") from error
        if not (check and self.exact):
            return None
        try:
            if self.slow is None:
                (self.slow,) = gradient_by_double_backward(
                    self.model, self.x, self._losses, _inner, [w], self._val, step, self.random
                )
        except (NotImplementedError, RuntimeError) as error:
            if not _lacks_derivative(error):
                raise
            return None
        return float((found - self.slow).norm() / self.slow.norm().clamp_min(torch.finfo(w.dtype).tiny))

    def _logits(self, model: nn.Module) -> Tensor:
        with torch.no_grad():
            parameters = Parameters(model)
            return parameters.at(parameters.tensors)(self.x)

    def _losses(self, logits: Tensor) -> Tensor:
        return F.cross_entropy(logits.flatten(0, -2), self.labels, reduction="none").view(logits.shape[:-1])

    def _val(self, net: Net) -> Tensor:
        return self._losses(net(self.x.flip(self.logits.dim() - 2))).mean(-1)


def _lacks_derivative(error: Exception) -> bool:
    """Whether torch says that an operator has no derivative of the kind that was asked for."""
    words = ("derivative", "forward AD", "forward-mode", "jvp", "differentiated twice", "once_differentiable")
    return any(word in str(error) for word in words)


def _inner(value: Tensor, hyper: Sequence[Tensor]) -> Tensor:
    return (hyper[0].softmax(-1) * value).sum(-1)


@contextmanager
def module_names(model: nn.Module) -> Iterator[Callable[[], str]]:
    """A function that names the module that is being run; after an exception, the one in which it was raised."""
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
