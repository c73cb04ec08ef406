"""A task in which one group is rare in training."""

from dataclasses import dataclass, replace

import torch

from bench import Checks, OptionError, Protocol, hookimpl
from bench.protocol import hold_out


@dataclass(frozen=True)
class RareGroup(Protocol):
    """One group is rare in training; the validation and test data are as they are.

    keep: fraction of the group's training samples that stay, drawn by seed, rounded down. group: its number.
    """

    name = "rare_group"
    version = 1
    metrics = ("worst_group_accuracy", "accuracy")
    reference = "after Rolf, Worledge, Recht, Jordan 2021, Representation Matters"

    keep: float = 0.1
    group: int = 0

    def check(self, dataset):
        Checks(self, "protocol.").within(0, 1, "keep", closed="right")
        if self.group not in range(len(dataset.groups)):
            raise OptionError(f"{dataset.name} has {len(dataset.groups)} groups, and none with number {self.group}")

    def groups(self, dataset):
        return dataset.groups

    def splits(self, dataset, recipe, streams):
        splits = hold_out(dataset, recipe, streams)
        order = streams.draw(lambda g: torch.randperm(len(splits.train), generator=g), "rare_group")
        is_rare = splits.train.group[order] == self.group
        rare = order[is_rare][: int(self.keep * is_rare.sum())]
        return replace(splits, train=splits.train.select(torch.cat([order[~is_rare], rare])))

    def claims(self, dataset):
        claims = super().claims(dataset)
        shares = list(claims["train"].shares)
        shares[self.group] *= self.keep
        return claims | {"train": replace(claims["train"], shares=tuple(shares))}


@hookimpl
def bench_protocols():
    return {"rare_group": RareGroup}
