"""What a run is made of, from its experiment: data, model, task, evaluations."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset
from bench.data.fitting import fitted, moments
from bench.data.rules import check_splits
from bench.data.split import POSITION, Split, Splits
from bench.metrics import METRICS, Metric
from bench.models.initial import initial_model
from bench.models.precision import in_precision
from bench.models.rules import EXACT, ROUNDED, SAMPLES, check_model, check_module
from bench.predictions import Predictions
from bench.protocol import Protocol
from bench.runs.evaluation import Evaluations, Undisturbed
from bench.runs.experiment import Experiment
from bench.streams import RandomStreams
from bench.training.method import Method
from bench.training.task import Task

LARGE = 256_000_000
"""The bytes of training inputs above which `begin` draws the data of the first seed alone."""


def model_builder(
    experiment: Experiment, train: Split, streams: RandomStreams, device: torch.device
) -> Callable[[], nn.Module]:
    """Prepare to build the model of an experiment.

    Args:
        experiment: whose model it is.
        train: the training rows. They say the shape of the model's inputs and, where the data set asks for it, what
            these are normalised with.
        streams: those of the run, or of all stacked runs.
        device: where the model is put.

    Returns:
        A function that builds the model, or the stack, with the initial weights that the streams say: the same at each
        call.
    """
    dataset, precision = experiment.dataset, experiment.recipe.precision
    shape = tuple(train.x.shape[train.y.dim() :])
    mean, std = moments(train) if dataset.standardize else (dataset.mean, dataset.std)

    def build() -> nn.Module:
        model = experiment.model(shape, len(dataset.classes), **experiment.model_options)
        return check_module(experiment.model_part or f"model {experiment.model_name}", model)

    def new_model() -> nn.Module:
        model = initial_model(build, mean, std, streams, device)
        return in_precision(model, precision, channels_last=precision == "bf16")

    return new_model


def splits_of(experiment: Experiment, seed: int) -> Splits:
    """Draw the data of one run, and fit on its training rows what is to be fitted.

    Args:
        experiment: whose data they are.
        seed: of the run.

    Returns:
        The splits, on the CPU.

    Raises:
        DataError: for data that break a rule (`bench.data.rules`).
    """
    with experiment.running("protocol"):
        numbered = _numbered(experiment.dataset)
        splits = _numbered_in_tests(experiment.protocol.splits(numbered, experiment.recipe, RandomStreams((seed,))))
    if experiment.trains_on_val:
        splits = replace(splits, train=Split.cat([splits.train, splits.val]))
    if experiment.dataset.fit:
        with experiment.running("data set"):
            splits = fitted(experiment.dataset, splits)
    check_splits(experiment.dataset, experiment.protocol.groups(experiment.dataset), splits)
    return splits


def _numbered(dataset: Dataset) -> Dataset:
    """The data set with a column for the position of each sample that test sets are made of: those of its test data, or
    of its training data where it has no others.
    """

    def numbered(split: Split) -> Split:
        positions = torch.arange(len(split), dtype=torch.int32, device=split.device)
        return replace(split, columns=dict(split.columns) | {POSITION: positions})

    if dataset.test:
        return replace(dataset, test=numbered(dataset.test))
    return replace(dataset, train=numbered(dataset.train))


def _numbered_in_tests(splits: Splits) -> Splits:
    """The splits with that column in the test sets alone."""

    def without(split: Split) -> Split:
        return replace(split, columns={name: of for name, of in split.columns.items() if name != POSITION})

    return replace(
        splits,
        train=without(splits.train),
        val=without(splits.val),
        probes={name: without(split) for name, split in splits.probes.items()},
        target=without(splits.target) if splits.target else None,
    )


def loaded_splits(experiment: Experiment, streams: RandomStreams, device: torch.device) -> Splits:
    """Draw the data of the run, or of all stacked runs, and put them on the device.

    Args:
        experiment: whose data they are.
        streams: those of the run, or of all stacked runs.
        device: where the data are put.

    Returns:
        The splits; those of stacked runs have a leading dimension for the runs.

    Raises:
        DataError: for data that break a rule (`bench.data.rules`).
    """
    splits_by_seed = [splits_of(experiment, seed) for seed in streams.seeds]

    def join(splits: Sequence[Split]) -> Split:
        return (Split.stack(splits) if streams.stacked else splits[0]).to(device)

    tests = {name: join([s.tests[name] for s in splits_by_seed]) for name in splits_by_seed[0].tests}
    probes = {name: join([s.probes[name] for s in splits_by_seed]) for name in splits_by_seed[0].probes}
    targets = [s.target for s in splits_by_seed if s.target]
    target = join(targets) if targets else None
    return Splits(join([s.train for s in splits_by_seed]), join([s.val for s in splits_by_seed]), tests, probes, target)


def check_model_on(experiment: Experiment, train: Split, streams: RandomStreams, device: torch.device) -> None:
    """Check the model of the run, or of all stacked runs, on its training data.

    Args:
        experiment: whose model it is.
        train: the training data, on the device.
        streams: those of the run, or of all stacked runs.
        device: where the model is put.

    Raises:
        ModelError: for a model that breaks a rule (`bench.models.rules`).
    """
    _try_augmentation(experiment, train, streams)
    build = model_builder(experiment, train, streams, device)
    exact = device.type == "cpu" and experiment.recipe.precision == "fp32"
    model = experiment.model_part or experiment.model_name
    with experiment.running("model"):
        check_model(model, build, train, len(experiment.dataset.classes), EXACT if exact else ROUNDED)


def _try_augmentation(experiment: Experiment, train: Split, streams: RandomStreams) -> None:
    """Augment a few samples, so that what the augmentation does to the process is not taken for the method's."""
    augment = experiment.dataset.augment if experiment.recipe.augment else None
    if augment is None:
        return
    x = next(iter(train.in_order(SAMPLES))).x
    with experiment.running("data set"):
        augment((x[0] if streams.stacked else x).clone(), torch.Generator(x.device))


def new_task(experiment: Experiment, splits: Splits, streams: RandomStreams, device: torch.device) -> Task:
    """Make what the method of an experiment gets: its data without the test sets, the recipe, and what builds its
    model.

    Args:
        experiment: what is run.
        splits: its data, on the device.
        streams: those of the run, or of all stacked runs.
        device: where the model is put.
    """
    return Task(
        train=splits.train.without_columns(),
        val=splits.val.without_columns(),
        target=splits.target,
        classes=experiment.dataset.classes,
        groups=experiment.protocol.groups(experiment.dataset),
        recipe=experiment.recipe,
        new_model=model_builder(experiment, splits.train, streams, device),
        streams=streams,
        augment=experiment.dataset.augment if experiment.recipe.augment else None,
    )


def new_evaluations(experiment: Experiment, splits: Splits, undisturbed: Undisturbed = nullcontext) -> Evaluations:
    """Make what evaluates the trainings of an experiment.

    Args:
        experiment: what is run.
        splits: its data, on the device.
        undisturbed: gives the context in which each evaluation is made; by default nothing is changed for them.
    """
    return Evaluations(
        splits,
        groups=len(experiment.protocol.groups(experiment.dataset)),
        group_is_class=experiment.protocol.group_is_class,
        batch_size=experiment.recipe.eval_batch_size,
        select=None if experiment.trains_on_val else experiment.recipe.select,
        keep_at=experiment.recipe.evaluate_at,
        keep_models=experiment.protocol.examines,
        metrics=guarded_metrics(experiment),
        undisturbed=undisturbed,
    )


def guarded_metrics(experiment: Experiment) -> dict[str, Metric]:
    """The metrics of an experiment by name. An error of one of a plugin, at its first call, names that plugin.

    Args:
        experiment: what is run.
    """
    return {name: _guarded(experiment, name, metric) for name, metric in experiment.known_metrics.items()}


def _guarded(experiment: Experiment, name: str, metric: Metric) -> Metric:
    """The metric; one of a plugin is guarded at its first call, as each costs milliseconds."""
    called = False

    def function(p: Predictions, counts: Tensor) -> Tensor:
        nonlocal called
        context = nullcontext() if called else experiment.running(f"metric {name}")
        called = True
        with context:
            return metric.function(p, counts)

    return metric if METRICS.get(name) is metric else replace(metric, function=function)


def begin(experiment: Experiment, seeds: Sequence[int], device: torch.device, stacked: bool) -> None:
    """Do what runs do before their first update: draw the data of every seed, and let the method of the first seed
    begin.

    Of data larger than LARGE, which splits copy, only those of the first seed are drawn. A method with a `fit` of its
    own, and one whose data a protocol chooses by trainings, begin in their runs alone.

    Args:
        experiment: what is to be run.
        seeds: of the runs.
        device: where they are computed.
        stacked: whether they are trained at once; then the data and the model of all are made.

    Raises:
        Exception: whatever the data set, the protocol, the model or the method raise.
    """
    if not stacked and experiment.dataset.train.x.nbytes <= LARGE:
        for seed in seeds[1:]:
            splits_of(experiment, seed)
    streams = RandomStreams(tuple(seeds if stacked else seeds[:1]), stacked)
    splits = loaded_splits(experiment, streams, device)
    check_model_on(experiment, splits.train, streams, device)
    method = experiment.new_method()
    if type(method).fit is Method.fit and type(experiment.protocol).prepare is Protocol.prepare:
        method.begin(new_task(experiment, splits, streams, device))
