"""What is told of a training while it goes on."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.training.method import Method


class Observer:
    """Is told how a training goes. The training loop calls these methods, so they must be quick. By default they do
    nothing.
    """

    def stage(self, name: str) -> None:
        """Called before each training of a run that has several. The last of them is the one that is evaluated."""

    def begin(self, method: "Method", epoch: int) -> None:
        """Called before the first epoch. It is `epoch`: those before it were trained before an interrupt."""

    def step(self, epoch: int, step: int, loss: float | None) -> None:
        """Called at most once a second.

        Args:
            epoch: the number of the epoch.
            step: number of steps that are done in the epoch.
            loss: mean loss of the last step; None if reading it would wait for a device.
        """

    def evaluating(self, epoch: int) -> None:
        """Called before an evaluation, when `epoch` epochs are done."""

    def evaluated(self, row: dict[str, Any], speed: float) -> None:
        """Called after each evaluation, with its row of the history and the samples per second of each run."""

    def saved(self, epoch: int) -> None:
        """Called after a checkpoint: a training that is interrupted from now on will go on after `epoch` epochs."""

    def note(self, text: str) -> None:
        """Called with a text that the user should read and that does not stop the training."""
