"""Pruning: fewer training samples, those that a method's weights and losses leave."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from bench import Checks, hookimpl
from bench.data.classes import without
from bench.data.dataset import Dataset
from bench.data.split import Batch, Split, Splits
from bench.errors import DataError, ProtocolError
from bench.imbalanced import per_class
from bench.protocol import Prepared, Protocol, by_class, hold_out
from bench.recipe import Recipe
from bench.streams import RandomStreams
from bench.training.diagnostics import Samples
from bench.training.method import Method

if TYPE_CHECKING:
    from bench.training.stages import Stages


@dataclass(frozen=True)
class Pruning(Protocol):
    """Pruning: a model is retrained without the training samples that have the lowest weighted losses under a method.

    A run trains up to three times, with the same recipe and from the same initial weights.

    - First ERM counts how often it forgets each sample (Toneva et al. 2019, Algorithm 1). The recipe.val_size samples
      with the fewest forgetting events are the validation data: with one seed they are the same for every method and
      `drop`. Of equal ones a random order of the seed decides; a sample that is never classified correctly counts as
      forgotten infinitely often.
    - Then the run's method is trained with these validation data, while a moving average of the weighted loss of each
      training sample is computed. The samples with the lowest averages are dropped.
    - Then ERM is trained on the others. This is what is evaluated.

    FORML's Table 5 is `erm` with drop=none, `erm` with drop=at_random, `forml` with drop=none, and `forml`. `erm`
    itself drops the samples with the lowest losses.

    Beside the record the run stores, of all samples in the order in which they were drawn, `drawn/forgotten` and
    `drawn/weighted_loss`, rounded to float16, and the positions in that order of the samples that are trained on,
    validated with and dropped.

    Source: Yan, Seto, Apostoloff 2022 (FORML), section 4.5; Toneva et al. 2019.

    Departures, where the paper leaves it open or does otherwise:

    - The paper's loss is "normalized"; ours is weight times loss, divided by its mean over the epoch. The average
      begins with the first epoch in which a sample is drawn. A sample that is drawn several times in an epoch counts
      with the mean, an epoch without it changes nothing, and a sample that is never drawn has 0. Preparation epochs of
      a method do not count.
    - The validation data are held out of every training but the first, so that of 50,000 samples 44,000 are left where
      the paper has 45,000. With `--validation paper`, methods that do not learn from them train on them, and they are
      never dropped.
    - Each run counts forgetting events anew. On a GPU two trainings may round differently, and so choose other samples.
    - The least forgotten samples are easy ones, so the best validation epoch says little.
    - A record's training time leaves out the first training, which is the same for all; `costs.stages` has it.

    Options:
        drop: `weighted_loss` (the default): as above. `at_random`: as many samples, drawn by seed, and the run's method
            is trained on the others. `none`: it is trained on all of them. The last two have no second training.
        fraction: fraction that is dropped of all samples, those for validation included, rounded down. Default: 0.1.
        decay: decay of the moving average, per epoch. The paper gives none. Default: 0.9.
        validation: `least_forgotten` (the default), as in the paper, or `balanced`: equally many of each class, its
            least forgotten ones. The former may leave a hard class without any; methods that need some of each class
            are not applicable then.

    Raises:
        ProtocolError: for a data set with its own validation split.
        DataError: where the fraction would drop no sample or all training samples, and where `balanced` validation data
            cannot be taken.
    """

    name = "pruning"
    version = 1
    metrics = ("tprd", "max_fnr", "accuracy")
    sets: ClassVar[Mapping[str, str]] = {
        "val": "The validation data, the least forgotten samples, are easy: the best epoch on them says little.",
    }
    group_is_class = True
    stackable = False
    problem = "too many samples"
    reference = "Yan, Seto, Apostoloff 2022, section 4.5, Table 5; Toneva et al. 2019"

    drop: Literal["weighted_loss", "at_random", "none"] = "weighted_loss"
    fraction: float = 0.1
    decay: float = 0.9
    validation: Literal["least_forgotten", "balanced"] = "least_forgotten"

    def check(self, dataset: Dataset) -> None:
        check = Checks(self, "protocol.")
        check.within(0, 1, "fraction", closed="neither")
        check.within(0, 1, "decay", closed="left")
        if self.drop == "none":
            check.unused("fraction", "drop")
        if self.drop != "weighted_loss":
            check.unused("decay", "drop")
        if dataset.val is not None:
            raise ProtocolError(
                f"{self.name} takes the validation data from the training data, and {dataset.name} has a validation "
                f"split of its own, which methods would never see"
            )

    def groups(self, dataset: Dataset) -> tuple[str, ...]:
        return dataset.classes

    def splits(self, dataset: Dataset, recipe: Recipe, streams: RandomStreams) -> Splits:
        """The data that the first training draws from; training and validation data are chosen after it."""
        splits = by_class(hold_out(dataset, recipe, streams))
        self._check_sizes(dataset, splits)
        return splits

    def _check_sizes(self, dataset: Dataset, splits: Splits) -> None:
        """Check the numbers of samples before anything is trained. Raises DataError where they do not fit."""
        train = len(splits.train)
        val = len(splits.val)
        dropped = self._dropped(train + val)
        if self.drop != "none" and not 0 < dropped < train:
            raise DataError(
                f"{dataset.name}: protocol.fraction={self.fraction:g} of {train + val} samples would drop {dropped}, "
                f"and that must be from 1 to {train - 1}, as {val} are held out for validation"
            )
        if self.validation == "balanced":
            per_class(dataset.name, val, torch.cat([splits.train.y, splits.val.y]), len(dataset.classes))

    def _dropped(self, drawn: int) -> int:
        """How many samples are dropped of `drawn` samples."""
        return int(self.fraction * drawn + 1e-9)  # 100 * 0.29 is 28.999...

    def prepare(self, splits: Splits, method: Method, stages: "Stages") -> Prepared:
        drawn = splits.train if stages.on_val else Split.cat([splits.train, splits.val])
        n = len(drawn)
        streams = stages.streams
        forgotten = _forgotten(replace(splits, train=drawn), stages)
        val = self._validation(forgotten, drawn.y.cpu(), len(splits.val), streams)
        others = without(n, val)
        number = self._dropped(n)
        with_val = val if stages.on_val else val[:0]
        arrays = {"drawn/forgotten": forgotten.half()}

        def with_train(train: Tensor) -> Splits:
            return replace(splits, train=drawn.select(train), val=drawn.select(val))

        if self.drop == "none":
            dropped = others[:0]
        elif self.drop == "at_random":
            dropped = others[streams.draw(lambda g: torch.randperm(len(others), generator=g), "dropped")[:number]]
        else:
            scores = self._weighted_losses(method, with_train(torch.cat([others, with_val])), stages)[: len(others)]
            dropped = others[scores.argsort(stable=True)[:number]]
            arrays["drawn/weighted_loss"] = torch.full((n,), math.nan).index_put((others,), scores.float()).half()
            method = Retraining()
        train = torch.cat([without(n, torch.cat([val, dropped])), with_val])
        for name, positions in (("train", train), ("val", val), ("dropped", dropped)):
            arrays[f"{name}/position"] = positions.int()
        left_out = {"dropped": drawn.select(dropped)} if len(dropped) else {}
        return Prepared(with_train(train), method, left_out, arrays)

    def _validation(self, forgotten: Tensor, y: Tensor, size: int, streams: RandomStreams) -> Tensor:
        """Positions [size] of the validation samples, from forgetting events [N] and classes [N]."""
        order = streams.draw(lambda g: torch.randperm(len(y), generator=g), "least forgotten")
        ranked = order[forgotten[order].argsort(stable=True)]
        if self.validation == "least_forgotten":
            return ranked[:size]
        classes = y.unique()
        return torch.cat([ranked[y[ranked] == c][: size // len(classes)] for c in classes])

    def _weighted_losses(self, method: Method, splits: Splits, stages: "Stages") -> Tensor:
        """[N] on the CPU: the moving average of each training sample under the method; 0 where it was never drawn."""
        average = MovingAverage(len(splits.train), self.decay, splits.train.device)
        stages.train("scoring", method, splits, watch=average)
        return average.value.nan_to_num(0.0).cpu()


def _forgotten(splits: Splits, stages: "Stages") -> Tensor:
    """[N] on the CPU: forgetting events of the training samples under ERM."""
    method = Forgetting()
    stages.train("forgetting", method, splits, common=True)
    return method.counts.cpu()


@dataclass
class Retraining(Method):
    """Empirical risk minimisation, as the base class has it."""

    capturable = True


class MovingAverage:
    """A `bench.training.meter.SampleWatch`: the moving average over epochs of each sample's weighted loss.

    The weighted losses are divided by their mean over the epoch, and the average is an exponential one.

    value: [N] float64; NaN for samples that were not yet drawn.
    """

    def __init__(self, samples: int, decay: float, device: torch.device) -> None:
        self.value = torch.full((samples,), math.nan, dtype=torch.float64, device=device)
        self._decay = decay

    def __call__(self, epoch: Samples) -> None:
        weighted = epoch.weights.double() * epoch.losses.double()
        nothing = torch.full_like(self.value, math.nan)
        losses = nothing.scatter_reduce(0, epoch.index, weighted / weighted.mean(), "mean", include_self=False)
        mixed = self._decay * self.value + (1 - self._decay) * losses
        averaged = torch.where(self.value.isnan(), losses, mixed)  # begins with the first epoch that draws the sample
        self.value = torch.where(losses.isnan(), self.value, averaged)

    def state_dict(self) -> dict[str, Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


@dataclass
class Forgetting(Method):
    """Empirical risk minimisation that counts how often each sample is forgotten.

    A sample is forgotten when it is classified wrongly now and was classified correctly when it was drawn the time
    before. It is looked at in the training batch, augmented and before the update, as in the source.

    Source: Toneva et al. 2019, Algorithm 1.
    """

    capturable = True

    def setup(self) -> None:
        y = self.task.train.y
        self.events = torch.zeros_like(y)
        self.correct = torch.zeros_like(y, dtype=torch.bool)
        self.learned = torch.zeros_like(y, dtype=torch.bool)

    def losses(self, batch: Batch) -> Tensor:
        logits = self.model(batch.x)
        self.note(batch.index, logits.argmax(-1) == batch.y)
        return self.task.loss(logits, batch.y)

    def note(self, index: Tensor, correct: Tensor) -> None:
        """Note whether samples are classified correctly now.

        Args:
            index: positions of the samples, [.., B], no two of them the same.
            correct: whether each is classified correctly, [.., B].
        """
        forgotten = self.correct.gather(-1, index) & ~correct
        self.events.scatter_add_(-1, index, forgotten.long())
        self.learned.scatter_(-1, index, self.learned.gather(-1, index) | correct)
        self.correct.scatter_(-1, index, correct)

    @property
    def counts(self) -> Tensor:
        """[.., N]: the forgetting events of each training sample; infinite for samples never classified correctly.

        Source: Toneva et al. 2019, section 3.
        """
        return self.events.float().masked_fill(~self.learned, math.inf)


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {Pruning.name: Pruning}
