"""Which records of a command stand, and which runs are trained: again, where a plugin's code has changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.records.known_code import CORE
from bench.records.run import RunResult
from bench.runs.code import Difference, code_of, difference
from bench.runs.experiment import Experiment


@dataclass
class Standing:
    """What becomes of the runs that a command asks for.

    Attributes:
        kept: records of runs that are not trained.
        missing: seeds of runs that are trained.
        lines: what is different between the code of the records and that of today.
    """

    kept: list[RunResult] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def standing(
    experiment: Experiment,
    recorded: Mapping[int, RunResult | None],
    superseded: Path,
    force: bool = False,
    keep: bool = False,
) -> Standing:
    """Decide what is trained.

    Args:
        experiment: What is asked for.
        recorded: Seed -> its finished record, for all seeds that are asked for.
        superseded: The folder that records are moved to when others take their place.
        force: Train all of them.
        keep: Train nothing that has a record.
    """
    found = {seed: result for seed, result in recorded.items() if result and not force}
    code = code_of(experiment)
    differences = {seed: difference(result, code) for seed, result in found.items()}
    again = [] if keep else [seed for seed, other in differences.items() if other.plugins]
    return Standing(
        kept=[result for seed, result in found.items() if seed not in again],
        missing=[seed for seed in recorded if seed not in found or seed in again],
        lines=_lines(list(differences.values()), superseded, keep),
    )


def _lines(differences: Sequence[Difference], superseded: Path, keep: bool) -> list[str]:
    """A line for each kind of difference."""
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
