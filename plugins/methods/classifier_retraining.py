"""Classifier re-training (cRT)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bench import Batch, Checks, Method, NotApplicableError, hookimpl
from bench.models.heads import head_of
from bench.training.weights import drawn_order, label_balanced


@dataclass
class ClassifierRetraining(Method):
    """Classifier re-training (cRT): ERM first, then the last layer alone is trained anew on class-balanced samples.

    The whole recipe of ERM comes first. Then the head, which is the last linear layer, starts anew and is trained
    alone. Its samples are drawn with replacement so that all classes are equally likely (equation 1 with q = 0), as
    many in an epoch as there are training samples.

    Source: Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis, Decoupling Representation and Classifier for Long-Tailed
    Recognition, 2020, section 4.

    Departures, and what the paper leaves open:

    - The head starts again from the run's own initial weights, which are drawn by the seed.
    - The second training has the recipe's optimiser, begun anew, and goes once more through the recipe's schedule of
      the learning rate: of n epochs, epoch e (from 0) has the learning rates of the recipe's epoch floor(e E / n),
      where the recipe has E epochs. A cyclical schedule, whose cycles last a number of epochs, begins again as it is.
      The paper has schedules for its own data sets.
    - `recipe.steps` limits the first training. The epochs of the second are whole ones.
    - The features are computed in evaluation mode: no BatchNorm statistic moves, and there is no dropout. Training
      batches are augmented as in the first training.
    - The first training is preparation: only the epochs of the second are evaluated.

    Options:
        epochs: number of epochs of the second training; in the paper "a small number". Default: 10.

    Raises:
        NotApplicableError: for a model whose logits do not come from its last linear layer, and with
            `recipe.average_from`.
    """

    name = "classifier_retraining"

    epochs: int = 10

    def __post_init__(self) -> None:
        Checks(self).at_least(1, "epochs")

    def setup(self) -> None:
        if self.task.recipe.average_from is not None:
            raise NotApplicableError(
                "classifier_retraining trains the last layer of one model, not of an average of models: "
                "it cannot be used with recipe.average_from"
            )
        self.preparation_epochs = self.task.epochs
        self.training_epochs = self.epochs
        self.head = head_of(self.model, self.task.train)
        self.balanced = label_balanced(self.task.train.y)

    def recipe_epoch(self, epoch: int) -> int:
        if epoch < 0:
            return epoch + self.task.epochs
        return epoch if self.task.recipe.schedule == "cyclical" else epoch * self.task.epochs // self.epochs

    def batches(self, epoch: int) -> Iterator[Batch]:
        if epoch < 0:
            return super().batches(epoch)
        self.model.requires_grad_(False).eval()  # in each epoch: `fit` has set training mode, and a run may be resumed
        self.head.requires_grad_(True)
        order = drawn_order(self.balanced, self.task.streams, epoch)
        return self.task.batches(self.task.epochs + epoch, order)  # the recipe's last epoch may be cut short

    def end_epoch(self, epoch: int) -> None:
        if epoch == -1:
            self.head.load_state_dict(head_of(self.task.new_model(), self.task.train).state_dict())
            self.optimizer = self.task.optimizer(self.model)


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {ClassifierRetraining.name: ClassifierRetraining}
