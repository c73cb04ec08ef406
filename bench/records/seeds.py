"""Finished runs that differ in nothing but the seed. Nothing here imports torch."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TypeVar

from bench.records.known_code import CORE
from bench.records.run import RunResult
from bench.records.spec import canonical


@dataclass(frozen=True)
class SeedRuns:
    """The finished runs that differ in nothing but the seed.

    Attributes:
        runs: by seed.
        ambiguous: whether there are others that differ from these only in the defaults of their time, or in the data.
        older: whether there are runs of the same spec that newer code of a plugin made.
    """

    runs: Mapping[int, RunResult]
    ambiguous: bool = False
    older: bool = False

    @property
    def first(self) -> RunResult:
        """The run of the smallest seed, for what all of them have in common."""
        return self.runs[min(self.runs)]

    @property
    def of_their_time(self) -> list[str]:
        """What tells ambiguous runs from those others, in words; empty where there are none."""
        if not self.ambiguous:
            return []
        content = self.first.data.content
        return [f"settings {self.first.spec.settings}"] + ([f"data {content}"] if content else [])


S = TypeVar("S", bound=SeedRuns)


def by_seed(results: Iterable[RunResult], kind: type[S]) -> list[S]:
    """Group finished runs: those of one spec and one content of the data belong together.

    Of runs that different code of a plugin made, only those of the newest code are taken; `of_older_code` has the
    others.

    Args:
        results: records, in any order.
        kind: what to make of each group.

    Returns:
        The groups, in the order in which they are met.
    """
    groups = [by_code[0] for by_code in _by_code(results)]
    specs = [canonical(asdict(replace(runs[min(runs)].spec, seed=0, settings=""))) for runs in groups]
    times = Counter(specs)
    return [kind(runs, times[spec] > 1) for runs, spec in zip(groups, specs, strict=True)]


def of_older_code(results: Iterable[RunResult], kind: type[S]) -> list[S]:
    """Group the finished runs that `by_seed` leaves out: those of one spec, one content of the data and one code belong
    together.

    Args:
        results, kind: as for `by_seed`.
    """
    return [kind(runs, older=True) for by_code in _by_code(results) for runs in by_code[1:]]


def _by_code(results: Iterable[RunResult]) -> list[list[dict[int, RunResult]]]:
    """The finished runs of each spec and content by seed, those of each code of the plugins apart, the newest first."""
    runs_by_spec: dict[str, dict[str, dict[int, RunResult]]] = defaultdict(lambda: defaultdict(dict))
    for result in _with_known_content([result for result in results if result.ok]):
        same = canonical([asdict(replace(result.spec, seed=0)), result.data.content])
        plugins = {use: code for use, code in result.code_by_use.items() if use != CORE}
        runs_by_spec[same][canonical(plugins)][result.spec.seed] = result
    return [sorted(by_code.values(), key=_date, reverse=True) for by_code in runs_by_spec.values()]


def _date(runs: Mapping[int, RunResult]) -> tuple[str, str]:
    """When the last of these runs was recorded; of equal dates, the hashes decide, so that the order is always one."""
    last = max(runs.values(), key=lambda run: run.environment.created)
    return last.environment.created, canonical(last.code_by_use)


def _with_known_content(results: Sequence[RunResult]) -> list[RunResult]:
    """The same records. One of an earlier version has no hash of its data: it gets that of the others of its revision,
    where these have one and the same.
    """
    contents: dict[str, set[str]] = defaultdict(set)
    for result in results:
        contents[_revision(result)] |= {result.data.content} - {""}
    filled = []
    for result in results:
        known = contents[_revision(result)]
        if result.data.revision and not result.data.content and len(known) == 1:
            result = replace(result, data=replace(result.data, content=next(iter(known))))
        filled.append(result)
    return filled


def _revision(result: RunResult) -> str:
    return canonical([result.spec.dataset, result.spec.dataset_options, result.data.revision])
