"""Evaluates a model on the validation and test data, and keeps the predictions that the selection rules ask for."""

import copy
import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.data.content import places_of
from bench.data.split import Split, Splits
from bench.errors import DivergedError, PluginError
from bench.metrics import METRICS, Metric, evaluate
from bench.models.predict import predict
from bench.predictions import Predictions, not_finite, outside, stored_logits, whole_numbers
from bench.protocol import Metrics
from bench.records.run import LAST, best_val
from bench.records.selections import Counts, Selected
from bench.runs.rescoring import counts, scores
from bench.training.history import Values
from bench.training.state import stored, unpacked

if TYPE_CHECKING:
    import numpy as np


Undisturbed = Callable[[], AbstractContextManager[None]]
"""Gives a context in which the state of the process is as it was before the run (`bench.guards.process`)."""


class Evaluations:
    """Evaluates the model of a training after some of its epochs, and remembers what the selection rules select.

    Metrics are taken of predictions in the form in which these are stored (`bench.predictions.stored_logits`).

    Args:
        splits: the validation data, the test sets and the probes that are evaluated.
        groups: the number of groups.
        group_is_class: whether the classes are the groups.
        batch_size: samples in a forward pass.
        select: the validation metric of the rule `best_val_<select>`, where ties go to the earliest epoch. None if the
            validation data are trained on: then `last` is the only rule.
        keep_at: epochs after which the probability of class 1 is stored for each probe.
        keep_models: whether the model of each rule is stored, for a run that is not stacked.
        metrics: what is computed, by name.
        undisturbed: gives the context in which each evaluation is made.

    Attributes:
        failures: for each run, which logits were the first that were not finite; empty where all were finite.
        model_states: rule -> state of its model, where models are stored.
    """

    def __init__(
        self,
        splits: Splits,
        groups: int,
        group_is_class: bool,
        batch_size: int,
        select: str | None,
        keep_at: Collection[int] = (),
        keep_models: bool = False,
        metrics: Mapping[str, Metric] = METRICS,
        undisturbed: Undisturbed = nullcontext,
    ) -> None:
        self._undisturbed = undisturbed
        self._sets: dict[str, Split] = {"val": splits.val, **splits.tests, **splits.probes}
        self._tests, self._probes = set(splits.tests), set(splits.probes)
        self._stored = [*splits.tests, *splits.probes]
        self._planes = splits.planes
        self._known = metrics
        self._groups, self._group_is_class, self._batch_size = groups, group_is_class, batch_size
        self._select, self._keep_at, self._keep_models = select, keep_at, keep_models
        self.model_states: dict[str, dict[str, Any]] = {}
        self._positive: dict[str, Tensor] = {}
        self._last: dict[str, Tensor] = {}
        self._best: dict[str, Tensor] = {}
        runs = splits.val.y.shape[:-1].numel()
        self._best_value, self._best_epoch = [-math.inf] * runs, [0] * runs
        self.failures = [""] * runs

    def __call__(self, model: nn.Module, epoch: int) -> dict[str, Values]:
        """Evaluate a model on every set.

        Args:
            model: the model, or the stack of models.
            epoch: the number of epochs after which it is evaluated.

        Returns:
            Set -> metric -> one value for each run.

        Raises:
            DivergedError: once every run has had logits that are not finite.
            PluginError: if a label is none of the classes or groups, because something changed the data after they were
                checked.
        """
        with self._undisturbed():
            return self._evaluate(model, epoch)

    def _evaluate(self, model: nn.Module, epoch: int) -> dict[str, Values]:
        computed, wrong = {}, {}
        for name, split in self._sets.items():
            logits = predict(model, split, self._batch_size)
            self._last[name] = predictions = stored_logits(logits)
            computed[name], wrong[name] = self._metrics(predictions, split, labelled=name not in self._probes)
            if name in self._probes and epoch in self._keep_at:
                self._positive[f"{name}/positive/{epoch}"] = logits.softmax(-1)[..., 1].half()
        values, samples = _read(computed, wrong)
        for name, of_set in samples.items():
            self._note_failures(name, of_set, epoch)
        if all(self.failures):
            raise DivergedError("; ".join(dict.fromkeys(self.failures)))
        if self._keep_models:
            self.model_states[LAST] = _copied(model.state_dict())
        self._keep_best(values["val"], epoch)
        return values

    def examined(self, model: nn.Module, split: Split, name: str) -> dict[str, float]:
        """Every metric of one model on a further test set, for a run that is not stacked.

        Args:
            model: the model.
            split: the test set.
            name: of the test set, for messages.

        Returns:
            Metric -> value.

        Raises:
            DivergedError: if a logit is not finite.
            PluginError: as an evaluation does.
        """
        computed, wrong = self._metrics(stored_logits(predict(model, split, self._batch_size)), split)
        values, samples = _read({"": computed}, {"": wrong})
        if failure := _failures(samples[""], name, len(split))[0]:
            raise DivergedError(failure)
        return {name: value for name, (value,) in values[""].items()}

    def _metrics(
        self, predictions: Tensor, split: Split, labelled: bool = True
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The metrics of one set, of predictions as they are stored, and the numbers of its samples that have none."""
        p = Predictions(predictions.float(), split.y, split.group, self._groups, self._group_is_class)
        wrong = {"not finite": not_finite(p)} | ({"outside": outside(p)} if labelled else {})
        return evaluate(p, labelled, self._known), wrong

    def _note_failures(self, name: str, wrong: Values, epoch: int) -> None:
        """Note the first failure of each run."""
        failures = _failures(wrong, name, len(self._sets[name]))
        for run, failure in enumerate(failures):
            if failure and not self.failures[run]:
                self.failures[run] = f"{failure} after epoch {epoch}"

    def _keep_best(self, val: Values, epoch: int) -> None:
        if self._select is None:
            return
        sign = 1 if self._known[self._select].higher_is_better else -1
        better = [sign * value > best for value, best in zip(val[self._select], self._best_value, strict=True)]
        for run, value in enumerate(val[self._select]):
            if better[run]:
                self._best_value[run], self._best_epoch[run] = sign * value, epoch
                if self._keep_models:
                    self.model_states[best_val(self._select)] = self.model_states[LAST]
        for name, logits in self._last.items():
            keep = torch.tensor(better, device=logits.device).view(*logits.shape[:-2], 1, 1)
            self._best[name] = logits.where(keep, self._best[name]) if self._best.get(name) is not None else logits

    def selected(self, history: list[dict[str, Any]], run: int) -> dict[str, Selected]:
        """What each selection rule selects, of one run.

        Args:
            history: the rows of the meter, one for each evaluation.
            run: its position in the stack; 0 for a single run.

        Returns:
            Rule -> the selected epoch and its metrics. `best_val_<select>` is missing where its metric was always NaN.
        """
        epochs = {LAST: history[-1]["epoch"], self._best_rule: self._best_epoch[run]}
        rows = {row["epoch"]: row for row in history}
        return {
            rule: Selected(
                epochs[rule],
                {s: {m: v[run] for m, v in rows[epochs[rule]][s].items()} for s in self._sets},
                {name: self._counts(name, kept[name], run) for name in self._stored if name not in self._probes},
            )
            for rule, kept in self._kept(run).items()
        }

    @property
    def _best_rule(self) -> str:
        return best_val(self._select or "")

    def _kept(self, run: int) -> dict[str, dict[str, Tensor]]:
        """Rule -> the predictions of every set. Without the best epoch where the metric of its rule was always NaN."""
        best = {self._best_rule: self._best} if self._select is not None and self._best_epoch[run] else {}
        return {LAST: self._last} | best

    def _counts(self, name: str, predictions: Tensor, run: int) -> Counts:
        """What a rule's model of one run predicts for a set, counted."""
        split = self._sets[name]
        logits, y, group = (self._of_run(name, values, run).numpy() for values in (predictions, split.y, split.group))
        return counts(logits, y, group, self._groups, self._group_is_class)

    def _of_run(self, name: str, values: Tensor, run: int) -> Tensor:
        """The part of one run, on the CPU, of values of a set."""
        stacked = self._sets[name].y.dim() == 2
        return (values[run] if stacked else values).cpu()

    def rescored(self, run: int, metrics: Mapping[str, Metric]) -> dict[str, dict[str, Metrics]]:
        """Every metric of the stored predictions of one run, computed from what is stored.

        Args:
            run: its position in the stack; 0 for a single run.
            metrics: what is computed, by name.

        Returns:
            Rule -> test set or probe -> metric -> value.
        """
        arrays = self.predictions(run)

        def of_set(name: str, rule: str) -> Metrics:
            logits, y, group = (arrays.get(f"{name}/{part}") for part in (rule, "y", "group"))
            assert logits is not None
            return scores(logits, y, group, self._groups, self._group_is_class, metrics)

        return {rule: {name: of_set(name, rule) for name in self._stored} for rule in self._kept(run)}

    def predictions(self, run: int) -> dict[str, "np.ndarray[Any, Any]"]:
        """The predictions of one run that are stored beside its record: those of all sets but the validation data.

        Args:
            run: its position in the stack; 0 for a single run.

        Returns:
            Name -> array:

            - `SET/RULE`: the predictions for a test set or a probe under each rule, [n, classes] float16
              (`bench.predictions.stored_logits`).
            - `TEST/y`, `TEST/group`: the class and the group of each sample, [n] of the smallest type of integers that
              holds them.
            - `TEST/index`: [n] int32, the position of each sample in the data set's test data, or in its training data
              where it brings no others; in the test set itself where the protocol has made the samples anew.
            - `PROBE/x`: the inputs of probes that are points of a plane.
            - `PROBE/positive/EPOCH`: the probability of class 1, [n] float16.
        """
        arrays = {}
        for name in self._stored:
            split = self._sets[name]
            for rule, kept in self._kept(run).items():
                arrays[f"{name}/{rule}"] = self._of_run(name, kept[name], run).numpy()
            if name in self._planes:
                arrays[f"{name}/x"] = self._of_run(name, split.x, run).numpy()
            if name in self._tests:
                for part, values in (("y", split.y), ("group", split.group)):
                    arrays[f"{name}/{part}"] = whole_numbers(self._of_run(name, values, run))
                arrays[f"{name}/index"] = self._of_run(name, places_of(split).int(), run).numpy()
        for name, values in self._positive.items():
            arrays[name] = self._of_run(name.partition("/")[0], values, run).numpy()
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {
            "last": self._last,
            "best": self._best,
            "best_value": self._best_value,
            "best_epoch": self._best_epoch,
            "positive": self._positive,
            "models": self.model_states | stored(self.model_states),  # what has no packed form makes no checkpoint
            "failures": self.failures,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint.

        Args:
            state: what `state_dict` gave.
        """
        self._last, self._best = state["last"], state["best"]
        self._best_value, self._best_epoch = state["best_value"], state["best_epoch"]
        self._positive, self.model_states = state["positive"], unpacked(state["models"])
        self.failures = state["failures"]


def _copied(state: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a module's state, which may hold more than tensors."""
    return {name: value.clone() if isinstance(value, Tensor) else copy.deepcopy(value) for name, value in state.items()}


def _failures(wrong: Values, name: str, samples: int) -> list[str]:
    """What is wrong with the logits of a set, for each run; empty where nothing is. Raises PluginError for labels."""
    if any(wrong.get("outside", [])):
        raise PluginError(
            f"{name}: {max(wrong['outside']):,.0f} of {samples:,} samples have a class or group that does not exist: "
            f"something changed the labels of the data after they were checked"
        )
    return [
        f"logits that are not finite for {count:,.0f} of {samples:,} samples of {name}" if count else ""
        for count in wrong["not finite"]
    ]


def _read(*tables: dict[str, dict[str, Tensor]]) -> list[dict[str, Values]]:
    """The values [..] of all sets in some tables as numbers, one for each run: the host waits for the device once."""
    every = [value for table in tables for of in table.values() for value in of.values()]
    numbers = iter(torch.stack([value.double().reshape(-1) for value in every]).tolist())
    return [{name: {key: next(numbers) for key in of} for name, of in table.items()} for table in tables]
