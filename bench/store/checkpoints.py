"""The names of checkpoints, from which it can be told which runs they belong to. Nothing here imports torch."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from bench.records.spec import RunSpec, digest

LONGEST = 100
"""The most characters that the seeds take in a name; where they would take more, a digest stands for them."""


def checkpoint_path(records: Path, spec: RunSpec, seeds: Sequence[int], way: Any, source: Any) -> Path:
    """The file for the training of one run, or of stacked runs: `RUNS.SEEDS.WAY-SOURCE.pt`.

    Args:
        records: the folder of records; that of the checkpoints is beside it.
        spec: that of one of the runs, which differ in their seeds alone.
        seeds: of the runs.
        way: how it is computed, as JSON: what is computed otherwise rounds otherwise.
        source: the code and the data, as JSON.
    """
    return _folder(records) / f"{_runs(spec)}.{_seeds(seeds)}.{digest(way)}-{digest(source)}.pt"


def checkpoints_of(checkpoint: Path) -> list[Path]:
    """The checkpoints of the same runs, computed in the same way: of any code and data, and of the stages before the
    evaluated training too.

    Args:
        checkpoint: one of them, as `checkpoint_path` names it; it need not exist.
    """
    return list(checkpoint.parent.glob(f"{checkpoint.name.partition('-')[0]}-*.pt"))


def interrupted_stack(records: Path, spec: RunSpec, missing: Collection[int], asked: Collection[int]) -> list[int]:
    """The stack of which some runs are recorded and others are not, because it was ended in between.

    The missing runs must be made by the same stack again: in a smaller one they would round otherwise.

    Args:
        records: the folder of records.
        spec: of one of the runs.
        missing: the seeds of the runs that have no record.
        asked: those that are asked for, of which these are some.

    Returns:
        The seeds of the smallest stack that has a checkpoint and holds all that are missing, and no run that is not
        asked for; empty if there is none.
    """
    stacks = []
    for path in _folder(records).glob(f"{_runs(spec)}.*.pt"):
        with suppress(ValueError):  # its name holds a digest, or it is not ours
            stacks.append(sorted(_seeds_of(path.name.split(".")[1])))
    holding = [stack for stack in stacks if set(missing) < set(stack) <= set(asked)]
    return min(holding, key=lambda stack: (len(stack), stack), default=[])


def discard_finished(records: Path, spec: RunSpec, seeds: Iterable[int]) -> None:
    """Remove the checkpoints of runs that are all finished, in whatever way they were to be computed.

    Args:
        records, spec: as for `checkpoint_path`.
        seeds: of the finished runs.
    """
    finished = set(seeds)
    for path in _folder(records).glob(f"{_runs(spec)}.*.pt"):
        with suppress(ValueError, OSError):  # ValueError: its name holds a digest, or it is not ours
            if finished.issuperset(_seeds_of(path.name.split(".")[1])):
                path.unlink()


def _folder(records: Path) -> Path:
    return records.parent / "checkpoints"


def _runs(spec: RunSpec) -> str:
    """What the runs have in common that differ in their seeds alone."""
    return digest(asdict(replace(spec, seed=0)))


def _seeds(seeds: Sequence[int]) -> str:
    """Seeds as a part of a file's name: `0_4+7` for 0 to 4 and 7."""
    ordered = sorted(seeds)
    ranges = []
    for _, numbered in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]):
        run = [seed for _, seed in numbered]
        ranges.append(str(run[0]) if len(run) == 1 else f"{run[0]}_{run[-1]}")
    text = "+".join(ranges)
    return text if len(text) <= LONGEST else f"x{digest(ordered)}"


def _seeds_of(text: str) -> set[int]:
    """The seeds that `_seeds` gave the text for. Raises ValueError if it is no such text."""
    seeds: set[int] = set()
    for part in text.split("+"):
        first, _, last = part.partition("_")
        seeds.update(range(int(first), int(last or first) + 1))
    return seeds
