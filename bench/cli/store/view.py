"""`bench view`: the site of the records in the browser."""

import sys
from pathlib import Path
from typing import Any

import click

from bench.cli.common import out_option, say
from bench.cli.leaderboard import INDEX, check_folder, write_tables
from bench.cli.store.pages import SITE
from bench.cli.store.recorded import images_asked, images_options
from bench.errors import BenchError


@click.command()
@out_option
@click.option("--no-open", is_flag=True, help="Open no browser: print the path of the site alone.")
@images_options
def view(out: Path, no_open: bool, **asked: Any) -> None:
    """Write the site that the records give, and open it in the browser.

    It is written as by `bench leaderboard --html`, with the markdown pages, and can be read without a network. The exit
    code is 1 if a record cannot be used; it is named and left out.
    """
    images = images_asked(**asked)
    check_folder(out, html=True)
    tables = write_tables(out, html=True, images=images)
    index = out / SITE / INDEX
    if index not in tables.written:
        raise BenchError(_why(index))
    say(index)
    if not no_open and click.launch(index.absolute().as_uri()):
        say("warning: no browser could be opened; open this file yourself", err=True)
    sys.exit(0 if tables.whole else 1)


def _why(index: Path) -> str:
    """Why there is no front page."""
    if index.exists():
        return f"{index} was not made by `bench leaderboard`, and is left as it is: move it away, or name another --out"
    return f"no record in {index.parent.parent} can be shown, so there is no site: make some with `bench run`"
