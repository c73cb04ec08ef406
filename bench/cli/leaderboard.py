"""`bench leaderboard`, and the tables that other commands leave."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.cli.common import out_option, say
from bench.cli.store.pages import FOLDERS, FRONT, SITE, is_own, pages_of, tables_in, text_of
from bench.cli.store.recorded import images_asked, images_options
from bench.errors import BenchError, OptionError, StoreError
from bench.text import counted, join_first, shell_line

if TYPE_CHECKING:
    from bench.cli.store.pages import MakesImages
    from bench.columns.lines import Stamp

INDEX = "index.html"
"""The front page of the site."""
PARTS = ("forests/", "across/", f"{SITE}/")
"""What the names of files begin with that are made together with a page of runs."""

ATTEMPTS = 5
"""So many times tables are written at the most, where other processes record runs meanwhile."""


@click.command()
@out_option
@click.option("--check", is_flag=True, help="Write nothing. Exit with code 1 if a table is not what the records give.")
@click.option("--html", is_flag=True, help="Write, or check, the same pages as a site in the subfolder 'html' too.")
@images_options
def leaderboard(out: Path, check: bool, html: bool, **asked: Any) -> None:
    """Render the records as markdown tables.

    There is one page for each protocol and data set, one for the throughput and one for the cost of the corruptions.
    The site has the same pages; `bench view` opens it. It tells samples by their numbers, classes and weights, and
    reads no data. With --images their images are in it too, where the data set has some and its files are there: those
    of the first rows, 2 MB for each page at the most. The licence of the data stands beside them: look at it before you
    publish the site.

    A record that cannot be used is named and left out of the pages, and no page is removed then. The exit code is 1 if
    there is one, and 2 if a page cannot be written. A page whose records are gone is removed, unless all records are:
    then the folder may be another than was meant, nothing is changed and the exit code is 2.
    """
    if asked["images"] and not html:
        raise OptionError("--images is for the site: give --html too")
    images = images_asked(**asked)
    check_folder(out, html)
    if not check:
        tables = write_tables(out, html, images)
        say("\n".join(map(str, tables.written)) or "no records")
        sys.exit(0 if tables.whole else 1)
    if not html:
        _tell_of_the_site(out, check)
    pages, whole = pages_of(out, keep=False, html=html, images=images)
    stale = [name for name, text in pages.items() if text_of(out / name) != text]
    stale += [path.name for path in tables_in(out, html) if path.relative_to(out).as_posix() not in pages]
    if stale:
        flags = [*(["--html"] if html else []), *(["--images"] if images else [])]
        again = shell_line(["bench", "leaderboard", "--out", str(out), *flags])
        say(f"stale in {out}: {', '.join(stale)}; run `{again}`", err=True)
    if stale or not whole:
        sys.exit(1)
    say(f"{counted(len(pages), 'table is', 'tables are')} what the records give")


def _tell_of_the_site(out: Path, check: bool = False) -> None:
    """Say that a site that was made earlier is left as it is, and which command renews it."""
    index = out / SITE / INDEX
    if index.exists() and is_own(index):
        again = shell_line(["bench", "leaderboard", "--out", str(out), *(["--check"] if check else []), "--html"])
        what = "is not checked" if check else "stays as it is, and may be older than the pages"
        say(f"note: the site in {out / SITE} {what}; run `{again}`", err=True)


def check_folder(out: Path, html: bool = False) -> None:
    """Check that a folder has records that pages can be made from.

    Args:
        out: the folder of the pages.
        html: whether the site is made too.

    Raises:
        BenchError: if it has none, or if pages were made from records that are gone.
    """
    if not any(os.path.lexists(out / folder) for folder in FOLDERS):
        raise BenchError(
            f"{out} has no folder 'results', 'throughput' or 'corruptions' with records: name the folder with --out"
        )
    for folder, pages_of_it in _without_records(out, html).items():
        raise BenchError(
            f"{out / folder} holds no records, and there are pages that were made from some: nothing was changed; name "
            f"the right folder with --out, or remove by hand: {join_first(pages_of_it, 3)}"
        )


class Tables(NamedTuple):
    """The tables and pictures that were written, and whether every record could be read and shown."""

    written: list[Path]
    whole: bool


def write_tables(out: Path, html: bool = False, images: "MakesImages | None" = None) -> Tables:
    """Write the tables that the records give, and remove those that they no longer give.

    Args:
        out: The folder of the tables.
        html: Whether to write the site too; if not, one that is there stays as it is, which is said.
        images: Makes what finds the images of samples for the site; None for a site without.

    Where a record, or the folder that a table comes from, cannot be read, no table is removed, which is said. What
    killed processes were writing in the folder, and in those of records and checkpoints, is removed too.

    Raises:
        StoreError: if one cannot be written, after the others were.
    """
    from bench.records.files import remove_abandoned

    of_tasks = {path.parent for name in FOLDERS for path in (out / name).rglob("*.part")}
    for folder in {out, out / SITE, out / "checkpoints", *of_tasks}:
        remove_abandoned(folder)
    for _ in range(ATTEMPTS):
        seen = _seen(out)
        tables = _write_once(out, seen[FOLDERS[0]], html, images)
        if _seen(out) == seen:
            break
    if not html:
        _tell_of_the_site(out)
    return tables


def _write_once(out: Path, stamps: "Mapping[str, Stamp] | None", html: bool, images: "MakesImages | None") -> Tables:
    from bench.records.files import behind_link, write_whole

    pages, whole = pages_of(out, stamps, html=html, images=images)
    failures = []
    for name, text in pages.items():
        try:
            write_whole(behind_link(out / name), text.encode())
        except StoreError as error:
            failures.append(error)
    empty = _without_records(out, html)
    for path in tables_in(out, html):
        name = path.relative_to(out).as_posix()
        if name in pages:
            continue
        if not whole:
            say(f"warning: left {path} as it is, as not all records could be read", err=True)
        elif _folder_of(name) in empty:
            say(f"warning: left {path} as it is, as {out / _folder_of(name)} holds no records", err=True)
        else:
            path.unlink(missing_ok=True)
    if failures:
        raise failures[0]
    return Tables([out / name for name in pages], whole)


def _without_records(out: Path, html: bool = False) -> dict[str, list[str]]:
    """The folders that hold no record at all, though there are pages of theirs -> these pages."""
    from bench.records.json_file import entries_in

    pages: dict[str, list[str]] = {folder: [] for folder in FOLDERS}
    for path in tables_in(out, html):
        name = path.relative_to(out).as_posix()
        if name != FRONT and not name.startswith(PARTS):  # which go with the pages that they are made from
            pages[_folder_of(name)].append(name)
    empty = {}
    for folder, names in pages.items():
        with suppress(OSError):  # it cannot be listed, which is told where it is read
            if names and next(entries_in(out / folder), None) is None:
                empty[folder] = names
    return empty


def _folder_of(page: str) -> str:
    """The folder of the records that a page is made from."""
    name = page.removeprefix(f"{SITE}/").partition("/")[0].partition(".")[0]
    return name if name in FOLDERS else FOLDERS[0]


def _seen(out: Path) -> "dict[str, Mapping[str, Stamp] | None]":
    """What tells whether another process has recorded something since; its tables may be written over by older ones.

    Returns:
        Folder of records -> its files with their stamps; None for one that cannot be listed.
    """
    from bench.columns.reading import stamps_of

    seen: dict[str, Mapping[str, Stamp] | None] = dict.fromkeys(FOLDERS)
    for folder in FOLDERS:
        with suppress(OSError):
            seen[folder] = stamps_of(out / folder)
    return seen
