"""The options by which commands choose records."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.errors import BenchError, UnknownNameError

if TYPE_CHECKING:
    from bench.records.run import RunResult
    from bench.tables.rows import Row

Command = TypeVar("Command", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True)
class Filters:
    """What records a command is about.

    Attributes:
        dataset, protocol, model: names; None for any. The protocol is without its version.
        methods: names; empty for any.
    """

    dataset: str | None = None
    protocol: str | None = None
    model: str | None = None
    methods: Sequence[str] = ()

    def take(self, dataset: str, protocol: str, model: str, method: str) -> bool:
        """Whether records of these names are chosen.

        Args:
            dataset, model, method: names.
            protocol: name/version.
        """
        return (
            self.dataset in (None, dataset)
            and self.protocol in (None, protocol, protocol.partition("/")[0])
            and self.model in (None, model)
            and (not self.methods or method in self.methods)
        )

    def chosen(self, records: "Sequence[tuple[RunResult, T]]", folder: Path) -> "list[tuple[RunResult, T]]":
        """The records that are chosen, each with what belongs to it. Raises BenchError, which lists those that exist,
        where there are none.
        """
        named = [(r, r.spec.dataset, r.spec.protocol, r.spec.model, r.spec.method, more) for r, more in records]
        chosen = [(result, more) for result, *names, more in named if self.take(*names)]
        if not chosen:
            others = {f"{r.spec.method} on {r.spec.dataset} ({r.spec.model})" for r, _ in records}
            raise no_such_run(folder, others)
        return chosen


def no_such_run(folder: Path, others: set[str]) -> BenchError:
    """For a choice of nothing.

    Args:
        folder: of the records.
        others: what there is, in words.
    """
    from bench.text import join_first

    if not others:
        return no_finished_run(folder)
    return BenchError(f"no such finished run in {folder}; there is: {join_first(sorted(others), 20)}")


def no_finished_run(folder: Path, option: str = "--out") -> BenchError:
    """For a folder without the record of any finished run that can be used.

    Args:
        folder: of the records.
        option: by which another one is named.
    """
    return BenchError(
        f"{folder} has no record of a finished run: make some with `bench run`, or name another folder with {option}"
    )


def filter_options(command: Command) -> Command:
    """The options of Filters."""
    options = [
        click.option("--dataset", help="Only runs on this data set."),
        click.option("--protocol", help="Only runs under this protocol."),
        click.option("--model", help="Only runs of this model."),
        click.option(
            "--method", "methods", multiple=True, help="Only runs of this method. May be given several times."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def labels_of(methods: Sequence[str], rows: "Sequence[Row]") -> list[str]:
    """The methods as rows are called. Raises BenchError for one that no row is, and for two names of one row.

    `bench run` prints options of `--each` also where they are the defaults, which the names of rows leave out.
    """
    from bench.tables.names import is_called

    known = {row.label for row in rows}
    labels: list[str] = []
    for method in methods:
        label = method if method in known else next((row.label for row in rows if is_called(row, method)), "")
        if not label:
            raise UnknownNameError("method in these records", method, sorted(known))
        if label in labels:
            other = methods[labels.index(label)]
            also = "" if other == method else f", as {other} and as {method}"
            raise BenchError(f"{label} is named twice{also}: name each method once")
        labels.append(label)
    return labels
