"""Runs that differ in nothing but the seed. Nothing here imports torch."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from operator import itemgetter
from typing import Any, TypeVar

from bench.columns.lines import OPTIONS, SETTINGS
from bench.columns.run import Run
from bench.columns.table import Columns
from bench.records.known_code import CORE
from bench.records.spec import canonical


@dataclass(frozen=True, eq=False)
class SeedRuns:
    """The finished runs that differ in nothing but the seed.

    Attributes:
        columns: those of their task.
        rows: seed -> the place of its run there.
        content: the hash of their data, where it is known.
        ambiguous: whether there are others that differ from these only in the defaults of their time, or in the data.
        older: whether there are runs of the same spec that newer code of a plugin made.
    """

    columns: Columns
    rows: Mapping[int, int]
    content: str = ""
    ambiguous: bool = False
    older: bool = False

    @cached_property
    def first(self) -> Run:
        """The run of the smallest seed, for what all of them have in common."""
        return self.runs[min(self.rows)]

    @cached_property
    def runs(self) -> dict[int, Run]:
        """The runs by seed."""
        return {seed: Run(self.columns, row, self.content) for seed, row in self.rows.items()}

    @property
    def of_their_time(self) -> list[str]:
        """What tells ambiguous runs from those others, in words; empty where there are none."""
        if not self.ambiguous:
            return []
        content = self.first.data.content
        return [f"settings {self.first.spec.settings}"] + ([f"data {content}"] if content else [])


S = TypeVar("S", bound=SeedRuns)
Group = tuple[Columns, tuple[Any, ...], str, list[dict[int, int]]]
"""Of runs of one spec and one content: their columns, the codes of their spec, the content, and the places of the runs
by seed, those of each code of the plugins apart, the newest first."""


Order = Callable[[Columns], list[Any]]
"""Gives for each run what it is sorted by."""


def by_seed(tasks: Iterable[Columns], kind: type[S], order: Order | None = None) -> list[S]:
    """Group finished runs: those of one spec and one content of the data belong together.

    Of runs that different code of a plugin made, only those of the newest code are taken; `of_older_code` has the
    others.

    Args:
        tasks: the columns of each task.
        kind: what to make of each group.
        order: the order of the runs; as they are in the columns where it is None.

    Returns:
        The groups, in the order in which they are met.
    """
    groups = _groups(tasks, order)
    times = Counter((id(columns), spec) for columns, spec, _, _ in groups)
    return [
        kind(columns, by_code[0], content, times[id(columns), spec] > 1) for columns, spec, content, by_code in groups
    ]


def of_older_code(tasks: Iterable[Columns], kind: type[S], order: Order | None = None) -> list[S]:
    """Group the finished runs that `by_seed` leaves out: those of one spec, one content of the data and one code belong
    together.

    Args:
        tasks, kind, order: as for `by_seed`.
    """
    return [
        kind(columns, rows, content, older=True)
        for columns, _, content, by_code in _groups(tasks, order)
        for rows in by_code[1:]
    ]


def _groups(tasks: Iterable[Columns], order: Order | None) -> list[Group]:
    tasks = list(tasks)
    known = _known_contents(tasks)
    if order is None:
        return [group for columns in tasks for _, group in _groups_of(columns, known, range(len(columns)))]
    groups = [found for columns in tasks for found in _groups_of(columns, known, order(columns))]
    return [group for _, group in sorted(groups, key=itemgetter(0))]


def _groups_of(columns: Columns, known: Mapping[str, set[str]], order: Sequence[Any]) -> list[tuple[Any, Group]]:
    """The groups of one task, each with that by which its first run is sorted."""
    specs = list(
        zip(*map(columns.listed_codes, SETTINGS), *(_same_options(columns, name) for name in OPTIONS), strict=True)
    )
    contents, plugins = _contents(columns, known), plugins_of(columns)
    seeds, finished = columns.listed("seed"), columns.finished
    groups: dict[Any, dict[str, dict[int, int]]] = defaultdict(lambda: defaultdict(dict))
    begins: dict[Any, Any] = {}
    for row in sorted(range(len(columns)), key=order.__getitem__):
        if finished[row]:
            same = specs[row], contents[row]
            groups[same][plugins[row]][seeds[row]] = row
            begins.setdefault(same, order[row])
    time = SETTINGS.index("settings")
    found: list[tuple[Any, Group]] = []
    for (spec, content), by_code in groups.items():
        newest_first = list(by_code.values())
        if len(newest_first) > 1:
            newest_first.sort(key=lambda rows: _date(columns, rows), reverse=True)
        group = columns, (*spec[:time], *spec[time + 1 :]), content, newest_first
        found.append((begins[spec, content], group))
    return found


def _same_options(columns: Columns, name: str) -> list[int]:
    """For each run a number that those with the same options have, in whatever order their records name them."""
    numbers: dict[str, int] = {}
    same = [numbers.setdefault(canonical(json.loads(text)), len(numbers)) for text in columns.different(name)]
    return [same[code] for code in columns.listed_codes(name)]


def plugins_of(columns: Columns) -> list[str]:
    """For each run the hashes of the plugins that made it, as JSON.

    Args:
        columns: those of a task.
    """
    texts: dict[tuple[int, ...], str] = {}
    found = []
    for row, codes in enumerate(_codes(columns, "code", "environment")):
        if codes not in texts:
            by_use = Run(columns, row).code_by_use
            texts[codes] = canonical({use: code for use, code in by_use.items() if use != CORE})
        found.append(texts[codes])
    return found


def _date(columns: Columns, rows: Mapping[int, int]) -> tuple[str, str]:
    """When the last of these runs was recorded; of equal dates, the hashes decide, so that the order is always one."""
    created = columns.listed("created")
    last = max(rows.values(), key=lambda row: created[row])
    return created[last], canonical(Run(columns, last).code_by_use)


def _known_contents(tasks: Sequence[Columns]) -> dict[str, set[str]]:
    """Revision of a data set -> the hashes that finished runs tell of its data."""
    known: dict[str, set[str]] = defaultdict(set)
    for columns in tasks:
        for revision, content in set(compress(_revisions(columns), columns.finished)):
            if revision and content:
                known[revision].add(content)
    return known


def _contents(columns: Columns, known: Mapping[str, set[str]]) -> list[str]:
    """For each run the hash of its data. The record of an earlier version has none: it gets that of the others of its
    revision, where these have one and the same.
    """
    contents = []
    for revision, content in _revisions(columns):
        others = known.get(revision, set())
        contents.append(next(iter(others)) if not content and len(others) == 1 else content)
    return contents


def _revisions(columns: Columns) -> list[tuple[str, str]]:
    """For each run the revision of its data set, empty where it has none, and the hash that it tells of its data."""
    known: dict[tuple[int, ...], tuple[str, str]] = {}
    found = []
    for row, codes in enumerate(_codes(columns, "dataset_options", "data")):
        if codes not in known:
            run = Run(columns, row)
            revision = canonical([run.spec.dataset, run.spec.dataset_options, run.data.revision])
            known[codes] = revision if run.data.revision else "", run.data.content
        found.append(known[codes])
    return found


def _codes(columns: Columns, *names: str) -> Iterator[tuple[int, ...]]:
    """For each run the places of its texts in some columns."""
    return zip(*(columns.listed_codes(name) for name in names), strict=True)
