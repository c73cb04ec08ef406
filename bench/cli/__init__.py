"""The command line: the only place that prints. Torch is imported by the commands that need it, when they need it."""

import errno
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import click

from bench import __version__
from bench.cli import data, leaderboard, new, plot, run
from bench.cli.common import DEBUG, WORDS, debug_option, prepare_streams, say, unwritten
from bench.cli.interrupts import SIGNALS, exit_code
from bench.cli.machine import doctor, throughput
from bench.cli.store import compare, export, merge, rescore, show, status, verify, view
from bench.errors import BenchError, PluginFailureError
from bench.failures import place_of_exit, whole_traceback
from bench.text import cut, visible


class _Commands(click.Group):
    """Turns expected errors into one line. The exit code is 2 for bad input, 1 for a failing plugin, 130 for Ctrl-C."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """An output that cannot be written is told after the work is done, and makes the exit code 1. A closed pipe,
        as of `| head`, is no error: whoever reads has read enough.
        """
        prepare_streams()
        try:
            return super().main(*args, **kwargs)
        except SystemExit as end:
            error = unwritten()
            if error is None or error.errno == errno.EPIPE:
                raise
            say(f"error: the output cannot be written: {error.strerror}", err=True)
            if not end.code:
                sys.exit(1)
            raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = ["bench", *args]
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _refuse(error, ctx)

    def invoke(self, ctx: click.Context) -> Any:
        with SIGNALS.listening():
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            if ctx.meta.get(DEBUG):
                say(whole_traceback(error), err=True)
            say(f"error: {visible(str(error))}", err=True)
            ctx.exit(1 if isinstance(error, PluginFailureError) else 2)
        except click.UsageError as error:
            _refuse(error, ctx)
        except KeyboardInterrupt:
            say("\ninterrupted", err=True)
            ctx.exit(exit_code())
        except SystemExit as error:
            if place := place_of_exit(error, ("bench.cli", "click", "rich")):  # rich ends it when nobody reads on
                say(f"error: a plugin ended the program: {visible(place)}", err=True)
                ctx.exit(1)
            raise


def _refuse(error: click.UsageError, ctx: click.Context) -> NoReturn:
    """Say in one line what is wrong with the words of a command, and end with exit code 2."""
    if error.ctx and error.message == error.ctx.get_help():  # a group without a word shows its help, as with --help
        say(error.message)
        ctx.exit(0)
    command = error.ctx.command_path if error.ctx else " ".join(filter(None, ["bench", ctx.invoked_subcommand]))
    message = " ".join(error.format_message().split()).removesuffix(".")
    if isinstance(error, click.BadOptionUsage) and "requires an argument" in message:
        forms = {p.make_metavar(ctx) for p in _parameters(ctx) if error.option_name in p.opts}
        message = f"option {error.option_name} needs a value{''.join(f' {form}' for form in sorted(forms)[:1])}"
    say(f"error: {cut(message, 500)} (`{command} --help` says more)", err=True)
    ctx.exit(2)


def _parameters(ctx: click.Context) -> Iterator[click.Parameter]:
    """The parameters of the command that is called, or of the commands of the group that is called."""
    group = ctx.command
    called = group.get_command(ctx, ctx.invoked_subcommand or "") if isinstance(group, click.Group) else None
    if isinstance(called, click.Group):
        for command in called.commands.values():
            yield from command.params
    elif called:
        yield from called.params


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@debug_option
@click.version_option(__version__, prog_name="bench")
def main() -> None:
    """Benchmark methods that reweight training data.

    \b
    bench list                                      list what is installed
    bench show forml                                show what it is, and its options
    bench show 3f2a                                 show the record of the run whose key begins so
    bench run --method forml --dataset digits       train, evaluate and record
    bench status                                    say what is recorded, being made and left to do
    bench data audit mnist                          look for defects in the data
    bench throughput resnet18                       time a training step of each method
    bench leaderboard                               render tables from the records
    bench view                                      the same as a site, opened in the browser
    bench compare forml erm --dataset digits        compare methods in pairs of runs with the same seeds
    bench best --dataset digits                     say which method the records speak for
    bench plot fraction                             draw pictures from the records
    bench verify-store                              look for defects in the records
    bench merge machine_1 machine_2                 take records of several folders into one
    bench rescore --metric NAME                     compute a metric of the stored predictions
    bench export --format csv --file runs.csv       write the records as one long table
    bench new method my_method                      begin a plugin of your own, ready to install
    bench doctor                                    look for what is wrong here, for a report of a defect
    """


COMMANDS = (
    show.list_,
    show.show,
    run.run,
    status.status,
    throughput.throughput,
    leaderboard.leaderboard,
    view.view,
    compare.compare,
    compare.best,
    plot.plot,
    verify.verify_store,
    merge.merge,
    rescore.rescore,
    export.export,
    data.data,
    new.new,
    doctor.doctor,
)
for command in COMMANDS:
    main.add_command(command)
