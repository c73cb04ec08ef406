"""Pages of those records that pages can show."""

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
P = TypeVar("P")


def shown_of(records: Sequence[T], draw: Callable[[Sequence[T]], dict[str, P]]) -> tuple[dict[str, P], dict[int, str]]:
    """The pages of records, and by its place the reason for each record that no page can show.

    A record may have the right types and yet say what makes no sense. Where some do, the pages are those of the others;
    where all do, the mistake is in `draw`.

    Args:
        records: the records.
        draw: makes the pages of some of them, by name.
    """
    try:
        return draw(records), {}
    except Exception:
        not_shown = _failing(records, range(len(records)), draw)
        if len(not_shown) in (0, len(records)) and len(records) > 1:
            raise
        return draw([record for place, record in enumerate(records) if place not in not_shown]), not_shown


def _failing(records: Sequence[T], places: Sequence[int], draw: Callable[[Sequence[T]], object]) -> dict[int, str]:
    """The records at some places that cannot be drawn by themselves, by halves: place -> the reason."""
    try:
        draw([records[place] for place in places])
    except Exception as error:
        if len(places) == 1:
            return {places[0]: f"it cannot be shown: {type(error).__name__}: {error}"}
        half = len(places) // 2
        return _failing(records, places[:half], draw) | _failing(records, places[half:], draw)
    return {}
