"""Rows of tables: the finished runs that differ in nothing but the seed. Nothing here imports torch."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

from bench.options import show
from bench.records.run import RunResult, SeedRuns, by_seed
from bench.records.spec import canonical
from bench.tables.wording import code_line, usual_recipe

TEST = "test"
OTHER_LOAD = 0.5
"""By how much the load average may exceed a run's threads before its time says nothing."""


@dataclass(frozen=True)
class Row(SeedRuns):
    """What a table says of them."""

    ambiguous: bool = False
    """Whether another row differs from it in nothing but the defaults of its time."""

    @property
    def label(self) -> str:
        """Method and what differs from its defaults."""
        spec = self.any.spec
        options = ",".join(f"{name}={show(value)}" for name, value in sorted(spec.options.items()))
        return spec.method + (f"[{options}]" if options else "")

    @property
    def name(self) -> str:
        """The label, with the marks that the page explains, and the changes."""
        mark = (" ‡" if self.any.data.unofficial else "") + (" §" if len(self.versions) > 1 else "")
        return self.label + mark + (f" ({self.changes})" if self.changes else "")

    def protocol_value(self, name: str) -> str:
        """That of an option of the protocol, also where it is the default."""
        used = self.any.resolved.protocol_options
        return show(used[name]) or "empty" if name in used else "its default"

    @property
    def variant(self) -> str:
        """Options of the data set and the protocol: another task."""
        spec = self.any.spec
        parts = [f"dataset.{name}={show(value)}" for name, value in sorted(spec.dataset_options.items())]
        return ", ".join(parts + [f"{name}={show(value)}" for name, value in sorted(spec.protocol_options.items())])

    @property
    def ranked_by(self) -> str:
        """The first metric."""
        return str(self.any.about.metrics[0])

    @property
    def changes(self) -> str:
        """What is off the recipe, or trained on more than the shared data."""
        spec = self.any.spec
        parts = ["the recipe of another protocol"] if "protocol" in self.any.off_recipe else []
        parts += [spec.model] if "model" in self.any.off_recipe else []
        parts += [f"model.{name}={show(value)}" for name, value in sorted(spec.model_options.items())]
        parts += [f"{name}={show(value)}" for name, value in sorted(spec.recipe.items())]
        parts += ["trained on validation data too"] if spec.validation == "paper" else []
        parts += [f"settings {spec.settings}"] if self.ambiguous else []
        return ", ".join(parts)

    @property
    def setting(self) -> tuple[Any, ...]:
        """What two rows must share for a comparison to be paired, the training data apart."""
        spec, resolved = self.any.spec, self.any.resolved
        usual = usual_recipe()  # a field of later versions that is not used makes no difference
        recipe = {name: value for name, value in resolved.recipe.items() if value != usual.get(name)}
        used = canonical([resolved.model_options, recipe])  # with the data set's defaults of their time
        return spec.model, used, self.any.data.revision

    def values(self, metric: str, rule: str) -> dict[int, float]:
        """Values on the test set, or on that of `set/metric`, by seed; NaN where undefined, or where the options of the
        protocol leave out the set; nothing where the rule does not apply.
        """
        of, _, name = metric.rpartition("/")
        chosen = {seed: r.selected[rule]["metrics"] for seed, r in self.runs.items() if rule in r.selected}
        found = {seed: metrics.get(of or TEST, {}).get(name) for seed, metrics in chosen.items()}
        return {seed: math.nan if value is None else value for seed, value in found.items()}

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
            seconds[machine].append(r.costs.train_seconds)
        return {machine: median(s) for machine, s in seconds.items()}

    @property
    def uses_val(self) -> bool:
        """Whether the training uses the validation data."""
        return bool(self.any.about.uses_val) or self.any.spec.validation == "paper"

    @property
    def versions(self) -> set[str]:
        """Of the code that made the runs."""
        return {code_line(r) for r in self.runs.values()}

    def cost(self, baseline: "Row | None") -> float | None:
        """Training time relative to the baseline's on the same machines, or None where there is none to compare."""
        own, base = self.seconds_by_machine, baseline.seconds_by_machine if baseline else {}
        common = own.keys() & base.keys()
        return math.fsum(own[m] for m in common) / math.fsum(base[m] for m in common) if common else None

    @property
    def command(self) -> str:
        base = self.any.command.rpartition(" --seed ")[0]
        seeds = sorted(self.runs)
        if seeds == list(range(len(seeds))):
            return f"{base} --seeds {len(seeds)}"
        return base + "".join(f" --seed {seed}" for seed in seeds)


def rows_of(results: Sequence[RunResult]) -> list[Row]:
    """The finished runs by what differs in more than the seed."""
    found = by_seed(sorted(results, key=lambda r: (r.command, r.spec.seed, r.spec.key)))
    asked = [canonical(asdict(replace(runs[min(runs)].spec, seed=0, settings=""))) for runs in found]
    times = Counter(asked)
    rows = [Row(runs, times[spec] > 1) for runs, spec in zip(found, asked, strict=True)]
    return sorted(rows, key=lambda row: (row.label, row.changes))
