"""One run of some columns, with what tables say of it. Nothing here imports torch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.columns.lines import OPTIONS, SETTINGS
from bench.columns.table import Columns, Layout
from bench.errors import StoreError
from bench.records.known_code import as_one, hashes_by_use
from bench.records.run import NOT_APPLICABLE, OK, RunResult
from bench.records.sections import About, Code, Costs, Data, Environment, Resolved
from bench.records.sidecar import Sidecar
from bench.records.spec import RunSpec

if TYPE_CHECKING:
    from bench.records.sidecar import Arrays


class Run:
    """A run of some columns. What its record says is read when it is asked for, as of a `RunResult`.

    Args:
        columns: those of its task.
        row: its place there.
        content: the hash of its data, where other records tell it and its own does not.
    """

    def __init__(self, columns: Columns, row: int, content: str = "") -> None:
        self.columns = columns
        self.row = row
        self._content = content
        self.beside: Sidecar | None = columns.records[row].beside if columns.records else None
        """What lies beside its record: None until `bench.plots.select.with_sidecars` has read it."""

    @cached_property
    def spec(self) -> RunSpec:
        """What identifies the run."""
        parts: dict[str, Any] = {name: self._text(name) for name in SETTINGS}
        parts |= {name: self._decoded(name) for name in OPTIONS}
        return RunSpec(**parts, seed=self.columns.listed("seed")[self.row])

    @property
    def key(self) -> str:
        """Its key."""
        return str(self.columns.listed("key")[self.row])

    @property
    def status(self) -> str:
        """`ok`, or the kind of failure."""
        return self._text("status")

    @property
    def ok(self) -> bool:
        """Whether it has finished."""
        return self.status == OK

    @property
    def unfit(self) -> bool:
        """Whether the method cannot be applied; `error` says why."""
        return self.status == NOT_APPLICABLE

    @property
    def command(self) -> str:
        """The exact command that makes it."""
        return str(json.loads(self.columns.listed("command")[self.row]))

    @property
    def error(self) -> str:
        """The message of a failure, in one line."""
        return str(json.loads(self.columns.listed("error")[self.row]))

    @property
    def off_recipe(self) -> list[str]:
        """What differs from the data set's published recipe."""
        found: list[str] = self._decoded("off_recipe")
        return found

    @property
    def about(self) -> About:
        """What tables need to know of it."""
        found: About = self._decoded("about", About.read)
        return found

    @property
    def resolved(self) -> Resolved:
        """Every value that it depends on."""
        found: Resolved = self._decoded("resolved", Resolved.read)
        return found

    @cached_property
    def data(self) -> Data:
        """Its data."""
        found: Data = self._decoded("data", Data.read)
        return replace(found, content=self._content) if self._content else found

    @property
    def code(self) -> Code:
        """The hashes of the code that made it."""
        found: Code = self._decoded("code", Code.read)
        return found

    @property
    def created(self) -> str:
        """When it was recorded."""
        return str(self.columns.listed("created")[self.row])

    @cached_property
    def environment(self) -> Environment:
        """The machine and the code that it comes from."""
        return replace(self._undated, created=self.created)

    @cached_property
    def costs(self) -> Costs:
        """What it took."""
        return Costs.read(json.loads(self.columns.listed("costs")[self.row]))

    @property
    def layout(self) -> Layout:
        """The selection rules that apply to it, and the sets and metrics of which it has values."""
        return self.columns.layouts[self.columns.listed_codes("layout")[self.row]]

    @property
    def code_by_use(self) -> dict[str, str]:
        """Use of a plugin, or `core` -> hash, of what is known of the code that made it. Equivalent codes have one
        hash.
        """
        codes = tuple(self.columns.listed_codes(name)[self.row] for name in ("code", "environment", "protocol"))
        return self.columns.once(("code_by_use", *codes), self._code_by_use)

    def _code_by_use(self) -> dict[str, str]:
        return as_one(hashes_by_use(self.code, self._undated, self._text("protocol").partition("/")[0]))

    @property
    def record(self) -> RunResult:
        """The whole record."""
        return self.columns.record(self.row)

    @property
    def history(self) -> Mapping[str, list[Any]]:
        """Column -> one number for each evaluation, where what lies beside the record was read."""
        return self._read.history

    @property
    def arrays(self) -> "Arrays":
        """Name -> array, as `history`."""
        return self._read.arrays

    @property
    def _read(self) -> Sidecar:
        if self.beside is None:
            raise StoreError(f"what lies beside the record of run {self.key} was not read")
        return self.beside

    @property
    def _undated(self) -> Environment:
        found: Environment = self._decoded("environment", _without_date)
        return found

    def _text(self, name: str) -> str:
        return self.columns.different(name)[self.columns.listed_codes(name)[self.row]]

    def _decoded(self, name: str, read: Any = None) -> Any:
        return self.columns.decoded(name, self.columns.listed_codes(name)[self.row], read)


def _without_date(values: dict[str, Any]) -> Environment:
    return Environment.read(values | {"created": ""})
