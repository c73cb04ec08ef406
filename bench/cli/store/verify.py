"""`bench verify-store`."""

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.common import folder_of_records, installed, records_option, say
from bench.cli.store.metrics import guarded_metrics
from bench.text import counted

if TYPE_CHECKING:
    from bench.metrics import Metric
    from bench.records.run import RunResult
    from bench.records.sidecar import Sidecar
    from bench.store.verify import Recomputed


@click.command("verify-store")
@records_option
def verify_store(out: Path) -> None:
    """Read all records of runs and what lies beside them, and name what is wrong.

    Each record is compared with its sidecar: the digest, the history, and the predictions with their counts and with
    all metrics that are installed, to the last bit. Nothing is changed; each line says what to do. The exit code is 1
    if something is wrong.
    """
    from bench.store.verify import verify

    found = verify(folder_of_records(out), _recompute)
    for path, problems in sorted(found.problems.items()):
        for what in problems:
            say(f"{path}: {what}", err=True)
    for what, paths in found.failed.items():
        more = f" and {counted(len(paths) - 1, 'more record')}" if len(paths) > 1 else ""
        say(f"{paths[0]}{more}: {what}; mend the metric, or uninstall its plugin", err=True)
    wrong = sum(map(len, found.problems.values())) + len(found.failed)
    say(
        f"{counted(found.records, 'record')}, {counted(found.sidecars, 'sidecar')}, {found.with_predictions:,} with "
        f"predictions "
        f"({found.values:,} values of {found.recomputed:,} computed again), {counted(wrong, 'problem')}"
    )
    sys.exit(1 if wrong else 0)


@cache
def _metrics() -> "Mapping[str, Metric]":
    """All that are installed. Only a folder with predictions asks for them, as it takes torch."""
    return guarded_metrics(installed())


def _recompute(result: "RunResult", beside: "Sidecar") -> "Recomputed":
    from bench.runs.rescoring import TestSet, scores
    from bench.store.rescored import context_recomputed, recomputed
    from bench.store.verify import Recomputed

    found = recomputed(result, beside, _metrics(), scores), context_recomputed(result, beside, _metrics(), TestSet)
    different, failed = ([what for one in found for what in getattr(one, name)] for name in ("different", "failed"))
    return Recomputed(sum(one.values for one in found), different, failed)
