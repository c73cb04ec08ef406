"""The choice of the backend for a model: backends are tried on a small batch, and their meta-gradients are checked
there.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.autograd import grad

from bench.errors import MetaStepError, UnknownNameError
from bench.meta.culprit import culprit
from bench.meta.functional import Parameters
from bench.meta.head_trial import HeadTrial
from bench.meta.passes import PASSES, Head
from bench.meta.trial import BackendTrial, Comparison
from bench.records.sections import MetaStep

BACKENDS = ("auto", *PASSES)
SMALL = 10_000_000  # samples times parameters of a dense network below which calls cost more than arithmetic


POOR = 0.5
"""The relative error of the meta-gradient in the run's precision from which on it is called poor. On the small batch,
networks without normalisation have 0.01 in bfloat16, and untrained ResNets, whose BatchNorm passes rounding on, 0.05 to
0.15. At 0.5 the error is half of the gradient, so that the weights of many samples move into the wrong direction.
"""


def check_backend(name: str) -> None:
    """Check the name of a backend.

    Args:
        name: what a user gave.

    Raises:
        UnknownNameError: if it is not one of BACKENDS.
    """
    if name not in BACKENDS:
        raise UnknownNameError("backend", name, BACKENDS)


def choose(model: nn.Module, x: Tensor, head: Head, backend: str, stacked: bool, check: bool) -> MetaStep:
    """Choose the first backend that takes this model as it is and whose meta-gradient is right.

    A meta-gradient is right if it agrees, in float64, with central differences of the virtual step itself, and with
    double backward where that exists and agrees with the differences too. Afterwards the model and the random
    generators are as they were.

    Args:
        model: the model, or the stack of models.
        x: inputs of a training batch, [.., B, *shape].
        head: what is computed from the logits.
        backend: one of BACKENDS; `auto` tries them in the order of their cost.
        stacked: whether the model is a stack.
        check: whether meta-gradients are compared at all.

    Returns:
        The backend, the errors that were measured, and the reasons against the backends that were tried before it.

    Raises:
        UnknownNameError: for an unknown backend.
        MetaStepError: if no backend takes the model, with all reasons; if none gives the right meta-gradient, with the
            module that is at fault; if a backend that was asked for by name does not take the model, with the reason
            and a backend that works.
    """
    check_backend(backend)
    start, refused = time.perf_counter(), dict[str, str]()
    with torch.random.fork_rng([x.device] if x.device.type == "cuda" else []):
        trial = BackendTrial(model, x, stacked)
        checks = BackendChecks(trial, x, head, stacked) if check else None
        for name in _order(model, len(x), stacked) if backend == "auto" else [backend]:
            try:
                if name == "per_sample":
                    _look_at_head(model, x, head)
                trial.gradient(name)
                found = checks.compare(name) if checks else MetaStep(name)
            except MetaStepError as reason:
                refused[name] = str(reason)
                continue
            return replace(found, refused=refused, seconds=time.perf_counter() - start)
        trial.train()  # an error of the model itself is not this one's
        if backend == "auto":
            if checks and (verdict := checks.verdict(refused)):
                raise MetaStepError(f"{verdict}; mend or replace it, or take the gradient unchecked with --no-check")
            raise MetaStepError(f"no backend can take the derivatives of this model: {_each(refused)}")
    works = choose(model, x, head, "auto", stacked, check).backend
    raise MetaStepError(f"backend {backend}: {refused[backend]}; backend {works} works for this model")


class BackendChecks:
    """The comparisons of a backend's meta-gradient with the right one: through the model, and through what the method
    computes from the logits.

    Args:
        trial: the trial of the model.
        x: inputs of a training batch, [.., B, *shape].
        head: what is computed from the logits.
        stacked: whether the model is a stack.

    Raises:
        MetaStepError: if what the method computes from the logits does not depend on them.
    """

    def __init__(self, trial: BackendTrial, x: Tensor, head: Head, stacked: bool) -> None:
        """Prepare both comparisons, in float64 where that is possible."""
        self._trial = trial
        self._exact = trial.in_type(torch.float64) or trial
        own = HeadTrial(head, (*x.shape[: int(stacked) + 1], trial.logits.shape[-1]), x.device)
        self._own = own.in_type(torch.float64) or (own if own.can_be_called() else None)
        self._at_fault = {"model": False, "head": False}

    def compare(self, backend: str) -> MetaStep:
        """Compare a backend's meta-gradient with the right one.

        Args:
            backend: its name.

        Returns:
            The backend and the errors that were measured.

        Raises:
            MetaStepError: if the meta-gradient is wrong, or the backend cannot take the model or the method's outputs.
        """
        own = self._compare_head(backend)
        found = self._exact.compare(backend)
        self._at_fault["model"] |= found.by_differences
        if found.wrong:
            raise MetaStepError(found.wrong)
        return MetaStep(
            backend,
            found.error,
            found.against,
            differences_error=found.differences_error,
            float32_error=self._trial.float32_error(backend),
            outputs_error=own.differences_error,
        )

    def _compare_head(self, backend: str) -> Comparison:
        try:
            found = self._own.compare(backend) if self._own else Comparison()
            self._at_fault["head"] |= found.by_differences
            if found.wrong:
                raise MetaStepError(found.wrong)
        except MetaStepError as reason:
            raise MetaStepError(f"through what the method computes from the logits, {reason}") from reason
        return found

    def verdict(self, refused: Mapping[str, str]) -> str:
        """What is at fault where central differences have shown that a backend is wrong.

        Args:
            refused: backend -> why it was refused.

        Returns:
            A sentence without its end, for a message; empty if differences have shown nothing wrong.
        """
        if self._at_fault["model"]:
            at_fault = culprit(self._exact.model, self._exact.x, self._exact.random)
            return f"no backend gives the right meta-gradient of this model: {at_fault or _each(refused)}"
        if self._own and self._at_fault["head"]:
            at_fault = self._own.fault()
            at_fault = f"what the method computes from the logits {at_fault}" if at_fault else _each(refused)
            return f"no backend gives the right meta-gradient: {at_fault}"
        return ""


def _each(refused: Mapping[str, str]) -> str:
    """The reason of each backend, or the one of all."""
    if len(set(refused.values())) == 1:
        return next(iter(refused.values()))
    return "; ".join(f"{name}: {why}" for name, why in refused.items())


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
    losses = head(logits.requires_grad_().clone())  # which a head may change in place
    if losses.shape != x.shape[:1]:
        raise MetaStepError("the outputs are not one loss for each sample")
    (of_even,) = grad(losses[::2].sum(), logits)
    if of_even[1::2].any():
        raise MetaStepError("the losses of samples depend on the logits of others")


def warning(choice: MetaStep) -> str:
    """What a user should know of a look-ahead's meta-gradient.

    Args:
        choice: the backend and the errors that were measured.

    Returns:
        A sentence where the meta-gradient is poor in the run's precision (its error is at least POOR); else an empty
        text.
    """
    error = choice.float32_error
    if error is None or error < POOR:
        return ""
    return (
        f"look-ahead {choice.backend}: in the run's precision the meta-gradient is {error:.2f} off that in float32 "
        f"(relative error on a small batch; {POOR} and more is poor), so the weights that it learns are not to be "
        f"trusted: use recipe.precision=fp32"
    )
