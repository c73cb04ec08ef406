"""`bench verify-store`."""

import sys
from pathlib import Path

import click

from bench.cli.common import folder_of_records, out_option, say


@click.command("verify-store")
@out_option
def verify_store(out: Path) -> None:
    """Read all records of runs and what lies beside them, and name what is wrong.

    Each record is compared with its sidecar: the digest, the history, and the predictions with their counts. Nothing is
    changed; each line says what to do. The exit code is 1 if something is wrong.
    """
    from bench.store.verify import verify

    found = verify(folder_of_records(out))
    for path, problems in sorted(found.problems.items()):
        for what in problems:
            say(f"{path}: {what}", err=True)
    wrong = sum(map(len, found.problems.values()))
    say(
        f"{found.records:,} records, {found.sidecars:,} sidecars, {found.with_predictions:,} with predictions, "
        f"{wrong:,} problems"
    )
    sys.exit(1 if wrong else 0)
