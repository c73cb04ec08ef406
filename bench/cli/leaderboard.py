"""`bench leaderboard`, and the tables that other commands leave."""

import sys
from pathlib import Path

import click

from bench.cli.common import out_option
from bench.errors import BenchError


@click.command()
@out_option
@click.option("--check", is_flag=True, help="Write nothing. Exit with code 1 if a table is not what the records give.")
def leaderboard(out: Path, check: bool) -> None:
    """Render the records as markdown tables.

    There is one page for each protocol and data set, one for the throughput and one for the cost of the corruptions.
    """
    if not any((out / folder).is_dir() for folder in ("results", "throughput", "corruptions")):
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
    """Write the tables that the records give, and remove those that they no longer give. Returns the written files."""
    from bench.records.files import write_whole

    pages, _ = _pages(out)
    for name, text in pages.items():
        write_whole(out / name, text.encode())
    for path in _tables(out):
        if path.relative_to(out).as_posix() not in pages:
            path.unlink()
    return [out / name for name in pages]


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
        click.echo(f"warning: skipped the record {path}: {why}", err=True)
    return render(results) | page.render(steps) | corruptions.render(costs), bool(damaged)


def _tables(out: Path) -> list[Path]:
    """The tables and pictures that were written earlier, known by their first line: no other file is touched."""
    from bench.tables.markdown import MARK

    files = [*out.glob("*.md"), *(out / "throughput").glob("*.svg")]
    return sorted(path for path in files if path.read_text("utf-8", errors="replace").startswith(MARK))


def _text(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""
