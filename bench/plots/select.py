"""Runs that differ in nothing but the seed, as what a picture draws: a line, a row or a panel."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.options import show
from bench.plots.loss_ratio import column
from bench.records.run import LAST, RunResult, SeedRuns, by_seed
from bench.records.spec import OPTION_FIELDS, SHARED

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
"""The arrays that are stored beside a record, by name."""


class Series(SeedRuns):
    """The runs that differ in nothing but the seed, as what a picture draws: their name and their numbers."""

    @property
    def changed(self) -> dict[str, Any]:
        """Settings that differ from their defaults, by their names for `bench run -o`: those of the method first."""
        spec = self.first.spec
        changed = spec.changed
        if spec.validation != SHARED:
            changed["validation"] = spec.validation
        return {name: changed[name] for name in sorted(changed, key=_has_prefix)}

    def label(self, hidden: Collection[str] = ()) -> str:
        """The name that the row of these runs has in tables: `forml[weight_lr=10] (model.hidden=50)`.

        Args:
            hidden: Settings that are left out, as the picture tells them elsewhere; by the names that `bench run -o`
                has for them, or `validation`.
        """
        spec = self.first.spec
        changes = ", ".join([*spec.changes(hidden), *spec.variant(hidden), *self.of_their_time])
        return f"{spec.label(hidden)} ({changes})" if changes else spec.label(hidden)

    def setting(self, name: str) -> Any:
        """A setting as it was used, changed or not; None where there is none of this name."""
        if name == "validation":
            return self.first.spec.validation
        owner, _, option = name.rpartition(".")
        field_name = OPTION_FIELDS.get(owner or "method", "")
        return getattr(self.first.resolved, field_name, {}).get(option)

    def column(self, name: str) -> Array | None:
        """[seeds, evaluations] of a column (`bench.plots.loss_ratio`), None where a run has none; NaN: undefined."""
        columns = [column(run, name) for run in self.runs.values()]
        return None if None in columns else np.array(columns, dtype=np.float64)

    def final(self, of: str, metric: str) -> Array:
        """[seeds] values of a metric on a set after the last epoch; empty where a run has none."""
        values = []
        for run in self.runs.values():
            metrics = run.selected[LAST].metrics.get(of, {})
            if metric not in metrics:
                return np.array([], dtype=np.float64)
            values.append(metrics[metric])
        return np.array(values, dtype=np.float64)


def _has_prefix(name: str) -> bool:
    """Whether an option is of the recipe, the data set, the protocol or the model."""
    return "." in name


def series_of(results: Iterable[RunResult]) -> list[Series]:
    """The finished runs, in the order of their labels."""
    return sorted(by_seed(results, Series), key=lambda s: (s.first.spec.method, _order(s)))


def matching(
    all_series: Iterable[Series],
    dataset: str | None = None,
    protocol: str | None = None,
    model: str | None = None,
    methods: Collection[str] = (),
    settings: Mapping[str, str] | None = None,
) -> list[Series]:
    """The series of this data set, protocol and model that have these settings, by one of these methods.

    Args:
        dataset, protocol, model: Names; None for any. The protocol is without its version.
        methods: Names; empty for any.
        settings: Name -> value, as `bench run -o` writes them, changed or not.
    """
    wanted = settings or {}
    return [
        one
        for one in all_series
        if dataset in (None, one.first.spec.dataset)
        and protocol in (None, one.first.spec.protocol_name)
        and model in (None, one.first.spec.model)
        and (not methods or one.first.spec.method in methods)
        and all(show(one.setting(name)) == value for name, value in wanted.items())
    ]


def _order(series: Series) -> list[tuple[str, float, str]]:
    """Of settings: numbers by value, all else by text."""
    values = sorted(series.changed.items())
    return [(name, number if (number := number_of(v)) is not None else 0.0, show(v)) for name, v in values]


def number_of(value: Any) -> float | None:
    """A number, the only one of a list, or of a pair the second over the first (class 1 to class 0); else None."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values) or not 1 <= len(values) <= 2:
        return None
    if len(values) == 1:
        return float(values[0])
    return values[1] / values[0] if values[0] else None


def seeds(all_series: Sequence[Series]) -> str:
    """`3 seeds`, or `1 to 3 seeds` where they differ."""
    numbers = sorted({len(series.runs) for series in all_series})
    span = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    return f"{span} seed{'' if numbers == [1] else 's'}"


def shared(all_series: Sequence[Series]) -> dict[str, Any]:
    """The changed settings that are the same in all series, so that no label needs them."""
    first, *others = [series.changed for series in all_series]
    return {name: value for name, value in first.items() if all(o.get(name) == value for o in others)}


def mean_and_band(values: Array) -> tuple[Array, Array]:
    """Mean and sample standard deviation over the seeds, which are the first dimension (n - 1; zero for one seed)."""
    deviation = values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
    return values.mean(0), deviation


def band_note(all_series: Sequence[Series], mark: str = "band") -> str:
    """A sentence that says what the lines and the bands are. mark: what a band is called, where it is another mark."""
    if max(len(series.runs) for series in all_series) > 1:
        return f"Mean over {seeds(all_series)}; {mark}: ± 1 standard deviation (n - 1) over the seeds."
    return f"One seed; no {mark}."


def shared_note(all_series: Sequence[Series]) -> str:
    """The settings that are the same in all series, on a line of its own; an empty text where there are none."""
    settings = ", ".join(f"{name}={show(value)}" for name, value in shared(all_series).items())
    return f"\nAll with {settings}." if settings else ""
