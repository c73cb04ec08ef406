"""Who wants to know how a training goes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.training.method import Method


class Observer:
    """Who wants to know how a training goes. Called from the training loop, so it must be quick."""

    def stage(self, name: str) -> None:
        """Before each training of a run that has several, of which the last one is evaluated."""

    def begin(self, method: "Method", epoch: int) -> None:
        """Before the first epoch that is trained now, `epoch`: those before were done before an interrupt."""

    def step(self, epoch: int, step: int, loss: float | None) -> None:
        """At most once a second: steps done in this epoch, and the loss where reading it does not wait for a device."""

    def evaluating(self, epoch: int) -> None:
        """Before an evaluation: `epoch` epochs are done."""

    def evaluated(self, row: dict[str, Any], speed: float) -> None:
        """After each evaluation, with its row of the history and the samples per second of each run."""

    def saved(self, epoch: int) -> None:
        """After a checkpoint: interrupted from now on, the training goes on after `epoch` epochs."""

    def note(self, text: str) -> None:
        """Something that the user should know and that does not stop the training."""
