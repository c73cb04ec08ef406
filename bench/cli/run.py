"""`bench run`."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.common import (
    DEBUG,
    INTERRUPTED,
    backend_option,
    data_dir_option,
    debug_option,
    device_option,
    eager_option,
    installed,
    out_option,
    settings_option,
    table,
    timeout_option,
    unofficial_option,
)
from bench.cli.leaderboard import write_tables
from bench.errors import BenchError, OptionError
from bench.records.spec import PAPER, SHARED, SHORTHANDS
from bench.text import counts_by_name

if TYPE_CHECKING:
    from bench.records.run import RunResult
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
    "--seeds", type=click.IntRange(min=1), help="Run the seeds 0 to N - 1. The default is seed 0 alone.", metavar="N"
)
@click.option(
    "--seed", "single", type=click.IntRange(min=0), multiple=True, help="Run this seed. May be given several times."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Train this many epochs (off the recipe).")
@click.option("--train-size", type=click.IntRange(min=1), help="Train on this many samples (off the recipe).")
@click.option("--batch-size", type=click.IntRange(min=1), help="Train with this batch size (off the recipe).")
@settings_option(
    "An option of the methods, or 'METHOD.NAME' of one of them; 'model.NAME', 'dataset.NAME', 'protocol.NAME' and "
    "'recipe.NAME' are options of the model, the data set, the protocol and the recipe. `bench show` lists them."
)
@click.option(
    "--each",
    multiple=True,
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
    type=click.IntRange(1, 1024),
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
@debug_option
@out_option
def run(methods: Sequence[str], seeds: int | None, single: Sequence[int], out: Path, **asked: Any) -> None:
    """Train methods on a data set, evaluate them and record each run.

    A run that already has a record is skipped; --force repeats it. An interrupted training goes on from its last
    checkpoint when the same command is given again.

    The exit code is 0 if all runs are recorded, even if some methods are not applicable; 1 if a run failed, for
    example because it diverged; 2 for bad input, or if no method is applicable; and 130 if it was interrupted.
    """
    if seeds and single:
        raise OptionError("give --seeds N or --seed S, not both")
    from bench.meta import check_backend
    from bench.records.store import ResultStore
    from bench.runs.runner import device_of

    check_backend(asked["backend"])
    device = device_of(asked["device"])
    store = ResultStore(out / "results")
    store.check_writable()
    to_run = experiments_asked_for(methods, asked)
    chosen = list(dict.fromkeys(single)) or list(range(seeds or 1))
    results: list[RunResult] = []
    try:
        asked["checked"] = _check(to_run, chosen, store, device, asked)
        for experiment in to_run:
            _run_seeds(experiment, chosen, store, device, asked, results)
    except BenchError:
        if results:
            write_tables(out)  # what was run before is not lost
        raise
    except KeyboardInterrupt:
        write_tables(out)
        click.echo(
            f"\ninterrupted: {sum(r.ok for r in results)} of {len(chosen) * len(to_run)} runs are recorded in "
            f"{store.folder}; give the same command again to {'begin again' if asked['force'] else 'go on'}",
            err=True,
        )
        sys.exit(INTERRUPTED)
    _tell(results, store.folder, out)


def _tell(results: "Sequence[RunResult]", folder: Path, out: Path) -> None:
    """Print the results and where they are written; end the program with the exit code of what went wrong."""
    from bench.tables.leaderboard import page_name

    _summary(results)
    write_tables(out)
    pages = dict.fromkeys(str(out / page_name(r.spec.protocol, r.spec.dataset)) for r in results)
    click.echo(f"records in {folder}; tables: {', '.join(pages)}")
    if unfit := dict.fromkeys(f"not applicable: {r.spec.method}: {r.error}" for r in results if r.unfit):
        click.echo("\n".join(unfit), err=True)
    if failed := [r for r in results if not (r.ok or r.unfit)]:
        for r in failed:
            click.echo(f"failed ({r.status}): {r.command}: {r.error}", err=True)
            if r.traceback and click.get_current_context().meta.get(DEBUG):
                click.echo(r.traceback, err=True)
        sys.exit(1)
    if all(r.unfit for r in results):
        sys.exit(2)


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


def _missing(experiment: "Experiment", seeds: list[int], store: "ResultStore", force: bool) -> list[int]:
    """The seeds that have no record yet, or all if they are to be repeated."""
    return [seed for seed in seeds if force or not store.get(experiment.spec(seed))]


def _check(
    experiments: "Sequence[Experiment]", seeds: list[int], store: "ResultStore", device: Any, asked: dict[str, Any]
) -> bool:
    """Look for bad input before anything is trained. Returns whether that was done: a single run does so itself."""
    from bench.runs.isolation import in_own_process
    from bench.runs.runner import check

    missing = [(experiment, _missing(experiment, seeds, store, asked["force"])) for experiment in experiments]
    if sum(len(group) for _, group in missing) < 2:
        return False
    how = {"stacked": asked["stack"], "timeout": asked["timeout"]}
    for experiment, group in missing:
        if group and asked["isolate"]:
            in_own_process(check, experiment, group, device=device, **how)
        elif group:
            check(experiment, group, device, **how)
    return True


def _run_seeds(
    experiment: "Experiment",
    seeds: list[int],
    store: "ResultStore",
    device: Any,
    asked: dict[str, Any],
    results: "list[RunResult]",
) -> None:
    """Run what has no record yet; add the results of all seeds to `results`, each as soon as it is recorded."""
    from bench.cli.progress import observer
    from bench.runs.isolation import Ended, in_own_process
    from bench.runs.runner import record_failure
    from bench.runs.runner import run as run_experiment

    stack, force = asked["stack"], asked["force"]
    missing = _missing(experiment, seeds, store, force)
    recorded = [result for seed in seeds if seed not in missing and (result := store.get(experiment.spec(seed)))]
    results += recorded
    if recorded:
        click.echo(f"{experiment.method_name}: {len(recorded)} of {len(seeds)} runs already recorded, not repeated")
    how = {name: asked[name] for name in ("backend", "check", "eager", "threads", "timeout", "checked")}
    how |= {"stacked": stack, "resume": not force}
    for group in [missing] if stack and missing else [[seed] for seed in missing]:
        title = f"{experiment.method_name} on {experiment.dataset.name}, seed {', '.join(map(str, group))}"
        watch = partial(observer, title, experiment.recipe, resumes=not force)
        if asked["isolate"]:
            made = in_own_process(run_experiment, experiment, group, watch, store=store, device=device, **how)
            if isinstance(made, Ended):
                made = record_failure(experiment, group, store, device, made.failure, **how)
        else:
            with watch() as watching:
                made = run_experiment(experiment, group, store, device, watching, **how)
        results += made
        if left_behind := made[0].environment.left_behind:
            click.echo(f"{title}: left behind in the process, and put back: {', '.join(left_behind)}", err=True)


def _summary(results: "Sequence[RunResult]") -> None:
    """A table of the runs just made, by method, options and selection rule."""
    from bench.records.run import rule_name
    from bench.tables.leaderboard import mean_and_error
    from bench.tables.rows import rows_of

    for row in rows_of(results):
        metrics = row.first.about.metrics
        cells = []
        for rule in row.first.selected:
            values = {metric: list(row.values(metric, rule).values()) for metric in metrics}
            cells.append((rule_name(rule), *(mean_and_error(values[m], row.unit(m)) for m in metrics)))
        seconds = sum(r.costs.train_seconds for r in row.runs.values()) / len(row.runs)
        task = f" ({row.variant})" if row.variant else ""
        title = f"{row.name}{task}: test, percent, {len(row.runs)} seed(s), {seconds:.1f} s of training each"
        for choice in row.first.costs.meta_step:
            error = "" if choice.error is None else f"{choice.error:.0e} off "
            title += f"; look-ahead: {choice.backend}, {error}{choice.against}"
        table(title, cells, ("rule", *metrics))
        if row.first.data.counts:
            samples = list(dict.fromkeys(map(_samples, row.runs.values())))
            click.echo(f"data{' of the first seed' if len(samples) > 1 else ''}: {samples[0]}")


def _samples(result: "RunResult") -> str:
    """The number of samples of each set; of the training data also that of each class and group, or most and least."""
    counts = result.data.counts["train"]
    sizes = result.data.sizes
    parts = [counts_by_name(result.about.classes, result.class_counts("train"), "classes")]
    if len(counts) > 1:
        parts.append(counts_by_name(result.about.groups, [sum(row) for row in counts], "groups"))
    train = f"{sizes['train']:,} for training ({'; '.join(parts)})"
    return f"{train}, {sizes['val']:,} for validation, {sizes['test']:,} for testing"
