"""The batch of an update, as the parts of a method see it."""

from collections.abc import Callable

from torch import Tensor

from bench.data.split import Batch
from bench.errors import PluginError


class Step(Batch):
    """The training batch of an update, with what else is known in it."""

    _forward: "Forward"
    _epoch: int | None
    _number: int | None
    _known: tuple[Tensor, Tensor | None] | None = None

    @classmethod
    def of(cls, batch: Batch, forward: "Forward", epoch: int | None = 0, number: int | None = 0) -> "Step":
        """The step on a batch.

        Args:
            batch: the training batch.
            forward: the forward pass of the update.
            epoch, number: as the attributes; None in an update that is captured, because a replay would not know them.
        """
        step = cls._make(batch)
        step._epoch, step._number, step._forward = epoch, number, forward
        return step

    def _replace(self, **fields: Tensor) -> "Step":
        """The step with other inputs, for which there is another forward pass."""
        return Step.of(super()._replace(**fields), self._forward, self._epoch, self._number)

    @property
    def epoch(self) -> int:
        """The epoch of the training; below 0 for preparation epochs.

        Raises:
            PluginError: in an update that is captured.
        """
        return _known("epoch", self._epoch)

    @epoch.setter
    def epoch(self, value: int) -> None:
        self._epoch = value

    @property
    def number(self) -> int:
        """The number of the step in the epoch; the first one is 0.

        Raises:
            PluginError: in an update that is captured.
        """
        return _known("number", self._number)

    @number.setter
    def number(self, value: int) -> None:
        self._number = value

    @property
    def logits(self) -> Tensor:
        """[.., B, C]: the output of the update's forward pass (`Method.forward`), made once, with its graph."""
        return self._outputs[0]

    @property
    def features(self) -> Tensor:
        """[.., B, D]: what goes into the model's head in that pass, with its graph.

        Raises:
            PluginError: unless the method declares `uses_features`.
        """
        features = self._outputs[1]
        if features is None:
            raise PluginError("the features of a step are known if the method declares uses_features = True")
        return features

    @property
    def _outputs(self) -> tuple[Tensor, Tensor | None]:
        """Kept by hand: `functools.cached_property` takes a lock in Python 3.11, which costs more than the rest."""
        if self._known is None:
            self._known = self._forward(self.x)
        return self._known


def _known(name: str, value: int | None) -> int:
    if value is None:
        raise PluginError(f"an update that is captured cannot read batch.{name}: declare capturable = False")
    return value


Forward = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Inputs [.., B, ...] -> logits [.., B, C] and, where they are asked for, features [.., B, D]."""
