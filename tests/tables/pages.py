"""Pages and series of records in memory, for several test files."""

from collections.abc import Iterable

from bench.columns.table import columns_of
from bench.plots import select
from bench.records.run import RunResult
from bench.tables.pages import leaderboard


def render(results: Iterable[RunResult]) -> dict[str, str]:
    """The pages of some records."""
    return {name: page.text for name, page in leaderboard.render(columns_of(results)).items()}


def series_of(results: Iterable[RunResult]) -> list[select.Series]:
    """The series of some records."""
    return select.series_of(columns_of(results))
