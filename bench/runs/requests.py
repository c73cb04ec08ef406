"""From the texts of a command to experiments: one for each method and each combination of values of `--each`, with
checks that its recipe fits the data: the sizes, the length of the training and the selection metric.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import one_hot

from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.data.split import Split, Splits
from bench.errors import OptionError
from bench.failures import plugin_code
from bench.guards.guard import Guard
from bench.guards.tensors import Watched, tensors_of
from bench.metrics import evaluate
from bench.options import named_value, named_values, options_of, show
from bench.predictions import Predictions, stored_logits
from bench.recipe import check_reached
from bench.records.spec import SHARED, canonical
from bench.registry import Registry
from bench.runs.build import splits_of
from bench.runs.experiment import OPTION_PREFIXES, Experiment, Request
from bench.runs.resolve import resolve

EXAMPLE = "weight_lr=10 or model.hidden=50"
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


@dataclass(frozen=True)
class RequestTexts:
    """The arguments and options of a command, as the user wrote them.

    Attributes:
        datasets, methods: their names.
        models, protocols: their names; empty: those that the data sets' recipes name.
        options: texts NAME=VALUE. A name may begin with `METHOD.` or with one of OPTION_PREFIXES and a dot.
        each: texts NAME=VALUE too. A name may stand in several of them, and each of its values makes experiments of its
            own.
        validation: as in `Request`.
        stacked: whether all seeds are trained at once, as one stack.
    """

    datasets: Sequence[str]
    methods: Sequence[str]
    models: Sequence[str] = ()
    protocols: Sequence[str] = ()
    options: Sequence[str] = ()
    each: Sequence[str] = ()
    validation: str = SHARED
    stacked: bool = False


def experiments_of(asked: RequestTexts, files: Files, registry: Registry) -> list[Experiment]:
    """Make the experiments of a command. Data that several of them share are loaded once.

    Args:
        asked: the arguments and options of the command.
        files: the data files.
        registry: the plugins.

    Returns:
        The experiments in the order of `requests_of`, each one once.

    Raises:
        BenchError: for whatever cannot be run as the command says.
    """
    experiments: list[Experiment] = []
    loaded: dict[str, Dataset] = {}
    for request in requests_of(asked, registry):
        options = {name: v for name, v in request.options.items() if name.startswith(("dataset.", "protocol."))}
        task = canonical([request.dataset, request.protocol, options])
        experiment = resolve(request, files, registry, loaded.get(task))
        loaded[task] = experiment.dataset
        experiments.append(experiment)
    unstackable = dict.fromkeys(experiment.unstackable for experiment in experiments if experiment.unstackable)
    if asked.stacked and unstackable:
        raise OptionError(f"{', '.join(unstackable)} cannot train stacked runs: leave out --stack, or what cannot")
    check_sizes(experiments)
    by_key = {experiment.spec(0).key: experiment for experiment in experiments}  # 10 and 10.0 are one value
    return list(by_key.values())


def requests_of(asked: RequestTexts, registry: Registry) -> list[Request]:
    """Make a request for each combination of a data set, a model, a protocol, values of `--each` and a method.

    Args:
        asked: the arguments and options of the command.
        registry: the plugins.

    Returns:
        The requests: of the first combination for all methods, then of the next one. Data sets change last.

    Raises:
        OptionError: for an option that is malformed, is given twice, could mean two things, or is an option of some of
            the methods only.
    """
    methods = list(dict.fromkeys(asked.methods))
    models: Iterable[str | None] = dict.fromkeys(asked.models) or [None]
    protocols: Iterable[str | None] = dict.fromkeys(asked.protocols) or [None]
    tasks = itertools.product(dict.fromkeys(asked.datasets), models, protocols, _combinations(asked.each))
    requests = []
    for dataset, model, protocol, values in tasks:
        given = named_values([*asked.options, *values], example=EXAMPLE)
        for method, options in _options_by_method(given, methods, registry).items():
            requests.append(Request(dataset, method, model, protocol, options, asked.validation))
    return requests


def _combinations(each: Sequence[str]) -> list[tuple[str, ...]]:
    """One text of each name, in every way. Raises OptionError for a value given twice."""
    by_name: dict[str, list[str]] = {}
    for text in each:
        name, _ = named_value(text, example=EXAMPLE)
        texts = by_name.setdefault(name, [])
        if text in texts:
            raise OptionError(f"--each {text} is given twice")
        texts.append(text)
    return list(itertools.product(*by_name.values()))


def _options_by_method(
    given: Mapping[str, str], methods: Sequence[str], registry: Registry
) -> dict[str, dict[str, str]]:
    """Method -> its options. Those with the method's name as prefix replace those without a prefix.

    Raises OptionError for an option that could mean two things, is given twice, or is an option of some of the methods
    only.
    """
    common: dict[str, str] = {}
    special: dict[str, dict[str, str]] = {method: {} for method in methods}
    for name, value in given.items():
        prefix, _, rest = name.rpartition(".")
        if prefix in special and prefix in OPTION_PREFIXES:
            raise OptionError(
                f"option {name!r} is unclear: {prefix!r} is a method here, and a prefix: run this method alone and "
                f"give its options without a prefix"
            )
        if prefix in special:
            special[prefix][rest] = value
            continue
        plain = name.removeprefix("method.")
        if plain in common:
            raise OptionError(f"option {name} is given twice")
        common[plain] = value
    for name, value in common.items():
        _require_of_all(name, value, methods, registry)
    return {method: common | special[method] for method in methods}


def _require_of_all(name: str, value: str, methods: Sequence[str], registry: Registry) -> None:
    """Raises OptionError for an option that some of the methods have and others do not."""
    having = [method for method in methods if name in options_of(registry.find("methods", method).value)]
    lacking = [method for method in methods if method not in having]
    if having and lacking:
        raise OptionError(
            f"{', '.join(lacking)}: no option {name}; give it to one method, as {having[0]}.{name}={value}"
        )


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
        logits = stored_logits(one_hot(predicted, classes).float()).float()
        p = Predictions(logits, val.y, val.group, groups, group_is_class)
        with experiment.running(f"metric {select}"):
            values.append(evaluate(p, metrics=metric)[select])
    if torch.stack(values).isnan().all():
        raise OptionError(f"recipe.select={show(select)} is undefined on the validation data")
