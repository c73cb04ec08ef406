"""`bench run`."""

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import (
    DEBUG,
    GREATEST_SEED,
    MOST_SEEDS,
    WholeNumber,
    backend_option,
    data_dir_option,
    debug_option,
    device_option,
    eager_option,
    installed,
    out_option,
    refuse_options_as_values,
    say,
    settings_option,
    timeout_option,
    unofficial_option,
)
from bench.cli.interrupts import exit_code
from bench.cli.leaderboard import write_tables
from bench.cli.summary import summary
from bench.errors import BenchError, OptionError
from bench.records.files import SUPERSEDED
from bench.records.spec import OPTION_FIELDS, PAPER, SHARED, SHORTHANDS

if TYPE_CHECKING:
    from bench.cli.turns import Turns
    from bench.records.run import RunResult
    from bench.records.sections import Resolved
    from bench.records.spec import RunSpec
    from bench.records.store import ResultStore
    from bench.runs.experiment import Experiment


@click.command()
@click.option(
    "--method", "methods", multiple=True, required=True, help="The method to train. May be given several times."
)
@click.option("--dataset", required=True, help="The data set.")
@click.option("--model", help="The model. The default is that of the data set's recipe.")
@click.option("--protocol", help="The protocol. The default is that of the data set's recipe.")
@click.option(
    "--seeds",
    type=WholeNumber(1, MOST_SEEDS),
    help="Run the seeds 0 to N - 1. The default is seed 0 alone.",
    metavar="N",
)
@click.option(
    "--seed",
    "single",
    type=WholeNumber(0, GREATEST_SEED),
    multiple=True,
    help="Run this seed. May be given several times.",
)
@click.option("--epochs", type=WholeNumber(min=1), help="Train this many epochs (off the recipe).")
@click.option("--train-size", type=WholeNumber(min=1), help="Train on this many samples (off the recipe).")
@click.option("--batch-size", type=WholeNumber(min=1), help="Train with this batch size (off the recipe).")
@settings_option(
    "An option of the methods, or 'METHOD.NAME' of one of them; 'model.NAME', 'dataset.NAME', 'protocol.NAME' and "
    "'recipe.NAME' are options of the model, the data set, the protocol and the recipe. `bench show` lists them."
)
@click.option(
    "--each",
    multiple=True,
    callback=refuse_options_as_values,
    metavar="NAME=VALUE",
    help="An option and one of its values, as for -o. Given several times, all combinations of the values are run.",
)
@click.option(
    "--validation",
    type=click.Choice([SHARED, PAPER]),
    default=SHARED,
    show_default=True,
    help="shared: all methods train on the same samples. paper: methods that do not need the validation data train on "
    "them too.",
)
@click.option(
    "--stack", is_flag=True, help="Train all seeds at once with batched operators, which pays for small models."
)
@device_option
@backend_option
@click.option("--check/--no-check", default=True, show_default=True, help="Verify the meta-gradient once.")
@eager_option
@click.option(
    "--threads",
    type=WholeNumber(1, 1024),
    help="The number of torch's threads on the CPU. The default is OMP_NUM_THREADS or, where that is not set, one "
    "thread for each 10 MFLOP of a batch's forward pass.",
)
@data_dir_option
@unofficial_option
@timeout_option
@click.option(
    "--isolate",
    is_flag=True,
    help="Give each run a process of its own, which takes seconds to start. Then a plugin that crashes, hangs or ends "
    "its process ends its own run alone.",
)
@click.option("--force", is_flag=True, help="Repeat runs that already have a record.")
@click.option("--keep", is_flag=True, help="Do not repeat runs whose plugins have changed since.")
@debug_option
@out_option
def run(methods: Sequence[str], seeds: int | None, single: Sequence[int], out: Path, **asked: Any) -> None:
    """Train methods on a data set, evaluate them and record each run.

    A run that already has a record is skipped, unless the code of a plugin that took part has changed since; --force
    repeats it. Records in whose place newer ones are put are kept in 'superseded'. An interrupted training goes on
    from its last checkpoint when the same command is given again. A run that another process is making is skipped, so
    that the same command may be given to several processes, which share the work.

    The exit code is 0 if all runs are recorded or made by other processes, even if some methods are not applicable; 1
    if a run failed, for example because it diverged, if a record of the folder cannot be used, or if no method is
    applicable; 2 for bad input; and 130 if it was interrupted (143 by SIGTERM, 129 by SIGHUP). A second interrupt ends
    the command at once.
    """
    if seeds and single:
        raise OptionError("give --seeds N or --seed S, not both")
    if asked["force"] and asked["keep"]:
        raise OptionError("give --force or --keep, not both")
    from bench.cli.turns import Turns
    from bench.meta import check_backend
    from bench.records.claims import Claims
    from bench.records.store import ResultStore
    from bench.runs.runner import device_of

    check_backend(asked["backend"])
    device = device_of(asked["device"])
    store = ResultStore(out / "results")
    to_run = experiments_asked_for(methods, asked)
    chosen = list(dict.fromkeys(single)) or list(range(seeds or 1))
    asked["checked"] = _check(to_run, chosen, store, device, asked)
    store.check_writable()  # not before: a refused command makes no folder
    results: list[RunResult] = []
    others = 0
    try:
        with Claims(store.folder) as claims:
            claims.remove_stale()
            others = _run_all(to_run, chosen, Turns(store, claims, to_run, chosen), device, asked, results)
    except BenchError:
        if results:
            write_tables(out)  # what was run before is not lost
        raise
    except KeyboardInterrupt:
        write_tables(out)
        say(
            f"\ninterrupted: {sum(r.ok for r in results)} of {len(chosen) * len(to_run)} runs are recorded in "
            f"{store.folder}; give the same command again to {'begin again' if asked['force'] else 'go on'}",
            err=True,
        )
        sys.exit(exit_code())
    _end(results, others, len(chosen) * len(to_run), store.folder, out, asked)


def _end(
    results: "list[RunResult]", others: int, asked_for: int, folder: Path, out: Path, asked: Mapping[str, Any]
) -> None:
    """Print the results, and how many runs others make; end the program with exit code 1 if something is wrong."""
    if others:
        say(
            f"{others} of {asked_for} runs are made by other processes, which were not waited for; give the same "
            f"command again for all of them"
        )
    whole = len(results) + others == asked_for
    if results:
        whole &= _tell([named_by_each(result, asked["each"]) for result in results], folder, out)
    if not whole:
        sys.exit(1)


def each_options(spec: "RunSpec", resolved: "Resolved", each: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The options of `--each` that a run has, with the values that it uses, also where these are the defaults.

    Args:
        spec: The run.
        resolved: All of its values.
        each: The texts of `--each`.

    Returns:
        Field of a spec -> name of the option -> value.
    """
    options: dict[str, dict[str, Any]] = {}
    for text in each:
        owner, _, name = text.partition("=")[0].rpartition(".")
        field = OPTION_FIELDS.get("method" if owner in ("", spec.method) else owner, "")
        if name in (values := getattr(resolved, field, {})):
            options.setdefault(field, {})[name] = values[name]
    return options


def named_by_each(result: "RunResult", each: Sequence[str]) -> "RunResult":
    """The result with a spec that names every option of `--each`, so that each value is told apart in the summary."""
    options = each_options(result.spec, result.resolved, each)
    changes: dict[str, Any] = {field: getattr(result.spec, field) | values for field, values in options.items()}
    return dataclasses.replace(result, spec=dataclasses.replace(result.spec, **changes))


def label_of(experiment: "Experiment", each: Sequence[str]) -> str:
    """The method, and the value that this experiment has of each option of `--each`: `forml[weight_lr=1]`."""
    spec = experiment.spec(0)
    none: dict[str, Any] = {field: {} for field in OPTION_FIELDS.values()}
    only_each = dataclasses.replace(spec, **none | each_options(spec, experiment.resolved, each))
    changes = [*only_each.changes(["validation"]), *only_each.variant()]
    return f"{only_each.label()} ({', '.join(changes)})" if changes else only_each.label()


def _tell(results: "Sequence[RunResult]", folder: Path, out: Path) -> bool:
    """Write the tables, then print the results and where they are written; end the program with the exit code of what
    went wrong. Returns whether every record of the folder could be used.
    """
    from bench.tables.leaderboard import page_name

    try:
        whole = write_tables(out).whole
    finally:  # the results are known, whatever happens to the tables
        summary(results)
    pages = dict.fromkeys(str(out / page_name(r.spec.protocol, r.spec.dataset)) for r in results)
    say(f"records in {folder}; tables: {', '.join(pages)}")
    for r in results:
        for note in r.notes:
            say(f"{r.spec.method}, seed {r.spec.seed}: {note}", err=True)
    if unfit := dict.fromkeys(f"not applicable: {r.spec.method}: {r.error}" for r in results if r.unfit):
        say("\n".join(unfit), err=True)
    if failed := [r for r in results if not (r.ok or r.unfit)]:
        for r in failed:
            say(f"failed ({r.status}): {r.command}: {r.error}", err=True)
            if r.traceback and click.get_current_context().meta.get(DEBUG):
                say(r.traceback, err=True)
        sys.exit(1)
    if all(r.unfit for r in results):
        sys.exit(1)
    return whole


def experiments_asked_for(methods: Sequence[str], asked: Mapping[str, Any]) -> "list[Experiment]":
    """The experiments that the options of a command ask for.

    Args:
        methods: Names of methods.
        asked: The other options of `bench run`, by name.

    Raises:
        BenchError: for what cannot be run as it is asked for.
    """
    from bench.cli.progress import preparing
    from bench.data.files import Files, default_root
    from bench.runs import requests

    shorthands = [f"recipe.{name}={asked[name]}" for name in SHORTHANDS if asked[name] is not None]
    texts = requests.RequestTexts(
        dataset=asked["dataset"],
        methods=methods,
        model=asked["model"],
        protocol=asked["protocol"],
        options=[*asked["options"], *shorthands],
        each=asked["each"],
        validation=asked["validation"],
        stacked=asked["stack"],
    )
    registry = installed()
    files = Files(asked["data_dir"] or default_root(), allow_unofficial=asked["allow_unofficial_data"])
    with preparing() as files.progress:
        return requests.experiments_of(texts, files, registry)


def _missing(experiment: "Experiment", seeds: list[int], store: "ResultStore", asked: dict[str, Any]) -> list[int]:
    """The seeds that are to be run: those without a record of these data and this code, or all with --force."""
    from bench.runs.standing import standing

    if asked["force"]:
        return seeds
    usable = [seed for seed in seeds if not store.unusable(experiment.spec(seed))]
    results = {seed: store.get(experiment.spec(seed)) for seed in usable}
    content = experiment.dataset.content
    recorded = {seed: result if result and result.has_data(content) else None for seed, result in results.items()}
    return standing(experiment, recorded, store.folder, keep=asked["keep"]).missing


def _check(
    experiments: "Sequence[Experiment]", seeds: list[int], store: "ResultStore", device: Any, asked: dict[str, Any]
) -> bool:
    """Look for bad input before anything is trained. Returns whether that was done: a single run does so itself."""
    from bench.runs.isolation import in_own_process
    from bench.runs.runner import check

    missing = [(experiment, _missing(experiment, seeds, store, asked)) for experiment in experiments]
    if sum(len(group) for _, group in missing) < 2:
        return False
    how = {"stacked": asked["stack"], "timeout": asked["timeout"]}
    for experiment, group in missing:
        if group and asked["isolate"]:
            in_own_process(check, experiment, group, device=device, **how)
        elif group:
            check(experiment, group, device, **how)
    return True


def _run_all(
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

    stack, force, store = asked["stack"], asked["force"], turns.store
    label = label_of(experiment, asked["each"])
    seeds = seeds if force else _with_usable_records(experiment, label, seeds, store)
    recorded = {seed: store.get(experiment.spec(seed)) for seed in seeds}
    content = experiment.dataset.content
    other_data = [result for result in recorded.values() if result and not result.has_data(content)]
    recorded |= {result.spec.seed: None for result in other_data}
    if other_data and not force:
        say(
            f"{label}: the data of {experiment.dataset.name} have changed since {len(other_data)} of "
            f"{len(seeds)} runs, which are repeated; their records are kept in {store.folder / SUPERSEDED}",
            err=True,
        )
    stands = standing(experiment, recorded, store.folder / SUPERSEDED, force, asked["keep"])
    for line in stands.lines:
        say(f"{label}: {line}", err=True)
    results += stands.kept
    if stands.kept:
        say(f"{label}: {len(stands.kept)} of {len(seeds)} runs already recorded, not repeated")
    finished = list(stands.kept)
    skipped = []
    missing = stands.missing
    for group in [missing] if stack and missing else [[seed] for seed in missing]:
        mine, made, others = turns.take(experiment, group)
        if mine:
            made += _run(experiment, label, mine, store, device, asked)
            turns.release(experiment, mine)
        results += made
        finished += made
        skipped += others
    turns.discard_checkpoints(experiment, finished)
    if skipped:
        turns.say(label, experiment, skipped)
    return skipped


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
    how = {name: asked[name] for name in ("backend", "check", "eager", "threads", "timeout", "checked")}
    how |= {"stacked": asked["stack"], "resume": not asked["force"]}
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


def _with_usable_records(experiment: "Experiment", label: str, seeds: list[int], store: "ResultStore") -> list[int]:
    """The seeds but those whose record cannot be used, which is said with the label and not touched."""
    usable = []
    for seed in seeds:
        unusable = store.unusable(experiment.spec(seed))
        for path, why in unusable.items():
            say(
                f"{label}, seed {seed}, is left out, as its record cannot be used: {path}: {why}; "
                f"--force repeats the run and moves the record to {store.folder / SUPERSEDED}",
                err=True,
            )
        usable += [] if unusable else [seed]
    return usable
