"""The look-ahead of one model, as a method uses it."""

from collections.abc import Sequence

from torch import Tensor, nn

from bench.errors import DivergedError, MetaStepError
from bench.meta.choice import Choice, choose
from bench.meta.functional import Parameters, RandomState
from bench.meta.gradient import Inner, gradient
from bench.meta.passes import PASSES, Head, Pass, Validation
from bench.meta.virtual import VirtualStep

NO_PASS = "a derivative needs a training pass (`outputs`) before it, and each pass gives one"


class LookAhead:
    """The meta-step of one model: a training pass whose graph is kept, and derivatives through a virtual step from it.

    A step of a method is `outputs` once, `gradient` or `derivative` once, and then a backward pass of its own through
    the outputs, which are attached.

    choice: the backend, known from the first training pass on.
    watched: whether a gradient on the CPU is looked at for values that are not finite.
    """

    watched = True

    def __init__(self, model: nn.Module, backend: str = "auto", stacked: bool = False, check: bool = True) -> None:
        """backend: one of `bench.meta.BACKENDS`. check: whether what is chosen is compared with double backward once.

        Raises MetaStepError for a model without trained parameters.
        """
        self.model, self.parameters = model, Parameters(model)
        self.choice: Choice | None = None
        self._backend, self._stacked, self._check = backend, stacked, check
        self._pass: Pass | None = None

    def outputs(self, x: Tensor, head: Head) -> Tensor:
        """head(model(x)): the training pass. head: logits [.., B, C] -> outputs [.., B, ...], computed from the logits
        alone, without random numbers; it is called again for derivatives.

        The first pass chooses the backend. Raises UnknownNameError or MetaStepError where there is none.
        """
        if self.choice is None:
            self.choice = choose(self.model, x, head, self._backend, self._stacked, self._check)
        self._pass = PASSES[self.choice.backend](self.parameters, x, head, RandomState(x.device))
        return self._pass.value

    def derivative(self, direction: Sequence[Tensor]) -> Tensor:
        """J v [.., B, ...]: of the outputs along a direction v in parameter space. The training pass is used up, except
        for the graph of its outputs.
        """
        return self._used().derivative(direction)

    def gradient(
        self, inner: Inner, hyper: Sequence[Tensor], val: Validation, step: VirtualStep | None
    ) -> tuple[Tensor, ...]:
        """d val(theta~) / d hyper, one tensor for each of `hyper` (leaves that require grad). The training pass is used
        up, except for the graph of its outputs.

        step: the virtual step; None where the weights are zero, so that there is none: theta~ = theta, and the
        gradient is that per unit of a step descended, d val(theta - g) / d hyper.
        Raises DivergedError if no run's gradient is finite; on a GPU, which would have to be waited for, the end of
        the epoch tells.
        """
        found = gradient(self._used(), inner, hyper, val, step)
        if self.watched and found[0].device.type == "cpu" and not any(self._finite(found)):
            raise DivergedError("the gradient of the validation loss with respect to the weights is not finite")
        return found

    def _used(self) -> Pass:
        if self._pass is None:
            raise MetaStepError(NO_PASS)
        made, self._pass = self._pass, None
        return made

    def _finite(self, found: Sequence[Tensor]) -> list[bool]:
        """For each run."""
        finite = [g.isfinite().reshape(len(g) if self._stacked else 1, -1).all(-1).tolist() for g in found]
        return [all(run) for run in zip(*finite, strict=True)]
