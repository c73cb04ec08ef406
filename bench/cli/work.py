"""Makes the runs of `bench run`: which of them, in which order, here or in processes of their own."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.cli.common import say
from bench.cli.summary import label_of
from bench.records.files import SUPERSEDED, check_replaceable

if TYPE_CHECKING:
    from bench.cli.turns import Turns
    from bench.records.run import RunResult
    from bench.runs.executors.isolation import Watch
    from bench.runs.executors.workers import Task
    from bench.runs.experiment import Experiment
    from bench.runs.standing import Standing
    from bench.store.results import ResultStore


@dataclass
class Part:
    """What a command makes of one experiment.

    Attributes:
        experiment: the experiment.
        title: what the command calls it, with its task: `forml on digits`.
        label: what the command calls it where that is enough: without its task, where there is one alone.
        stands: which of its runs keep their records, and which are trained.
        finished: the results so far: those that are kept, and those that were made.
    """

    experiment: "Experiment"
    title: str
    label: str
    stands: "Standing"
    finished: "list[RunResult]" = field(default_factory=list)

    def open_in(self, groups: Iterable[Sequence[int]]) -> list[int]:
        """The seeds of groups whose runs have no record that is kept. A stack may hold others as well."""
        return [seed for group in groups for seed in group if seed in self.stands.missing]


Group = tuple[Part, list[int]]
"""Seeds of a part whose runs are made together: one, or those of a stack."""


def parts_of(
    experiments: "Sequence[Experiment]", seeds: list[int], store: "ResultStore", asked: dict[str, Any]
) -> list[Part]:
    """What is to be made of each experiment of a command.

    Args:
        experiments: all that the command asks for.
        seeds: of each.
        store: the records.
        asked: the options of `bench run`, by name.
    """
    from bench.runs.standing import standing

    tasks = {(each.dataset.name, each.model_name, each.protocol.name) for each in experiments}
    models, protocols = ({task[place] for task in tasks} for place in (1, 2))
    parts = []
    for each in experiments:
        label = label_of(each, asked["each"])
        task = [each.dataset.name, *[each.model_name] * (len(models) > 1), *[each.protocol.name] * (len(protocols) > 1)]
        title = f"{label} on {', '.join(task)}"
        stands = standing(each, seeds, store, asked["force"], asked["keep"])
        parts.append(Part(each, title, title if len(tasks) > 1 else label, stands))
    return parts


def check_all(parts: Sequence[Part], store: "ResultStore", device: Any, asked: dict[str, Any]) -> None:
    """Look for bad input before anything is trained or created.

    Args:
        parts: of the command; what has a record is not looked at.
        store: the records.
        device: of the trainings.
        asked: the options of `bench run`, by name.

    Raises:
        BenchError: for what the user can mend.
    """
    from bench.runs.executors.isolation import in_own_process
    from bench.runs.runner import check

    how = {"stacked": asked["stack"], "timeout": asked["timeout"]}
    for part in parts:
        experiment, group = part.experiment, part.stands.missing
        records = [store.path(experiment.spec(seed)) for seed in group]
        folders = {folder for path in records for folder in (path.parent.parent, path.parent, path.parent / SUPERSEDED)}
        check_replaceable([], sorted(folders))
        if group and asked["isolate"]:
            in_own_process(check, experiment, group, device=device, **how)
        elif group:
            check(experiment, group, device, **how)


def run_all(
    parts: Sequence[Part], turns: "Turns", device: Any, asked: dict[str, Any], results: "list[RunResult]"
) -> int:
    """Make all runs that no other process makes, seed by seed: then what is interrupted can be compared in pairs. Then
    those that another process has left, as it was ended.

    Args:
        parts: of the command.
        turns: what this process makes.
        device: of the trainings.
        asked: the options of `bench run`, by name.
        results: each is added as soon as it is recorded.

    Returns:
        How many runs others still make.
    """
    for part in parts:
        _tell_what_stands(part, results)
    waiting = groups_of(parts, turns, asked["stack"])
    left = len(waiting) + 1
    while waiting and len(waiting) < left:
        left = len(waiting)
        made = Made(turns, device, asked, results)
        waiting = made.side_by_side(waiting) if asked["jobs"] > 1 else made.one_by_one(waiting)
        for part in parts:
            turns.say(part.label, part.experiment, part.open_in(group for of, group in waiting if of is part))
    for part in parts:
        turns.discard_checkpoints(part.experiment, part.finished)
    return sum(len(part.open_in([group])) for part, group in waiting)


def groups_of(parts: Sequence[Part], turns: "Turns", stacked: bool) -> list[Group]:
    """What is trained, in order: the first seed of every experiment, then the next; of stacked runs, each stack.

    Args:
        parts: of the command.
        turns: what this process makes.
        stacked: whether the seeds of an experiment are trained at once.
    """
    if stacked:
        return [(part, group) for part in parts for group in _stack(part, turns)]
    places = {seed: place for place, seed in enumerate(turns.seeds)}
    each = [(part, [seed]) for part in parts for seed in part.stands.missing]
    return sorted(each, key=lambda one: places[one[1][0]])  # which keeps the order of the experiments


def _tell_what_stands(part: Part, results: "list[RunResult]") -> None:
    """Say which runs of an experiment are not trained, and why; add their results."""
    stands = part.stands
    for line in stands.lines:
        say(f"{part.label}: {line}", err=True)
    results += stands.kept
    part.finished += stands.kept
    if stands.kept:
        usable = len(stands.kept) + len(stands.missing)
        say(f"{part.label}: {len(stands.kept)} of {usable} runs already recorded, not repeated")


@dataclass(frozen=True)
class Made:
    """Makes runs, here or in processes of their own.

    Attributes:
        turns: claims them.
        device: of the trainings.
        asked: the options of `bench run`, by name.
        results: each is added as soon as it is recorded.
    """

    turns: "Turns"
    device: Any
    asked: dict[str, Any]
    results: "list[RunResult]"

    def one_by_one(self, waiting: Iterable[Group]) -> list[Group]:
        """Make runs one after the other.

        Args:
            waiting: what is to be made.

        Returns:
            What other processes make.
        """
        left: list[Group] = []
        for part, mine in self._claimed(waiting, left):
            self._finish(part, mine, self._run(part, mine))
        return left

    def side_by_side(self, waiting: Iterable[Group]) -> list[Group]:
        """Make runs in several processes at once. Arguments and result are those of `one_by_one`."""
        from bench.runs.executors.isolation import Ended
        from bench.runs.executors.workers import Pool
        from bench.runs.runner import record_failure

        left: list[Group] = []
        groups: dict[tuple[str, ...], Group] = {}

        def tasks() -> "Iterator[Task]":
            for part, mine in self._claimed(waiting, left):
                task = self._task(part, mine)
                groups[task.keys] = part, mine
                yield task

        files = next(part.experiment.files for part, _ in waiting)
        assert files, "made by `resolve`"
        with Pool(self.asked["jobs"], usable_cores(), files, fresh=self.asked["isolate"]) as pool:
            for task, made in pool.results(tasks()):
                part, mine = groups.pop(task.keys)
                if isinstance(made, Ended):
                    made = record_failure(
                        part.experiment, mine, self.turns.store, self.device, made.failure, **self._how
                    )
                self._finish(part, mine, made)
        return left

    def _claimed(self, waiting: Iterable[Group], left: list[Group]) -> Iterator[Group]:
        """What this process has claimed, when it is asked for. What others have recorded meanwhile is taken over; what
        they make is added to `left`: the seeds, or the whole stack.
        """
        for part, group in waiting:
            missing = part.stands.missing
            is_whole = len(group) > len(missing)
            if is_whole:
                mine, made, others = self.turns.take_whole(part.experiment, group, missing)
            else:
                mine, made, others = self.turns.take(part.experiment, group)
            self._add(part, made)
            if others:
                left.append((part, group if is_whole else others))
            if mine:
                yield part, mine

    def _finish(self, part: Part, mine: list[int], made: "list[RunResult]") -> None:
        if left_behind := made[0].environment.left_behind:
            title = _title(part, mine)
            say(f"{title}: left behind in the process, and put back: {', '.join(left_behind)}", err=True)
        self.turns.release(part.experiment, mine)
        self._add(part, made)

    def _add(self, part: Part, made: "list[RunResult]") -> None:
        """Add results of a part; of a whole stack, those that were missing."""
        new = [result for result in made if result.spec.seed in part.stands.missing]
        self.results.extend(new)
        part.finished += new

    @property
    def _how(self) -> dict[str, Any]:
        """The arguments of `bench.runs.runner.run` that the user chose."""
        how = {name: self.asked[name] for name in ("backend", "check", "eager", "threads", "timeout")}
        return how | {"stacked": self.asked["stack"], "resume": not self.asked["force"], "checked": True}

    def _watch(self, part: Part, seeds: list[int], plain: bool = False) -> "Watch":
        from bench.cli.progress import observer

        resumes = not self.asked["force"]
        return partial(observer, _title(part, seeds), part.experiment.recipe, resumes=resumes, plain=plain)

    def _task(self, part: Part, seeds: list[int]) -> "Task":
        from bench.runs.executors.workers import Task
        from bench.runs.runner import run
        from bench.runs.threads import choose_threads

        experiment, stacked = part.experiment, len(seeds) if self.asked["stack"] else 1
        assert experiment.request, "made by `resolve`"
        threads = choose_threads(experiment, stacked, self.device, self.asked["threads"]).count
        keys = tuple(experiment.spec(seed).key for seed in seeds)
        how = self._how | {"store": self.turns.store, "device": self.device}
        watch = self._watch(part, seeds, plain=True)
        return Task(run, experiment.request, keys, tuple(seeds), watch, how, threads)

    def _run(self, part: Part, seeds: list[int]) -> "list[RunResult]":
        """Train and record one run, or those that are stacked, here or in a process of its own."""
        from bench.runs.executors.isolation import Ended, in_own_process
        from bench.runs.runner import record_failure, run

        experiment, watch = part.experiment, self._watch(part, seeds)
        where = {"store": self.turns.store, "device": self.device}
        if not self.asked["isolate"]:
            with watch() as watching:
                return run(experiment, seeds, observer=watching, **where, **self._how)
        made: list[RunResult] | Ended = in_own_process(run, experiment, seeds, watch, **where, **self._how)
        if isinstance(made, Ended):
            return record_failure(experiment, seeds, **where, failure=made.failure, **self._how)
        return made


def _title(part: Part, seeds: Sequence[int]) -> str:
    return f"{part.title}, seed {', '.join(map(str, seeds))}"


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stack(part: Part, turns: "Turns") -> list[list[int]]:
    """The one stack of the missing runs, if there are any: that which was ended when some of it were recorded."""
    from bench.store.checkpoints import interrupted_stack

    missing = part.stands.missing
    if not missing:
        return []
    return [interrupted_stack(turns.store.folder, part.experiment.spec(0), missing, turns.seeds) or missing]
