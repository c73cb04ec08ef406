"""What commands are to make: a file for each, from when it begins to train until all of its runs are recorded.

`bench status` reads them. No run depends on them, so they can be removed at any time. Nothing here imports torch.
"""

import json
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from bench.errors import StoreError
from bench.records.files import content_of_file, write_whole
from bench.records.spec import digest
from bench.store.claims import NAME, RunClaim, holder_of

FOLDER = "plans"
"""The subfolder of an output folder."""
LARGEST = 1 << 28
"""The bytes that a plan may have."""


@dataclass(frozen=True)
class Plan:
    """The runs of one command.

    Attributes:
        command: as it was given.
        begun: when it was given for the first time, in UTC.
        runs: the files of their records, in the folder of records.
    """

    command: str
    begun: str
    runs: tuple[str, ...]

    @classmethod
    def of(cls, command: str, runs: Iterable[str]) -> Self:
        """The plan of a command that is given now."""
        return cls(command, datetime.now(UTC).isoformat(timespec="seconds"), tuple(runs))

    def file(self, out: Path) -> Path:
        """Where it lies in an output folder: the same command has the same place."""
        return out / FOLDER / f"{digest(self.command)}.json"

    def write(self, out: Path) -> None:
        """Write it, unless the same one is there. A plan that cannot be written is left out."""
        before = _read(self.file(out))
        if before is None or before.runs != self.runs:
            with suppress(StoreError):
                write_whole(self.file(out), f"{json.dumps(asdict(self))}\n".encode())

    def discard(self, out: Path) -> None:
        """Remove it, and the folder of plans with the last one."""
        with suppress(OSError):
            self.file(out).unlink(missing_ok=True)
            self.file(out).parent.rmdir()


def plans_in(out: Path) -> list[Plan]:
    """The plans of an output folder, in the order in which they were begun. Files that hold none are left out.

    Args:
        out: the output folder; it need not exist.
    """
    found = (_read(path) for path in sorted((out / FOLDER).glob("*.json")))
    return sorted((plan for plan in found if plan), key=lambda plan: (plan.begun, plan.command))


def claims_in(folder: Path) -> dict[str, tuple[RunClaim, bool]]:
    """The claims on runs of a folder of records. Nothing is changed.

    Args:
        folder: of the records; it need not exist.

    Returns:
        File of a run's record, in the folder -> the claim on the run, and whether its process has ended, or was not
        heard of for so long that it must have, by the clock of this machine.
    """
    found = {}
    for base in sorted(folder.rglob("*.claim")):
        match = NAME.fullmatch(base.relative_to(folder).as_posix())
        holder = holder_of(base.with_suffix(".json"), time.time())
        if match and (claim := holder or RunClaim.read(base)):
            found[f"{match[1]}.json"] = claim, holder is None
    return found


def _read(path: Path) -> Plan | None:
    try:
        known = json.loads(content_of_file(path, LARGEST))
        return Plan(str(known["command"]), str(known["begun"]), tuple(map(str, known["runs"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None
