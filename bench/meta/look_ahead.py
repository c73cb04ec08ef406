"""The look-ahead of one model, in the form in which a method uses it."""

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

    In each step a method calls `outputs` once, then `gradient` or `derivative` once, and then backward through the
    outputs, which still have their graph.

    Attributes:
        model: the model, or the stack of models.
        parameters: its trained parameters.
        choice: the backend and the errors that were measured when it was chosen; None before the first training pass.
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
                itself and with double backward.

        Raises:
            MetaStepError: for a model that has no parameter that is trained.
        """
        self.model, self.parameters = model, Parameters(model)
        self.choice: MetaStep | None = None
        self._backend, self._stacked, self._check = backend, stacked, check
        self._pass: Pass | None = None

    def outputs(self, x: Tensor, head: Head) -> Tensor:
        """The training pass, head(model(x)). The first pass chooses the backend.

        Args:
            x: inputs of the training batch, [.., B, *shape].
            head: logits [.., B, C] -> outputs [.., B, ...], computed from the logits alone and without random numbers.
                It is called again for derivatives.

        Returns:
            The outputs with their graph.

        Raises:
            UnknownNameError: for an unknown backend.
            MetaStepError: if no backend takes the model, or none gives its right derivative.
        """
        if self.choice is None:
            self.choice = choose(self.model, x, head, self._backend, self._stacked, self._check)
        self._pass = PASSES[self.choice.backend](self.parameters, x, head, RandomState(x.device))
        return self._pass.value

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        """The derivative J v of the outputs along a direction v in the space of the parameters.

        It uses up the training pass, except for the graph of the outputs.

        Args:
            direction: one tensor for each of `parameters.tensors`, in its shape.

        Returns:
            A tensor in the shape of the outputs, [.., B, ...].

        Raises:
            MetaStepError: if `outputs` was not called since the last derivative.
        """
        return self._used().derivative(direction)

    def gradient(
        self, inner: Inner, hyper: Sequence[Tensor], val: Validation, step: VirtualStep | None
    ) -> tuple[Tensor, ...]:
        """The meta-gradient d val(theta~) / d hyper. It uses up the training pass, except for the graph of the outputs.

        Args:
            inner: the loss of the virtual step, from the outputs and `hyper`.
            hyper: what weights that loss, as leaves that require grad.
            val: the validation loss.
            step: the virtual step; None if the weights are zero: then there is no step, theta~ = theta, and the
                gradient is that of a descent of unit size, d val(theta - g) / d hyper.

        Returns:
            One tensor for each of `hyper`, in its shape.

        Raises:
            DivergedError: if the gradient of no run is finite. Gradients on a GPU are not checked here, because the
                check would have to wait for the device; the end of the epoch shows it.
            MetaStepError: if `outputs` was not called since the last derivative.
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
