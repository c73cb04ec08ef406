"""`bench merge`."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import folder_option, say
from bench.cli.interrupts import leave
from bench.cli.leaderboard import write_tables
from bench.cli.store.pages import FOLDERS
from bench.errors import BenchError
from bench.text import counted

if TYPE_CHECKING:
    from bench.records.json_file import JsonRecord
    from bench.store.merging import Merged


@click.command()
@click.argument(
    "folders",
    metavar="DIR...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
)
@folder_option("Folder to take the records into. Its tables are written anew.")
def merge(folders: Sequence[Path], out: Path) -> None:
    """Take the records of output folders into one, such as those of several machines.

    Each DIR is an output folder, or a folder of records in one. Records that are there already stay as they are. Where
    both have a record of one run, with other numbers or by other code, both are named and the second is not taken; nor
    is what cannot be read, and records whose sidecars are missing or damaged. The exit code is then 1. Two records of a
    run that differ in costs and dates alone are one. A sidecar that is missing or damaged beside a record that is there
    is written anew. Records of earlier versions are written in the form of today.

    An interrupt leaves whole records, and giving the same command again takes the rest.
    """
    from bench.store.merging import Merged, merge

    sources = [_sources(folder) for folder in folders]  # each is looked at before anything is written
    for name in dict.fromkeys(name for source in sources for name in source):
        _files_in(out / name)
    merged = Merged()
    try:
        for source in sources:
            for name, path in source.items():
                if (out / name).resolve() == path.resolve():
                    say(f"left out {path}: it is the folder that is merged into", err=True)
                    continue
                merge(path, out / name, _kinds()[name], merged)
    except KeyboardInterrupt:
        if merged.written:
            write_tables(out)
        taken = f"{counted(len(merged.written), 'record was', 'records were')} taken into {out}"
        leave(taken)
    whole = write_tables(out).whole if os.path.lexists(out) else True
    _tell(merged, out)
    sys.exit(1 if merged.conflicts or merged.left or merged.busy or not whole else 0)


def _sources(folder: Path) -> dict[str, Path]:
    """The folders of records in an output folder, or the one that this is, by the name that it has in one."""
    from bench.store.verify import NAME

    found = {name: folder / name for name in FOLDERS if (folder / name).is_dir()}
    if found:
        return found
    own = Path(os.path.abspath(folder)).name
    if own in FOLDERS:
        return {own: folder}
    if any(NAME.fullmatch(path.name) for path in _files_in(folder)):
        return {FOLDERS[0]: folder}
    raise BenchError(
        f"{folder} has no folder {', '.join(FOLDERS)} with records, and is none of these: name another one"
    )


def _files_in(folder: Path) -> list[Path]:
    """What may be records in a folder. Raises BenchError where it cannot be listed."""
    from bench.records.json_file import files_in

    try:
        return files_in(folder)
    except OSError as error:
        raise BenchError(f"{error.filename} cannot be read: {error.strerror}; nothing was taken") from error


def _kinds() -> "Mapping[str, type[JsonRecord]]":
    """What the records of each folder are."""
    from bench.records.run import RunResult
    from bench.throughput import ThroughputRecord, corruptions

    return dict(zip(FOLDERS, (RunResult, ThroughputRecord, corruptions.CorruptionCosts), strict=True))


def _tell(merged: "Merged", out: Path) -> None:
    """Name what was not taken over, and count the rest."""
    for path, why in merged.left.items():
        say(f"left {path}: {why}", err=True)
    for path, why in merged.conflicts.items():
        say(f"conflict: {path}: {why}; it was not taken, so move one of the two away", err=True)
    if merged.busy:
        say(
            f"left {counted(len(merged.busy), 'record')} whose runs other processes make for {out}: merge again",
            err=True,
        )
    parts = [f"took {counted(len(merged.written), 'record')} into {out}"]
    if merged.there:
        parts.append(f"{counted(merged.there, 'was', 'were')} there already")
    if merged.other_costs:
        parts.append(
            f"{counted(merged.other_costs, 'differs', 'differ')} from those there in costs and dates alone, which stay"
        )
    if merged.completed:
        parts.append(
            counted(merged.completed, "that was there got a whole sidecar", "that were there got whole sidecars")
        )
    if merged.conflicts:
        parts.append(counted(len(merged.conflicts), "conflict"))
    if left := len(merged.left) + len(merged.busy):
        parts.append(f"{counted(left, 'file')} left")
    say("; ".join(parts))
