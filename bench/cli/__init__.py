"""The command line: the only place that prints. Torch is imported by the commands that need it, when they need it."""

from typing import Any

import click

from bench import __version__
from bench.cli import data, leaderboard, new, plot, run, show, throughput
from bench.cli.common import DEBUG, INTERRUPTED, debug_option
from bench.errors import BenchError, PluginFailureError
from bench.failures import whole_traceback


class _Commands(click.Group):
    """Turns expected errors into one line. The exit code is 2 for bad input, 1 for a failing plugin, 130 for Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            if ctx.meta.get(DEBUG):
                click.echo(whole_traceback(error), err=True)
            click.echo(f"error: {error}", err=True)
            ctx.exit(1 if isinstance(error, PluginFailureError) else 2)
        except KeyboardInterrupt:
            click.echo("\ninterrupted", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@debug_option
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Benchmark methods that reweight training data.

    \b
    bench list                                      list what is installed
    bench show forml                                show what it is, and its options
    bench run --method forml --dataset digits       train, evaluate and record
    bench data audit mnist                          look for defects in the data
    bench throughput resnet18                       time a training step of each method
    bench leaderboard                               render tables from the records
    bench plot fraction                             draw pictures from the records
    bench new method my_method                      begin a plugin of your own, ready to install
    """


COMMANDS = (
    show.list_,
    show.show,
    run.run,
    throughput.throughput,
    leaderboard.leaderboard,
    plot.plot,
    data.data,
    new.new,
)
for command in COMMANDS:
    main.add_command(command)
