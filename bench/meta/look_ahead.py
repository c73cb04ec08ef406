"""The look-ahead of one model, as a method uses it."""

from collections.abc import Sequence

from torch import Tensor, nn

from bench.errors import DivergedError, MetaStepError
from bench.meta.choice import choose
from bench.meta.functional import Parameters, RandomState
from bench.meta.gradient import Inner, gradient
from bench.meta.passes import PASSES, Head, Pass, Validation
from bench.meta.virtual import VirtualStep
from bench.records.sections import MetaStep

NO_PASS = "a derivative needs a training pass (`outputs`) before it, and each pass gives one"


class LookAhead:
    """The meta-step of one model: a training pass that keeps its graph, and derivatives through a virtual step from it.

    In each step a method calls `outputs` once and `gradient` or `derivative` once. Then it calls backward through the
    outputs, which have their graph.

    Attributes:
        choice: the backend; None before the first training pass.
        watched: whether gradients on the CPU are checked for values that are not finite.
    """

    watched = True

    def __init__(self, model: nn.Module, backend: str = "auto", stacked: bool = False, check: bool = True) -> None:
        """Make the look-ahead of a model.

        Args:
            model: the model, or the stack of models.
            backend: one of `bench.meta.BACKENDS`.
            stacked: whether the model is a stack.
            check: whether the backend is compared once, on a small batch, with central differences of the virtual step
                itself, and with double backward.

        Raises:
            MetaStepError: for a model without trained parameters.
        """
        self.model, self.parameters = model, Parameters(model)
        self.choice: MetaStep | None = None
        self._backend, self._stacked, self._check = backend, stacked, check
        self._pass: Pass | None = None

    def outputs(self, x: Tensor, head: Head) -> Tensor:
        """The training pass, head(model(x)). The first one chooses the backend.

        Args:
            x: inputs of the training batch.
            head: logits [.., B, C] -> outputs [.., B, ...], computed from the logits alone and without random numbers.
                It is called again for derivatives.

        Raises:
            UnknownNameError: for an unknown backend.
            MetaStepError: if no backend takes the model.
        """
        if self.choice is None:
            self.choice = choose(self.model, x, head, self._backend, self._stacked, self._check)
        self._pass = PASSES[self.choice.backend](self.parameters, x, head, RandomState(x.device))
        return self._pass.value

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        """The derivative J v of the outputs along a direction v in parameter space, [.., B, ...].

        It uses up the training pass, except for the graph of the outputs.
        """
        return self._used().derivative(direction)

    def gradient(
        self, inner: Inner, hyper: Sequence[Tensor], val: Validation, step: VirtualStep | None
    ) -> tuple[Tensor, ...]:
        """The meta-gradient d val(theta~) / d hyper. It uses up the training pass, except for the graph of the outputs.

        Args:
            inner: the loss of the virtual step.
            hyper: what weights that loss, as leaves that require grad.
            val: the validation loss.
            step: the virtual step; None if the weights are zero: then there is no step, theta~ = theta, and the
                gradient is the one for each unit of a descent, d val(theta - g) / d hyper.

        Returns:
            One tensor for each of `hyper`.

        Raises:
            DivergedError: if no run's gradient is finite. Gradients on a GPU are not checked here, because the device
                would have to be waited for; the end of the epoch shows it.
        """
        gradients = gradient(self._used(), inner, hyper, val, step)
        if self.watched and gradients[0].device.type == "cpu" and not any(self._finite(gradients)):
            raise DivergedError("the gradient of the validation loss with respect to the weights is not finite")
        return gradients

    def _used(self) -> Pass:
        if self._pass is None:
            raise MetaStepError(NO_PASS)
        made, self._pass = self._pass, None
        return made

    def _finite(self, gradients: Sequence[Tensor]) -> list[bool]:
        """Whether all gradients are finite, for each run."""
        finite = [g.isfinite().reshape(len(g) if self._stacked else 1, -1).all(-1).tolist() for g in gradients]
        return [all(run) for run in zip(*finite, strict=True)]
