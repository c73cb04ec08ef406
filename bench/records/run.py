"""The record of a run, and the rules by which a model of its training is selected."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from bench.records.json_file import FORMAT, JsonRecord
from bench.records.known_code import CORE, as_one, hashes_by_use
from bench.records.sections import About, Code, Costs, Data, Environment, Resolved, Section, Selected
from bench.records.shape import check_shape
from bench.records.spec import RunSpec, canonical
from bench.records.written import as_written

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
        arrays: digest of the arrays beside the record (`bench.records.arrays`). No entry of the file where there are
            none, nor in records of earlier versions.
        command: the exact command. off_recipe: what differs from the data set's published recipe.
        about, resolved, data, costs, environment, code: see `bench.records.sections`.
        history: columns with one number for each evaluation, None where it is undefined: epoch, step, train/...,
            val/..., test/... .
        selected: rule -> what it selects. `last` always; `best_val_<metric>` unless validation was trained on.
        notes: what a reader has to know of the numbers, in sentences. No entry of the file where there is nothing.
    """

    spec: RunSpec
    status: str
    command: str
    off_recipe: list[str]
    about: About
    resolved: Resolved
    data: Data
    history: dict[str, list[Any]] = field(default_factory=dict)
    selected: dict[str, Selected] = field(default_factory=dict)
    costs: Costs
    environment: Environment
    code: Code = field(default_factory=lambda: Code.read({}))
    error: str = ""
    traceback: str = ""
    arrays: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def code_by_use(self) -> dict[str, str]:
        """Use -> hash of what is known of the code that made the run, equivalent ones as one."""
        return as_one(hashes_by_use(self.code, self.environment, self.spec.protocol_name))

    @property
    def ok(self) -> bool:
        return self.status == OK

    @property
    def unfit(self) -> bool:
        """Whether the method cannot be applied; `error` says why."""
        return self.status == NOT_APPLICABLE

    def has_data(self, content: str) -> bool:
        """Whether it is of the data with this hash, as far as it says: records of earlier versions have no hash."""
        return self.data.content in ("", content)

    def class_counts(self, part: str) -> list[int]:
        """Samples of each class in a part of the data; nothing in records of earlier versions."""
        return [sum(of_class) for of_class in zip(*self.data.counts.get(part, []), strict=True)]

    def reproducible(self) -> dict[str, Any]:
        """What equal seeds give again to the bit on one machine's CPU: all but the costs, the environment and the
        hashes of the code. NaN is None, as in the record: it is equal to itself.

        Stacked runs agree with single ones up to rounding.
        """
        return {k: v for k, v in _plain(as_written(self)).items() if k not in ("costs", "environment", "code")}

    def same_as(self, other: "RunResult") -> bool:
        """Whether a record of the same key has the same numbers and was made by the same code."""
        entries, others = (result.reproducible() for result in (self, other))
        return self.code == other.code and all(entries[name] == others[name] for name in ("history", "selected"))

    def check(self) -> None:
        """Whether tables can read it."""
        about, classes = self.about, len(self.about.classes)
        if not about.metrics or not set(about.metrics) <= about.higher_is_better.keys():
            raise ValueError("its metrics are none, or lack a direction")
        check_shape(self.history, dict[str, list[float | None]], "history")
        for rule, selected in self.selected.items():
            check_shape(selected.metrics, dict[str, dict[str, float | None]], f"selected.{rule}.metrics")
        if any(len(row) != classes for counts in self.data.counts.values() for row in counts):
            raise ValueError(f"its counts are not of {classes} classes")
        if "torch" not in self.environment.versions:
            raise ValueError("it does not say the version of torch")

    @property
    def path(self) -> str:
        return self.spec.path

    def entries(self) -> dict[str, Any]:
        """NaN is null."""
        fields: dict[str, Any] = _plain(as_written(self))
        for name in ("arrays", "notes"):
            if not fields[name]:
                del fields[name]
        return {"format": FORMAT, "key": self.spec.key} | fields

    @classmethod
    def of(cls, values: dict[str, Any]) -> "RunResult":
        key = values.pop("key")
        spec = RunSpec(**values["spec"])
        if key != spec.key:
            raise ValueError(f"its key {key} is not that of its spec, {spec.key}")
        sections = {name: section.read(values.get(name, {})) for name, section in SECTIONS.items()}
        selected = {rule: Selected.read(choice) for rule, choice in values["selected"].items()}
        return cls(**values | sections | {"spec": spec, "selected": selected})


SECTIONS: dict[str, type[Section]] = {
    "about": About,
    "resolved": Resolved,
    "data": Data,
    "costs": Costs,
    "environment": Environment,
    "code": Code,
}


@dataclass(frozen=True)
class SeedRuns:
    """The finished runs that differ in nothing but the seed, by seed.

    Attributes:
        ambiguous: whether others differ from them in nothing but the defaults, or the data, of their time.
        older: whether there are runs of the same spec by newer code of a plugin.
    """

    runs: Mapping[int, RunResult]
    ambiguous: bool = False
    older: bool = False

    @property
    def first(self) -> RunResult:
        """That of the smallest seed, for what they have in common."""
        return self.runs[min(self.runs)]

    @property
    def of_their_time(self) -> list[str]:
        """What tells them from those others; empty where there are none."""
        if not self.ambiguous:
            return []
        content = self.first.data.content
        return [f"settings {self.first.spec.settings}"] + ([f"data {content}"] if content else [])


S = TypeVar("S", bound=SeedRuns)


def by_seed(results: Iterable[RunResult], kind: type[S]) -> list[S]:
    """The finished runs of each spec and of each content of the data, in the order in which they are met.

    Of runs that were made by different code of a plugin, those of the newest code; `of_older_code` has the others.
    """
    groups = [by_code[0] for by_code in _by_code(results)]
    specs = [canonical(asdict(replace(runs[min(runs)].spec, seed=0, settings=""))) for runs in groups]
    times = Counter(specs)
    return [kind(runs, times[spec] > 1) for runs, spec in zip(groups, specs, strict=True)]


def of_older_code(results: Iterable[RunResult], kind: type[S]) -> list[S]:
    """The finished runs that `by_seed` leaves out, each with those of the same spec, data and code."""
    return [kind(runs, older=True) for by_code in _by_code(results) for runs in by_code[1:]]


def _by_code(results: Iterable[RunResult]) -> list[list[dict[int, RunResult]]]:
    """The finished runs of each spec and content by seed, those of each code of the plugins apart, the newest first."""
    runs_by_spec: dict[str, dict[str, dict[int, RunResult]]] = defaultdict(lambda: defaultdict(dict))
    for result in _with_known_content([result for result in results if result.ok]):
        same = canonical([asdict(replace(result.spec, seed=0)), result.data.content])
        plugins = {use: code for use, code in result.code_by_use.items() if use != CORE}
        runs_by_spec[same][canonical(plugins)][result.spec.seed] = result
    return [sorted(by_code.values(), key=_date, reverse=True) for by_code in runs_by_spec.values()]


def _date(runs: Mapping[int, RunResult]) -> tuple[str, str]:
    """When the last of these runs was recorded; of equal dates, the hashes decide, so that the order is always one."""
    last = max(runs.values(), key=lambda run: run.environment.created)
    return last.environment.created, canonical(last.code_by_use)


def _with_known_content(results: Sequence[RunResult]) -> list[RunResult]:
    """The same records. One of an earlier version has no hash of its data: it gets that of the others of its revision,
    where these have one and the same.
    """
    contents: dict[str, set[str]] = defaultdict(set)
    for result in results:
        contents[_revision(result)] |= {result.data.content} - {""}
    filled = []
    for result in results:
        known = contents[_revision(result)]
        if result.data.revision and not result.data.content and len(known) == 1:
            result = replace(result, data=replace(result.data, content=next(iter(known))))
        filled.append(result)
    return filled


def _revision(result: RunResult) -> str:
    return canonical([result.spec.dataset, result.spec.dataset_options, result.data.revision])


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
