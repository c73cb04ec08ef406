"""Label noise: some training samples have a wrong class."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Generator, Tensor

from bench import Checks, hookimpl
from bench.data.classes import class_number
from bench.data.dataset import Dataset
from bench.data.split import TRUE_CLASS, Split, Splits
from bench.protocol import Claim, Protocol, by_class, hold_out, with_test
from bench.recipe import Recipe
from bench.streams import RandomStreams


@dataclass(frozen=True)
class LabelNoise(Protocol):
    """Label noise: a fraction of the training samples, drawn by seed, has wrong labels; the test data are clean.

    Source: Jiang and Nachum 2020, section 8; Yan, Seto, Apostoloff 2022 (FORML), section 4.2.3, Table 4; van Rooyen et
    al. 2015; Han et al. 2018.

    Options:
        kind: which label the chosen samples get. `one_class` (the default): all become the class `target`, those that
            are of it included, so that of ten equal classes with 20 % noise 28 % of the samples have its label (Jiang
            and Nachum 2020, section 8; FORML, Table 4). `symmetric`: each becomes one of the other classes, all equally
            likely (van Rooyen et al. 2015; where a paper draws among all classes, its fraction is C / (C - 1) of ours).
            `pair`: each becomes the next class, the last class the first (Han et al. 2018).
        fraction: fraction of the training samples that is chosen, rounded down. Default: 0.2.
        target: name of the class, or its number from 0 on where no class has that name. Default: 2.
        clean_validation: whether the validation data keep their labels. FORML's Table 4 has both. Default: no.

    Raises:
        OptionError: for a target that is no class of the data set, and for a fraction outside [0, 1].
    """

    name = "label_noise"
    version = 1
    metrics = ("tprd", "max_fnr", "accuracy")
    group_is_class = True
    problem = "noisy labels"
    reference = "Jiang and Nachum 2020, section 8; Yan, Seto, Apostoloff 2022, section 4.2.3, Table 4"

    kind: Literal["one_class", "symmetric", "pair"] = "one_class"
    fraction: float = 0.2
    target: str = "2"
    clean_validation: bool = False

    def check(self, dataset: Dataset) -> None:
        check = Checks(self, "protocol.")
        check.within(0, 1, "fraction")
        if self.kind == "one_class":
            self._target(dataset)
        else:
            check.unused("target", "kind")

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.classes

    def _target(self, dataset: Dataset) -> int:
        """The number of the class `target`. Raises OptionError, with the classes there are, where it is none."""
        numbers = map(str, range(len(dataset.classes)))
        if self.target not in dataset.classes and self.target in numbers:
            return int(self.target)
        return class_number(dataset, self.target)

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        clean = hold_out(with_test(dataset, recipe, streams), recipe, streams)
        train = self._noisy(clean.train, dataset, streams, "train")
        val = clean.val if self.clean_validation else self._noisy(clean.val, dataset, streams, "val")
        return by_class(replace(clean, train=train, val=val))

    def _noisy(self, split: Split, dataset: Dataset, streams: RandomStreams, part: str) -> Split:
        n = len(split)
        classes = len(dataset.classes)

        def draw(generator: Generator) -> Tensor:
            y = split.y.clone()
            chosen = torch.randperm(n, generator=generator)[: int(self.fraction * n)]
            if self.kind == "one_class":
                y[chosen] = self._target(dataset)
            elif self.kind == "pair":
                y[chosen] = (y[chosen] + 1) % classes
            else:
                y[chosen] = (y[chosen] + torch.randint(1, classes, chosen.shape, generator=generator)) % classes
            return y

        columns = dict(split.columns) | {TRUE_CLASS: split.y}
        return replace(split, y=streams.draw(draw, "label noise", part), columns=columns)

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        claims = super().claims(dataset)
        noisy = ("train",) if self.clean_validation else ("train", "val")
        return claims | {name: self._noisy_claim(claims[name], dataset) for name in noisy}

    def _noisy_claim(self, clean: Claim, dataset: Dataset) -> Claim:
        classes = len(clean.shares)
        same = torch.eye(classes).double()
        if self.kind == "one_class":
            other = same[self._target(dataset)].expand(classes, classes)
        elif self.kind == "pair":
            other = same.roll(1, 1)
        else:
            other = (1 - same) / (classes - 1)
        becomes = (1 - self.fraction) * same + self.fraction * other  # [class, label], the probability
        before = torch.tensor(clean.shares).double()
        wrong = 1 - float(before @ becomes.diag() / before.sum())
        return Claim(tuple((before @ becomes).tolist()), wrong)


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {LabelNoise.name: LabelNoise}
