"""Label shift: what class weights do, and test data whose classes come in other proportions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from bench import Checks, hookimpl
from bench.data.classes import members, only_with_others
from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import DataError, OptionError
from bench.protocol import Claim, Protocol, by_class, hold_out
from bench.recipe import Recipe
from bench.streams import RandomStreams

NOISE_IMAGES = 1000


@dataclass(frozen=True)
class LabelShift(Protocol):
    """Label shift: how class weights change what is predicted, on the test data and on inputs of no class of the task.

    Without a prior, the test data keep their proportions, and the weights are the method's (`importance_weighted -o
    ratio=1,128`). Whether they have an effect shows in the fraction of positive predictions at every evaluation (Byrd
    and Lipton 2019), on three sets:

    - the test data,
    - `other`, the test data of the classes that are not taken,
    - `noise`, 1,000 images of uniform noise in [0, 1].

    With a prior, the test data are drawn anew, by seed and without replacement, as many as their classes allow. One
    half is for testing; methods may see the inputs of the other half (`Task.target`), for estimates of the shift such
    as BBSE (Lipton, Wang, Smola 2018).

    Source: Byrd and Lipton 2019, section 4; Lipton, Wang, Smola 2018, section 5; Zha, Gao, Ma, Xu, Figures 1-5, 8.

    Departures: the noise is drawn by seed, unlike in the code of Zha, Gao, Ma, Xu.

    Options:
        classes: names of the classes to take, in order; of two, the second is the positive one. Default: empty, all.
        prior: proportion of each class in the test data. Default: empty, as they are.
        dirichlet: parameter of the symmetric Dirichlet distribution that the prior is drawn from for each seed. None
            (the default): the prior is not drawn.

    Raises:
        OptionError: for fewer than two classes, for both `prior` and `dirichlet`, and for a prior that does not have
            one proportion for each class.
        DataError: where the prior leaves no test samples, or none of a class that it gives a proportion.
    """

    name = "label_shift"
    version = 1
    metrics = ("accuracy", "fraction_positive")
    group_is_class = True
    problem = "a label shift"
    reference = "Byrd and Lipton 2019, section 4; Lipton, Wang, Smola 2018, section 5; Zha, Gao, Ma, Xu, Figures 1-5, 8"

    classes: tuple[str, ...] = ()
    prior: tuple[float, ...] = ()
    dirichlet: float | None = None

    def check(self, dataset: Dataset) -> None:
        check = Checks(self, "protocol.")
        classes = self.classes or dataset.classes
        if len(classes) < 2:
            raise OptionError(f"protocol.classes needs two classes or more of {dataset.name}, not {len(classes)}")
        if self.prior and self.dirichlet is not None:
            raise OptionError("give protocol.prior or protocol.dirichlet, not both")
        check.one_for_each(classes, "prior")
        check.proportions("prior")
        check.above(0, "dirichlet")

    def view(self, dataset: Dataset) -> Dataset:
        return only_with_others(dataset, self.classes)

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.classes

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        splits = by_class(hold_out(dataset, recipe, streams))
        shape = tuple(dataset.train.x.shape[1:])  # as loaded: what the data set fits comes after the splits
        if len(shape) == 3:
            splits = replace(splits, probes={**splits.probes, "noise": noise_images(shape, streams)})
        if not self.prior and self.dirichlet is None:
            return splits
        shifted = self._shifted(splits.tests["test"], len(dataset.classes), streams)
        half = len(shifted) // 2
        counts = shifted.y[:half].bincount(minlength=len(dataset.classes)).tolist()
        if lost := [c for c, p, n in zip(dataset.classes, self.prior, counts, strict=False) if p > 0 and n == 0]:
            raise DataError(
                f"{dataset.name}: this prior leaves {half} test samples, and none of {', '.join(lost)}: choose "
                f"one less extreme, or 0 for a class without samples"
            )
        if half == 0:
            raise DataError(f"{dataset.name}: this prior leaves {len(shifted)} test samples: choose one less extreme")
        order = torch.arange(len(shifted))
        return replace(
            splits, tests={"test": shifted.select(order[:half])}, target=shifted.select(order[half:]).unlabelled()
        )

    def claims(self, dataset: Dataset) -> dict[str, Claim]:
        claims = super().claims(dataset)
        if self.prior or self.dirichlet is not None:  # the latter draws by the seed, so nothing is claimed
            claims["test"] = Claim(self.prior)
        return claims

    def _shifted(self, test: Split, classes: int, streams: RandomStreams) -> Split:
        """The test samples in the proportions of the prior, in random order."""
        available = test.y.bincount(minlength=classes).double()

        def draw(generator: Generator) -> Tensor:
            prior = torch.tensor(self.prior).double() if self.prior else self._drawn_prior(classes, generator)
            prior = prior / prior.sum()
            counts = (prior * (available / prior).min()).add(1e-9).long()
            positions = torch.cat([members(test.y, c, generator)[: counts[c]] for c in range(classes)])
            return positions[torch.randperm(len(positions), generator=generator)]

        return test.select(streams.draw(draw, "label shift"))

    def _drawn_prior(self, classes: int, generator: Generator) -> Tensor:
        """A prior from the Dirichlet distribution, as independent Gamma values before the division by their sum."""
        assert self.dirichlet is not None
        return torch._standard_gamma(torch.full((classes,), self.dirichlet).double(), generator)


def noise_images(shape: tuple[int, ...], streams: RandomStreams) -> Split:
    """Images of uniform noise, drawn by seed; their class means nothing."""
    x = streams.draw(
        lambda g: torch.randint(256, (NOISE_IMAGES, *shape), generator=g, dtype=torch.uint8), "noise images"
    )
    y = torch.zeros(NOISE_IMAGES, dtype=torch.int64)
    return Split(x, y, y)


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {LabelShift.name: LabelShift}
