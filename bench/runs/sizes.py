"""Checks that a recipe fits the data: its sizes, the length of the training and the selection metric."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch.nn.functional import one_hot

from bench.data.split import Split, Splits
from bench.errors import OptionError
from bench.failures import plugin_code
from bench.guards.guard import Guard
from bench.guards.tensors import Watched, tensors_of
from bench.metrics import evaluate
from bench.options import show
from bench.predictions import Predictions
from bench.recipe import check_reached
from bench.records.spec import canonical
from bench.runs.build import splits_of
from bench.runs.experiment import Experiment

ABOUT_SPLITS = {
    "train_size",
    "batch_size",
    "eval_batch_size",
    "val_batch_size",
    "min_per_group",
    "steps",
    "evaluate_at",
    "milestones",
    "select",
}
"""Fields of the recipe that need the splits of a run to be checked."""


def check_sizes(experiments: Iterable[Experiment]) -> None:
    """Check the fields of the recipe that the user gave against the data.

    Experiments that have their data and their recipe in common are checked once. Published recipes are not checked.

    Args:
        experiments: the experiments of a command.

    Raises:
        OptionError: for a field that has no effect on these data, or a value that does not fit them.
        DataError: if there are too few samples.
        NamedError: if one of their parts writes to the data, or replaces what other code computes with. What else they
            leave behind in the process is put back.
        PluginFailureError: for an error of the data set, the protocol or a metric that is no BenchError.
    """
    by_task = {canonical(_task(experiment)): experiment for experiment in experiments}
    for experiment in by_task.values():
        _check_effects(experiment)
        if ABOUT_SPLITS & set(experiment.changed["recipe"]):
            packages = (part.plugin.module.partition(".")[0] for part in experiment.parts)
            guard = Guard(packages, Watched(tensors_of(experiment.dataset)), experiment.parts)
            guarded = replace(experiment, running=guard.running)
            with plugin_code(*experiment.parts), guard.running("protocol"):
                _check_splits(guarded, splits_of(guarded, 0))


def _task(experiment: Experiment) -> list[object]:
    """Everything that the splits of an experiment depend on, apart from the seed."""
    resolved = experiment.resolved
    return [resolved.recipe, resolved.dataset_options, resolved.protocol_options, experiment.trains_on_val]


def _check_effects(experiment: Experiment) -> None:
    """Raises OptionError for fields that have no effect, because of what the data set has or lacks."""
    dataset, given = experiment.dataset, experiment.changed["recipe"]
    for name, split, what in (("val_size", dataset.val, "validation"), ("test_size", dataset.test, "test")):
        if given.get(name) and split is not None:
            raise OptionError(f"recipe.{name} has no effect: {dataset.name} has {what} data of its own")
    if "augment" in given and dataset.augment is None:
        raise OptionError(f"recipe.augment has no effect: {dataset.name} has no augmentation")


def _check_splits(experiment: Experiment, splits: Splits) -> None:
    recipe, given = experiment.recipe, experiment.changed["recipe"]
    evaluated = [splits.val, *splits.tests.values(), *splits.probes.values()]
    most = {
        "batch_size": (len(splits.train), "training samples"),
        "val_batch_size": (len(splits.val), "validation samples"),
        "eval_batch_size": (max(map(len, evaluated)), "samples of the largest set that is evaluated"),
    }
    for name, (size, what) in most.items():
        if name in given and given[name] > size:
            raise OptionError(f"recipe.{name} must be at most {size}, the number of {what}, not {given[name]}")
    places = recipe.min_per_group * len(experiment.protocol.groups(experiment.dataset))
    if "min_per_group" in given and places > len(splits.val):
        raise OptionError(
            f"recipe.min_per_group={recipe.min_per_group} needs {places} validation samples, of which there are "
            f"{len(splits.val)}: hold out more (recipe.val_size) or lower recipe.min_per_group"
        )
    if "train_size" in given and not experiment.trains_on_val and len(splits.train) > given["train_size"]:
        raise OptionError(f"recipe.train_size has no effect under the protocol {experiment.protocol.name}")
    if recipe.steps:
        check_reached(recipe, given, -(-recipe.steps // splits.train.steps(recipe.batch_size)))
    if "select" in given:
        _check_select(experiment, splits.val)


def _check_select(experiment: Experiment, val: Split) -> None:
    """Raises OptionError for a metric that is undefined on the validation data, for right and for wrong predictions."""
    select, classes = experiment.recipe.select, len(experiment.dataset.classes)
    groups, group_is_class = len(experiment.protocol.groups(experiment.dataset)), experiment.protocol.group_is_class
    metric = {select: experiment.known_metrics[select]}
    values = []
    for predicted in (val.y, (val.y + 1) % classes):
        p = Predictions(one_hot(predicted, classes).float(), val.y, val.group, groups, group_is_class)
        with experiment.running(f"metric {select}"):
            values.append(evaluate(p, metrics=metric)[select])
    if torch.stack(values).isnan().all():
        raise OptionError(f"recipe.select={show(select)} is undefined on the validation data")
