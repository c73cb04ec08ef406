"""How a data set is trained on, as data: optimiser, schedule, budget, validation. Methods do not change it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bench.checks import Checks
from bench.errors import OptionError
from bench.options import show


@dataclass(frozen=True)
class Recipe:
    """The published training recipe of a data set; a field changed on the command line marks the run as off-recipe.

    A default here never changes, and that of a new field is what was before: runs are known by what differs from it.

    Attributes:
        model: name of the model, with `model_options`; every data set names one.
        protocol: name of the protocol that the data set is run under unless another is asked for; empty: that which
            says that it is the default (`bench.Protocol.default`).
        loss: per-sample training loss, `cross_entropy` or `hinge` (Crammer-Singer; the usual hinge for two classes).
        optimizer: `sgd`, `adam` or `adamw`, with `lr`, `momentum`, `nesterov`, `weight_decay`.
        schedule: `steps`: the learning rate is `lr`, changed at the `milestones`. `cyclical`: it goes from `lr` up to
            `max_lr` and back in straight lines, update by update, again and again (Smith 2015, Cyclical Learning Rates
            for Training Neural Networks, section 3.1, the policy `triangular`).
        milestones: fractions of the training after which the learning rate is multiplied by `gamma`, so that a
            shorter training keeps the shape of its schedule.
        cycle: epochs up and down again: two of the paper's step sizes, for which it recommends 2 to 10 epochs, with a
            training that ends at the end of a cycle (section 3.2).
        average_from: fraction of the training, without preparation epochs, after which the parameters at the end of
            each epoch are averaged, and the average is what is evaluated (stochastic weight averaging,
            `bench.models.averaging`); None: never. With a cyclical schedule its paper averages where the rate is
            lowest: that is at each epoch's end with `cycle` 1.
        average_lr: the constant learning rate from there on, as in that paper; None: the schedule goes on.
        epochs: passes over the training data, or None where `steps` gives the budget.
        steps: parameter updates, or None; the last epoch is cut short.
        batch_size: training batch; `eval_batch_size` where nothing is learned.
        train_size: samples that are left to train on after the hold-outs; None: all of them.
        val_size: samples held out of the training data for validation, drawn by seed; ignored where the data set
            brings its own validation split.
        test_size: samples held out for testing, drawn by seed, where the data set brings no test split.
        val_batch_size: least size of a validation batch for methods that learn from it (it grows to hold
            `min_per_group` samples of each group).
        min_per_group: least number of samples of each group in every such batch.
        augment: whether the data set's augmentation is applied to training batches.
        dropout: `faithful` repeats a defect of the code of Zha, Gao, Ma, Xu (Figure 8f): the evaluation after the first
            epoch puts the model into evaluation mode, and nothing puts it back, so that from the second epoch on there
            is no dropout (and BatchNorm keeps its statistics). To be compared with `correct`, not to be used.
        precision: what the model computes in: `fp32`, or `bf16`, bfloat16 wherever autocast has it, with images in the
            memory format channels_last; parameters, their updates and the losses stay float32.
        evaluate_every: epochs between evaluations; the last epoch is always evaluated.
        evaluate_at: further epochs after which it is evaluated; after these the predictions for probes are kept too, so
            that they can be drawn as they change.
        select: validation metric of the selection rule `best validation`; ties go to the earliest epoch.
        metrics: what the tables show, the ranking one first; empty for the protocol's own.
        options: defaults that the recipe's source gives for options of single methods or protocols, by their names.
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
    select: str = "accuracy"
    metrics: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    source: str = ""

    def in_training_mode(self, epoch: int) -> bool:
        """Whether the model is in training mode in an epoch: always, but for the defect that `dropout` repeats."""
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
"""Field -> the field that decides whether it has an effect."""


def check_recipe(recipe: Recipe, given: Mapping[str, Any]) -> None:
    """Check the values of a recipe.

    Args:
        recipe: with the values that are given in place.
        given: fields that the user gave, with their values.

    Raises:
        OptionError: for a value out of its range, for a field that is given and has no effect, and where there is no
            budget.
    """
    check = Checks(recipe, "recipe.")
    check.at_least(1, "epochs", "steps", "evaluate_every", "evaluate_at", "min_per_group", "train_size")
    check.at_least(1, "batch_size", "eval_batch_size", "val_batch_size")
    _check_effects(recipe, given, check)
    if recipe.schedule == "cyclical" and (recipe.max_lr is None or recipe.max_lr <= recipe.lr):
        raise OptionError(
            f"recipe.schedule=cyclical needs recipe.max_lr above recipe.lr={show(recipe.lr)}, not {show(recipe.max_lr)}"
        )
    check.above(0, "cycle", "average_lr")
    check.within(0, 1, "average_from", closed="left")
    if recipe.epochs is None and recipe.steps is None:
        raise OptionError("the recipe needs a budget: recipe.epochs or recipe.steps")


def _check_effects(recipe: Recipe, given: Mapping[str, Any], check: Checks) -> None:
    """Refuse fields that are given and have no effect. One that is given as 0, false or none passes."""
    effective = {"momentum", "nesterov"} if recipe.optimizer == "sgd" else set()
    effective |= {"max_lr", "cycle"} if recipe.schedule == "cyclical" else {"milestones", "gamma"}
    if recipe.average_from is not None:
        effective.add("average_lr")
    for name, cause in EFFECTIVE.items():
        if name not in effective:
            check.unused(name, cause, given=bool(given.get(name)))
