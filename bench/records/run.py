"""The record of a run, and the rules by which a model of its training is selected."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from bench.records.json_file import FORMAT, JsonRecord
from bench.records.sections import About, Costs, Data, Environment, Resolved, Section, Selected, as_written
from bench.records.spec import RunSpec, canonical

LAST = "last"
"""The selection rule of the last epoch."""
OK = "ok"
"""The status of a finished run."""
DIVERGED = "diverged"
OUT_OF_MEMORY = "out of memory"
PLUGIN_ERROR = "plugin error"
TIMED_OUT = "timed out"
"""The status of a run that made no progress for too long."""
REFUSED = "refused"
"""The status of a run that cannot use an option, the data or the model, as it turned out after it had begun."""
NOT_APPLICABLE = "not applicable"
"""The status of a method that cannot use the data set, model or recipe; no failure."""


def best_val(metric: str) -> str:
    """The selection rule of the epoch with the best validation value of a metric."""
    return f"best_val_{metric}"


def rule_name(rule: str) -> str:
    """A selection rule in words."""
    return "last epoch" if rule == LAST else rule.replace(best_val(""), "best validation ")


@dataclass(frozen=True, kw_only=True)
class RunResult(JsonRecord):
    """All that is known of one run.

    Attributes:
        status: OK, or the kind of failure: DIVERGED, OUT_OF_MEMORY, PLUGIN_ERROR, TIMED_OUT or REFUSED; or
            NOT_APPLICABLE.
        error: the message of a failure, in a line. traceback: of a failure in the code of a plugin; no entry of the
            file where there is none.
        command: the exact command. off_recipe: what differs from the data set's published recipe.
        about, resolved, data, costs, environment: see `bench.records.sections`.
        history: columns with one entry for each evaluation: epoch, step, train/..., val/..., test/... .
        selected: rule -> what it selects. `last` always; `best_val_<metric>` unless validation was trained on.
    """

    spec: RunSpec
    status: str
    command: str
    off_recipe: list[str]
    about: About
    resolved: Resolved
    data: Data
    history: dict[str, list[float]] = field(default_factory=dict)
    selected: dict[str, Selected] = field(default_factory=dict)
    costs: Costs
    environment: Environment
    error: str = ""
    traceback: str = ""

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def unfit(self) -> bool:
        """Whether the method cannot be applied; `error` says why."""
        return self.status == NOT_APPLICABLE

    def class_counts(self, part: str) -> list[int]:
        """Samples of each class in a part of the data; nothing in records of earlier versions."""
        return [sum(of_class) for of_class in zip(*self.data.counts.get(part, []), strict=True)]

    def reproducible(self) -> dict[str, Any]:
        """What equal seeds give again to the bit on one machine's CPU: all but the costs and the environment. NaN is
        None, as in the record: it is equal to itself.

        Stacked runs agree with single ones up to rounding.
        """
        return {k: v for k, v in _plain(as_written(self)).items() if k not in ("costs", "environment")}

    @property
    def path(self) -> str:
        return self.spec.path

    def entries(self) -> dict[str, Any]:
        """NaN is null."""
        fields: dict[str, Any] = _plain(as_written(self))
        return {"format": FORMAT, "key": self.spec.key} | fields

    @classmethod
    def of(cls, values: dict[str, Any]) -> "RunResult":
        del values["key"]  # it follows from the spec
        sections = {name: section.read(values[name]) for name, section in SECTIONS.items()}
        selected = {rule: Selected.read(choice) for rule, choice in values["selected"].items()}
        return cls(**values | sections | {"spec": RunSpec(**values["spec"]), "selected": selected})


SECTIONS: dict[str, type[Section]] = {
    "about": About,
    "resolved": Resolved,
    "data": Data,
    "costs": Costs,
    "environment": Environment,
}


@dataclass(frozen=True)
class SeedRuns:
    """The finished runs that differ in nothing but the seed, by seed."""

    runs: Mapping[int, RunResult]

    @property
    def first(self) -> RunResult:
        """That of the smallest seed, for what they have in common."""
        return self.runs[min(self.runs)]


def by_seed(results: Iterable[RunResult]) -> list[dict[int, RunResult]]:
    """The finished runs of each spec, whose seeds alone differ, by seed, in the order in which they are met."""
    runs_by_spec: dict[str, dict[int, RunResult]] = defaultdict(dict)
    for result in results:
        if result.ok:
            runs_by_spec[canonical(asdict(replace(result.spec, seed=0)))][result.spec.seed] = result
    return list(runs_by_spec.values())


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
