"""The choice of the backend for a model: backends are tried on a small batch, and compared with what is right there."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd import grad

from bench.errors import MetaStepError, UnknownNameError
from bench.meta.culprit import culprit
from bench.meta.functional import Parameters
from bench.meta.passes import PASSES, Head
from bench.meta.trial import BackendTrial, Comparison
from bench.records.sections import MetaStep

BACKENDS = ("auto", *PASSES)
SMALL = 10_000_000  # samples times parameters of a dense network below which calls cost more than arithmetic


POOR = 0.5
"""A relative error of the meta-gradient in the run's precision from which on it is poor. On the small batch networks
without normalisation have 0.01 in bfloat16, and untrained ResNets, whose BatchNorm passes rounding on, 0.05 to 0.15. At
0.5 the error is half of the gradient, so that the weights of many samples move into the wrong direction."""


def check_backend(name: str) -> None:
    """Raises UnknownNameError for what is not one of BACKENDS."""
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)


def choose(model: nn.Module, x: Tensor, head: Head, backend: str, stacked: bool, check: bool) -> MetaStep:
    """Choose the first backend that takes this model as it is and whose meta-gradient is right.

    A gradient is right if it agrees, in float64, with central differences of the virtual step itself, and with double
    backward where that exists and agrees with the differences too. The model and the generators are as before
    afterwards.

    Args:
        model: the model, or the stack of models.
        x: [.., B, ...], inputs of a training batch.
        head: what is computed from the logits.
        backend: one of BACKENDS; `auto` tries them by their cost.
        stacked: whether the model is a stack.
        check: whether gradients are compared at all.

    Raises:
        UnknownNameError: for an unknown backend.
        MetaStepError: if no backend takes the model, with all reasons; if none gives the right gradient, with the
            module that is at fault; if a backend that was asked for by name does not take it, with the reason and a
            backend that works.
    """
    check_backend(backend)
    start, refused = time.perf_counter(), dict[str, str]()
    differ = False
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        trial = BackendTrial(model, x, stacked)
        checked = (trial.in_type(torch.float64) or trial) if check else None
        for name in _order(model, len(x), stacked) if backend == "auto" else [backend]:
            try:
                if name == "per_sample":
                    _look_at_head(model, x, head)
                trial.gradient(name)
                found = checked.compare(name) if checked else Comparison()
            except MetaStepError as reason:
                refused[name] = str(reason)
                continue
            if not found.wrong:
                off = trial.float32_error(name) if checked else None
                seconds = time.perf_counter() - start
                return MetaStep(name, found.error, found.against, refused, seconds, found.differences_error, off)
            refused[name] = found.wrong
            differ |= found.by_differences
        trial.train()  # an error of the model itself is not this one's
        if backend == "auto":
            raise MetaStepError(_no_backend(refused, checked if differ else None))
    works = choose(model, x, head, "auto", stacked, check).backend
    raise MetaStepError(f"backend {backend}: {refused[backend]}; backend {works} works for this model")


def _no_backend(refused: dict[str, str], differing: BackendTrial | None) -> str:
    """Why no backend takes a model.

    Args:
        refused: the reason of each backend.
        differing: the trial in which central differences have shown that a backend is wrong, if one did.
    """
    if differing is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        return f"no backend can take the derivatives of this model: {reasons}"
    at_fault = culprit(differing.model, differing.x, differing.random)
    if not at_fault:
        at_fault = "; ".join(f"{name}: {why}" for name, why in refused.items())
    return (
        f"no backend gives the right meta-gradient of this model: {at_fault}; mend or replace it, or take the gradient "
        f"unchecked with --no-check"
    )


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


def warning(choice: MetaStep) -> str:
    """What a user should know of a look-ahead's meta-gradient: that it is poor in the run's precision; else empty."""
    error = choice.float32_error
    if error is None or error < POOR:
        return ""
    return (
        f"look-ahead {choice.backend}: in the run's precision the meta-gradient is {error:.2f} off that in float32 "
        f"(relative error on a small batch; {POOR} and more is poor), so the weights that it learns are not to be "
        f"trusted: use recipe.precision=fp32"
    )
