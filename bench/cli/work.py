"""Makes the runs of `bench run`: which of them, in which order, here or in processes of their own."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.cli.common import say
from bench.cli.summary import label_of
from bench.records.files import SUPERSEDED, check_replaceable

if TYPE_CHECKING:
    from bench.cli.turns import Turns
    from bench.records.run import RunResult
    from bench.runs.experiment import Experiment
    from bench.runs.standing import Standing
    from bench.store.results import ResultStore


def check_all(
    experiments: "Sequence[Experiment]", seeds: list[int], store: "ResultStore", device: Any, asked: dict[str, Any]
) -> None:
    """Look for bad input before anything is trained or created.

    Args:
        experiments: all that the command asks for.
        seeds: of each.
        store: the records; what has one is not looked at.
        device: of the trainings.
        asked: the options of `bench run`, by name.

    Raises:
        BenchError: for what the user can mend.
    """
    from bench.runs.isolation import in_own_process
    from bench.runs.runner import check
    from bench.runs.standing import standing

    how = {"stacked": asked["stack"], "timeout": asked["timeout"]}
    for experiment in experiments:
        group = standing(experiment, seeds, store, asked["force"], asked["keep"]).missing
        records = [store.path(experiment.spec(seed)) for seed in group]
        folders = {folder for path in records for folder in (path.parent.parent, path.parent, path.parent / SUPERSEDED)}
        check_replaceable([], sorted(folders))
        if group and asked["isolate"]:
            in_own_process(check, experiment, group, device=device, **how)
        elif group:
            check(experiment, group, device, **how)


def run_all(
    to_run: "Sequence[Experiment]",
    seeds: list[int],
    turns: "Turns",
    device: Any,
    asked: dict[str, Any],
    results: "list[RunResult]",
) -> int:
    """Make all runs that no other process makes; then those that another one has left, as it was ended. Returns how
    many others still make.
    """
    waiting, left = [(experiment, seeds) for experiment in to_run], len(to_run) * len(seeds) + 1
    while (remaining := sum(len(seeds) for _, seeds in waiting)) < left:
        left = remaining
        waiting = [(each, _run_seeds(each, seeds, turns, device, asked, results)) for each, seeds in waiting if seeds]
    return left


def _run_seeds(
    experiment: "Experiment",
    seeds: list[int],
    turns: "Turns",
    device: Any,
    asked: dict[str, Any],
    results: "list[RunResult]",
) -> list[int]:
    """Run what has no record yet; add the results of all seeds to `results`, each as soon as it is recorded.

    Returns:
        The seeds of the runs that other processes make.
    """
    from bench.runs.standing import standing

    store = turns.store
    label = label_of(experiment, asked["each"])
    stands = standing(experiment, seeds, store, asked["force"], asked["keep"])
    for line in stands.lines:
        say(f"{label}: {line}", err=True)
    results += stands.kept
    if stands.kept:
        usable = len(stands.kept) + len(stands.missing)
        say(f"{label}: {len(stands.kept)} of {usable} runs already recorded, not repeated")
    finished = list(stands.kept)
    skipped = []
    for group in _stack(experiment, stands, turns) if asked["stack"] else [[seed] for seed in stands.missing]:
        if len(group) > len(stands.missing):
            mine, made, others = turns.take_whole(experiment, group, stands.missing)
        else:
            mine, made, others = turns.take(experiment, group)
        if mine:
            made += _run(experiment, label, mine, store, device, asked)
            turns.release(experiment, mine)
        made = [result for result in made if result.spec.seed in stands.missing]
        results += made
        finished += made
        skipped += others
    turns.discard_checkpoints(experiment, finished)
    if skipped:
        turns.say(label, experiment, skipped)
    return skipped


def _stack(experiment: "Experiment", stands: "Standing", turns: "Turns") -> list[list[int]]:
    """The one stack of the missing runs, if there are any: that which was ended when some of it were recorded."""
    from bench.store.checkpoints import interrupted_stack

    if not stands.missing:
        return []
    folder, spec = turns.store.folder, experiment.spec(0)
    return [interrupted_stack(folder, spec, stands.missing, turns.seeds) or stands.missing]


def _run(
    experiment: "Experiment", label: str, seeds: list[int], store: "ResultStore", device: Any, asked: dict[str, Any]
) -> "list[RunResult]":
    """Train and record one run, or those that are stacked, here or in a process of its own."""
    from bench.cli.progress import observer
    from bench.runs.isolation import Ended, in_own_process
    from bench.runs.runner import record_failure
    from bench.runs.runner import run as run_experiment

    title = f"{label} on {experiment.dataset.name}, seed {', '.join(map(str, seeds))}"
    watch = partial(observer, title, experiment.recipe, resumes=not asked["force"])
    how = {name: asked[name] for name in ("backend", "check", "eager", "threads", "timeout")}
    how |= {"stacked": asked["stack"], "resume": not asked["force"], "checked": True}
    if asked["isolate"]:
        made = in_own_process(run_experiment, experiment, seeds, watch, store=store, device=device, **how)
        if isinstance(made, Ended):
            made = record_failure(experiment, seeds, store, device, made.failure, **how)
    else:
        with watch() as watching:
            made = run_experiment(experiment, seeds, store, device, watching, **how)
    if left_behind := made[0].environment.left_behind:
        say(f"{title}: left behind in the process, and put back: {', '.join(left_behind)}", err=True)
    return made
