"""Robustness: what is left of imbalanced trainings on corrupted and on perturbed test data."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from bench import Checks, hookimpl
from bench.data.dataset import Dataset
from bench.data.split import Split, Splits
from bench.errors import ProtocolError
from bench.images.attacks import perturbed, universal_perturbation
from bench.images.corruptions import COMMON, CORRUPTIONS, EXTRA, SEVERITIES
from bench.imbalanced import ImbalancedTraining
from bench.protocol import Evaluate, Metrics, Protocol
from bench.streams import RandomStreams

CORRUPTED, EXTRA_CORRUPTED = "corrupted", "extra_corrupted"
PERTURBED, RANDOMLY_PERTURBED = "perturbed", "randomly_perturbed"
ATTACK_BATCH = 128


@dataclass(frozen=True)
class Robustness(ImbalancedTraining):
    """Robustness under class imbalance: an imbalanced training, evaluated on clean, corrupted and perturbed test data.

    After the training, the model of each selection rule is evaluated on these sets:

    - `NAME/SEVERITY`: the test data under each corruption of `bench.images.corruptions` at each severity, with the
      metrics of the tables alone. The corruptions are drawn by seed on the run's device and are the same for all
      methods.
    - `corrupted`: the means over the fifteen common corruptions and the severities. Its `error` is the mean corruption
      error, not divided by that of a reference model (as Hendrycks et al. 2020, AugMix, for CIFAR-10-C; Hendrycks and
      Dietterich 2019 divide by AlexNet's).
    - `extra_corrupted`: the means over the four extra corruptions.
    - `perturbed`: the test data under one universal adversarial perturbation (`bench.images.attacks`), made on the
      training data to mislead the model that is evaluated.
    - `randomly_perturbed`: its control, with a perturbation of random signs, every value at plus or minus eps.

    What the options leave out is undefined.

    Source: Rendezvous between Robustness and Dataset Bias (pre-registration), section 4. It has balanced, linear and
    long-tailed data, balanced accuracy and F1, and implies corrupted and perturbed test data. Corruptions: Hendrycks,
    Dietterich 2019. Attack: Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein 2020, Algorithm 1.

    What the pre-registration leaves open is decided here:

    - F1 is averaged over the classes.
    - The test data stay as they are, which on the CIFARs is balanced.
    - The size of perturbations is the option `eps`.

    Options:
        profile, factor, classes, validation: of the training data, as for the protocol `imbalance`; factor=1 leaves
            them balanced. Defaults: long_tailed, 100, all, imbalanced.
        corruptions: names of the corruptions. Default: empty, all nineteen.
        severities: their severities, from 1 to 5. Default: all five.
        eps: size of the perturbation in the maximum norm, in units of [0, 1]. 0: no attack. Default: 8/255, the usual
            size on the CIFARs; Moosavi-Dezfooli et al. 2017 have 10/255 on images of ImageNet.
        attack_steps: number of steps of the attack, with batches of 128. Default: 200.

    Raises:
        ProtocolError: for inputs that are not uint8 images of 1 or 3 channels or have a fitted preprocessing, and where
            `imbalance` does.
        OptionError: for unknown corruptions or severities, and for other values out of their range.
    """

    name = "robustness"
    version = 1
    metrics = (
        "corrupted/balanced_accuracy",
        "corrupted/macro_f1",
        "corrupted/error",
        "balanced_accuracy",
        "macro_f1",
        "perturbed/balanced_accuracy",
        "perturbed/macro_f1",
        "randomly_perturbed/balanced_accuracy",
    )
    sets: ClassVar[Mapping[str, str]] = {
        CORRUPTED: "The test data under the common corruptions that are chosen: mean over them and their severities.",
        PERTURBED: "The test data under one perturbation, made on the training data to mislead the model of the row.",
        RANDOMLY_PERTURBED: "The test data under one perturbation of random signs, every value at plus or minus eps.",
    }
    stackable = False
    examines = True
    problem = "corrupted inputs"
    reference = (
        "Rendezvous between Robustness and Dataset Bias (pre-registration), section 4; Hendrycks, Dietterich 2019; "
        "Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein 2020, Algorithm 1"
    )

    corruptions: tuple[str, ...] = ()
    severities: tuple[int, ...] = SEVERITIES
    eps: float = 8 / 255
    attack_steps: int = 200

    @property
    def needs_gradient(self) -> bool:
        return self.eps > 0

    def check(self, dataset: Dataset) -> None:
        super().check(dataset)
        if len(dataset.shape) != 3 or dataset.shape[0] not in (1, 3) or dataset.train.x.dtype != torch.uint8:
            raise ProtocolError(
                f"{self.name} corrupts images of 1 or 3 channels; {dataset.name} has inputs of shape "
                f"{list(dataset.shape)}"
            )
        if dataset.fit:
            raise ProtocolError(
                f"{self.name} corrupts images as they are stored; {dataset.name} has a preprocessing that is fitted on "
                f"training rows (`fit`)"
            )
        check = Checks(self, "protocol.")
        check.one_of(CORRUPTIONS, "corruptions")
        check.not_empty("severities")
        check.one_of(SEVERITIES, "severities")
        check.distinct("corruptions", "severities")
        check.within(0, 1, "eps")
        check.at_least(1, "attack_steps")
        if self.eps == 0:
            check.unused("attack_steps", "eps")

    def examine(
        self, model: nn.Module, splits: Splits, streams: RandomStreams, evaluate: Evaluate
    ) -> dict[str, Metrics]:
        test = splits.tests["test"]
        sets: dict[str, Metrics] = {}
        common: list[Metrics] = []
        extra: list[Metrics] = []
        for name in self.corruptions or tuple(CORRUPTIONS):
            for severity in self.severities:
                corrupted = f"{name}/{severity}"
                metrics = evaluate(_corrupted(test, name, severity, streams), corrupted)
                sets[corrupted] = self._of_tables(metrics)
                if name in COMMON:
                    common.append(metrics)
                elif name in EXTRA:
                    extra.append(metrics)
        if common:
            sets[CORRUPTED] = _means(common)
        if extra:
            sets[EXTRA_CORRUPTED] = _means(extra)
        if self.eps:
            for name, delta in self._perturbations(model, splits.train, streams).items():
                sets[name] = evaluate(replace(test, x=perturbed(test.x.float().div_(255), delta)), name)
        return sets

    def _of_tables(self, metrics: Metrics) -> Metrics:
        names = {name.rpartition("/")[2] for name in self.metrics}
        return {name: value for name, value in metrics.items() if name in names}

    def _perturbations(self, model: nn.Module, train: Split, streams: RandomStreams) -> dict[str, Tensor]:
        """Perturbations by set: one that misleads the model on the training data, and one of random signs."""
        (attack,) = streams.generators("universal perturbation")
        (signs,) = streams.generators("random perturbation")
        misleading = universal_perturbation(model, train, self.eps, self.attack_steps, attack, batch_size=ATTACK_BATCH)
        noise = self.eps * (2.0 * torch.randint(2, misleading.shape, generator=signs) - 1)
        return {PERTURBED: misleading, RANDOMLY_PERTURBED: noise.to(misleading.device)}


def _corrupted(test: Split, name: str, severity: int, streams: RandomStreams) -> Split:
    (generator,) = streams.generators("corruption", name, severity, device=test.device)
    return replace(test, x=CORRUPTIONS[name](test.x, severity, generator))


def _means(sets: Iterable[Metrics]) -> Metrics:
    """The mean of each metric over the sets."""
    rows = list(sets)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {Robustness.name: Robustness}
