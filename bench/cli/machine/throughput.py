"""`bench throughput`."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from bench.cli.common import (
    WholeNumber,
    backend_option,
    device_option,
    eager_option,
    installed,
    out_option,
    say,
    settings_option,
    table,
)
from bench.cli.leaderboard import write_tables
from bench.text import shell_line

if TYPE_CHECKING:
    from bench.throughput import ThroughputRecord


@click.command()
@click.argument("names", metavar="[WORKLOAD]...", nargs=-1)
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="The method to time. May be given several times; the default is all methods.",
)
@click.option("--model", help="Time this model instead of a workload. Needs --shape and --classes.")
@click.option("--shape", help="The shape of an input of --model.", metavar="C,H,W|D")
@click.option("--classes", type=WholeNumber(min=2), help="The number of classes of --model.")
@settings_option("An option of the model, such as model.width=16.", "model.NAME=VALUE")
@click.option("--batch-size", type=WholeNumber(min=1), help="The number of training samples in a step.")
@click.option("--val-batch-size", type=WholeNumber(min=1), help="The number of validation samples in a step.")
@click.option(
    "--stack",
    type=WholeNumber(min=1),
    metavar="N",
    help="Time N runs trained at once, and beside them the same runs one by one.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16"]),
    default="fp32",
    show_default=True,
    help="The precision of the model's passes.",
)
@click.option("--channels-last", is_flag=True, help="Use the channels-last memory format for images and convolutions.")
@device_option
@backend_option
@eager_option
@click.option(
    "--rounds", type=WholeNumber(min=2), default=15, show_default=True, help="The number of timings of each method."
)
@click.option(
    "--threads",
    type=WholeNumber(1, 1024),
    default=1,
    show_default=True,
    help="The number of torch's threads on the CPU.",
)
@click.option(
    "--memory/--no-memory",
    default=True,
    show_default=True,
    help="Measure the memory, on a CPU in a process for each row.",
)
@click.option(
    "--rivals/--no-rivals", default=True, show_default=True, help="Time other implementations of the methods too."
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, exists=True),
    help="Older records. Exit with code 1 if a method is missing or got slower relative to the baseline.",
)
@out_option
def throughput(names: Sequence[str], compare: Path | None, out: Path, **asked: Any) -> None:
    """Time a training step of each method.

    The methods are timed on each WORKLOAD, or on all workloads if none is named, beside the baseline and rivals.
    """
    from bench.options import named_values
    from bench.records.files import check_writable
    from bench.runs.runner import device_of
    from bench.throughput import Conditions, page
    from bench.throughput.measure import measure
    from bench.throughput.record import older, regressions
    from bench.throughput.workload import workloads

    registry = installed()
    sizes = {n: asked[n] for n in ("batch_size", "val_batch_size", "stack") if asked[n] is not None}
    given = named_values(asked["options"], ["model"], "model.width=16")
    options = {name.removeprefix("model."): value for name, value in given.items()}
    chosen = workloads(registry, names, asked["model"], asked["shape"], asked["classes"], options, **sizes)
    same = ("precision", "channels_last", "backend", "eager", "threads", "rounds", "methods", "rivals")
    conditions = Conditions(device=str(device_of(asked["device"])), **{name: asked[name] for name in same})
    before = older(compare, chosen.values(), conditions) if compare else []
    failed = []
    worse = []
    check_writable(out / "throughput")
    for name, workload in chosen.items():
        command = _command([] if asked["model"] else [name])
        record = measure(name, workload, conditions, registry, command, memory=asked["memory"])
        _save(record, out / "throughput")
        table(f"{page.title(record)}: {workload}", page.cells(record), page.heads(record))
        failed += [f"{name}: {row.label} failed: {row.error}" for row in record.rows if row.failed and not row.rival_of]
        worse += regressions(record, before)
    whole = write_tables(out).whole
    say(f"records in {out / 'throughput'}; tables: {out / page.PAGE}")
    if failed or worse:
        say("\n".join([*failed, *worse]), err=True)
    if failed or worse or not whole:
        sys.exit(1)


def _save(record: "ThroughputRecord", folder: Path) -> None:
    """Write the record; a file of its name that cannot be read is moved away and named."""
    from bench.records.files import SUPERSEDED
    from bench.records.json_file import read_all

    for path, why in read_all([folder / record.path], type(record))[1].items():
        say(f"moved {path}, which cannot be used, to {folder / SUPERSEDED}: {why}", err=True)
    record.save(folder)


def _command(arguments: Sequence[str]) -> str:
    """The command as it was given, with these arguments, without options that do not change the result."""
    ctx = click.get_current_context()
    words = ["bench", ctx.info_name or "", *arguments]
    for option in ctx.command.params:
        name = option.name or ""
        if ctx.get_parameter_source(name) != ParameterSource.COMMANDLINE or name in ("names", "out", "compare"):
            continue
        value = ctx.params[name]
        if isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
        else:
            words += [word for each in (value if option.multiple else [value]) for word in (option.opts[0], str(each))]
    return shell_line(words)
