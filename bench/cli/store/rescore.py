"""`bench rescore`."""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import folder_of_records, installed, out_option, say, table, warn_of
from bench.cli.interrupts import leave
from bench.cli.leaderboard import write_tables
from bench.cli.store.filters import Filters, filter_options
from bench.cli.store.metrics import guarded_metrics
from bench.errors import BenchError, OptionError

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
@filter_options
@out_option
def rescore(name: str, rule: str | None, dry_run: bool, out: Path, **asked: Any) -> None:
    """Compute a metric of the stored predictions, without training.

    The records get the values that their runs would have written, for each test set and probe and under each selection
    rule that the run has, and the hash of the metric's code. A record that has the metric stays as it is; where its
    values are others than those of its predictions, it is named and the exit code is 1.

    Under another rule, best_val_METRIC of any metric in the history, values are shown and not written: the predictions
    of other epochs are not stored, and a method may look at the rule while it trains. For records, run it with
    `-o recipe.select=METRIC`.

    A record that cannot be rescored, because it has no predictions or is damaged, is named; the exit code is 1 then.
    """
    plugins = installed()
    plugins.find("metrics", name)  # raises for one that is not installed
    metric = guarded_metrics(plugins)[name]
    higher_is_better = _direction(rule, plugins)
    folder = folder_of_records(out)
    rescoring = _Rescoring(folder, name, metric, rule, higher_is_better, _code(plugins, name), dry_run)
    try:
        rescoring.all(Filters(**asked))
    except KeyboardInterrupt:
        if rescoring.written:
            write_tables(out)
        done = f"{rescoring.written:,} records were written"
        leave(done)
    whole = write_tables(out).whole if rescoring.written else True
    rescoring.tell()
    sys.exit(1 if rescoring.left or not whole else 0)


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


@dataclass
class _Rescoring:
    """One look at all records.

    Attributes:
        code: the hash of the metric's code.
        left: file -> why its record was not rescored.
        shown: row of the table -> set and rule -> seed -> value.
        written, there: the number of records that got the metric, and that have it.
    """

    folder: Path
    name: str
    metric: "Metric"
    rule: str | None
    higher_is_better: bool
    code: str
    dry_run: bool
    left: dict[Path, str] = field(default_factory=dict)
    shown: dict[tuple[str, str], dict[tuple[str, str], dict[str, float | None]]] = field(default_factory=dict)
    written: int = 0
    there: int = 0

    def all(self, filters: Filters) -> None:
        """Rescore all records that the filters leave. Raises BenchError where there are none."""
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
            check_writable(self.folder)
        without: dict[Path, str] = {}
        with Claims(self.folder) as claims:
            for result, files in chosen:
                try:
                    self._one(result, files, claims)
                except NoPredictionsError as error:
                    without[files[0]] = self._why(result, error)
                except BenchError as error:
                    self.left[files[0]] = self._why(result, error)
                    say(f"left {files[0]}: {self.left[files[0]]}", err=True)

        for path, why in list(without.items())[:FEW]:
            say(f"left {path}: {why}", err=True)
        if len(without) > FEW:
            say(f"left {len(without) - FEW:,} more records without predictions: repeat their runs too", err=True)
        self.left |= without

    def _why(self, result: "RunResult", error: BenchError) -> str:
        """Why a record was not rescored, and what to do where only a repetition of its run helps."""
        from bench.store.repetition import command_again
        from bench.store.rescored import PredictionsError

        again = f": repeat the run: {command_again(result, self.folder)}"
        return f"{error}{again if isinstance(error, PredictionsError) else ''}"

    def _one(self, result: "RunResult", files: Sequence[Path], claims: Any) -> None:
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
        elif not self.dry_run:
            self._write(result, made, files, claims)
            self.written += 1

    def _write(self, result: "RunResult", made: "RunResult", files: Sequence[Path], claims: Any) -> None:
        """Replace a record in all of its files, unless it has changed since it was read."""
        from bench.records.files import write_whole
        from bench.records.json_file import read_all

        if not claims.take(result.path):
            raise BenchError("another process makes this run: rescore it again when that has ended")
        try:
            if any(other != result for other in read_all(files, type(result))[0].values()):
                raise BenchError("it has changed meanwhile: rescore it again")
            for file in files:
                write_whole(file, made.to_json().encode())
        finally:
            claims.release(result.path)

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
        for (task, label), columns in sorted(self.shown.items()):
            for (name, rule), values in columns.items():
                known = [value for value in values.values() if value is not None]
                undefined = f", {len(values) - len(known)} undefined" if len(known) < len(values) else ""
                text = mean_and_error(known, self.metric.unit) if known else "undefined"
                by_task[task].append((label, name, rule_name(rule), f"{len(values)}{undefined}", text))
        unit = "percent" if self.metric.unit == "%" else self.metric.unit
        for task, rows in by_task.items():
            table(f"{self.name} ({unit}): {task}", rows, ("method", "set", "rule", "seeds", "mean ± standard error"))
        parts = [f"{self.written:,} records were given {self.name}"]
        if self.dry_run or not self.written:
            parts = ["nothing was written"]
        if self.there:
            parts.append(f"{self.there:,} have it, equal to the last bit")
        if self.left:
            parts.append(f"{len(self.left):,} file(s) left")
        say("; ".join(parts))
