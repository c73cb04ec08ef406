"""`bench rescore`."""

import sys
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from bench.cli.common import folder_of_records, folder_option, installed, say, table, warn_of
from bench.cli.interrupts import leave
from bench.cli.leaderboard import write_tables
from bench.cli.store.filters import Filters, filter_options
from bench.cli.store.metrics import guarded_metrics
from bench.errors import BenchError, OptionError, PluginError, StoreError
from bench.text import counted, without_numbers

if TYPE_CHECKING:
    from bench.metrics import Metric
    from bench.records.run import RunResult
    from bench.registry import Registry


@click.command()
@click.option("--metric", "name", required=True, metavar="NAME", help="The metric, of the core or of a plugin.")
@click.option(
    "--select",
    "rule",
    metavar="RULE",
    help="Show it under this selection rule, last or best_val_METRIC. The default is those that each run has.",
)
@click.option("--dry-run", is_flag=True, help="Show the values and write nothing.")
@click.option(
    "--remove", is_flag=True, help="Take the metric out of the records that were given it; it need not be installed."
)
@filter_options
@folder_option("Folder of the records, which are in its subfolder 'results'. Its tables are written anew.")
def rescore(name: str, rule: str | None, dry_run: bool, remove: bool, out: Path, **asked: Any) -> None:
    """Compute a metric of the stored predictions, without training.

    The records get the values that their runs would have written, for each test set and probe and under each selection
    rule that the run has, and the hash of the metric's code. A record that has the metric stays as it is; where its
    values are others than those of its predictions, it is named and the exit code is 1. So is a metric that gives two
    values for the same predictions, or a value that none of its unit is; nothing is written then. With --remove the
    records are again as they were before they were given the metric.

    Under another rule, best_val_METRIC of any metric in the history, values are shown and not written: the predictions
    of other epochs are not stored, and a method may look at the rule while it trains. For records, run it with
    `-o recipe.select=METRIC`.

    A record that cannot be rescored, because it has no predictions or is damaged, is named; the exit code is 1 then.
    """
    folder = folder_of_records(out)
    if remove:
        if rule:
            raise OptionError("--remove takes the metric out under all rules: leave out --select")
        _end(_Removal(folder, name, dry_run), out, Filters(**asked))
    plugins = installed()
    plugins.find("metrics", name)  # raises for one that is not installed
    metric = guarded_metrics(plugins)[name]
    higher_is_better = _direction(rule, plugins)
    code = _code(plugins, name)
    _end(
        _Rescoring(folder, name, dry_run, metric=metric, rule=rule, higher_is_better=higher_is_better, code=code),
        out,
        Filters(**asked),
    )


def _end(writing: "_Writing", out: Path, filters: Filters) -> NoReturn:
    """Look at all records, write the tables, say what was done and end the command."""
    try:
        writing.all(filters)
    except KeyboardInterrupt:
        if writing.written:
            write_tables(out)
        done = f"{counted(writing.written, 'record was', 'records were')} written"
        leave(done)
    whole = write_tables(out).whole if writing.written else True
    writing.tell()
    sys.exit(1 if writing.left or not whole else 0)


def _direction(rule: str | None, plugins: "Registry") -> bool:
    """Whether the metric of a selection rule is the better the higher it is. Raises BenchError for no such rule."""
    from bench.metrics import require_direction
    from bench.records.run import LAST, best_val

    if rule in (None, LAST):
        return True
    selected = rule.removeprefix(best_val(""))
    if selected == rule:
        raise OptionError(f"--select {rule}: expected {LAST} or {best_val('METRIC')}, such as {best_val('accuracy')}")
    metric: Metric = plugins.find("metrics", selected).value
    require_direction("--select best_val_METRIC", selected, metric)
    return bool(metric.higher_is_better)


def _code(plugins: "Registry", name: str) -> str:
    from bench.runs.code import code_of_metric

    return code_of_metric(plugins.find("metrics", name))


FEW = 3
"""So many records without predictions are named."""


class _UnwrittenError(BenchError):
    """A record that could not be written, so that no other one is tried."""


@dataclass
class _Writing(ABC):
    """One look at all records, of which some are written anew.

    Attributes:
        name: of the metric.
        left: file -> why its record was left as it is.
        written, would_write: the number of records that were written, and that would be without --dry-run.
    """

    folder: Path
    name: str
    dry_run: bool
    left: dict[Path, str] = field(default_factory=dict)
    written: int = 0
    would_write: int = 0

    @abstractmethod
    def one(self, result: "RunResult", files: Sequence[Path], claims: Any) -> None:
        """Look at one record. Raises BenchError where it is left as it is."""

    @abstractmethod
    def tell(self) -> None:
        """Print what was done."""

    def all(self, filters: Filters) -> None:
        """Look at all records that the filters leave. Raises BenchError where there are none."""
        from bench.records.files import check_writable
        from bench.records.run import RunResult
        from bench.store.claims import Claims
        from bench.store.reading import records_with_files
        from bench.store.rescored import NoPredictionsError

        records, unused = records_with_files(self.folder, RunResult)
        warn_of(unused)
        self.left |= unused
        chosen = filters.chosen([(record, files) for record, files in records if record.ok], self.folder)
        if not self.dry_run:
            check_writable(self.folder, "name a copy of the folder that can be written to with --out")
        without: dict[Path, str] = {}
        others: dict[str, list[tuple[Path, str]]] = defaultdict(list)
        with Claims(self.folder) as claims:
            for result, files in chosen:
                try:
                    self.one(result, files, claims)
                except NoPredictionsError as error:
                    without[files[0]] = self._why(result, error)
                except BenchError as error:
                    self.left[files[0]] = self._why(result, error)
                    same = without_numbers(str(error)) if isinstance(error, PluginError) else str(error)
                    others[same].append((files[0], self.left[files[0]]))
                    if isinstance(error, _UnwrittenError):
                        break
        for (path, why), *more in others.values():
            also = f" and {counted(len(more), 'more record')}" if more else ""
            say(f"left {path}{also}: {why}", err=True)
        for path, why in list(without.items())[:FEW]:
            say(f"left {path}: {why}", err=True)
        if (more_without := len(without) - FEW) > 0:
            theirs = "its run" if more_without == 1 else "their runs"
            say(f"left {counted(more_without, 'more record')} without predictions: repeat {theirs} too", err=True)
        self.left |= without

    def _why(self, result: "RunResult", error: BenchError) -> str:
        """Why a record was not rescored, and what to do where only a repetition of its run helps."""
        from bench.store.repetition import command_again
        from bench.store.rescored import PredictionsError

        again = f": repeat the run: {command_again(result, self.folder)}"
        return f"{error}{again if isinstance(error, PredictionsError) else ''}"

    def write(self, result: "RunResult", made: "RunResult", files: Sequence[Path], claims: Any) -> None:
        """Replace a record in all of its files, unless it has changed since it was read."""
        from bench.records.files import write_whole
        from bench.records.json_file import read_all

        if self.dry_run:
            self.would_write += 1
            return
        try:
            if not claims.take(result.path):
                raise BenchError("another process makes this run: give this command again when that has ended")
            try:
                if any(other != result for other in read_all(files, type(result))[0].values()):
                    raise BenchError("it has changed meanwhile: give this command again")
                for file in files:
                    write_whole(file, made.to_json().encode())
                self.written += 1
            finally:
                claims.release(result.path)
        except StoreError as error:
            raise _UnwrittenError(f"{error}; the records after it were not looked at") from error

    def done(self, what: str) -> str:
        """What was done to the records that were written, in words."""
        if self.would_write:
            return f"nothing was written; {counted(self.would_write, 'record')} would be {what}"
        if not self.written:
            return "nothing was written"
        return f"{counted(self.written, 'record was', 'records were')} {what}"

    def left_words(self) -> list[str]:
        """How many files were left, in words; empty for none."""
        return [f"{counted(len(self.left), 'file')} left"] if self.left else []


@dataclass
class _Removal(_Writing):
    """Takes a metric out of the records that were given it."""

    def one(self, result: "RunResult", files: Sequence[Path], claims: Any) -> None:
        from bench.store.rescored import without

        if (made := without(result, self.name)) is not result:
            self.write(result, made, files, claims)

    def tell(self) -> None:
        done = self.done(f"rid of {self.name}")
        if not self.written and not self.would_write and not self.left:
            done += f", as no record was given {self.name} by `bench rescore`"
        say("; ".join([done, *self.left_words()]))


@dataclass(kw_only=True)
class _Rescoring(_Writing):
    """Gives records a metric.

    Attributes:
        code: the hash of the metric's code.
        shown: row of the table -> set and rule -> seed -> value.
        there: the number of records that have it.
    """

    metric: "Metric"
    rule: str | None
    higher_is_better: bool
    code: str
    shown: dict[tuple[str, str], dict[tuple[str, str], dict[str, float | None]]] = field(default_factory=dict)
    there: int = 0

    def one(self, result: "RunResult", files: Sequence[Path], claims: Any) -> None:
        """Rescore one record. Raises BenchError where that cannot be done."""
        from bench.runs.rescoring import scores
        from bench.store.beside import file_with_sidecar, sidecar_of_file
        from bench.store.rescored import rescored, value_under

        beside = sidecar_of_file(result, file_with_sidecar(result, files))
        if self.rule and self.rule not in result.selected:
            found = value_under(self.rule, result, beside, self.name, self.metric, self.higher_is_better, scores)
            self._show(result, {name: {self.rule: value} for name, value in found.items()})
            return
        made = rescored(result, beside, self.name, self.metric, self.code, scores)
        rules = [self.rule] if self.rule else list(made.selected)
        sets = [name for name, metrics in made.selected.metrics.items() if self.name in metrics and name != "val"]
        self._show(made, {name: {r: made.selected[r].metrics[name][self.name] for r in rules} for name in sets})
        if made is result:
            self.there += 1
        else:
            self.write(result, made, files, claims)

    def _show(self, result: "RunResult", found: Mapping[str, Mapping[str, float | None]]) -> None:
        """Note values for the table: those of each set under each rule."""
        spec = result.spec
        task = [spec.protocol.partition("/")[0].replace("_", " "), spec.dataset, *spec.variant()]
        changes = ", ".join([spec.model, *spec.changes()])
        row = self.shown.setdefault((", ".join(task), f"{spec.label()} ({changes})"), defaultdict(dict))
        for name, of_rules in found.items():
            for rule, value in of_rules.items():
                row[name, rule][f"{spec.seed}.{result.code.plugins}"] = value

    def tell(self) -> None:
        """Print the values by task, and what was done."""
        from bench.records.run import rule_name
        from bench.tables.rows import mean_and_error

        by_task = defaultdict(list)
        values_of_all = [value for columns in self.shown.values() for of in columns.values() for value in of.values()]
        if values_of_all and all(value is None for value in values_of_all):
            say(f"warning: {self.name} is undefined in all of these records", err=True)
        for (task, label), columns in sorted(self.shown.items()):
            for (name, rule), values in columns.items():
                known = [value for value in values.values() if value is not None]
                undefined = f", {len(values) - len(known)} undefined" if len(known) < len(values) else ""
                text = mean_and_error(known, self.metric.unit) if known else "undefined"
                by_task[task].append((label, name, rule_name(rule), f"{len(values)}{undefined}", text))
        unit = "percent" if self.metric.unit == "%" else self.metric.unit
        for task, rows in by_task.items():
            table(f"{self.name} ({unit}): {task}", rows, ("method", "set", "rule", "seeds", "mean ± standard error"))
        parts = [self.done(f"given {self.name}")]
        if self.there:
            parts.append(f"{counted(self.there, 'has', 'have')} it, equal to the last bit")
        say("; ".join([*parts, *self.left_words()]))
