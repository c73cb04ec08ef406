"""The record of a run, and the rules by which a model of its training is selected."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from bench.errors import StoreError
from bench.records.format_1 import upgraded
from bench.records.json_file import JsonRecord
from bench.records.known_code import as_one, hashes_by_use
from bench.records.possible import (
    check_about,
    check_costs,
    check_data,
    check_names_of_beside,
    check_selected,
    check_spec,
)
from bench.records.sections import About, Code, Completed, Costs, Data, Environment, Resolved
from bench.records.selections import Selections
from bench.records.shape import check_shape, hints_of
from bench.records.sidecar import Arrays, Sidecar
from bench.records.spec import SHARED, RunSpec, check_command
from bench.records.written import Section, as_written

LAST = "last"
"""The selection rule that takes the model of the last epoch."""
OK = "ok"
"""The status of a finished run."""
DIVERGED = "diverged"
OUT_OF_MEMORY = "out of memory"
PLUGIN_ERROR = "plugin error"
TIMED_OUT = "timed out"
"""The status of a run that made no progress for too long."""
REFUSED = "refused"
"""The status of a run that cannot use an option, the data or the model, as it turned out after the run had begun."""
NOT_APPLICABLE = "not applicable"
"""The status of a run whose method cannot use the data set, the model or the recipe. It is no failure."""
STATUSES = (OK, DIVERGED, OUT_OF_MEMORY, PLUGIN_ERROR, TIMED_OUT, REFUSED, NOT_APPLICABLE)


def best_val(metric: str) -> str:
    """The selection rule that takes the epoch with the best validation value of a metric.

    Args:
        metric: its name.
    """
    return f"best_val_{metric}"


def rule_name(rule: str) -> str:
    """A selection rule in words, for tables and messages.

    Args:
        rule: LAST, or what `best_val` gives.
    """
    return "last epoch" if rule == LAST else rule.replace(best_val(""), "best validation ")


@dataclass(frozen=True, kw_only=True)
class RunResult(JsonRecord):
    """The record of one run: what tables read, and what identifies the run. The history and the predictions lie beside
    it (`bench.records.sidecar`).

    Attributes:
        spec: what identifies the run.
        status: OK, or the kind of failure: DIVERGED, OUT_OF_MEMORY, PLUGIN_ERROR, TIMED_OUT or REFUSED; or
            NOT_APPLICABLE.
        command: the exact command that makes the run.
        off_recipe: what differs from the data set's published recipe.
        about, resolved, data, costs, environment, code: see `bench.records.sections`.
        selected: rule -> what it selects. `last` always, and `best_val_<metric>` unless the validation data were
            trained on.
        error: the message of a failure, in one line.
        traceback: of a failure in the code of a plugin.
        sidecar: digest of what lies beside the record; empty where there is nothing.
        completed: the repetition that gave what lies beside the record, and the same numbers to the bit; None where it
            comes from the run itself.
        rescored: metric -> hash of its code, for those that were computed of the predictions after the run
            (`bench.store.rescored`).
        notes: what a reader has to know of the numbers, in sentences.
        beside: what lies beside the record, of a run that has just been made; None for a record that was read. The
            file has no such entry.
    """

    FORMAT: ClassVar[int] = 2
    SHARED: ClassVar[tuple[str, ...]] = ("about", "resolved", "data", "code")

    spec: RunSpec
    status: str
    command: str
    off_recipe: list[str] = field(default_factory=list)
    about: About
    resolved: Resolved
    data: Data
    selected: Selections = field(default_factory=Selections)
    costs: Costs
    environment: Environment
    code: Code = field(default_factory=Code)
    error: str = ""
    traceback: str = ""
    sidecar: str = ""
    completed: Completed | None = None
    rescored: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    beside: Sidecar | None = field(default=None, compare=False, repr=False)

    @property
    def history(self) -> Mapping[str, list[Any]]:
        """Column -> one number for each evaluation, of a run that has just been made.

        Raises:
            StoreError: for a record that was read: `ResultStore.sidecar` reads its history.
        """
        if self.beside is None:
            raise self._not_read()
        return self.beside.history

    @property
    def arrays(self) -> Arrays:
        """Name -> array, of what lies beside the record. Raises StoreError as `history` does."""
        if self.beside is None:
            raise self._not_read()
        return self.beside.arrays

    def _not_read(self) -> StoreError:
        return StoreError(f"what lies beside the record of run {self.spec.key} was not read: ask the store for it")

    @property
    def code_by_use(self) -> dict[str, str]:
        """Use of a plugin, or `core` -> hash, of what is known of the code that made the run. Equivalent codes have one
        hash.
        """
        return as_one(hashes_by_use(self.code, self.environment, self.spec.protocol_name))

    @property
    def ok(self) -> bool:
        """Whether the run has finished."""
        return self.status == OK

    @property
    def unfit(self) -> bool:
        """Whether the method cannot be applied; `error` says why."""
        return self.status == NOT_APPLICABLE

    def reproducible(self) -> dict[str, Any]:
        """The entries that the same seed gives again to the bit on one machine's CPU: all but the costs, the
        environment and the hashes of the code. The digest of what lies beside the record is one of them.

        Stacked runs agree with single ones up to rounding.
        """
        return {name: value for name, value in self.entries().items() if name not in ("costs", "environment", "code")}

    def same_as(self, other: "RunResult") -> bool:
        """Whether another record of the same key has the same numbers and was made by the same code.

        Args:
            other: the other record.
        """
        return (self.code, self.selected, self.sidecar) == (other.code, other.selected, other.sidecar)

    def check(self) -> None:
        """Check that tables can read the record, and that what it says can be true.

        Raises:
            ValueError: if they cannot, or if it cannot.
        """
        if self.status not in STATUSES:
            raise ValueError(f"its status {self.status!r} is none of {', '.join(STATUSES)}")
        if "torch" not in self.environment.versions:
            raise ValueError("it does not say the version of torch")
        check_spec(self.spec, self.resolved)
        check_command(self.command, self.spec)
        best = best_val(self.about.select) if self.spec.validation == SHARED else ""
        check_about(self.about, LAST, best)
        check_data(self.data, self.about, self.ok)
        check_costs(self.costs, self.environment)
        check_names_of_beside(self.sidecar, self.completed)
        if self.ok:
            check_selected(self.selected, self.data, self.about, LAST, best)
        elif self.selected:
            raise ValueError(f"its status is {self.status}, and yet an epoch was selected")

    @property
    def path(self) -> str:
        return self.spec.path

    def entries(self) -> dict[str, Any]:
        """What its file holds without the digest. NaN and infinity are null there."""
        fields: dict[str, Any] = as_written(self)
        fields.pop("beside", None)
        return {"format": self.FORMAT, "key": self.spec.key} | fields

    @classmethod
    def upgraded(cls, values: dict[str, Any]) -> dict[str, Any]:
        return upgraded(values, LAST, OK)

    @classmethod
    def of(cls, values: dict[str, Any], texts: Mapping[str, str]) -> "RunResult":
        key = values.pop("key")
        spec = RunSpec(**values["spec"])
        if key != spec.key:
            raise ValueError(f"its key {key} is not that of its spec, {spec.key}")
        if "beside" in values:
            raise ValueError("it has an entry beside")
        sections = {
            name: _shared(name, texts[name], values[name]) if name in cls.SHARED else section.read(values[name])
            for name, section in SECTIONS.items()
            if name in values
        }
        return cls(**values | sections | {"spec": spec})

    def check_types(self) -> None:
        hints = hints_of(type(self))
        for one in fields(self):
            if one.name not in self.SHARED:  # these were checked when they were read
                check_shape(getattr(self, one.name), hints[one.name], one.name)


def _shared(name: str, text: str, values: Any) -> Section:
    """A section that is the same in many records, read and checked once. Nobody may change it."""
    known = _SHARED.get((name, text))
    if known is None:
        known = SECTIONS[name].read(values)
        check_shape(known, SECTIONS[name], name)
        if len(_SHARED) == MOST_SHARED:
            _SHARED.clear()
        _SHARED[name, text] = known
    return known


_SHARED: dict[tuple[str, str], Section] = {}
"""Name and canonical text -> the section."""
MOST_SHARED = 10_000
"""So many sections are held at the most."""


SECTIONS: dict[str, type[Section]] = {
    "about": About,
    "resolved": Resolved,
    "data": Data,
    "selected": Selections,
    "costs": Costs,
    "environment": Environment,
    "code": Code,
    "completed": Completed,
}
