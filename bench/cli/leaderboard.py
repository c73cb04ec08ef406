"""`bench leaderboard`, and the tables that other commands leave."""

import gc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.cli.common import out_option, say, warn_of
from bench.cli.store.drawn import shown_of
from bench.cli.store.recorded import images_asked, images_options
from bench.errors import BenchError, OptionError, StoreError
from bench.text import join_first, shell_line

if TYPE_CHECKING:
    from bench.columns.lines import Stamp
    from bench.columns.table import Columns
    from bench.site.rows.pictured import Pictures
    from bench.tables.pages.leaderboard import Page

    MakesImages = Callable[[], Pictures]

FOLDERS = ("results", "throughput", "corruptions")
"""Of the records of runs, of steps and of corruptions."""

SITE = "html"
"""The folder of the site (`bench.site.render.FOLDER`)."""
FRONT = "README.md"
"""The page that says what all others do."""
PARTS = ("forests/", f"{SITE}/")
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
    pages, whole = _pages(out, keep=False, html=html, images=images)
    stale = [name for name, text in pages.items() if _text(out / name) != text]
    stale += [path.name for path in _tables(out, html) if path.relative_to(out).as_posix() not in pages]
    if stale:
        again = shell_line(
            [
                "bench",
                "leaderboard",
                "--out",
                str(out),
                *(["--html"] if html else []),
                *(["--images"] if images else []),
            ]
        )
        say(f"stale in {out}: {', '.join(stale)}; run `{again}`", err=True)
    if stale or not whole:
        sys.exit(1)
    say(f"{len(pages)} tables are what the records give")


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
        html: Whether to write the site too; if not, one that is there stays as it is.
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
    return tables


def _write_once(out: Path, stamps: "Mapping[str, Stamp] | None", html: bool, images: "MakesImages | None") -> Tables:
    from bench.records.files import write_whole

    pages, whole = _pages(out, stamps, html=html, images=images)
    failures = []
    for name, text in pages.items():
        try:
            write_whole(out / name, text.encode())
        except StoreError as error:
            failures.append(error)
    empty = _without_records(out, html)
    for path in _tables(out, html):
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
    for path in _tables(out, html):
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


@contextmanager
def _without_looking_for_circles() -> Iterator[None]:
    """Within this context Python looks for no circles of objects. Of many records many objects are made, hardly any of
    them in a circle, and to look at all of them again and again takes a sixth of the time.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


@_without_looking_for_circles()
def _pages(
    out: Path,
    stamps: "Mapping[str, Stamp] | None" = None,
    keep: bool = True,
    html: bool = False,
    images: "MakesImages | None" = None,
) -> tuple[dict[str, str], bool]:
    """The tables and pictures by file name, and whether every record could be read and shown.

    Args:
        out: The folder of the tables.
        stamps: The files of the records of runs, where they were looked at just now.
        keep: Whether the columns of the records may be kept, so that they are not read again.
        html: Whether the site is made too.
        images: Makes what finds its images; None for a site without.
    """
    from bench.columns.reading import read_columns
    from bench.records.json_file import load
    from bench.tables.pages.leaderboard import page_of
    from bench.throughput import ThroughputRecord, corruptions, page

    runs, *others = (out / folder for folder in FOLDERS)
    tasks, unused = read_columns(runs, keep, stamps)
    of_tasks, not_shown = _shown_runs(tasks, out, keep)
    pages = {file: text for name, page in of_tasks.items() for file, text in page.files(name).items()}
    unused |= {runs / name: why for name, why in not_shown.items()}
    kinds: list[tuple[type[Any], Callable[[Sequence[Any]], dict[str, str]]]] = [
        (ThroughputRecord, page.render),
        (corruptions.CorruptionCosts, corruptions.render),
    ]
    board: list[str] = []
    for folder, (kind, draw) in zip(others, kinds, strict=True):
        records, not_read = load(folder, kind)
        shown, places = shown_of(records, draw)
        pages |= shown
        if kind is ThroughputRecord:
            board = page.board(record for place, record in enumerate(records) if place not in places)
        unused |= not_read | {folder / records[place].path: why for place, why in places.items()}
    warn_of(unused)
    front = _front(of_tasks, pages, board)
    if html and front:
        columns_of = {page_of(columns): columns.without(not_shown) for columns in tasks}
        pages |= _own(_site(columns_of, of_tasks, pages, front[FRONT], images), out)
    return pages | {name: text for name, text in front.items() if _is_own(out / name)}, not unused


def _front(of_tasks: "Mapping[str, Page]", pages: Mapping[str, str], board: Sequence[str]) -> dict[str, str]:
    """The front page, if there is any other. `board` is its table of the throughput."""
    from bench.tables.pages import front

    if not pages:
        return {}
    summaries = {name: page.summary for name, page in of_tasks.items()}
    others = [name for name in pages if name.endswith(".md") and name not in of_tasks]
    return {front.PAGE: front.front(summaries, list(pages), others, board)}


def _site(
    columns: "Mapping[str, Columns]",
    of_tasks: "Mapping[str, Page]",
    pages: Mapping[str, str],
    front: str,
    images: "MakesImages | None",
) -> dict[str, str]:
    """The files of the site. `columns` are those of the runs of each page."""
    from bench.site.page import Source
    from bench.site.render import render

    sources = [Source(name, page.text, page.summary, columns[name]) for name, page in of_tasks.items()]
    others = {name: text for name, text in pages.items() if name.endswith(".md") and name not in of_tasks}
    return render(sources, front, others, images() if images else None)


def _own(files: Mapping[str, str], out: Path) -> dict[str, str]:
    """Those files in whose place there is none that was not made here, which stays."""
    for name in files:
        if not _is_own(out / name):
            say(f"warning: left {out / name} as it is: it was not made by `bench leaderboard`", err=True)
    return {name: text for name, text in files.items() if _is_own(out / name)}


def _is_own(path: Path) -> bool:
    """Whether a file was made here, or there is none."""
    from bench.tables.markdown import MARK

    before = _text(path)
    return not before or before.startswith(MARK)


def _shown_runs(tasks: "Sequence[Columns]", out: Path, keep: bool) -> tuple[dict[str, "Page"], dict[str, str]]:
    """The pages of the runs, and by file name the reason for each run that no page can show. Of many runs, pages that
    were made of the same ones before, by the same code, are taken as they are.
    """
    from bench.columns import pages
    from bench.columns.reading import WORTH_KEEPING
    from bench.tables.pages.front import picture_of
    from bench.tables.pages.leaderboard import Page, page_of
    from bench.tables.summary import PageSummary

    if not keep or sum(map(len, tasks)) < WORTH_KEEPING:
        return _drawn_runs(tasks)
    folder = out / FOLDERS[0]
    before, made_of = pages.load(folder), {page_of(columns): pages.made_of(columns) for columns in tasks}
    same = {}
    for name, digest in made_of.items():
        text, picture = _text(out / name), _text(out / picture_of(name))
        if pages.unchanged(before, name, digest, text + picture):
            same[name] = Page(text, picture, PageSummary.of_values(before[name][2]))
    drawn, not_shown = _drawn_runs([columns for columns in tasks if page_of(columns) not in same])
    made = {name: page for name in made_of if (page := (same | drawn).get(name)) is not None}
    if not not_shown:
        pages.save(
            folder,
            {
                name: (made_of[name], pages.of_text(page.text + page.picture), page.summary.to_values())
                for name, page in made.items()
            },
        )
    return made, not_shown


def _drawn_runs(tasks: "Sequence[Columns]") -> tuple[dict[str, "Page"], dict[str, str]]:
    """The pages of the runs, made anew."""
    from bench.tables.pages.leaderboard import render

    runs = [(columns, row) for columns in tasks for row in range(len(columns))]

    def draw(chosen: "Sequence[tuple[Columns, int]]") -> dict[str, "Page"]:
        rows = {id(columns): [row for columns, row in of_task] for columns, of_task in groupby(chosen, itemgetter(0))}
        parts = ((columns, rows.get(id(columns), [])) for columns in tasks)
        return render(columns if len(part) == len(columns) else columns.take(part) for columns, part in parts if part)

    pages, not_shown = shown_of(runs, draw)
    return pages, {os.fsdecode(runs[place][0].listed("file")[runs[place][1]]): why for place, why in not_shown.items()}


def _tables(out: Path, html: bool = False) -> list[Path]:
    """The tables and pictures that were written earlier, known by their first line: no other file is touched."""
    from bench.tables.markdown import MARK

    files = [*out.glob("*.md"), *(out / "throughput").glob("*.svg"), *(out / "forests").glob("*.svg")]
    files += [*(out / SITE).glob("*.html"), out / SITE / "site.js"] if html else []
    return sorted(path for path in files if _text(path).startswith(MARK))


def _text(path: Path) -> str:
    """The text of a file; empty where there is none that can be read."""
    from bench.records.files import content_of_file

    try:
        return content_of_file(path).decode(errors="replace")
    except (OSError, ValueError):
        return ""
