"""Rows of tables: the finished runs that differ in nothing but the seed. Nothing here imports torch."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.options import show
from bench.records.known_code import CORE
from bench.records.run import RunResult
from bench.records.seeds import SeedRuns, by_seed, of_older_code
from bench.records.spec import PAPER, canonical
from bench.tables.stats import mean_se
from bench.tables.wording import code_line, usual_recipe

TEST = "test"
OTHER_LOAD = 0.5
"""By how much the load average may exceed a run's threads before its time says nothing."""

OTHER_PROFILE = 0.1
"""By what share the ratio of the largest to the smallest class must change to be told."""


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


@dataclass(frozen=True)
class Row(SeedRuns):
    """A row of a table: the finished runs that differ in nothing but the seed."""

    @property
    def label(self) -> str:
        """The method and those of its options that differ from their defaults."""
        return self.first.spec.label()

    @property
    def name(self) -> str:
        """The label, with the marks that the page explains, and the changes."""
        mark = (" ‡" if self.first.data.unofficial else "") + (" §" if len(self.versions) > 1 else "")
        return self.label + mark + (f" ({self.changes})" if self.changes else "")

    def protocol_value(self, name: str) -> str:
        """The value of an option of the protocol as a text, also where it is the default."""
        used = self.first.resolved.protocol_options
        return show(used[name]) or "empty" if name in used else "its default"

    @property
    def variant(self) -> str:
        """The changed options of the data set and of the protocol, which make another task; empty for none."""
        return ", ".join(self.first.spec.variant())

    @property
    def ranked_by(self) -> str:
        """The first metric."""
        return str(self.first.about.metrics[0])

    def unit(self, metric: str) -> str:
        """The unit of a metric's values: `%` where they are fractions."""
        return self.first.about.units.get(metric, "%")

    @property
    def changes(self) -> str:
        """What differs from the recipe, and whether it is trained on more than the shared data; empty for nothing."""
        spec = self.first.spec
        parts = []
        if "protocol" in self.first.off_recipe:
            parts.append("the recipe of another protocol")
        if "model" in self.first.off_recipe:
            parts.append(spec.model)
        parts += spec.changes()
        if said := _profile_with_validation(self.first):
            parts.append(said)
        return ", ".join(parts + self.of_their_time)

    @property
    def setting(self) -> tuple[Any, ...]:
        """What two rows must have in common for a paired comparison, besides the training data."""
        spec, resolved = self.first.spec, self.first.resolved
        code = {use: one for use, one in self.first.code_by_use.items() if use not in (CORE, "method")}
        usual = usual_recipe()  # a field of later versions that is not used makes no difference
        recipe = {name: value for name, value in resolved.recipe.items() if value != usual.get(name)}
        used = canonical([resolved.model_options, recipe])  # with the data set's defaults of their time
        return spec.model, used, self.first.data.revision, self.first.data.content, canonical(code)

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
        values = {}
        for seed, result in self.runs.items():
            if rule in result.selected:
                value = result.selected[rule].metrics.get(of or TEST, {}).get(name)
                values[seed] = math.nan if value is None else value
        return values

    def constant(self, rule: str) -> list[int]:
        """The seeds whose selected model predicts one and the same class for every sample of the test set.

        Args:
            rule: The selection rule of the epoch.
        """
        return [seed for seed, result in self.runs.items() if rule in result.selected and _is_constant(result, rule)]

    @property
    def seconds_by_machine(self) -> dict[tuple[Any, ...], float]:
        """Median training seconds for each machine and way of running, of runs that had the machine to themselves."""
        seconds: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        for r in self.runs.values():
            load = r.costs.load
            if load is None or load > r.costs.threads + OTHER_LOAD:
                continue
            machine = (
                r.environment.device,
                r.environment.versions["torch"],
                r.costs.threads,
                r.costs.stacked,
                r.costs.captured,
            )
            seconds[machine].append(r.costs.all_seconds)
        return {machine: median(s) for machine, s in seconds.items()}

    @property
    def uses_val(self) -> bool:
        """Whether the training uses the validation data."""
        return bool(self.first.about.uses_val) or self.first.spec.validation == PAPER

    @property
    def versions(self) -> set[str]:
        """The versions of the code that made the runs, a line for each."""
        return {code_line(r) for r in self.runs.values()}

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


def _is_constant(result: RunResult, rule: str) -> bool:
    """Whether a model predicts one class for every test sample.

    Then the recall of this class is 1 and that of the others 0, so that the balanced accuracy is 1 over their number.
    With two classes the fraction that is predicted as positive says it outright. Where the groups are the classes, the
    largest false positive rate is 1 as well.
    """
    metrics = result.selected[rule].metrics.get(TEST, {})
    if len(result.about.classes) == 2:
        return metrics.get("fraction_positive") in (0.0, 1.0)
    balanced = metrics.get("balanced_accuracy")
    if balanced is None or not math.isclose(balanced, 1 / len(result.about.classes), abs_tol=1e-9):
        return False
    return result.about.groups != result.about.classes or metrics.get("max_fpr") == 1


def _profile_with_validation(result: RunResult) -> str:
    """How the classes of the training data stand to one another where validation data joined them and changed that.

    Empty where none joined them, where the proportions stay, and for records that do not count classes.
    """
    joined, val = result.class_counts("train"), result.class_counts("val")
    if result.spec.validation != PAPER or not joined or len(joined) != len(val):
        return ""
    before = [together - of_val for together, of_val in zip(joined, val, strict=True)]
    if min(before) < 1:
        return ""
    ratio, alone = max(joined) / min(joined), max(before) / min(before)
    if abs(ratio / alone - 1) <= OTHER_PROFILE:
        return ""
    return f"which makes its classes {ratio:.3g}:1 instead of {alone:.3g}:1"


def rows_of(results: Sequence[RunResult]) -> list[Row]:
    """The rows of the finished runs, in the order of their names.

    A row holds the runs that differ in nothing but the seed. Of those that were made by different code of a plugin, it
    is those of the newest code; `older_rows` has the others.
    """
    rows = by_seed(_in_order(results), Row)
    return sorted(rows, key=lambda row: (row.label, row.changes))


def older_rows(results: Sequence[RunResult]) -> list[Row]:
    """Rows of the finished runs that were made by older code, which `rows_of` leaves out, in the order of names."""
    rows = of_older_code(_in_order(results), Row)
    return sorted(rows, key=lambda row: (row.variant, row.label, row.changes))


def _in_order(results: Sequence[RunResult]) -> list[RunResult]:
    return sorted(results, key=lambda r: (r.command, r.spec.seed, r.spec.key))
