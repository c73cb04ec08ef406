"""Which runs of a command this process makes, where other processes make runs of the same folder."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.common import say
from bench.records.json_file import read_all
from bench.records.run import RunResult
from bench.store.checkpoints import discard_finished
from bench.store.claims import Claims

if TYPE_CHECKING:
    from bench.runs.experiment import Experiment
    from bench.store.results import ResultStore


class Turns:
    """What a command makes of its runs: those that no other process makes, and that none has made since it began.

    Args:
        store: the records.
        claims: of this process.
        to_run: all experiments of the command.
        seeds: of each.
    """

    def __init__(
        self, store: "ResultStore", claims: Claims, to_run: "Iterable[Experiment]", seeds: Sequence[int]
    ) -> None:
        self.store = store
        self.claims = claims
        self.seeds = list(seeds)
        paths = [store.path(experiment.spec(seed)) for experiment in to_run for seed in seeds]
        self._said: set[str] = set()
        self._before = {path: _identity(path) for path in paths}

    def take(self, experiment: "Experiment", seeds: Sequence[int]) -> "tuple[list[int], list[RunResult], list[int]]":
        """Claim runs.

        Returns:
            The seeds of those that are this process' now; the results of those that another process has recorded since
            this command began, well or not; and the seeds of those that another process makes.
        """
        mine, made, others = [], [], []
        for seed in seeds:
            spec = experiment.spec(seed)
            if not self.claims.take(spec.path):
                others.append(seed)
            elif result := self._made_meanwhile(self.store.path(spec)):
                self.claims.release(spec.path)
                made.append(result)
            else:
                self.claims.discard_sidecars(spec.path)
                mine.append(seed)
        return mine, made, others

    def take_whole(
        self, experiment: "Experiment", stack: Sequence[int], missing: Sequence[int]
    ) -> "tuple[list[int], list[RunResult], list[int]]":
        """Claim all runs of a stack, or none: of a stack that was ended when some of its runs were recorded, which must
        be made again as a whole.

        Args:
            experiment: whose runs they are.
            stack: the seeds of the stack.
            missing: those of them that have no record.

        Returns:
            As `take`: the seeds of the stack, or the results of what was missing, or the seeds of what was missing.
        """
        taken: list[int] = []
        for seed in stack:
            if not self.claims.take(experiment.spec(seed).path):
                self.release(experiment, taken)
                return [], [], list(missing)
            taken.append(seed)
        found = (self._made_meanwhile(self.store.path(experiment.spec(seed))) for seed in missing)
        made = [result for result in found if result]
        if len(made) == len(missing):
            self.release(experiment, taken)
            return [], made, []
        for seed in stack:
            self.claims.discard_sidecars(experiment.spec(seed).path)
        return taken, [], []

    def release(self, experiment: "Experiment", seeds: Sequence[int]) -> None:
        """After the runs are recorded."""
        for seed in seeds:
            self.claims.release(experiment.spec(seed).path)

    def discard_checkpoints(self, experiment: "Experiment", results: "Iterable[RunResult]") -> None:
        """Remove the checkpoints of finished runs of an experiment that nobody makes again."""
        specs = [experiment.spec(result.spec.seed) for result in results if result.ok]
        free = [spec.seed for spec in specs if not self.claims.holder(spec.path)]
        if free:
            discard_finished(self.store.folder, specs[0], free)

    def say(self, label: str, experiment: "Experiment", seeds: Sequence[int]) -> None:
        """Say in a line which runs of an experiment others make; once."""
        new = [seed for seed in seeds if experiment.spec(seed).path not in self._said]
        self._said |= {experiment.spec(seed).path for seed in new}
        if new:
            holders = (self.claims.holder(experiment.spec(seed).path) for seed in new)
            known = ", ".join(dict.fromkeys(str(holder) for holder in holders if holder)) or "another process"
            say(f"{label}, seed {', '.join(map(str, new))}: skipped, as made by {known}")

    def _made_meanwhile(self, path: Path) -> "RunResult | None":
        if _identity(path) == self._before.get(path):
            return None
        return read_all([path], RunResult)[0].get(path)


def _identity(path: Path) -> tuple[int, int] | None:
    """What differs when a file was written anew; None if there is none."""
    try:
        about = path.stat()
    except OSError:
        return None
    return about.st_ino, about.st_mtime_ns
