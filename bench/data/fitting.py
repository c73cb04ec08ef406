"""What is fitted on the training rows of a run, so that no statistic has seen its test rows."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError

CLOSE = 5e-4
"""Moments that differ by less than this fraction of the standard deviation are the same, as rounded ones are."""
ROWS = 4096
"""Rows whose values are in memory as float64 at once."""
CONSTANT = 1e-7
"""A feature whose standard deviation is below this fraction of its mean is constant but for rounding."""


def fitted(dataset: Dataset, splits: Splits) -> Splits:
    """The splits of a run with the inputs that its model gets.

    Args:
        dataset: whose `fit` is fitted on `splits.train`; without one, the splits stay as they are.
        splits: as they were drawn from the data set.

    Raises:
        DataError: where the fitted function does not return one input for each input.
    """
    if dataset.fit is None:
        return splits
    prepare = fit_on(dataset, splits.train)
    return Splits(
        train=prepare(splits.train),
        val=prepare(splits.val),
        tests={name: prepare(split) for name, split in splits.tests.items()},
        probes={name: prepare(split) for name, split in splits.probes.items()},
        target=prepare(splits.target) if splits.target else None,
    )


def fit_on(dataset: Dataset, train: Split) -> Callable[[Split], Split]:
    """Fit the preprocessing of a data set, if it has one, on training rows.

    Args:
        dataset: whose `fit` is called.
        train: unstacked training rows of a run.

    Returns:
        A function of unstacked splits, which gives them the inputs that a model gets.
    """
    if dataset.fit is None:
        return lambda split: split
    transform = dataset.fit(replace(train, x=train.x.clone()))  # a copy: other runs read the same tensors

    def prepare(split: Split) -> Split:
        x = transform(split.x.clone())
        if not isinstance(x, Tensor) or x.shape[:1] != split.y.shape or x.dtype not in (torch.uint8, torch.float32):
            got = f"{x.dtype} of {list(x.shape)}" if isinstance(x, Tensor) else f"a {type(x).__name__}"
            raise DataError(
                f"{dataset.name}: what its `fit` returns must make {len(split)} inputs of {len(split)}, a tensor of "
                f"uint8 or float32, and makes {got}"
            )
        return replace(split, x=x)

    return prepare


def fitted_dataset(dataset: Dataset, train: Split) -> Dataset:
    """A data set all of whose splits have the inputs that a model gets in a run with these training rows."""
    prepare = fit_on(dataset, train)
    val, test = (prepare(split) if split else None for split in (dataset.val, dataset.test))
    probes = {name: prepare(split) for name, split in dataset.probes.items()}
    return replace(dataset, train=prepare(dataset.train), val=val, test=test, probes=probes, fit=None)


def moments(train: Split) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of each channel of images, or of each feature, over training rows.

    A feature that is the same in all rows has the standard deviation 1, so that it is normalised to 0.

    Args:
        train: training rows; stacked runs have moments of their own.

    Returns:
        Mean and standard deviation (of the rows as a population), [C] or [D] float32 each, and [R, C] or [R, D] for
        stacked runs; of images in units of [0, 1].
    """
    if train.y.dim() == 1:
        return _moments(train.x)
    mean, std = zip(*map(_moments, train.x), strict=True)
    return torch.stack(mean), torch.stack(std)


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Of one run's inputs [N, C, H, W] or [N, ..., D], in two passes over them in float64."""
    channel = 1 if x.dim() == 4 else -1
    unit = 255 if x.dtype == torch.uint8 else 1

    def values(rows: Tensor) -> Tensor:
        return rows.movedim(channel, -1).flatten(0, -2).double() / unit

    count = x.numel() // x.shape[channel]
    mean = torch.stack([values(rows).sum(0) for rows in x.split(ROWS)]).sum(0) / count
    squares = torch.stack([(values(rows) - mean).square().sum(0) for rows in x.split(ROWS)]).sum(0)
    std = (squares / count).sqrt()
    std = torch.where(std <= CONSTANT * mean.abs(), 1.0, std)
    return mean.float(), std.float()


def statistics_of_tests(dataset: Dataset, train: Split) -> str:
    """Which normalisation was made with moments of all rows, so that test rows have a part in it.

    It is known by its values: the moments of all rows fit, and those of training rows do not.

    Args:
        dataset: with inputs as a model gets them (`fitted_dataset`).
        train: training rows of a run, some but not all rows of the data set.

    Returns:
        What was made so, in words; empty where nothing shows.
    """
    own, every = [train], dataset.train
    if dataset.test:
        parts = [dataset.train, *([dataset.val] if dataset.val else [])]
        own += [dataset.train, Split.cat(parts)]
        every = Split.cat([*parts, dataset.test])
    made = {}
    if every.x.is_floating_point():
        mean, std = moments(every)
        made["the inputs are standardised with"] = torch.zeros_like(mean), torch.ones_like(std)
    if dataset.mean:
        made["`mean` and `std` are"] = torch.tensor(dataset.mean), torch.tensor(dataset.std)
    for what, values in made.items():
        if _are_moments_of(every, values) and not any(_are_moments_of(rows, values) for rows in own):
            return what
    return ""


def _are_moments_of(rows: Split, values: tuple[Tensor, Tensor]) -> bool:
    """Whether these are the mean and the standard deviation, the one of a sample or of a population, of rows."""
    mean, std = moments(rows)
    shifted, scaled = (values[0] - mean).abs() / std, (values[1] - std).abs() / std
    return bool((shifted <= CLOSE).all() and (scaled <= CLOSE + 1 / len(rows)).all())
