"""The base of all methods: what happens in a training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from bench.data.split import Batch, Split
from bench.meta import LookAhead
from bench.models.predict import predict
from bench.training.capture.update import CapturedUpdate, CaptureOutcome
from bench.training.task import Task
from bench.trees import instances

if TYPE_CHECKING:
    from bench.training.meter import Meter


@dataclass
class Method:
    """Empirical risk minimisation, and the base of all methods.

    A subclass overrides the part that its paper changes. Its fields are its options. An instance is trained once. The
    last dimension of `losses` and `weights` is the batch. Leading dimensions, if any, are independent runs that are
    trained at once: a method that is written along the last dimension needs no other code for them.

    Attributes (from `begin` on):
        task: what the method is given.
        model: the model that is trained.
        optimizer: of the model's parameters.
        preparation_epochs: number of epochs before those of the recipe, which are not evaluated.
        training_epochs: number of epochs of the recipe.
        capture: whether updates were replayed.
    """

    name: ClassVar[str] = ""
    """The name that it is registered as. Messages about its options and about data that it cannot use begin with it."""
    uses_val: ClassVar[bool] = False
    """Whether it learns from the validation data. If not, they do not change its training (a contract test checks)."""
    uses_groups = False
    """Whether it reads the groups of training samples. If that depends on its options, `__post_init__` sets it."""
    stackable: ClassVar[bool] = True
    """Whether stacked runs give the results of single runs."""
    capturable: ClassVar[bool] = False
    """Whether `update` can be captured and replayed.

    It can if it changes its state in place and depends on nothing that a capture would not see: on no value of a tensor
    and on no Python number that changes between updates, except for the settings of optimisers. Validation batches must
    come from `task.val_batches`, or from `BalancedBatches` in its attributes (also in lists, tuples and dictionaries).
    """
    baseline: ClassVar[bool] = False
    """Whether tables state other methods' costs and gains relative to it."""

    RESERVED: ClassVar[tuple[str, ...]] = (
        "task",
        "optimizer",
        "preparation_epochs",
        "training_epochs",
        "capture",
    )
    """Attributes that the training sets, so that no option can have their names; nor those of this class."""

    def fit(self, task: Task, meter: "Meter") -> nn.Module:
        """Train the model: all of a training goes through this function.

        Args:
            task: data, recipe and random streams.
            meter: leads through the epochs, and has to be told of each step.

        Returns:
            The trained model, which is `self.model`.

        Raises:
            NotApplicableError: if the method cannot use the task.
            DivergedError: if the training reaches a loss or a parameter that is not finite.
        """
        self.begin(task)
        replayed = CapturedUpdate(self, meter.note) if task.capture and self.capturable else None
        update = replayed or self.update
        try:
            for epoch in meter.epochs(self):
                self.model.train(self.task.recipe.in_training_mode(self.recipe_epoch(epoch)))
                for batch in self.batches(epoch):
                    losses, weights = update(batch)
                    meter.step(batch, losses, weights)
                self.end_epoch(epoch)
        finally:  # because the record of a failure says it too
            self.capture = CaptureOutcome.of(replayed, self.capturable)
        return self.model

    def begin(self, task: Task) -> None:
        """Do everything that comes before the first epoch."""
        self.task = task
        self.capture = CaptureOutcome(eager_because="its own `fit` replays no updates")
        self.preparation_epochs = 0
        self.training_epochs = task.epochs
        self.restart()
        self.setup()

    def restart(self) -> None:
        """Make a new model with the run's initial weights, and a new optimiser.

        A captured update would go on with the old ones, so a method that calls this must leave `capturable` False.
        """
        self.model: nn.Module = self.task.new_model()
        self.optimizer = self.task.optimizer(self.model)

    def update(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Make one update of the parameters.

        Returns:
            The losses and the weights that it used, [.., B] each, detached.
        """
        losses = self.losses(batch)
        weights = self.weights(batch, losses)
        self.descend(self.objective(batch, losses, weights))
        return losses.detach(), weights  # detached, so that the graph is freed before the next update

    def descend(self, objective: Tensor) -> None:
        """Make one step of the optimiser down an objective [..]."""
        self.optimizer.zero_grad()  # only now, because computing the objective may have called backward
        objective.sum().backward()  # the sum is over stacked runs
        self.optimizer.step()

    def setup(self) -> None:
        """Prepare the training. Called before the first epoch, when `task`, `model` and `optimizer` are set.

        A method that trains more than once sets `preparation_epochs` to a number of epochs. They run first, numbered
        from -preparation_epochs to -1, and are not evaluated; their cost is recorded. The epochs of the recipe follow.

        Raises:
            OptionError: for options that do not fit the task.
            NotApplicableError: with the reason, if the method cannot use the task.
        """

    def recipe_epoch(self, epoch: int) -> int:
        """The epoch of the recipe whose learning rate, order of the samples and random numbers an epoch uses."""
        return epoch

    def batches(self, epoch: int) -> Iterator[Batch]:
        """The training batches of an epoch."""
        return self.task.batches(self.recipe_epoch(epoch))

    def losses(self, batch: Batch) -> Tensor:
        """The loss of each sample, [.., B], differentiable."""
        return self.task.loss(self.model(batch.x), batch.y)

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """The weight of each sample.

        Args:
            batch: the training batch.
            losses: [.., B], with their graph.

        Returns:
            [.., B], detached. With a mean of 1 the training keeps its step size.
        """
        return torch.ones_like(losses)

    def objective(self, batch: Batch, losses: Tensor, weights: Tensor) -> Tensor:
        """The objective that the update descends, [..]."""
        return (weights * losses).mean(-1)

    def end_epoch(self, epoch: int) -> None:
        """Called after the last step of each epoch."""

    def engines(self) -> list[LookAhead]:
        """All look-aheads in its attributes (also in lists, tuples and dictionaries), whose backends are recorded."""
        return list(instances(LookAhead, vars(self)))

    def predict(self, split: Split) -> Tensor:
        """The logits [.., N, C] of the present model in evaluation mode. Afterwards it is in its former mode again."""
        training = self.model.training
        logits = predict(self.model, split, self.task.recipe.eval_batch_size)
        self.model.train(training)
        return logits

    def diagnostics(self) -> dict[str, Tensor]:
        """Further values for the record at each evaluation: name -> [..]."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """The state for a checkpoint at an epoch's end: every attribute that is a tensor or has a `state_dict`."""
        state = {}
        for name, value in vars(self).items():
            if hasattr(value, "state_dict"):
                state[name] = value.state_dict()
            elif isinstance(value, Tensor) and not value.grad_fn:
                state[name] = value
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the state that `state_dict` gave."""
        for name, value in state.items():
            present = getattr(self, name, None)
            if not isinstance(value, Tensor):
                getattr(self, name).load_state_dict(value)
            elif isinstance(present, Tensor) and present.shape == value.shape:
                present.data.copy_(value)  # in place, because an optimiser may hold the tensor
            else:
                setattr(self, name, value)
