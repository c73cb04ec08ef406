"""`bench run`."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import (
    DEBUG,
    GREATEST_SEED,
    MOST_SEEDS,
    WORDS,
    WholeNumber,
    backend_option,
    data_dir_option,
    debug_option,
    device_option,
    eager_option,
    installed,
    names,
    out_option,
    refuse_options_as_values,
    say,
    settings_option,
    timeout_option,
    unofficial_option,
)
from bench.cli.interrupts import leave
from bench.cli.leaderboard import write_tables
from bench.cli.summary import named_by_each, summary
from bench.cli.work import Part, check_all, parts_of, run_all
from bench.errors import BenchError, OptionError
from bench.records.spec import PAPER, SHARED, SHORTHANDS
from bench.text import shell_line

if TYPE_CHECKING:
    from bench.records.run import RunResult
    from bench.runs.experiment import Experiment
    from bench.store.results import ResultStore


@click.command()
@click.option(
    "--method",
    "methods",
    multiple=True,
    required=True,
    callback=names,
    help="The method to train. Several are given as A,B, or each with its own --method; so are the next three. All "
    "combinations are run.",
)
@click.option("--dataset", "datasets", multiple=True, required=True, callback=names, help="The data set.")
@click.option(
    "--model", "models", multiple=True, callback=names, help="The model. The default is that of the data set's recipe."
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    callback=names,
    help="The protocol. The default is that of the data set's recipe.",
)
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
@click.option(
    "--jobs",
    type=WholeNumber(1, 1024),
    default=1,
    show_default=True,
    help="How many runs are made at once, each in a process. Their threads together are never more than the cores, so "
    "that large models are trained by fewer.",
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
    from bench.guards.ending import ENDING
    from bench.meta import check_backend
    from bench.runs.runner import device_of
    from bench.store.results import ResultStore

    check_backend(asked["backend"])
    device = device_of(asked["device"])
    store = ResultStore(out / "results")
    to_run = experiments_asked_for(methods, asked)
    chosen = list(dict.fromkeys(single)) or list(range(seeds or 1))
    with ENDING.allowed():
        parts = parts_of(to_run, chosen, store, asked)
        check_all(parts, store, device, asked)
    store.check_writable()  # not before: a refused command makes no folder
    results: list[RunResult] = []
    others = 0
    try:
        others = _train(parts, chosen, store, device, asked, results)
    except BenchError:
        if results:
            write_tables(out)  # what was run before is not lost
        raise
    except KeyboardInterrupt:
        write_tables(out)
        recorded = f"{sum(r.ok for r in results)} of {len(chosen) * len(to_run)} runs are recorded in {store.folder}"
        leave(recorded, "begin again" if asked["force"] else "go on")
    _end(results, others, len(chosen) * len(to_run), store.folder, out, asked)


def _train(
    parts: "Sequence[Part]",
    seeds: list[int],
    store: "ResultStore",
    device: Any,
    asked: dict[str, Any],
    results: "list[RunResult]",
) -> int:
    """Make all runs; add each to `results` as soon as it is recorded. What is to be made stands in a file meanwhile.

    Returns:
        How many runs other processes still make.
    """
    from bench.cli.turns import Turns
    from bench.guards.ending import ENDING
    from bench.runs.executors.plans import Plan
    from bench.store.claims import Claims

    experiments = [part.experiment for part in parts]
    command = shell_line(click.get_current_context().meta.get(WORDS, []))
    plan = Plan.of(command, (each.spec(seed).path for seed in seeds for each in experiments))
    plan.write(store.folder.parent)
    with ExitStack() as held, ENDING.allowed(), ENDING.before(held.close):
        claims = held.enter_context(Claims(store.folder))
        claims.remove_stale()
        others = run_all(parts, Turns(store, claims, experiments, seeds), device, asked, results)
    if len(results) == len(plan.runs) and all(result.ok or result.unfit for result in results):
        plan.discard(store.folder.parent)
    return others


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


def _tell(results: "Sequence[RunResult]", folder: Path, out: Path) -> bool:
    """Write the tables, then print the results and where they are written; end the program with the exit code of what
    went wrong. Returns whether every record of the folder could be used.
    """
    from bench.tables.pages.leaderboard import page_name

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
        datasets=asked["datasets"],
        methods=methods,
        models=asked["models"],
        protocols=asked["protocols"],
        options=[*asked["options"], *shorthands],
        each=asked["each"],
        validation=asked["validation"],
        stacked=asked["stack"],
    )
    registry = installed()
    files = Files(asked["data_dir"] or default_root(), allow_unofficial=asked["allow_unofficial_data"])
    with preparing() as files.progress:
        return requests.experiments_of(texts, files, registry)
