"""`bench leaderboard`, and the tables that other commands leave."""

import sys
from contextlib import suppress
from pathlib import Path

import click

from bench.cli.common import out_option
from bench.errors import BenchError

RECORDS = ("results", "throughput", "corruptions")
"""Folders of records."""
ATTEMPTS = 5
"""So many times tables are written at the most, where other processes record runs meanwhile."""


@click.command()
@out_option
@click.option("--check", is_flag=True, help="Write nothing. Exit with code 1 if a table is not what the records give.")
def leaderboard(out: Path, check: bool) -> None:
    """Render the records as markdown tables.

    There is one page for each protocol and data set, one for the throughput and one for the cost of the corruptions.
    """
    if not any((out / folder).is_dir() for folder in RECORDS):
        raise BenchError(
            f"{out} has no folder 'results', 'throughput' or 'corruptions' with records: name the folder with --out"
        )
    if not check:
        click.echo("\n".join(map(str, write_tables(out))) or "no records")
        return
    pages, damaged = _pages(out)
    stale = [name for name, text in pages.items() if _text(out / name) != text]
    stale += [path.name for path in _tables(out) if path.relative_to(out).as_posix() not in pages]
    if stale:
        click.echo(f"stale in {out}: {', '.join(stale)}; run `bench leaderboard --out {out}`", err=True)
    if stale or damaged:
        sys.exit(1)
    click.echo(f"{len(pages)} tables are what the records give")


def write_tables(out: Path) -> list[Path]:
    """Write the tables that the records give, and remove those that they no longer give. Returns the written files.

    What killed processes were writing in the folder, and in those of records and checkpoints, is removed too.
    """
    from bench.records.files import remove_abandoned

    for folder in (out, *(out / name for name in ("checkpoints", *RECORDS))):
        remove_abandoned(folder)
    for _ in range(ATTEMPTS):
        seen = _seen(out)
        written = _write_once(out)
        if _seen(out) == seen:
            break
    return written


def _write_once(out: Path) -> list[Path]:
    from bench.records.files import write_whole

    pages, _ = _pages(out)
    for name, text in pages.items():
        write_whole(out / name, text.encode())
    for path in _tables(out):
        if path.relative_to(out).as_posix() not in pages:
            path.unlink(missing_ok=True)
    return [out / name for name in pages]


def _seen(out: Path) -> list[tuple[str, int]]:
    """What tells whether another process has recorded something since; its tables may be written over by older ones."""
    seen = []
    for path in (path for name in RECORDS for path in (out / name).glob("*.json")):
        with suppress(OSError):  # it is gone
            seen.append((str(path), path.stat().st_mtime_ns))
    return sorted(seen)


def _pages(out: Path) -> tuple[dict[str, str], bool]:
    """The tables and pictures by file name, and whether a record is damaged."""
    from bench.records.json_file import load
    from bench.records.store import ResultStore
    from bench.tables.leaderboard import render
    from bench.throughput import ThroughputRecord, corruptions, page

    results, damaged = ResultStore(out / "results").load()
    steps, damaged_steps = load(out / "throughput", ThroughputRecord)
    costs, damaged_costs = load(out / corruptions.FOLDER, corruptions.CorruptionCosts)
    damaged |= damaged_steps | damaged_costs
    for path, why in damaged.items():
        click.echo(f"warning: skipped the damaged record {path}: {why}", err=True)
    return render(results) | page.render(steps) | corruptions.render(costs), bool(damaged)


def _tables(out: Path) -> list[Path]:
    """The tables and pictures that were written earlier, known by their first line: no other file is touched."""
    from bench.tables.markdown import MARK

    files = [*out.glob("*.md"), *(out / "throughput").glob("*.svg")]
    return sorted(path for path in files if path.read_text("utf-8", errors="replace").startswith(MARK))


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""
