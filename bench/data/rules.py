"""The rules that data keep before anything is trained on them: the same ones for each run and for `bench.testing`.

Files of any size are checked without copying them: of uint8 images only the labels are read, and floats in parts.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from bench.data.dataset import Dataset
from bench.data.split import ORIGIN, Split, Splits
from bench.errors import DataError, PluginError
from bench.text import join_first

NUMBERS = 2**22
"""Numbers of an input that are checked at once."""
RESERVED = ("train", "epoch", "step")
"""What tests and probes cannot be called, because a row of a run's history holds other values by these names."""


def check_loaded(dataset: Dataset) -> None:
    """Check what a protocol draws from: the names, and the labels and the size of each set that the data set brings;
    and that a record can hold what the data set says of itself.

    Inputs are checked later, as `fit` may be what makes them valid.

    Raises:
        DataError: for the first rule that is broken.
    """
    _check_about(dataset)
    check_names(dataset.name, "class", dataset.classes)
    if dataset.groups != ():
        check_names(dataset.name, "group", dataset.groups)
    for name, split in sets_of(dataset).items():
        _check_form(dataset.name, name, split)
        check_labels(dataset.name, name, split, dataset.classes, dataset.groups or dataset.classes)
    for name, probe in dataset.probes.items():
        _check_form(dataset.name, name, probe)


def sets_of(dataset: Dataset) -> dict[str, Split]:
    """The sets with labels that a data set brings, by name."""
    named = {"train": dataset.train, "val": dataset.val, "test": dataset.test}
    return {name: split for name, split in named.items() if split is not None}


def check_splits(dataset: Dataset, groups: Sequence[str], splits: Splits) -> None:
    """Check the splits of one run, with the inputs that its model gets.

    A class without a training sample is no mistake here: protocols leave out classes, and a small share of the data can
    lack a rare one.

    Args:
        dataset: as the protocol sees it; its names, mean and standard deviation are checked too.
        groups: names of the groups of the samples.
        splits: not stacked.

    Raises:
        DataError: for the first rule that is broken, with the set and the number of samples that break it.
    """
    check_names(dataset.name, "class", dataset.classes)
    check_names(dataset.name, "group", groups)
    names = ["val", *splits.tests, *splits.probes, *RESERVED]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{dataset.name}: tests and probes need names of their own, which {', '.join(twice)} is not")
    if not splits.tests:
        raise DataError(f"{dataset.name}: there is no test data")
    labelled = {"train": splits.train, "val": splits.val, **splits.tests}
    unlabelled = {**splits.probes, **({"target": splits.target} if splits.target is not None else {})}
    check_sets(dataset.name, labelled | unlabelled)
    for name, split in labelled.items():
        check_labels(dataset.name, name, split, dataset.classes, groups)
    check_normalisation(dataset, splits.train)


def check_names(whose: str, what: str, names: Sequence[str]) -> None:
    """Check the names of classes or groups: a tuple of different texts; of classes, two or more.

    Args:
        whose: the name of the data set.
        what: `class` or `group`.
        names: by number.

    Raises:
        DataError: for other names.
    """
    if not isinstance(names, tuple) or not all(isinstance(name, str) and name.strip() for name in names):
        raise DataError(f"{whose}: {what} names must be a tuple of texts that are not empty, not {names!r}")
    if broken := [name for name in names if any(unicodedata.category(sign) == "Cc" for sign in name)]:
        raise DataError(f"{whose}: {what} names must be in one line, without control characters, unlike {broken[0]!r}")
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise DataError(f"{whose}: {what} names must be distinct, and {join_first(twice, 3)} stands there twice")
    least = 2 if what == "class" else 1
    if len(names) < least:
        raise DataError(f"{whose}: a task needs {least} or more {what} names, and there are {len(names)}")


def check_sets(whose: str, sets: Mapping[str, Split]) -> None:
    """Check the inputs of all sets of one data set.

    Each set has samples. All are on one device and have inputs of one shape: images [C, H, W], uint8 or floats in
    [0, 1], or vectors [D] of finite floats.

    Args:
        whose: the name of the data set.
        sets: by name, not stacked.

    Raises:
        DataError: for the first rule that is broken.
    """
    first, *_ = sets
    for name, split in sets.items():
        _check_form(whose, name, split)
        if split.device != sets[first].device:
            raise DataError(f"{whose}: {name} is on {split.device}, and {first} on {sets[first].device}")
        if split.x.requires_grad:
            raise DataError(f"{whose}: {name} has inputs that require a gradient: give x.detach()")
        shape, expected = list(split.x.shape[1:]), list(sets[first].x.shape[1:])
        if shape != expected:
            raise DataError(f"{whose}: {name} has inputs of another shape than {first}: {shape}, not {expected}")
        if len(shape) not in (1, 3) or 0 in shape:
            raise DataError(f"{whose}: {name} has inputs of shape {shape}: valid are images [C, H, W] and vectors [D]")
        if split.x.dtype == torch.uint8 and len(shape) == 1:
            raise DataError(
                f"{whose}: {name} has vectors of uint8, which are valid for images [C, H, W] alone and are divided by "
                f"255: give x.float()"
            )
        if split.x.is_floating_point():
            _check_floats(whose, name, split.x)


def check_labels(whose: str, name: str, split: Split, classes: Sequence[str], groups: Sequence[str]) -> None:
    """Check that the labels of a set are numbers of its classes and groups.

    Args:
        whose: the name of the data set.
        name: of the set.
        split: may be stacked.
        classes, groups: their names.

    Raises:
        DataError: with the number of the samples whose label is none, and the first such label.
    """
    for what, label, names in (("class", split.y, classes), ("group", split.group, groups)):
        outside = (label < 0) | (label >= len(names))
        if outside.any():
            raise DataError(
                f"{whose}: {name} has a {what} outside 0..{len(names) - 1} in {int(outside.sum()):,} of "
                f"{label.numel():,} samples, the first time {int(label[outside][0])}: the {what} names are "
                f"{join_first(names, 5)}"
            )


def check_normalisation(dataset: Dataset, train: Split) -> None:
    """Check the constants that the model is to normalise its inputs with.

    Args:
        dataset: whose `mean` and `std` they are.
        train: with the inputs that the model gets.

    Raises:
        DataError: unless there are none, or as many of both as there are channels or features, all finite, and the
            standard deviations above 0.
    """
    channels = train.x.shape[1]
    for what, values in (("mean", dataset.mean), ("std", dataset.std)):
        if len(values) not in (0, channels):
            raise DataError(f"{dataset.name}: {what} has {len(values)} numbers for {channels} channels")
        if not all(math.isfinite(value) for value in values):
            raise DataError(f"{dataset.name}: {what} has a number that is not finite: {values}")
    if len(dataset.mean) != len(dataset.std):
        raise DataError(f"{dataset.name}: mean and std are given both or neither")
    if any(value <= 0 for value in dataset.std):
        raise DataError(f"{dataset.name}: std has a number that is not above 0: {dataset.std}")


def _check_about(dataset: Dataset) -> None:
    """Raises DataError for fields that no record can hold, and for data that are others each time."""
    unofficial = [text for entry in dict(dataset.unofficial).items() for text in entry]
    for name, texts in (
        ("reference", [dataset.reference]),
        ("revision", [dataset.revision]),
        ("unofficial", unofficial),
    ):
        if other := [text for text in texts if not isinstance(text, str)]:
            raise DataError(f"{dataset.name}: `{name}` must be text, not {other[0]!r}")
    for name, values in (("mean", dataset.mean), ("std", dataset.std)):
        if not isinstance(values, tuple) or not all(isinstance(value, int | float) for value in values):
            raise DataError(f"{dataset.name}: `{name}` must be a tuple of numbers, not {type(values).__name__}")
    for name in ("train", "val", "test", "probes"):
        if getattr(dataset, name) is not getattr(dataset, name):
            raise DataError(f"{dataset.name}: `{name}` is another object each time: load the data once")


def _check_form(whose: str, name: str, split: Split) -> None:
    """Raises DataError for labels that are no row, for a set without samples, and for tensors that hold no numbers."""
    if not isinstance(split, Split):
        raise DataError(f"{whose}: {name} must be a bench.Split, not {type(split).__name__}")
    if split.y.dim() != 1:
        raise DataError(f"{whose}: {name} needs labels [N], one for each sample, not {list(split.y.shape)}")
    if len(split) == 0:
        raise DataError(f"{whose}: {name} is empty: each set needs a sample or more")
    fields = (split.x, split.y, split.group)
    if any(t.layout != torch.strided or t.device.type == "meta" or t.device != split.device for t in fields):
        raise DataError(f"{whose}: {name} must be dense tensors with x, y and group on one device")


def _check_floats(whose: str, name: str, x: Tensor) -> None:
    """Raises DataError for inputs that are not finite, and for images outside [0, 1]."""
    images = x.dim() == 4
    for rows in x.split(max(NUMBERS // x[0].numel(), 1)):
        least, most = torch.stack(rows.aminmax()).tolist()  # NaN if there is one among them
        if not math.isfinite(least + most):
            samples = sum(int((~part.isfinite()).flatten(1).any(1).sum()) for part in x.split(4096))
            raise DataError(
                f"{whose}: {name} has inputs that are not finite (NaN or infinite) in {samples:,} of {len(x):,} "
                f"samples: leave these samples out or fill in their values, in the data set or in its `fit`"
            )
        if images and not 0 <= least <= most <= 1:
            raise DataError(
                f"{whose}: {name} has images with values from {least:g} to {most:g}: give them in [0, 1], or as uint8"
            )


def check_made(made: Split, given: Split, classes: Sequence[str], groups: Sequence[str]) -> Split:
    """Check training data that a method has made: they keep the rules of all data, and say where they come from.

    Args:
        made: what its `training_data` has returned.
        given: what it was given; may be stacked.
        classes, groups: their names.

    Returns:
        What was made.

    Raises:
        PluginError: for the first rule that is broken.
    """
    if made is given:
        return given
    whose, name = "`training_data`", "the split that it returns"
    try:
        if isinstance(made, Split) and made.flaw:
            raise DataError(f"{whose}: {name} {made.flaw}")
        for one, other in zip(_runs(given), _runs(made), strict=True):
            check_sets(whose, {"the given split": one, name: other})
        check_labels(whose, name, made, classes, groups)
    except DataError as error:
        raise PluginError(str(error)) from error
    origin = made.columns.get(ORIGIN)
    if origin is None or origin.dtype != torch.int64 or origin.shape != made.y.shape or origin.amax() >= len(given):
        raise PluginError(
            "`training_data` must say where each sample comes from: split.with_origin(positions in task.train, below 0 "
            "for samples that are none of these), int64, one for each sample"
        )
    return made


def _runs(split: Split) -> list[Split]:
    """The splits of stacked runs; a split that is not stacked, and what is none, as it is."""
    if not isinstance(split, Split) or split.y.dim() != 2:
        return [split]
    return [split.select(torch.tensor(run)) for run in range(len(split.y))]
