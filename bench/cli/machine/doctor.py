"""`bench doctor`."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from bench.cli.common import data_dir_option, device_option, installed, say, table
from bench.cli.machine import found
from bench.cli.machine.datafiles import data_files
from bench.cli.machine.lines import Line, lines_of
from bench.cli.machine.speed import speed
from bench.data.files import default_root

WIDTH = 80
"""Columns of the table, on a wider terminal too, so that it can be copied anywhere."""


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("bench-results"),
    show_default=True,
    help="The folder of records, in which claims that were left behind are looked for.",
)
@data_dir_option
@device_option
@click.option("--speed/--no-speed", "with_speed", default=True, show_default=True, help="Time a step, for ten seconds.")
@click.option(
    "--records",
    type=click.Path(path_type=Path),
    default=Path("leaderboards"),
    show_default=True,
    help="The folder whose subfolder 'throughput' has the records that the speed is compared with.",
)
def doctor(out: Path, data_dir: Path | None, device: str, with_speed: bool, records: Path) -> None:
    """Look at what this project needs, and print a table for a report of a defect.

    It has the versions, devices and threads, the plugins with the hashes of their code, which data files are there and
    verified, whether the folders can be written to, the claims on runs, and the speed of a training step beside that of
    a record. Nothing is downloaded, and no file is changed or left. The table shows the home folder as ~.

    'look' marks what may be wrong. The exit code is 1 if something is broken: a plugin, a library that is missing, a
    folder of records that cannot be written to, a data file with another checksum, a device that is not there.
    """
    if with_speed:
        say("A training step is timed for about ten seconds; --no-speed leaves it out.", err=True)
    registry = installed(refuse_duplicates=False, warn=False)
    parts: dict[str, Callable[[], Iterable[Line]]] = {
        "python": found.python,
        "bench": lambda: found.bench(registry),
        "libraries": found.libraries,
        "optional": found.optional,
        "processor": found.processor,
        "memory": found.memory,
        "gpu": found.gpus,
        "device": lambda: found.device(device),
        "cores": found.cores,
        "threads": found.threads,
        "plugins": lambda: found.plugins(registry),
        "data folder": lambda: found.data_folder(data_dir),
        "data": lambda: data_files(registry, data_dir or default_root()),
        "records": lambda: found.out_folder(out),
        "claims": lambda: found.claims(out),
    }
    if with_speed:
        parts["speed"] = lambda: speed(device, records, registry)
    lines = [line for what, look in parts.items() for line in lines_of(what, look)]
    table("", [line.cells for line in lines], width=WIDTH)
    if broken := [line.what for line in lines if line.broken]:
        say(f"broken: {', '.join(dict.fromkeys(broken))}", err=True)
        sys.exit(1)
