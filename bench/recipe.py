"""The training recipe of a data set as data: optimiser, schedule, budget, validation. Methods do not change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.checks import Checks
from bench.errors import OptionError
from bench.options import show


@dataclass(frozen=True)
class Recipe:
    """The published training recipe of a data set. A field that is changed on the command line makes a run off-recipe.

    The defaults of these fields never change, and the default of a new field is how runs were trained before there was
    the field: a run is identified by the fields that differ from their defaults.

    Attributes:
        model: name of the model. Every data set names one.
        model_options: options of that model, by name.
        protocol: name of the protocol that the data set is run under unless another one is asked for; empty: the
            protocol that declares itself the default (`bench.Protocol.default`).
        loss: per-sample training loss, `cross_entropy` or `hinge` (Crammer-Singer; the usual hinge for two classes).
        optimizer: `sgd`, `adam` or `adamw`.
        lr: learning rate of the optimiser.
        momentum, nesterov: of `sgd` alone.
        weight_decay: of the optimiser: added to the gradient, or decoupled from it for `adamw`.
        schedule: `steps`: the learning rate is `lr`, changed at the `milestones`. `cyclical`: it goes from `lr` up to
            `max_lr` and back in straight lines, update by update, again and again (Smith 2015, Cyclical Learning Rates
            for Training Neural Networks, section 3.1, the policy `triangular`).
        milestones: fractions of the training after which the learning rate is multiplied by `gamma`. As they are
            fractions, a shorter training keeps the shape of its schedule.
        gamma: factor of the learning rate at each of the `milestones`.
        max_lr: greatest learning rate of the `cyclical` schedule.
        cycle: length of a cycle of the `cyclical` schedule, up and down again, in epochs. It is two of the paper's step
            sizes. The paper recommends step sizes of 2 to 10 epochs, and a training that ends at the end of a cycle
            (section 3.2).
        average_from: fraction of the training, without preparation epochs, from which on the parameters at the end of
            each epoch are averaged; the average is what is evaluated (stochastic weight averaging,
            `bench.models.averaging`). None: never. With a cyclical schedule, the paper of stochastic weight averaging
            averages where the learning rate is lowest: with `cycle` 1 that is at the end of each epoch.
        average_lr: constant learning rate while parameters are averaged, as in that paper; None: the schedule goes on.
        epochs: passes over the training data; None: `steps` gives the budget.
        steps: parameter updates, of which the last epoch may be cut short; None: `epochs` gives the budget.
        batch_size: samples of a training batch.
        eval_batch_size: samples of a batch when the model only predicts.
        train_size: samples to train on, of those that the hold-outs leave; None: all of them.
        val_size: samples that are held out of the training data for validation, drawn by the seed; no effect if the
            data set brings a validation split.
        test_size: samples that are held out of the training data for testing, drawn by the seed; no effect if the data
            set brings a test split.
        val_batch_size: least size of the validation batches of methods that learn from validation data. A batch grows
            until it holds `min_per_group` samples of each group.
        min_per_group: least number of samples of each group in every such batch.
        augment: whether the data set's augmentation is applied to training batches.
        dropout: `correct`, or `faithful`, which repeats a defect of the code of Zha, Gao, Ma, Xu (Figure 8f): the
            evaluation after the first epoch puts the model into evaluation mode, and nothing puts it back. So from the
            second epoch on there is no dropout, and BatchNorm's statistics do not change. `faithful` is there to be
            compared with `correct`, not to be used.
        precision: what the model computes in: `fp32`, or `bf16`: bfloat16 for every operation that autocast runs in it,
            with images in the memory format channels_last. Parameters, their updates and the losses stay float32.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        evaluate_at: further epochs after which the model is evaluated. After these the predictions for probes are
            stored too, so that pictures can show how they change.
        select: validation metric of the selection rule `best validation`; ties go to the earliest epoch. Empty: that
            of the protocol.
        metrics: metrics that the tables show, the one that ranks methods first; empty: those of the protocol.
        options: defaults that the recipe's source gives for the options of single methods or protocols: name of the
            method or protocol -> name of the option -> value.
        source: where the recipe is published.
    """

    model: str = ""
    model_options: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = ""
    loss: Literal["cross_entropy", "hinge"] = "cross_entropy"
    optimizer: Literal["sgd", "adam", "adamw"] = "adam"
    lr: float = 1e-3
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Literal["steps", "cyclical"] = "steps"
    milestones: tuple[float, ...] = ()
    gamma: float = 0.1
    max_lr: float | None = None
    cycle: float = 4.0
    average_from: float | None = None
    average_lr: float | None = None
    epochs: int | None = 50
    steps: int | None = None
    batch_size: int = 100
    eval_batch_size: int = 500
    train_size: int | None = None
    val_size: int = 0
    test_size: int = 0
    val_batch_size: int = 100
    min_per_group: int = 1
    augment: bool = True
    dropout: Literal["correct", "faithful"] = "correct"
    precision: Literal["fp32", "bf16"] = "fp32"
    evaluate_every: int = 1
    evaluate_at: tuple[int, ...] = ()
    select: str = ""
    metrics: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""

    def in_training_mode(self, epoch: int) -> bool:
        """Whether the model is in training mode in an epoch: always, except with `dropout` `faithful`."""
        return self.dropout == "correct" or epoch <= 0


EFFECTIVE = {
    "momentum": "optimizer",
    "nesterov": "optimizer",
    "max_lr": "schedule",
    "cycle": "schedule",
    "milestones": "schedule",
    "gamma": "schedule",
    "average_lr": "average_from",
}
"""Field -> the field that decides whether the first one has an effect."""


def changes(before: Recipe, after: Recipe) -> dict[str, str]:
    """The fields that two recipes differ in: `recipe.NAME` -> the value in the second one, in words."""
    values = {name: (value, getattr(after, name)) for name, value in vars(before).items()}
    return {f"recipe.{name}": show(now) for name, (value, now) in values.items() if now != value}


def check_recipe(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Check the values of a recipe, as far as they can be checked without the data.

    Args:
        recipe: the recipe with the user's values.
        given: the fields that the user gave, with their values.

    Raises:
        OptionError: for a value out of its range, for a field that the user gave and that has no effect or is not
            reached in the training, and for a recipe without a budget.
    """
    check = Checks(recipe, "recipe.")
    check.at_least(1, "epochs", "steps", "evaluate_every", "evaluate_at", "min_per_group", "train_size")
    check.at_least(1, "batch_size", "eval_batch_size", "val_batch_size")
    check.at_least(0, "weight_decay", "val_size", "test_size")
    check.above(0, "lr", "gamma", "cycle", "average_lr")
    check.within(0, 1, "momentum", "average_from", closed="left")
    check.within(0, 1, "milestones", closed="neither")
    check.ascending("milestones", "evaluate_at")
    _check_effects(recipe, given, check)
    if recipe.nesterov and not recipe.momentum and recipe.optimizer == "sgd":
        raise OptionError("recipe.nesterov=true needs recipe.momentum above 0, not 0")
    if recipe.schedule == "cyclical" and (recipe.max_lr is None or recipe.max_lr <= recipe.lr):
        raise OptionError(
            f"recipe.schedule=cyclical needs recipe.max_lr above recipe.lr={show(recipe.lr)}, not {show(recipe.max_lr)}"
        )
    if recipe.epochs is None and recipe.steps is None:
        raise OptionError("the recipe has no budget: set recipe.epochs or recipe.steps")
    if recipe.epochs and not recipe.steps:
        check_reached(recipe, given, recipe.epochs)


def check_reached(recipe: Recipe, given: Mapping[str, Any], epochs: int) -> None:
    """Check that a training reaches what the user gave for a part of it.

    Args:
        recipe: the recipe with the user's values.
        given: the fields that the user gave, with their values.
        epochs: number of epochs of the training.

    Raises:
        OptionError: for a field that has no effect, because the training is too short.
    """
    last = (epochs - 1) / epochs  # the fraction of the training that is over when its last epoch begins
    reached = {
        "evaluate_at": max(recipe.evaluate_at, default=0) <= epochs,
        "milestones": max(recipe.milestones, default=0.0) <= last,
        "average_lr": recipe.average_from is None or recipe.average_from <= last,
        "max_lr": recipe.schedule != "cyclical" or recipe.cycle / 2 < epochs,
    }
    causes = {"average_lr": ("average_from",), "max_lr": ("cycle",)}
    for name, is_reached in reached.items():
        if given.get(name) and not is_reached:
            fields = (name, *causes.get(name, ()))
            values = " and ".join(f"recipe.{field}={show(getattr(recipe, field))}" for field in fields)
            raise OptionError(f"the training of {epochs} epochs does not reach {values}")


def _check_effects(recipe: Recipe, given: Mapping[str, Any], check: Checks) -> None:
    """Refuse fields that the user gave and that have no effect. A value of 0, false or none is accepted."""
    effective = {"momentum", "nesterov"} if recipe.optimizer == "sgd" else set()
    effective |= {"max_lr", "cycle"} if recipe.schedule == "cyclical" else {"milestones", "gamma"}
    if recipe.average_from is not None:
        effective.add("average_lr")
    for name, cause in EFFECTIVE.items():
        if name not in effective:
            check.unused(name, cause, given=bool(given.get(name)))
    if recipe.schedule == "steps" and not recipe.milestones:
        check.unused("gamma", "milestones", given="gamma" in given)
