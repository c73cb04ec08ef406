"""JTT: Just Train Twice."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bench import Batch, Checks, Method, OptionError, hookimpl
from bench.training.weights import drawn_order


@dataclass
class JTT(Method):
    """JTT: samples that a briefly trained model gets wrong come more often in a second training from scratch.

    An identification model is trained by ERM for some epochs. The error set consists of the training samples that it
    gets wrong. The final model is trained from scratch, with the samples of the error set upsampled lambda_up times.

    Source: Liu, Haghgoo, Chen, Raghunathan, Koh, Sagawa, Liang, Finn, Just Train Twice: Improving Group Robustness
    without Training Group Information, 2021, Algorithm 1.

    Departures, and what the paper leaves open:

    - Repeating a sample lambda_up times makes an epoch longer. Here an epoch draws as many samples as there are, with
      replacement, in proportion to the same numbers, so that the number of steps stays the recipe's. In expectation
      that is the paper's objective, in which losses are multiplied by lambda_up, over the mean of the factors.
      Multiplying losses instead would make some steps much larger than others.
    - The identification model's epochs are the first ones of the recipe, with the initial weights of the final model.
      They are preparation, so they are not evaluated.
    - Predictions for the error set are made in evaluation mode, without augmentation.
    - No validation data are read. The paper tunes both options, and when to stop, by the worst group's accuracy on
      validation data; to do so, make runs at several values.

    Options:
        identification_epochs: T, the epochs of the identification model, at most the recipe's epochs. Default: 1.
        upweight: lambda_up, at least 1. Default: 50. The paper tunes both options for each data set and has no default;
            these are its values for CelebA. Where the error set is large (`error_set` in the record), 50 all but drops
            the other samples.

    Raises:
        OptionError: where `identification_epochs` is more than the recipe's epochs.
    """

    name = "jtt"
    stackable = True

    identification_epochs: int = 1
    upweight: float = 50.0

    def __post_init__(self) -> None:
        Checks(self).at_least(1, "identification_epochs", "upweight")

    def setup(self) -> None:
        epochs = self.task.epochs
        if self.identification_epochs > epochs:
            raise OptionError(
                f"jtt: identification_epochs must be at most {epochs}, the recipe's epochs, "
                f"not {self.identification_epochs}"
            )
        self.preparation_epochs = self.identification_epochs
        self.error_set = torch.zeros_like(self.task.train.y, dtype=torch.bool)

    def recipe_epoch(self, epoch: int) -> int:
        return epoch + self.identification_epochs if epoch < 0 else epoch

    def batches(self, epoch: int) -> Iterator[Batch]:
        if epoch < 0:
            return super().batches(epoch)
        copies = torch.where(self.error_set.cpu(), self.upweight, 1.0).double()
        return self.task.batches(epoch, drawn_order(copies, self.task.streams, epoch))

    def end_epoch(self, epoch: int) -> None:
        if epoch == -1:
            self.error_set = self.predict(self.task.train).argmax(-1) != self.task.train.y
            self.restart()

    def diagnostics(self) -> dict[str, Tensor]:
        """The fraction of the training samples that is in the error set."""
        return {"error_set": self.error_set.float().mean(-1)}


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {JTT.name: JTT}
