"""A task in which one group is rare."""

from dataclasses import dataclass, replace

from bench import Checks, Protocol, hookimpl


@dataclass(frozen=True)
class RareGroup(Protocol):
    """The first group is rare: only the fraction `keep` of its training samples stays, before anything is held out."""

    name = "rare_group"
    version = 1
    metrics = ("worst_group_accuracy", "accuracy")
    reference = "after Rolf, Worledge, Recht, Jordan 2021, Representation Matters"
    keep: float = 0.1  # an option: bench run -o protocol.keep=0.5

    def check(self, dataset):
        Checks(self, "protocol.").within(0, 1, "keep", closed="right")

    def groups(self, dataset):
        return dataset.groups

    def view(self, dataset):
        rare = dataset.train.group == 0
        stays = ~rare | (rare.cumsum(0) <= self.keep * rare.sum())  # those that come first in the data
        return replace(dataset, train=dataset.train.select(stays.nonzero().squeeze(1)))


@hookimpl
def bench_protocols():
    return {"rare_group": RareGroup}
