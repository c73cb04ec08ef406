"""Rows of tables: the finished runs that differ in nothing but the seed. Nothing here imports torch."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any, TypeVar

from bench.columns.run import Run
from bench.columns.seeds import SeedRuns, by_seed, of_older_code
from bench.columns.table import Columns
from bench.options import show
from bench.records.known_code import CORE
from bench.records.selections import TEST
from bench.records.spec import PAPER, canonical
from bench.tables.markdown import plain
from bench.tables.stats.means import mean_se
from bench.tables.wording import code_line, profile_with_validation, usual_recipe

T = TypeVar("T")
MARKS = FILES, CODES = "‡", "§"
"""The signs that the page explains: of data files that are not official, and of several versions of code."""
ACCURACY = "accuracy"
OTHER_LOAD = 0.5
"""By how much the load average may exceed a run's threads before its time says nothing."""


def scale_of(unit: str) -> int:
    """What values are multiplied by to be shown: fractions are shown in percent."""
    return 100 if unit == "%" else 1


def mean_and_error(values: Sequence[float], unit: str = "%") -> str:
    """Mean and standard error of a metric over seeds, as `12.34 ± 0.56`; of one value without the error.

    Args:
        values: One for each seed.
        unit: `%` for fractions, which are shown in percent.
    """
    mean, se = mean_se(values)
    if math.isnan(mean):
        return "undefined"
    scale = scale_of(unit)
    return f"{scale * mean:.2f}" + ("" if se is None else f" ± {scale * se:.2f}")


@dataclass(frozen=True, eq=False)
class Row(SeedRuns):
    """A row of a table: the finished runs that differ in nothing but the seed."""

    @cached_property
    def label(self) -> str:
        """The method and those of its options that differ from their defaults."""
        return self.first.spec.label()

    @cached_property
    def name(self) -> str:
        """The label, with the marks that the page explains, and the changes."""
        return " ".join([self.label, *self.marks]) + (f" ({self.changes})" if self.changes else "")

    @cached_property
    def marks(self) -> list[str]:
        """Those of MARKS that apply."""
        applies = {FILES: bool(self.first.data.unofficial), CODES: len(self.versions) > 1}
        return [sign for sign, is_so in applies.items() if is_so]

    @cached_property
    def shown(self) -> str:
        """The name, as markdown shows it."""
        return plain(self.name)

    @cached_property
    def shown_with_task(self) -> str:
        """The name, with the task where that is not the usual one, as markdown shows it."""
        return plain(f"{self.name} with {self.variant}") if self.variant else self.shown

    def protocol_value(self, name: str) -> str:
        """The value of an option of the protocol as a text, also where it is the default."""
        used = self.first.resolved.protocol_options
        return show(used[name]) or "empty" if name in used else "its default"

    @cached_property
    def variant(self) -> str:
        """The changed options of the data set and of the protocol, which make another task; empty for none."""
        return ", ".join(self.first.spec.variant())

    @cached_property
    def ranked_by(self) -> str:
        """The first metric."""
        return str(self.first.about.metrics[0])

    def unit(self, metric: str) -> str:
        """The unit of a metric's values: `%` where they are fractions."""
        return self.first.about.units.get(metric, "%")

    @cached_property
    def changes(self) -> str:
        """What differs from the recipe, and whether it is trained on more than the shared data; empty for nothing."""
        return ", ".join(self.all_changes)

    @cached_property
    def all_changes(self) -> list[str]:
        """The same, one by one."""
        spec = self.first.spec
        parts = []
        if "protocol" in self.first.off_recipe:
            parts.append("the recipe of another protocol")
        if "model" in self.first.off_recipe:
            parts.append(spec.model)
        parts += spec.changes()
        if said := profile_with_validation(self.first):
            parts.append(said)
        return parts + self.of_their_time

    @cached_property
    def setting(self) -> tuple[Any, ...]:
        """What two rows must have in common for a paired comparison, besides the training data."""
        first = self.first
        code = {use: one for use, one in first.code_by_use.items() if use not in (CORE, "method")}
        usual = usual_recipe()  # a field of later versions that is not used makes no difference
        recipe = {name: value for name, value in first.resolved.recipe.items() if value != usual.get(name)}
        used = canonical([first.resolved.model_options, recipe])  # with the data set's defaults of their time
        return first.spec.model, used, first.data.revision, first.data.content, canonical(code)

    def values(self, metric: str, rule: str) -> dict[int, float]:
        """The values of a metric on the test set, by seed.

        Args:
            metric: Its name, or `set/name` for its values on another set.
            rule: The selection rule of the epoch.

        Returns:
            NaN for a run where the metric is undefined, or whose protocol leaves out the set; no entry for a run to
            which the rule does not apply.
        """
        of, _, name = metric.rpartition("/")
        applies, values = self.columns.has_rule(rule), self.columns.values(rule, of or TEST, name)
        return {seed: values[row] for seed, row in self.rows.items() if applies[row]}

    def constant(self, rule: str) -> list[int]:
        """The seeds whose selected model predicts one and the same class for every sample of the test set.

        Then the recall of this class is 1 and that of the others 0, so that the balanced accuracy is 1 over their
        number. With two classes the fraction that is predicted as positive says it outright. Where the groups are the
        classes, the largest false positive rate is 1 as well.

        Args:
            rule: The selection rule of the epoch.
        """
        about = self.first.about
        if len(about.classes) == 2:
            return [seed for seed, value in self.values("fraction_positive", rule).items() if value in (0.0, 1.0)]
        recall = 1 / len(about.classes)
        balanced = self.values("balanced_accuracy", rule)
        constant = [seed for seed, value in balanced.items() if math.isclose(value, recall, abs_tol=1e-9)]
        if constant and about.groups == about.classes:
            false_positives = self.values("max_fpr", rule)
            return [seed for seed in constant if false_positives[seed] == 1]
        return constant

    @cached_property
    def paths(self) -> dict[int, str]:
        """The files of the records in their folder, by seed."""
        paths = self.columns.listed("path")
        return {seed: paths[row] for seed, row in self.rows.items()}

    @cached_property
    def constant_prediction(self) -> dict[int, tuple[str, float]]:
        """The most frequent class of the training data, and its share of the test set, by seed; without runs whose
        records do not count classes.
        """
        return {seed: told for seed, told in self.told(_most_frequent, "data", "about").items() if told}

    @cached_property
    def tests(self) -> set[str]:
        """The hashes of the test data of the seeds; with an empty one where a record does not tell its own."""
        return set(self.told(_tests, "data").values())

    @cached_property
    def test_is_fixed(self) -> bool:
        """Whether it is known that all seeds have the same test data."""
        return len(self.tests) == 1 and self.tests != {""}

    @cached_property
    def seconds_by_machine(self) -> dict[tuple[Any, ...], float]:
        """Median training seconds for each machine and way of running, of runs that had the machine to themselves."""
        seconds: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        machines = _machines(self.columns)
        for row in self.rows.values():
            if (machine := machines[row]) is not None:
                seconds[machine[:-1]].append(machine[-1])
        return {machine: median(s) for machine, s in seconds.items()}

    @property
    def uses_val(self) -> bool:
        """Whether the training uses the validation data."""
        return bool(self.first.about.uses_val) or self.first.spec.validation == PAPER

    @cached_property
    def versions(self) -> set[str]:
        """The versions of the code that made the runs, a line for each."""
        return set(self.told(code_line, "environment").values())

    def told(self, tell: Callable[[Run], T], *names: str) -> dict[int, T]:
        """What is told of the runs, by seed.

        Args:
            tell: Tells something of a run that follows from some columns alone: it is asked once for equal ones.
            names: These columns, of shared texts.
        """
        codes = [self.columns.listed_codes(name) for name in names]
        told = {}
        for seed, row in self.rows.items():
            key = (tell, *(column[row] for column in codes))
            told[seed] = self.columns.once(key, lambda row=row: tell(Run(self.columns, row)))  # type: ignore[misc]
        return told

    def cost(self, baseline: "Row | None") -> float | None:
        """The training time relative to the baseline's on the same machines; None where no machine ran both."""
        if baseline is None:
            return None
        seconds = self.seconds_by_machine
        base = baseline.seconds_by_machine
        common = seconds.keys() & base.keys()
        if not common:
            return None
        return math.fsum(seconds[m] for m in common) / math.fsum(base[m] for m in common)

    @property
    def command(self) -> str:
        """The command that makes all runs of the row."""
        base = self.first.command.rpartition(" --seed ")[0]
        seeds = sorted(self.runs)
        if seeds == list(range(len(seeds))):
            return f"{base} --seeds {len(seeds)}"
        return base + "".join(f" --seed {seed}" for seed in seeds)


def _tests(run: Run) -> str:
    return run.data.tests


def _most_frequent(run: Run) -> tuple[str, float] | None:
    """The most frequent class of the training data, and its share of the test set."""
    train, test = run.data.class_counts("train"), run.data.class_counts(TEST)
    if not train or not test or not sum(test):
        return None
    most = train.index(max(train))
    return run.about.classes[most], test[most] / sum(test)


def _machines(columns: Columns) -> list[tuple[Any, ...] | None]:
    """For each run the machine and the way of running, and the seconds of training; None for a run that shared the
    machine with other work.
    """
    return columns.once("machines", lambda: [_machine(columns, row) for row in range(len(columns))])


def _machine(columns: Columns, row: int) -> tuple[Any, ...] | None:
    load, threads = columns.listed("load")[row], columns.listed("threads")[row]
    if load is None or load > threads + OTHER_LOAD:
        return None
    device, torch = columns.once(
        ("device", columns.listed_codes("environment")[row]), lambda: _device(Run(columns, row))
    )
    how = (columns.listed(name)[row] for name in ("stacked", "captured", "seconds"))
    return device, torch, threads, *how


def _device(run: Run) -> tuple[str, str]:
    return run.environment.device, run.environment.versions["torch"]


def rows_of(tasks: Iterable[Columns]) -> list[Row]:
    """The rows of the finished runs, in the order of their names.

    A row holds the runs that differ in nothing but the seed. Of those that were made by different code of a plugin, it
    is those of the newest code; `older_rows` has the others.

    Args:
        tasks: The columns of each task.
    """
    rows = by_seed(tasks, Row, in_order)
    return sorted(rows, key=lambda row: (row.label, row.changes))


def older_rows(tasks: Iterable[Columns]) -> list[Row]:
    """Rows of the finished runs that were made by older code, which `rows_of` leaves out, in the order of names.

    Args:
        tasks: The columns of each task.
    """
    rows = of_older_code(tasks, Row, in_order)
    return sorted(rows, key=lambda row: (row.variant, row.label, row.changes))


def in_order(columns: Columns) -> list[tuple[str, int, str]]:
    """What runs are sorted by in tables: the command, the seed and the key.

    Args:
        columns: Those of their task.
    """

    def order() -> list[tuple[str, int, str]]:
        commands = map(json.loads, columns.listed("command"))
        return list(zip(commands, columns.listed("seed"), columns.listed("key"), strict=True))

    return columns.once("order of tables", order)
