"""Small data and tasks that train in milliseconds: what the contracts are checked on, for tests of plugins."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.dataset import Dataset
from bench.data.split import Split
from bench.models.stack import stack
from bench.recipe import Recipe
from bench.streams import RandomStreams, derive
from bench.training.task import Task

TOY_RECIPE = Recipe(
    select="accuracy",
    optimizer="sgd",
    lr=0.1,
    momentum=0.9,
    epochs=3,
    batch_size=16,
    val_batch_size=12,
    min_per_group=2,
    evaluate_every=1,
)


def toy_split(n: int, seed: int, images: bool = False) -> Split:
    """n samples of two overlapping classes in three features, in two groups of unequal size, all drawn by the seed.

    images: each feature is one channel of 8x8 pixels.
    """
    g = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=g) < 0.4).long()
    group = (torch.rand(n, generator=g) < 0.4).long()
    x = torch.rand(n, 3, generator=g) + 0.3 * y.unsqueeze(1) * group.unsqueeze(1)
    if images:
        x = (x.view(n, 3, 1, 1) * torch.rand(n, 3, 8, 8, generator=g) * 196).to(torch.uint8)
    return Split(x, y, group)


def toy_task(
    seeds: Sequence[int] = (0,),
    stacked: bool = False,
    val_seed: int = 1,
    regroup: bool = False,
    images: bool = False,
    **recipe: Any,
) -> Task:
    """A task that trains in milliseconds, for one run or for stacked runs, each with data of its own.

    val_seed: other validation data. regroup: the training samples have other groups, of other sizes. images: of 8x8
    pixels. The target's samples are those of another seed, without labels.
    """
    streams = RandomStreams(tuple(seeds), stacked)
    train = [toy_split(70, 10 + seed, images) for seed in seeds]
    val = [toy_split(60, 1000 * val_seed + seed, images) for seed in seeds]
    target = [toy_split(50, 500 + seed, images).unlabelled() for seed in seeds]
    if regroup:
        train = [dataclasses.replace(split, group=_other_groups(len(split))) for split in train]

    def one(seed: int) -> nn.Module:
        with torch.random.fork_rng([]):
            torch.manual_seed(derive(seed, "init"))
            first = [nn.Flatten(), nn.Linear(3 * 8 * 8, 8)] if images else [nn.Linear(3, 8)]
            return nn.Sequential(*first, nn.Tanh(), nn.Linear(8, 2))

    return Task(
        train=Split.stack(train) if stacked else train[0],
        val=Split.stack(val) if stacked else val[0],
        target=Split.stack(target) if stacked else target[0],
        classes=("no", "yes"),
        groups=("a", "b"),
        recipe=dataclasses.replace(TOY_RECIPE, **recipe),
        new_model=lambda: stack([one(s) for s in seeds]) if stacked else one(seeds[0]),
        streams=streams,
    )


def _other_groups(n: int) -> Tensor:
    return (torch.rand(n, generator=torch.Generator().manual_seed(7)) < 0.7).long()


def toy_dataset(images: bool = False, groups: tuple[str, ...] = ("a", "b")) -> Dataset:
    """600 training and 300 test samples of two classes, with `TOY_RECIPE` and 120 for validation.

    images: as of `toy_split`. groups: names of two; empty: the group of a sample is its class.
    """
    train, test = toy_split(600, 1, images), toy_split(300, 2, images)
    if not groups:
        train = dataclasses.replace(train, group=train.y)
        test = dataclasses.replace(test, group=test.y)
    recipe = dataclasses.replace(TOY_RECIPE, val_size=120, test_size=60, min_per_group=1)
    return Dataset("toy", train, test, ("no", "yes"), recipe, groups, reference="made up")
