"""The two fairness protocols of FORML (Yan, Seto, Apostoloff 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench import hookimpl
from bench.data.dataset import Dataset
from bench.data.split import Splits
from bench.errors import ProtocolError
from bench.protocol import Protocol, by_class, hold_out
from bench.recipe import Recipe
from bench.streams import RandomStreams


@dataclass(frozen=True)
class ClassFairness(Protocol):
    """Fairness between classes: the group of a sample is its class, and rates are one-vs-rest.

    Source: Yan, Seto, Apostoloff 2022 (FORML), section 4.2, Table 1.
    """

    name = "class_fairness"
    version = 1
    metrics = ("tprd", "max_fnr", "accuracy")
    default = True
    group_is_class = True
    problem = "unfair classes"
    reference = "Yan, Seto, Apostoloff 2022, section 4.2, Table 1"

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.classes

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        return by_class(hold_out(dataset, recipe, streams))


@dataclass(frozen=True)
class GroupFairness(Protocol):
    """Fairness between the groups of a sensitive attribute, on a two-class task; class 1 is the positive one.

    Source: Yan, Seto, Apostoloff 2022 (FORML), section 4.3, Tables 2 and 3.

    Raises:
        ProtocolError: for a data set without a sensitive attribute of two groups or more, or that has not two
            classes.
    """

    name = "group_fairness"
    version = 1
    metrics = ("tprd", "max_fnr", "accuracy")
    problem = "unfair groups"
    reference = "Yan, Seto, Apostoloff 2022, section 4.3, Tables 2 and 3"

    def check(self, dataset: Dataset) -> None:
        if len(dataset.groups) < 2:
            raise ProtocolError(
                f"{self.name} needs a sensitive attribute with two groups or more, and {dataset.name} has none: "
                f"use --protocol class_fairness"
            )
        if len(dataset.classes) != 2:
            raise ProtocolError(
                f"{self.name} needs a two-class task; {dataset.name} has {len(dataset.classes)} classes"
            )

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.groups


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {ClassFairness.name: ClassFairness, GroupFairness.name: GroupFairness}
