"""The sections of records: their fields are the entries of the files, in this order. Nothing here imports torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.records.written import Section, as_written, usual_recipe


@dataclass(frozen=True, kw_only=True)
class About(Section):
    """What tables need to know of a run that neither its spec nor its numbers say.

    Attributes:
        metrics: those that tables show, the ranking one first.
        higher_is_better: metric -> its direction; None where neither is better.
        units: metric -> unit, of those that are no fractions.
        described: metric -> a line about it, of those that are not the core's own.
        sets: further test set -> what it is, in words.
        select: the metric of the selection rule `best_val_<select>`.
        rule: the selection rule that the task is concluded by; the others are exploratory.
        problem: what somebody has to whom the task is of use, in words that follow `I have`; empty where the protocol
            names nothing.
        groups, classes: their names, in order.
        uses_val, uses_groups: whether the method learns from validation data, and needs the groups.
        baseline: whether other methods are compared with this one.
        protocol_reference, dataset_reference: where they are published.
        used: what the method says that it has really used, where the recipe does not say it.
    """

    metrics: list[str]
    higher_is_better: dict[str, bool | None]
    units: dict[str, str] = field(default_factory=dict)
    described: dict[str, str] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    select: str
    rule: str = "last"
    problem: str = ""
    groups: list[str]
    classes: list[str]
    uses_val: bool = False
    uses_groups: bool = False
    baseline: bool = False
    protocol_reference: str
    dataset_reference: str
    used: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved(Section):
    """Every value that a run depends on, whether it was given, is the recipe's or a default. `options` are the
    method's.

    Of the recipe, the file has those values that are not the defaults of `Recipe`, which never change.
    """

    recipe: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)
    dataset_options: dict[str, Any] = field(default_factory=dict)
    protocol_options: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"recipe": usual_recipe() | values.get("recipe", {})}

    def written(self) -> dict[str, Any]:
        """The section as its file has it."""
        recipe: dict[str, Any] = as_written(self.recipe)
        usual = usual_recipe()
        unusual = {name: value for name, value in recipe.items() if name not in usual or not _same(value, usual[name])}
        return super().written() | {"recipe": unusual}


def _same(value: Any, usual: Any) -> bool:
    """Whether JSON writes both in the same way."""
    return json.dumps(value) == json.dumps(usual)


@dataclass(frozen=True)
class Data(Section):
    """The data of a run.

    Attributes:
        revision: of the data set, as its author states it.
        content: hash of its tensors and names; empty in records of earlier versions.
        tests: hash of the test sets as this run drew them; empty in records of earlier versions.
        unofficial: file without the official checksum -> its own checksum.
        pool: the number of samples of the data set that training samples are drawn from, as are those of the sets that
            it has no own data for; 0 in records of earlier versions.
        sizes: set -> number of samples, also of samples that were left out.
        counts: set with labels -> number of samples of each group (rows; without groups, one row) and class (columns).
        planes: the probes whose inputs are points of a plane, on which surfaces are drawn.
        constant: metric of the tables -> its value on the test set for the best constant prediction, which gives every
            sample the class that most of the training samples have; None where it is undefined. Empty in records of
            earlier versions.
    """

    revision: str = ""
    content: str = ""
    tests: str = ""
    unofficial: dict[str, str] = field(default_factory=dict)
    pool: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    counts: dict[str, list[list[int]]] = field(default_factory=dict)
    planes: list[str] = field(default_factory=list)
    constant: dict[str, float | None] = field(default_factory=dict)

    def may_be(self, content: str) -> bool:
        """Whether these are certain data, as far as they say. Those of records of earlier versions do not say, and
        count as such.

        Args:
            content: the hash of the data.
        """
        return self.content in ("", content)

    def class_counts(self, part: str) -> list[int]:
        """The number of samples of each class in a part of the data.

        Args:
            part: such as `train`.

        Returns:
            Counts in the order of the classes; empty in records of earlier versions.
        """
        return [sum(of_class) for of_class in zip(*self.counts.get(part, []), strict=True)]


@dataclass(frozen=True)
class MetaStep(Section):
    """The backend by which a look-ahead takes its derivatives, and why it is right.

    Attributes:
        backend: its name.
        error: the relative error of its meta-gradient against another way to compute it; None if there was none.
        against: that way, or why there was none: `not checked`, or that only central differences could be compared.
        refused: for each backend that would have been preferred, the reason why it was not taken.
        seconds: the time that choosing took.
        differences_error: the relative error against central differences of the virtual step itself; None if there was
            no such comparison, as in records of earlier versions.
        float32_error: the relative error of the meta-gradient in the run's precision and with its attention kernels,
            against that in float32; None if they were not compared, as in records of earlier versions.
        outputs_error: the relative error of the derivatives through what the method computes from the logits, against
            central differences; None if there was no such comparison, as in records of earlier versions.
    """

    backend: str
    error: float | None = None
    against: str = "not checked"
    refused: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    differences_error: float | None = None
    float32_error: float | None = None
    outputs_error: float | None = None


@dataclass(frozen=True)
class StageCosts(Section):
    """What a training before the evaluated one took.

    Attributes:
        name: one word.
        seconds: of training.
        steps: the number of updates.
        common: whether the training is the same for every method, so that it is not counted as the method's cost.
        captured: whether its updates were captured and replayed.
        meta_step: the backends of its look-aheads; none if the whole training was done before an interrupt.
    """

    name: str
    seconds: float
    steps: int
    common: bool = False
    captured: bool = False
    meta_step: list[MetaStep] = field(default_factory=list)

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"meta_step": [MetaStep.read(choice) for choice in values.get("meta_step", [])]}


@dataclass(frozen=True, kw_only=True)
class Costs(Section):
    """What a run took; of stacked runs, the share of one.

    Attributes:
        train_seconds: seconds of the epochs of the evaluated training, and of the whole trainings before it that are
            not the same for every method.
        outside_seconds: what the evaluated training took outside of its epochs: `setup` before them, `end` after them.
            Empty in records of earlier versions.
        steps: the number of updates of these.
        seconds_per_step: of the evaluated training; None without a step.
        stages: the trainings before it.
        parameters: the number of the model's parameters; None where there is no model.
        peak_memory_bytes: on the GPU; None on a CPU.
        peak_process_bytes: of the process since it began; None where that cannot be told.
        stacked: how many runs were trained at once.
        stack: their seeds, if they are several; empty in records of earlier versions.
        captured: whether updates were captured and replayed.
        eager_because: why they were not; empty where they were.
        graph_memory_bytes: what capturing has reserved on the GPU.
        meta_step: how look-aheads took their derivatives.
        threads, threads_chosen_by: the number of torch's threads on the CPU, and what chose it.
        load: average number of processes that wanted a core in the last minute; None where that cannot be told.
    """

    train_seconds: float
    outside_seconds: dict[str, float] = field(default_factory=dict)
    steps: int
    seconds_per_step: float | None = None
    stages: list[StageCosts] = field(default_factory=list)
    parameters: int | None = None
    peak_memory_bytes: int | None = None
    peak_process_bytes: int | None = None
    stacked: int = 1
    stack: list[int] = field(default_factory=list)
    captured: bool = False
    eager_because: str = ""
    graph_memory_bytes: int | None = None
    meta_step: list[MetaStep] = field(default_factory=list)
    threads: int
    threads_chosen_by: str = ""
    load: float | None = None

    @property
    def all_seconds(self) -> float:
        """The seconds of all of the training."""
        return self.train_seconds + sum(self.outside_seconds.values())

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "stages": [StageCosts.read(stage) for stage in values.get("stages", [])],
            "meta_step": [MetaStep.read(choice) for choice in values.get("meta_step", [])],
        }


@dataclass(frozen=True)
class Git(Section):
    """The commit of a checkout.

    Attributes:
        commit: its hash.
        dirty: whether the checkout had changes.
    """

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return f"commit {self.commit[:12]}{' with changes' if self.dirty else ''}"


@dataclass(frozen=True, kw_only=True)
class Environment(Section):
    """The machine and the code that a record comes from.

    Attributes:
        created: date and time, ISO 8601, UTC.
        python, platform, device: the version of Python, the system, and the name of the processor or GPU.
        versions: library -> version.
        plugins: use -> plugin with its distribution and version.
        numerics: what the process asks of matrix products and of algorithms.
        git: the checkout that the source lies in; None where it is none.
        gpu: what numbers and times depend on there; empty elsewhere.
        left_behind: in words, what the run had set in the process, and what was put back after it.
    """

    created: str
    python: str
    versions: dict[str, str]
    plugins: dict[str, str]
    device: str
    platform: str
    numerics: dict[str, Any] = field(default_factory=dict)
    git: Git | None = None
    gpu: dict[str, Any] = field(default_factory=dict)
    left_behind: list[str] = field(default_factory=list)

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"git": Git.read(values["git"]) if values.get("git") else None}


@dataclass(frozen=True)
class Completed(Section):
    """The repetition of a run that gave what lies beside its record.

    Attributes:
        created: when it was made: date and time, ISO 8601, UTC.
        core: the hash of the core that made it.
        plugins: use -> hash of the plugin, as for `Code`.
        git: the checkout that its source lies in; None where it is none.
    """

    created: str
    core: str
    plugins: dict[str, str] = field(default_factory=dict)
    git: Git | None = None

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"git": Git.read(values["git"]) if values.get("git") else None}


UNKNOWN = "unknown"
"""The hash of code whose source could not be read. It counts as different from every other hash, even from itself."""


@dataclass(frozen=True)
class Code(Section):
    """The code that made a run, as hashes of syntax trees (`bench.sources`). Empty in records of earlier versions.

    Attributes:
        core: of what training and evaluation run through.
        plugins: use -> hash of the plugin, for the data set, the protocol, the model, the method, and each metric that
            is shown or selected by and is not the core's own.
        loaded: distribution and version -> one hash of all its plugins: also one that takes no part runs, when it is
            imported.
    """

    core: str = ""
    plugins: dict[str, str] = field(default_factory=dict)
    loaded: dict[str, str] = field(default_factory=dict)
