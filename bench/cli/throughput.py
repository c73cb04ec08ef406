"""`bench throughput`."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from bench.cli.common import installed, out_option, settings_option, table
from bench.cli.leaderboard import write_tables


@click.command()
@click.argument("names", metavar="[WORKLOAD]...", nargs=-1)
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="Method; may be given several times. Without, all.",
)
@click.option("--model", help="Time this model, with --shape and --classes, instead of a workload.")
@click.option("--shape", help="Shape of an input of --model.", metavar="C,H,W|D")
@click.option("--classes", type=click.IntRange(min=2), help="Number of classes of --model.")
@settings_option("Option of the model, such as model.width=16.", "model.NAME=VALUE")
@click.option("--batch-size", type=click.IntRange(min=1), help="Training samples in a step.")
@click.option("--val-batch-size", type=click.IntRange(min=1), help="Validation samples in a step.")
@click.option(
    "--stack", type=click.IntRange(min=1), metavar="N", help="Train N runs at once, and one by one beside it."
)
@click.option("--precision", type=click.Choice(["fp32", "bf16"]), default="fp32", show_default=True)
@click.option("--channels-last", is_flag=True, help="Memory format of images and convolutions.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--backend", default="auto", show_default=True, help="How look-aheads find their derivatives.")
@click.option("--eager", is_flag=True, help="Never capture and replay updates, as runs do on a GPU and stacked.")
@click.option("--rounds", type=click.IntRange(min=2), default=15, show_default=True, help="Timings of each method.")
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Of torch on the CPU.")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure it, in a process for each row.")
@click.option("--rivals/--no-rivals", default=True, show_default=True, help="Other implementations of the methods.")
@click.option(
    "--compare",
    type=click.Path(path_type=Path, exists=True),
    help="Older records: exit with code 1 if a method's time relative to the baseline got worse, or a method is gone.",
)
@out_option
def throughput(names: Sequence[str], compare: Path | None, out: Path, **asked: Any) -> None:
    """Time a training step of each method.

    It is timed on WORKLOADs (all, if none is named), beside the baseline and rivals.
    """
    from bench.options import named_values
    from bench.records.store import ResultStore
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
    before, failed, worse = older(compare, chosen.values(), conditions) if compare else [], [], []
    ResultStore(out / "throughput").check_writable()
    for name, workload in chosen.items():
        command = _command([] if asked["model"] else [name])
        record = measure(name, workload, conditions, registry, command, memory=asked["memory"])
        record.save(out / "throughput")
        table(f"{page.title(record)}: {workload}", page.cells(record), page.heads(record))
        failed += [f"{name}: {row.label} failed: {row.error}" for row in record.rows if row.failed and not row.rival_of]
        worse += regressions(record, before)
    write_tables(out)
    click.echo(f"records in {out / 'throughput'}; tables: {out / page.PAGE}")
    if failed or worse:
        click.echo("\n".join([*failed, *worse]), err=True)
        sys.exit(1)


def _command(arguments: Sequence[str]) -> str:
    """The command as it was given, with these arguments, without what does not change the result."""
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
    return shlex.join(words)
