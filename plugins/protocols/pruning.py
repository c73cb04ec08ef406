"""Pruning: fewer training samples, those that a method's weights and losses leave."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from bench import Checks, hookimpl
from bench.data.classes import per_class, without
from bench.data.dataset import Dataset
from bench.data.split import Batch, Split, Splits
from bench.errors import DataError, ProtocolError
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

    Yan, Seto, Apostoloff 2022 (FORML), section 4.5. A run trains up to three times, with the same recipe and from the
    same initial weights. First ERM counts how often it forgets each sample (Toneva et al. 2019, Algorithm 1), and the
    recipe.val_size samples with the fewest forgetting events are the validation data: with one seed they are the same
    for every method and `drop`. Of equal ones a random order of the seed decides; a sample that is never classified
    correctly counts as forgotten infinitely often. Then the run's method is trained with them, while a moving average
    of the weighted loss of each training sample is kept; the samples with the lowest are dropped, and ERM is trained on
    the others: that is what is evaluated. FORML's Table 5 is `erm` with drop=none, `erm` with drop=at_random, `forml`
    with drop=none, and `forml`. `erm` itself drops the samples with the lowest losses.

    drop: `weighted_loss`, as above; `at_random`: as many samples, drawn by seed, and the run's method is trained on the
        others; `none`: it is trained on all of them. The last two have no second training.
    fraction: of all samples, those for validation included, that are dropped, rounded down.
    decay: of the moving average, per epoch. The paper gives none.
    validation: `least_forgotten`, or `balanced`: equally many of each class, its least forgotten ones. The paper has
        the former, which may leave a hard class without any; methods that need some of each class are not applicable
        then.

    Departures, where the paper leaves it open or does otherwise:

    - The paper's loss is "normalized"; ours is weight times loss, divided by its mean over the epoch. The average
      begins with the first epoch in which a sample is drawn. One that is drawn several times counts with the mean, an
      epoch without it changes nothing, and one that is never drawn has 0. Preparation epochs of a method do not count.
    - The validation data are held out of every training but the first, so that of 50,000 samples 44,000 are left where
      the paper has 45,000. With `--validation paper` they are trained on, and never dropped, by methods that do not
      learn from them.
    - Each run counts forgetting events anew. On a GPU two trainings may round differently, and so choose other samples.
    - The least forgotten samples are easy ones: the best validation epoch says little.
    - A record's training time leaves out the first training, which is the same for all; `costs.stages` has it.

    Beside the record are kept, of all samples in the order in which they were drawn, `drawn/forgotten` and
    `drawn/weighted_loss`, and the positions there of those that are trained on, validated with and dropped.
    """

    name = "pruning"
    version = 1
    metrics = ("tprd", "max_fnr", "accuracy")
    sets: ClassVar[Mapping[str, str]] = {
        "val": "The validation data, the least forgotten samples, are easy: the best epoch on them says little.",
    }
    group_is_class = True
    stackable = False
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
        """What the first training draws from: training and validation data are told apart after it."""
        found = by_class(hold_out(dataset, recipe, streams))
        self._check_sizes(dataset, found)
        return found

    def _check_sizes(self, dataset: Dataset, splits: Splits) -> None:
        """Before anything is trained. Raises DataError."""
        train, val = len(splits.train), len(splits.val)
        dropped = self._dropped(train + val)
        if self.drop != "none" and not 0 < dropped < train:
            raise DataError(
                f"{dataset.name}: protocol.fraction={self.fraction:g} of {train + val} samples would drop {dropped}, "
                f"and that must be from 1 to {train - 1}, as {val} are held out for validation"
            )
        if self.validation == "balanced":
            per_class(dataset.name, val, torch.cat([splits.train.y, splits.val.y]), len(dataset.classes))

    def _dropped(self, drawn: int) -> int:
        """How many of so many samples."""
        return int(self.fraction * drawn + 1e-9)  # 100 * 0.29 is 28.999...

    def prepare(self, splits: Splits, method: Method, stages: "Stages") -> Prepared:
        drawn = splits.train if stages.on_val else Split.cat([splits.train, splits.val])
        n, streams = len(drawn), stages.streams
        forgotten = _forgotten(replace(splits, train=drawn), stages)
        val = self._validation(forgotten, drawn.y.cpu(), len(splits.val), streams)
        others, number = without(n, val), self._dropped(n)
        with_val = val if stages.on_val else val[:0]
        arrays = {"drawn/forgotten": forgotten}

        def given(train: Tensor) -> Splits:
            return replace(splits, train=drawn.select(train), val=drawn.select(val))

        if self.drop == "none":
            dropped = others[:0]
        elif self.drop == "at_random":
            dropped = others[streams.draw(lambda g: torch.randperm(len(others), generator=g), "dropped")[:number]]
        else:
            scores = self._weighted_losses(method, given(torch.cat([others, with_val])), stages)[: len(others)]
            dropped = others[scores.argsort(stable=True)[:number]]
            arrays["drawn/weighted_loss"] = torch.full((n,), math.nan).index_put((others,), scores.float())
            method = Retraining()
        train = torch.cat([without(n, torch.cat([val, dropped])), with_val])
        for name, positions in (("train", train), ("val", val), ("dropped", dropped)):
            arrays[f"{name}/position"] = positions.int()
        left_out = {"dropped": drawn.select(dropped)} if len(dropped) else {}
        return Prepared(given(train), method, left_out, arrays)

    def _validation(self, forgotten: Tensor, y: Tensor, size: int, streams: RandomStreams) -> Tensor:
        """Positions [size] of the validation samples, of forgetting events [N] and classes [N]."""
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
    """The exponential moving average over epochs of each sample's weighted loss, divided by the epoch's mean: a
    `bench.training.meter.Watch`.

    value: [N] float64; NaN for samples that were not yet drawn.
    """

    def __init__(self, samples: int, decay: float, device: torch.device) -> None:
        self.value, self._decay = torch.full((samples,), math.nan, dtype=torch.float64, device=device), decay

    def __call__(self, epoch: Samples) -> None:
        weighted = epoch.weights.double() * epoch.losses.double()
        nothing = torch.full_like(self.value, math.nan)
        now = nothing.scatter_reduce(0, epoch.index, weighted / weighted.mean(), "mean", include_self=False)
        mixed = self._decay * self.value + (1 - self._decay) * now
        self.value = torch.where(now.isnan(), self.value, torch.where(self.value.isnan(), now, mixed))

    def state_dict(self) -> dict[str, Tensor]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = state["value"]


@dataclass
class Forgetting(Method):
    """Empirical risk minimisation that counts how often each sample is forgotten: classified correctly when it was
    drawn the time before, and wrongly now (Toneva et al. 2019, Algorithm 1).

    As there, a sample is looked at in the training batch, augmented and before the update.
    """

    capturable = True

    def setup(self) -> None:
        y = self.task.train.y
        self.events = torch.zeros_like(y)
        self.correct, self.learned = torch.zeros_like(y, dtype=torch.bool), torch.zeros_like(y, dtype=torch.bool)

    def losses(self, batch: Batch) -> Tensor:
        logits = self.model(batch.x)
        self.note(batch.index, logits.argmax(-1) == batch.y)
        return self.task.loss(logits, batch.y)

    def note(self, index: Tensor, correct: Tensor) -> None:
        """Whether the samples at `index` [.., B], no two of them the same, are classified correctly now."""
        forgotten = self.correct.gather(-1, index) & ~correct
        self.events.scatter_add_(-1, index, forgotten.long())
        self.learned.scatter_(-1, index, self.learned.gather(-1, index) | correct)
        self.correct.scatter_(-1, index, correct)

    @property
    def counts(self) -> Tensor:
        """[.., N] forgetting events of each training sample; infinite for those that were never classified correctly
        (section 3 there).
        """
        return self.events.float().masked_fill(~self.learned, math.inf)


@hookimpl
def bench_protocols() -> Mapping[str, type[Protocol]]:
    return {Pruning.name: Pruning}
