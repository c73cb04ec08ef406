"""From finished trainings to the record of a run, section by section."""

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.data.content import content_of_tests, is_given, places_of
from bench.data.split import POSITION, Split
from bench.failures import one_line
from bench.metrics import METRICS, Metric, metric_of
from bench.predictions import whole_numbers
from bench.protocol import Prepared
from bench.records.run import DIVERGED, LAST, OK, RunResult, best_val
from bench.records.sections import About, Costs, Data
from bench.records.selections import TEST, Selections, encoded, oracle_of, shown_metrics
from bench.records.sidecar import Sidecar
from bench.records.spec import RunSpec
from bench.runs.code import code_of
from bench.runs.environment import environment
from bench.runs.experiment import Experiment
from bench.runs.rescoring import TestSet
from bench.runs.threads import Threads
from bench.runs.train import FinishedTraining
from bench.training.capture.update import CaptureOutcome
from bench.training.method import Method
from bench.training.stages import meta_steps


@dataclass(frozen=True)
class Computation:
    """How runs are computed. Records tell it, but it does not make another run.

    Attributes:
        device: where.
        stacked: whether the runs were trained at once, with batched operators.
        seeds: of the runs that were trained at once; empty where each is trained by itself.
        backend, check: how look-aheads take their derivatives, and whether these are checked (`bench.meta`).
        eager: whether the user asked to capture no updates.
        eager_because: why no update is captured, for that or another reason; empty where updates are to be captured.
        threads_asked: the threads of torch that the user asked for on the CPU; None where the user did not say.
        threads: those that were taken, and what chose their number.
    """

    device: torch.device
    stacked: bool
    seeds: tuple[int, ...]
    backend: str
    check: bool
    eager: bool
    eager_because: str
    threads_asked: int | None
    threads: Threads

    @property
    def runs(self) -> int:
        """How many were trained at once."""
        return max(1, len(self.seeds))

    @property
    def flags(self) -> list[str]:
        """The flags of `bench run` that ask for this computation."""
        flags = ["--stack"] if self.stacked else []
        if self.backend != "auto":
            flags += ["--backend", self.backend]
        if not self.check:
            flags.append("--no-check")
        if self.eager:
            flags.append("--eager")
        if self.threads_asked:
            flags += ["--threads", str(self.threads_asked)]
        return flags


def record_of(
    experiment: Experiment, seed: int, trained: FinishedTraining, place: int, computed: Computation
) -> RunResult:
    """Make the record of one run.

    Args:
        experiment: what was run.
        seed: of this run.
        trained: the trainings of this run, or of all that were stacked.
        place: the position of this run in the stack; 0 for a single run.
        computed: how it was computed.

    Returns:
        The record, with what there is if the run has failed.
    """
    spec = experiment.spec(seed)
    status, error = trained.outcome.status, trained.outcome.error
    history = _columns(trained.meter.history, place) if trained.meter else {}
    if status == OK and (failure := trained.divergence(place)):
        status, error = DIVERGED, failure
    beside = Sidecar(history, trained.arrays(place) if status == OK else {})
    about = _about(experiment, trained.method or experiment.method, trained.meter.about if trained.meter else {})
    shown = shown_metrics(about.metrics, about.select)
    record = RunResult(
        spec=spec,
        status=status,
        command=_command(experiment, spec, computed),
        off_recipe=experiment.off_recipe,
        about=about,
        resolved=experiment.resolved,
        data=_data(experiment, trained.prepared, place),
        selected=Selections.of(trained.selected(place) if status == OK else {}, shown),
        costs=_costs(trained, computed),
        environment=environment(experiment.plugins, computed.device, trained.left_behind),
        code=code_of(experiment),
        error=error,
        traceback=trained.outcome.traceback,
        sidecar=beside.digest,
        notes=[] if experiment.trains_on_val else _undefined(experiment.recipe.select, history),
        beside=beside,
    )
    if status != OK:
        return record
    assert trained.prepared
    test = trained.prepared.splits.tests.get(TEST)
    return in_context(record, experiment, _of_run(test, place) if test else None)


def in_context(record: RunResult, experiment: Experiment, test: Split | None) -> RunResult:
    """The record of a finished run with what its numbers stand beside: the best constant prediction, the epoch that is
    best on the test set, what disparities are by chance alone, and how far a fixed test set decides the metrics.

    A metric of a plugin that fails for such predictions fails no run that has finished: it has none of these, and a
    note says so.

    Args:
        record: with what lies beside it.
        experiment: what was run.
        test: the test set as the run drew it, not stacked; None where it has none of the name `test`.
    """
    epoch, oracle = oracle_of(record.history, record.about)
    selected = replace(record.selected, oracle_epoch=epoch, oracle=oracle, floor={}, resampled={})
    record = replace(record, selected=selected, data=replace(record.data, constant={}))
    if test is None:
        return record
    shown = {name: experiment.known_metrics[name] for name in record.about.metrics if "/" not in name}
    try:
        return _beside_others(record, experiment, test, shown)
    except Exception:
        return _one_by_one(record, experiment, test, shown)


def _one_by_one(record: RunResult, experiment: Experiment, test: Split, shown: Mapping[str, Metric]) -> RunResult:
    """As `_beside_others`, where one of the metrics fails. It costs more than all of them together."""
    for name, metric in shown.items():
        try:
            record = _beside_others(record, experiment, test, {name: metric})
        except Exception as error:
            what = f"{name} lacks the constant prediction and the error of the test set, as it failed for them"
            note = f"{what}: {one_line(error, experiment.metric_parts)}"
            record = replace(record, notes=[*record.notes, note])
    return record


def _beside_others(record: RunResult, experiment: Experiment, test: Split, shown: Mapping[str, Metric]) -> RunResult:
    """The record with what some of its metrics stand beside on the test set."""
    about, data, selected = record.about, record.data, record.selected
    by_class, groups, classes = experiment.protocol.group_is_class, len(about.groups), len(about.classes)
    known = TestSet(whole_numbers(test.y), whole_numbers(test.group), classes, groups, by_class, shown)
    if train := data.class_counts("train"):
        constant = {name: _defined(value) for name, value in known.constant(train.index(max(train))).items()}
        data = replace(data, constant=data.constant | constant)
    if (predictions := record.arrays.get(f"{TEST}/{about.rule}")) is not None:
        selected = replace(selected, floor=selected.floor | known.floor(predictions))
        if is_given(test, experiment.dataset.test, experiment.dataset):
            around = {name: encoded(of) for name, of in known.resampled(predictions, data.tests).items()}
            selected = replace(selected, resampled=selected.resampled | around)
    return replace(record, data=data, selected=selected)


def _defined(value: float) -> float | None:
    """A value as records have it: None for NaN."""
    return None if math.isnan(value) else value


def _undefined(select: str, history: dict[str, list[float]]) -> list[str]:
    """What is to be said of evaluations at which the metric that epochs are selected by has no value."""
    values = history.get(f"val/{select}", [])
    undefined = sum(math.isnan(value) for value in values)
    if not undefined:
        return []
    what = f"validation {select} is undefined (NaN) at {undefined} of {len(values)} evaluations"
    return [f"{what}: best validation {select} selects {'none' if undefined == len(values) else 'among the others'}"]


def _command(experiment: Experiment, spec: RunSpec, computed: Computation) -> str:
    """That of the spec, with the flags that say how the same run is computed."""
    unofficial = ["--allow-unofficial-data"] if experiment.dataset.unofficial else []
    usual_protocol = experiment.dataset.recipe.protocol or experiment.default_protocol
    return spec.command(experiment.own_recipe.model, usual_protocol, [*unofficial, *computed.flags])


def _about(experiment: Experiment, method: Method | type[Method], used: dict[str, str]) -> About:
    shown = {column: experiment.known_metrics[metric_of(column)] for column in experiment.metrics}
    foreign = {metric_of(column): metric for column, metric in shown.items() if metric_of(column) not in METRICS}
    return About(
        metrics=list(experiment.metrics),
        higher_is_better={column: metric.higher_is_better for column, metric in shown.items()},
        units={column: metric.unit for column, metric in shown.items() if metric.unit != "%"},
        described={name: metric.summary for name, metric in foreign.items()},
        sets=dict(experiment.protocol.sets),
        select=experiment.recipe.select,
        rule=_rule(experiment),
        problem=experiment.protocol.problem,
        groups=list(_groups(experiment)),
        classes=list(experiment.dataset.classes),
        uses_val=method.uses_val,
        uses_groups=method.uses_groups,
        baseline=method.baseline,
        protocol_reference=experiment.protocol.reference,
        dataset_reference=experiment.dataset.reference,
        used=used,
    )


def _rule(experiment: Experiment) -> str:
    """The rule that the task is concluded by. There is no best validation where the validation data are trained on."""
    by_validation = experiment.protocol.concludes_by_validation and not experiment.trains_on_val
    return best_val(experiment.recipe.select) if by_validation else LAST


def _groups(experiment: Experiment) -> tuple[str, ...]:
    """None where the protocol fails to name them, as then its run has failed for this."""
    try:
        return experiment.protocol.groups(experiment.dataset)
    except Exception:
        return ()


def _data(experiment: Experiment, prepared: Prepared | None, place: int) -> Data:
    """Without sizes where a failure came before the splits were drawn."""
    revision, unofficial = experiment.dataset.revision, dict(experiment.dataset.unofficial)
    if prepared is None:
        return Data(revision=revision, content=experiment.dataset.content, unofficial=unofficial)
    splits = prepared.splits
    labelled = {"train": splits.train, "val": splits.val, **splits.tests, **prepared.left_out}
    sizes = {name: len(split) for name, split in (labelled | dict(splits.probes)).items()}
    classes, protocol = len(experiment.dataset.classes), experiment.protocol
    groups = 0 if protocol.group_is_class else len(_groups(experiment))
    return Data(
        revision=revision,
        content=experiment.dataset.content,
        tests=content_of_tests(
            experiment.dataset, {name: _of_run(split, place) for name, split in splits.tests.items()}
        ),
        unofficial=unofficial,
        pool=len(experiment.dataset.train),
        sizes=sizes,
        counts={name: _counts(split, place, classes, groups) for name, split in labelled.items()},
        planes=list(splits.planes),
    )


def _of_run(split: Split, run: int) -> Split:
    """The inputs, classes, groups and places of one of stacked runs."""
    x, y, group, places = (
        t[run] if split.y.dim() == 2 else t for t in (split.x, split.y, split.group, places_of(split))
    )
    return Split(x, y, group, {POSITION: places})


def _counts(split: Split, run: int, classes: int, groups: int) -> list[list[int]]:
    """Samples of each group (rows; without groups, one row) and class (columns), of one of stacked runs."""
    y, group = (t[run] if split.y.dim() == 2 else t for t in (split.y, split.group))
    inside = (y >= 0) & (y < classes) & (group >= 0) & ((group < groups) | (groups == 0))  # a failure may be for these
    cell = (group * classes + y if groups else y)[inside]
    counts: list[list[int]] = cell.bincount(minlength=max(groups, 1) * classes).view(-1, classes).tolist()
    return counts


def _columns(history: list[dict[str, Any]], run: int) -> dict[str, list[float]]:
    """The history of one run, by column: NaN where an evaluation has no value, as after an epoch without steps."""
    rows = []
    for row in history:
        cells: dict[str, float] = {}
        for name, value in row.items():
            cells |= {f"{name}/{k}": v[run] for k, v in value.items()} if isinstance(value, dict) else {name: value}
        rows.append(cells)
    columns = dict.fromkeys(column for row in rows for column in row)
    return {column: [row.get(column, math.nan) for row in rows] for column in columns}


def _costs(trained: FinishedTraining, computed: Computation) -> Costs:
    """What the training took; of stacked runs, each run's share. With the trainings before it, but those that are the
    same for every method; a step's seconds are those of the training that is evaluated.
    """
    method = trained.prepared.method if trained.prepared else None
    stages = trained.stages.done if trained.stages else []
    before = [stage for stage in stages if not stage.common]
    choices = [choice for stage in before for choice in stage.meta_step] + (meta_steps(method) if method else [])
    steps, seconds = (trained.meter.steps, trained.meter.seconds / computed.runs) if trained.meter else (0, 0.0)
    outside = trained.meter.outside_seconds if trained.meter else {}
    model, capture = getattr(method, "model", None), getattr(method, "capture", CaptureOutcome())
    return Costs(
        train_seconds=_microseconds(seconds + sum(stage.seconds for stage in before)),
        steps=steps + sum(stage.steps for stage in before),
        seconds_per_step=round(seconds / steps, 9) if steps else None,
        stages=[replace(stage, seconds=_microseconds(stage.seconds)) for stage in stages],
        parameters=sum(p.numel() for p in model.parameters()) // computed.runs if model else None,
        peak_memory_bytes=trained.peak_memory,
        peak_process_bytes=_peak_process_bytes(),
        stacked=computed.runs,
        stack=list(computed.seeds),
        captured=capture.captured,
        eager_because="" if capture.captured else computed.eager_because or capture.eager_because,
        graph_memory_bytes=capture.memory_bytes,
        meta_step=choices,
        threads=computed.threads.count,
        threads_chosen_by=computed.threads.chosen_by,
        load=round(os.getloadavg()[0], 2)
        if hasattr(os, "getloadavg")
        else None,  # of the last minute; Windows has none
        outside_seconds={name: _microseconds(value / computed.runs) for name, value in outside.items()},
    )


def _microseconds(seconds: float) -> float:
    """Seconds without digits that no clock means."""
    return round(seconds, 6)


def _peak_process_bytes() -> int | None:
    """Since the process began; None on Windows, which has no such count."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
