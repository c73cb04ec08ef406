"""The sections of records, and what stands for entries that records of earlier versions lack.

Their fields are the entries of the JSON files, in this order. Nothing here imports torch.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Section:
    """A part of a record: an entry of its file that has entries itself."""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """Read a section.

        Args:
            values: what JSON gives; MISSING stands for what records of earlier versions lack.

        Raises:
            TypeError: where an entry is missing, or is none of this version's.
        """
        whole = copy.deepcopy(MISSING.get(cls, {})) | dict(values)
        return cls(**whole | cls._nested(whole))

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Entries that are sections themselves, read."""
        return {}


@dataclass(frozen=True)
class About(Section):
    """What tables need to know of a run that neither its spec nor its numbers say.

    Attributes:
        metrics: those that tables show, the ranking one first.
        higher_is_better: metric -> its direction; None where neither is better.
        units: metric -> unit, of those that are no fractions. The file has no such entry where it is empty.
        described: metric -> a line about it, of those that are not the core's own. As `units`.
        sets: further test set -> what it is, in words.
        select: the metric of the selection rule `best_val_<select>`.
        groups, classes: their names, in order.
        uses_val, uses_groups: whether the method learns from validation data, and needs the groups.
        baseline: whether other methods are compared with this one.
        protocol_reference, dataset_reference: where they are published.
        used: what the method says that it has really used, where the recipe does not say it. As `units`.
    """

    metrics: list[str]
    higher_is_better: dict[str, bool | None]
    units: dict[str, str]
    described: dict[str, str]
    sets: dict[str, str]
    select: str
    groups: list[str]
    classes: list[str]
    uses_val: bool
    uses_groups: bool
    baseline: bool
    protocol_reference: str
    dataset_reference: str
    used: dict[str, str]


@dataclass(frozen=True)
class Resolved(Section):
    """Every value that a run depends on, whether it was given, is the recipe's or a default. `options` are the
    method's.
    """

    recipe: dict[str, Any]
    model_options: dict[str, Any]
    dataset_options: dict[str, Any]
    protocol_options: dict[str, Any]
    options: dict[str, Any]


@dataclass(frozen=True)
class Data(Section):
    """The data of a run.

    Attributes:
        revision: of the data set, as its author states it.
        content: hash of its tensors and names; empty in records of earlier versions.
        unofficial: file without the official checksum -> its own checksum.
        sizes: set -> number of samples, also of samples that were left out.
        counts: set with labels -> number of samples of each group (rows; without groups, one row) and class (columns).
        planes: the probes whose inputs are points of a plane, on which surfaces are drawn.
    """

    revision: str
    content: str
    unofficial: dict[str, str]
    sizes: dict[str, int]
    counts: dict[str, list[list[int]]]
    planes: list[str]


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
    common: bool
    captured: bool
    meta_step: list[MetaStep]

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"meta_step": [MetaStep.read(choice) for choice in values["meta_step"]]}


@dataclass(frozen=True)
class Costs(Section):
    """What a run took; of stacked runs, the share of one.

    Attributes:
        train_seconds: seconds of the epochs of the evaluated training, and of the whole trainings before it that are
            not the same for every method.
        outside_seconds: what the evaluated training took outside of its epochs: `setup` before them, `end` after them.
            Empty in records of earlier versions, and then the file has no such entry.
        steps: the number of updates of these.
        seconds_per_step: of the evaluated training; None without a step.
        stages: the trainings before it.
        parameters: the number of the model's parameters; None where there is no model.
        peak_memory_bytes: on the GPU; None on a CPU.
        peak_process_bytes: of the process since it began; None where that cannot be told.
        stacked: how many runs were trained at once.
        captured: whether updates were captured and replayed.
        eager_because: why they were not; empty where they were.
        graph_memory_bytes: what capturing has reserved on the GPU.
        meta_step: how look-aheads took their derivatives.
        threads, threads_chosen_by: the number of torch's threads on the CPU, and what chose it.
        load: average number of processes that wanted a core in the last minute; None where that cannot be told.
    """

    train_seconds: float
    steps: int
    seconds_per_step: float | None
    stages: list[StageCosts]
    parameters: int | None
    peak_memory_bytes: int | None
    peak_process_bytes: int | None
    stacked: int
    captured: bool
    eager_because: str
    graph_memory_bytes: int | None
    meta_step: list[MetaStep]
    threads: int
    threads_chosen_by: str
    load: float | None
    outside_seconds: dict[str, float]

    @property
    def all_seconds(self) -> float:
        """The seconds of all of the training."""
        return self.train_seconds + sum(self.outside_seconds.values())

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "stages": [StageCosts.read(stage) for stage in values["stages"]],
            "meta_step": [MetaStep.read(choice) for choice in values["meta_step"]],
        }


@dataclass(frozen=True)
class Counts(Section):
    """What a model predicts for the samples of a set, counted by group (rows) and class (columns). Where the group is
    the class, or there is one group, there is one row.

    With the number of samples of each group and class (`Data.counts`), all rates of each group follow.

    Attributes:
        right: the samples of this group and class that are predicted to be of this class.
        predicted: the samples of this group, of whatever class, that are predicted to be of this class.
    """

    right: list[list[int]]
    predicted: list[list[int]]


@dataclass(frozen=True)
class Selected(Section):
    """What a selection rule selects.

    Attributes:
        epoch: the number of epochs of the training after which the model was selected.
        metrics: set -> metric -> value; NaN or None where it is undefined.
        counts: labelled set -> what is predicted for its samples. Empty in records of earlier versions.
    """

    epoch: int
    metrics: dict[str, dict[str, Any]]
    counts: dict[str, Counts] = field(default_factory=dict)

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"counts": {name: Counts.read(of_set) for name, of_set in values.get("counts", {}).items()}}


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


@dataclass(frozen=True)
class Environment(Section):
    """The machine and the code that a record comes from.

    Attributes:
        created: date and time, ISO 8601, UTC.
        python, platform, device: the version of Python, the system, and the name of the processor or GPU.
        versions: library -> version.
        plugins: use -> plugin with its distribution and version.
        numerics: what the process asks of matrix products and of algorithms.
        git: the checkout that the source lies in; None where it is none.
        gpu: what numbers and times depend on there. Empty elsewhere, and then the file has no such entry.
        left_behind: in words, what the run had set in the process, and what was put back after it. As `gpu`.
    """

    created: str
    python: str
    versions: dict[str, str]
    plugins: dict[str, str]
    device: str
    platform: str
    numerics: dict[str, Any]
    git: Git | None
    gpu: dict[str, Any]
    left_behind: list[str]

    @classmethod
    def _nested(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        return {"git": Git.read(values["git"]) if values["git"] else None}


UNKNOWN = "unknown"
"""The hash of code whose source could not be read. It counts as different from every other hash, even from itself."""


@dataclass(frozen=True)
class Code(Section):
    """The code that made a run, as hashes of syntax trees (`bench.sources`). Empty in records of earlier versions.

    Attributes:
        core: of what training and evaluation run through.
        plugins: use -> hash of the plugin, for the data set, the protocol, the model, the method, and each metric that
            is shown or selected by and is not the core's own.
        loaded: distribution and version -> plugin -> hash, of all plugins: also one that takes no part runs, when it is
            imported.
    """

    core: str
    plugins: dict[str, str]
    loaded: dict[str, dict[str, str]]


PLANE_OF_OLDER_RECORDS = "grid"
"""The name of the one probe of this kind that a record could have when records did not yet name their planes."""
MISSING: dict[type[Section], dict[str, Any]] = {
    About: {"sets": {}, "units": {}, "described": {}, "used": {}},
    Resolved: {"dataset_options": {}, "protocol_options": {}},
    Data: {"content": "", "counts": {}, "planes": [PLANE_OF_OLDER_RECORDS]},
    Costs: {
        "stages": [],
        "captured": False,
        "eager_because": "",
        "graph_memory_bytes": None,
        "meta_step": [],
        "threads_chosen_by": "",
        "load": None,
        "outside_seconds": {},
    },
    Environment: {"numerics": {}, "gpu": {}, "left_behind": []},
    Code: {"core": "", "plugins": {}, "loaded": {}},
}
"""What stands for entries that are not in every record: those that records of earlier versions lack, and those that
are not written where they are empty (`as_written`)."""
