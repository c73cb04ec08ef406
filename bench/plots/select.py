"""Runs that differ in nothing but the seed, as what a picture draws: a line, a row or a panel."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.columns.seeds import SeedRuns, by_seed
from bench.columns.table import Columns
from bench.errors import StoreError
from bench.options import show
from bench.plots.loss_ratio import column
from bench.records.run import LAST
from bench.records.spec import OPTION_FIELDS, SHARED
from bench.store.beside import sidecar_of_file
from bench.store.repetition import command_again

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
            hidden: settings that are left out, as the picture tells them elsewhere; by the names that `bench run -o`
                has for them, or `validation`.

        Returns:
            The name.
        """
        spec = self.first.spec
        changes = ", ".join([*spec.changes(hidden), *spec.variant(hidden), *self.of_their_time])
        return f"{spec.label(hidden)} ({changes})" if changes else spec.label(hidden)

    def option_value(self, name: str) -> Any:
        """A setting as it was used, whether it was changed or not.

        Args:
            name: as `bench run -o` has it, or `validation`.

        Returns:
            Its value; None if there is none of this name.
        """
        if name == "validation":
            return self.first.spec.validation
        owner, _, option = name.rpartition(".")
        field_name = OPTION_FIELDS.get(owner or "method", "")
        return getattr(self.first.resolved, field_name, {}).get(option)

    def column(self, name: str) -> Array | None:
        """A column of the history, of all seeds.

        Args:
            name: as for `bench.plots.loss_ratio.column`.

        Returns:
            [seeds, evaluations], with NaN where a value is undefined; None if a run lacks the column.
        """
        columns = [column(run, name) for run in self.runs.values()]
        return None if None in columns else np.array(columns, dtype=np.float64)

    def final(self, of: str, metric: str) -> Array:
        """The values of a metric after the last epoch.

        Args:
            of: the set, such as `test`.
            metric: its name.

        Returns:
            [seeds]; empty if a run lacks the metric.
        """
        layouts = [run.layout for run in self.runs.values()]
        if not all((LAST, of, metric) in layout.places for layout in layouts):
            return np.array([], dtype=np.float64)
        values = self.columns.values(LAST, of, metric)
        return np.array([values[row] for row in self.rows.values()], dtype=np.float64)


def _has_prefix(name: str) -> bool:
    """Whether an option is of the recipe, the data set, the protocol or the model."""
    return "." in name


def series_of(tasks: Iterable[Columns]) -> list[Series]:
    """The finished runs as series.

    Args:
        tasks: the columns of each task.

    Returns:
        The series in the order of their labels, with numbers in the order of their values.
    """
    return sorted(by_seed(tasks, Series), key=lambda s: (s.first.spec.method, _order(s)))


def with_sidecars(series: Series, data: Path | None = None) -> tuple[Series | None, list[str]]:
    """The series of those runs beside whose records lies what is their own, which they have then.

    Args:
        series: the series.
        data: the folder of the data files, where the user has named one.

    Returns:
        The series, None where no run is left; and why each of the others is left out, with the command that makes it
        whole again.
    """
    left_out = {}
    for seed, run in series.runs.items():
        try:
            run.beside = run.beside or sidecar_of_file(run.record, run.columns.file(run.row))
        except StoreError as error:
            again = command_again(run.record, run.columns.folder, data)
            left_out[seed] = f"{error}; the same run makes it again: {again}"
    if not left_out:
        return series, []
    rows = {seed: row for seed, row in series.rows.items() if seed not in left_out}
    if not rows:
        return None, list(left_out.values())
    rest = replace(series, rows=rows)
    for seed, run in rest.runs.items():
        run.beside = series.runs[seed].beside
    return rest, list(left_out.values())


def matching(
    all_series: Iterable[Series],
    dataset: str | None = None,
    protocol: str | None = None,
    model: str | None = None,
    methods: Collection[str] = (),
    settings: Mapping[str, str] | None = None,
) -> list[Series]:
    """The series of a data set, protocol and model that have these settings, by one of these methods.

    Args:
        all_series: those to choose from.
        dataset, protocol, model: names; None for any. The protocol is without its version.
        methods: names; empty for any.
        settings: name -> value, as `bench run -o` writes them, whether changed or not.

    Returns:
        Those that match, in their order.
    """
    wanted = settings or {}
    return [
        one
        for one in all_series
        if dataset in (None, one.first.spec.dataset)
        and protocol in (None, one.first.spec.protocol_name)
        and model in (None, one.first.spec.model)
        and (not methods or one.first.spec.method in methods)
        and all(show(one.option_value(name)) == value for name, value in wanted.items())
    ]


def _order(series: Series) -> list[tuple[str, float, str]]:
    """Of settings: numbers by value, all else by text."""
    values = sorted(series.changed.items())
    return [(name, number if (number := number_of(v)) is not None else 0.0, show(v)) for name, v in values]


def number_of(value: Any) -> float | None:
    """The value of a setting as a number.

    Args:
        value: of any type.

    Returns:
        The number itself, the only one of a list, or of a pair the second over the first (class 1 to class 0); None for
        all else.
    """
    values = list(value) if isinstance(value, list | tuple) else [value]
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in values) or not 1 <= len(values) <= 2:
        return None
    if len(values) == 1:
        return float(values[0])
    return values[1] / values[0] if values[0] else None


def seeds(all_series: Sequence[Series]) -> str:
    """The number of seeds in words.

    Args:
        all_series: at least one.

    Returns:
        Such as `3 seeds`, or `1 to 3 seeds` if they differ.
    """
    numbers = sorted({len(series.runs) for series in all_series})
    span = f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else str(numbers[0])
    return f"{span} seed{'' if numbers == [1] else 's'}"


def shared(all_series: Sequence[Series]) -> dict[str, Any]:
    """The changed settings that are the same in all series, so that no label needs them.

    Args:
        all_series: at least one.

    Returns:
        Name of the setting -> value.
    """
    first, *others = [series.changed for series in all_series]
    return {name: value for name, value in first.items() if all(name in o and o[name] == value for o in others)}


def mean_and_band(values: Array) -> tuple[Array, Array]:
    """Mean and sample standard deviation over the seeds.

    Args:
        values: [seeds, ...].

    Returns:
        Two arrays [...]: the mean, and the standard deviation (n - 1 in the denominator; zero for one seed).
    """
    deviation = values.std(0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
    return values.mean(0), deviation


def band_note(all_series: Sequence[Series], mark: str = "band", cut: bool = False) -> str:
    """A sentence that says what the lines and the bands of a picture are.

    Args:
        all_series: at least one.
        mark: what a band is called, if it is another mark. Default: `band`.
        cut: whether any ends at the least or the largest possible value. Default: no.

    Returns:
        The sentence.
    """
    if max(len(series.runs) for series in all_series) > 1:
        note = f"Mean over {seeds(all_series)}; {mark}: ± 1 standard deviation (n - 1) over the seeds"
        return f"{note}, cut where no value is possible." if cut else f"{note}."
    return f"One seed; no {mark}."


def shared_note(all_series: Sequence[Series]) -> str:
    """The settings that are the same in all series, as a line of a picture's note.

    Args:
        all_series: at least one.

    Returns:
        The line, which begins with a line break; empty if there is no such setting.
    """
    settings = ", ".join(f"{name}={show(value)}" for name, value in shared(all_series).items())
    return f"\nAll with {settings}." if settings else ""
