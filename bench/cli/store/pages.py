"""The tables and pictures that the records in a folder give."""

import gc
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli.common import say, warn_of
from bench.cli.store.drawn import shown_of

if TYPE_CHECKING:
    from bench.columns.lines import Stamp
    from bench.columns.table import Columns
    from bench.site.rows.pictured import Pictures
    from bench.tables.pages.leaderboard import Page

    MakesImages = Callable[[], Pictures]
    """Makes what finds the images of samples."""

FOLDERS = ("results", "throughput", "corruptions")
"""Of the records of runs, of steps and of corruptions."""
FRONT = "README.md"
"""The page that says what all others do."""
SITE = "html"
"""The folder of the site (`bench.site.render.FOLDER`)."""


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
def pages_of(
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
    front, pictures = _front(of_tasks, pages, board)
    if html and front:
        columns_of = {page_of(columns): columns.without(not_shown) for columns in tasks}
        pages |= _own(_site(columns_of, of_tasks, pages, front, pictures, images), out)
    made = {FRONT: front, **pictures} if front else {}
    return pages | {name: text for name, text in made.items() if is_own(out / name)}, not unused


def _front(
    of_tasks: "Mapping[str, Page]", pages: Mapping[str, str], board: Sequence[str]
) -> tuple[str, dict[str, str]]:
    """The front page, empty if there is no other, and its pictures. `board` is its table of the throughput."""
    from bench.tables.pages import across, front

    if not pages:
        return "", {}
    summaries = {name: page.summary for name, page in of_tasks.items()}
    others = [name for name in pages if name.endswith(".md") and name not in of_tasks]
    lines, pictures = across.section(summaries)
    return front.front(summaries, list(pages), others, board, lines), pictures


def _site(
    columns: "Mapping[str, Columns]",
    of_tasks: "Mapping[str, Page]",
    pages: Mapping[str, str],
    front: str,
    pictures: Mapping[str, str],
    images: "MakesImages | None",
) -> dict[str, str]:
    """The files of the site. `columns` are those of the runs of each page, `pictures` those of the front page."""
    from bench.site.page import Source
    from bench.site.render import render

    sources = [Source(name, page.text, page.summary, columns[name]) for name, page in of_tasks.items()]
    others = {name: text for name, text in pages.items() if name.endswith(".md") and name not in of_tasks}
    return render(sources, front, others, pictures, images() if images else None)


def _own(files: Mapping[str, str], out: Path) -> dict[str, str]:
    """Those files in whose place there is none that was not made here, which stays."""
    for name in files:
        if not is_own(out / name):
            say(f"warning: left {out / name} as it is: it was not made by `bench leaderboard`", err=True)
    return {name: text for name, text in files.items() if is_own(out / name)}


def is_own(path: Path) -> bool:
    """Whether a file was made here, or there is none.

    Args:
        path: of the file.
    """
    from bench.tables.markdown import MARK

    before = text_of(path)
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
        text, picture = text_of(out / name), text_of(out / picture_of(name))
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


def tables_in(out: Path, html: bool = False) -> list[Path]:
    """The tables and pictures that were written earlier, known by their first line: no other file is touched.

    Args:
        out: the folder of the tables.
        html: whether those of the site are meant too.
    """
    from bench.tables.markdown import MARK

    files = [*out.glob("*.md"), *(out / "throughput").glob("*.svg"), *(out / "forests").glob("*.svg")]
    files += (out / "across").glob("*.svg")
    files += [*(out / SITE).glob("*.html"), out / SITE / "site.js", out / SITE / "site.css"] if html else []
    return sorted(path for path in files if text_of(path).startswith(MARK))


def text_of(path: Path) -> str:
    """The text of a file; empty where there is none that can be read.

    Args:
        path: of the file.
    """
    from bench.records.files import content_of_file

    try:
        return content_of_file(path).decode(errors="replace")
    except (OSError, ValueError):
        return ""
