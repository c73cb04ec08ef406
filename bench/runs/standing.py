"""Which runs of a command keep their records, and which are trained: for the first time, or after a change."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.records.files import RIGHTS, SUPERSEDED
from bench.records.known_code import CORE
from bench.records.run import RunResult
from bench.runs.code import Difference, code_of, difference
from bench.runs.experiment import Experiment
from bench.store.results import Found, ResultStore


@dataclass
class Standing:
    """Which runs of an experiment keep their records, and which are trained.

    A run whose record cannot be used is in neither list, and a message gives the reason.

    Attributes:
        kept: records of the runs that are not trained.
        missing: seeds of the runs that are trained.
        lines: messages for the user: records that cannot be used, other data, and records that other code has made.
    """

    kept: list[RunResult] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def standing(
    experiment: Experiment, seeds: Sequence[int], store: ResultStore, force: bool = False, keep: bool = False
) -> Standing:
    """Decide which runs of an experiment are trained: those without a record of the same data and plugin code.

    Args:
        experiment: the experiment.
        seeds: seeds of its runs.
        store: the folder of the records.
        force: train all runs, whether they have a record or not.
        keep: keep records of the same data that other code of a plugin has made, instead of training these runs again.

    Returns:
        The records that are kept, the seeds that are trained, and the messages for the user.
    """
    if force:
        return Standing(missing=list(seeds))
    found = dict(zip(seeds, store.find([experiment.spec(seed) for seed in seeds]), strict=True))
    finished = {seed: one.finished for seed, one in found.items() if one.finished}
    of_data = {seed: result for seed, result in finished.items() if result.data.may_be(experiment.dataset.content)}
    code = code_of(experiment)
    differences = {seed: difference(result, code) for seed, result in of_data.items()}
    kept = {seed: result for seed, result in of_data.items() if keep or not differences[seed].plugins}
    usable = [seed for seed, one in found.items() if not one.unusable]
    superseded = store.path(experiment.spec(0)).parent / SUPERSEDED
    lines = [line for seed, one in found.items() for line in _unusable(seed, one, superseded)]
    if other_data := len(finished) - len(of_data):
        lines.append(
            f"the data of {experiment.dataset.name} have changed since {other_data} of {len(usable)} runs, which are "
            f"repeated; their records are kept in {superseded}"
        )
    return Standing(
        kept=list(kept.values()),
        missing=[seed for seed in usable if seed not in kept],
        lines=lines + _lines(list(differences.values()), superseded, keep),
    )


def _unusable(seed: int, found: Found, superseded: Path) -> list[str]:
    """A message for each file that has the place of a run's record and cannot be used."""
    again = f"; --force repeats the run and moves the record to {superseded}"
    return [
        f"seed {seed} is left out, as its record cannot be used: {path}: {why}{'' if RIGHTS in why else again}"
        for path, why in found.unusable.items()
    ]


def _lines(differences: Sequence[Difference], superseded: Path, keep: bool) -> list[str]:
    """A message for each kind of difference between the code of the records and the installed code."""
    lines = []
    if changed := [other for other in differences if other.plugins]:
        uses = {use: hashes for other in changed for use, hashes in other.plugins.items()}
        told = ", ".join(f"{use} ({then}, now {now})" for use, (then, now) in uses.items())
        again = f"trained again, and what was recorded moves to {superseded}; --keep leaves it"
        lines.append(
            f"{_runs(changed)} recorded by other code of the {told}: {'not repeated (--keep)' if keep else again}"
        )
    if by_core := [other for other in differences if other.core and (keep or not other.plugins)]:
        then, now = next(other.core for other in by_core if other.core)
        lines.append(f"{_runs(by_core)} recorded by another core of bench ({then}, now {now}): --force repeats them")
    if unknown := [other for other in differences if other.unknown and (keep or not other.plugins)]:
        uses_unknown = dict.fromkeys(use for other in unknown for use in other.unknown if use != CORE)
        what = f"code ({', '.join(uses_unknown)})" if uses_unknown else "code of the core"
        lines.append(f"{_runs(unknown)} recorded by {what} that is not known: --force repeats them")
    return lines


def _runs(differences: Sequence[Difference]) -> str:
    return f"{len(differences)} run{' was' if len(differences) == 1 else 's were'}"
