"""`bench status`."""

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import folder_of_records, out_option, say, table, warn_of
from bench.text import counted

if TYPE_CHECKING:
    from bench.columns.table import Columns
    from bench.runs.executors.plans import Plan
    from bench.store.claims import RunClaim

MOST = 20
"""How many runs are named one by one."""


@click.command()
@out_option
def status(out: Path) -> None:
    """Say what is recorded in a folder, who makes which run since when, and what commands have left to do.

    What a command has left is known from when it began to train until all of its runs are recorded; give it again to go
    on. Runs that failed count as left too, as they are made again. Nothing is changed.
    """
    from bench.columns.reading import read_columns
    from bench.runs.executors.plans import claims_in, plans_in

    folder = folder_of_records(out) if (out / "results").exists() else out / "results"
    tasks, unused = read_columns(folder, keep=False)
    warn_of(unused)
    recorded = {file: state for columns in tasks for file, state in _states(columns)}
    claims = claims_in(folder)
    if tasks:
        table("recorded", [_counted(columns) for columns in tasks], ("task", "finished", "failed", "not applicable"))
    if being_made := [(record, claim) for record, (claim, stale) in claims.items() if not stale]:
        table("being made", [_told(record, claim) for record, claim in being_made[:MOST]], ("run", "by", "since"))
        if len(being_made) > MOST:
            say(f"and {len(being_made) - MOST:,} more")
    if left := [record for record, (_, stale) in claims.items() if stale]:
        say(f"{counted(len(left), 'run')} left by processes that have ended: {', '.join(left[:MOST])}")
    plans = plans_in(out)
    for plan in plans:
        _tell_plan(plan, recorded, {record for record, _ in being_made})
    if not (tasks or claims or plans):
        say(f"nothing is recorded in {folder}, and nothing is being made")


def _states(columns: "Columns") -> list[tuple[str, str]]:
    """File of a record, in the folder of records -> its status."""
    statuses = columns.different("status")
    files = map(os.fsdecode, columns.listed("file"))
    return [(file, statuses[code]) for file, code in zip(files, columns.listed_codes("status"), strict=True)]


def _counted(columns: "Columns") -> tuple[str, ...]:
    from bench.records.run import NOT_APPLICABLE, OK

    protocol, dataset = columns.listed("protocol")[0], columns.listed("dataset")[0]
    counts = Counter(state for _, state in _states(columns))
    failed = len(columns) - counts[OK] - counts[NOT_APPLICABLE]
    return f"{protocol}, {dataset}", f"{counts[OK]:,}", f"{failed:,}", f"{counts[NOT_APPLICABLE]:,}"


def _told(record: str, claim: "RunClaim") -> tuple[str, str, str]:
    return record.removesuffix(".json"), str(claim), f"{claim.time} ({_ago(claim.time)})" if claim.time else ""


def _ago(time: str) -> str:
    """How long ago a time was, in words."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    except ValueError:
        return "?"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(0.0, seconds):.0f} s ago"


def _tell_plan(plan: "Plan", recorded: Mapping[str, str], being_made: Collection[str]) -> None:
    """What a command has left to do."""
    from bench.records.run import NOT_APPLICABLE, OK

    states: Sequence[str | None] = [recorded.get(run) for run in plan.runs]
    done = sum(state in (OK, NOT_APPLICABLE) for state in states)
    failed = sum(state not in (OK, NOT_APPLICABLE, None) for state in states)
    made = sum(run in being_made for run in plan.runs)
    parts = [f"{done:,} of {len(plan.runs):,} runs are recorded", f"{made:,} are being made", f"{failed:,} failed"]
    say(f"{plan.command}\n  begun {plan.begun} ({_ago(plan.begun)}): {', '.join(parts)}")
