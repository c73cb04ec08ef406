"""Which process made something, and whether that process is dead. Nothing here imports torch."""

import functools
import hashlib
import os
import platform
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Process:
    """A process of some machine.

    Attributes:
        machine: 8 hex digits for what its number is unique in: the machine since it was started and, in a container,
            that container.
        pid: its number.
        started: when it was started, in the machine's own count; empty where that cannot be told. A number is given to
            another process later.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Self:
        """The one that asks."""
        return cls(_machine(), os.getpid(), _started(os.getpid()))

    @property
    def is_dead(self) -> bool:
        """Whether it has surely ended; False where that cannot be told, as on another machine."""
        if self.machine != _machine() or sys.platform == "win32":  # where signal 0 would end the process
            return False
        try:
            os.kill(self.pid, 0)
        except (ProcessLookupError, OverflowError):
            return True
        except OSError:  # it is another user's
            pass
        started = _started(self.pid)
        return started == ENDED or bool(self.started and started and started != self.started)

    @property
    def mark(self) -> str:
        """It as a part of a file's name, without `.`."""
        return f"{self.pid}-{self.machine}-{self.started or 0}"

    @classmethod
    def of_mark(cls, mark: str) -> Self:
        """The process of a mark. Raises ValueError for another text."""
        pid, machine, started = mark.split("-")
        return cls(machine, int(pid), "" if started == "0" else started)


MARK = r"\d+-[0-9a-f]{8}-\d+"
"""What marks look like, as a regular expression."""
ENDED = "ended"
"""In place of the start of a process that has ended, but whose parent has not asked for its exit code."""


@functools.cache
def _machine() -> str:
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(pid: int) -> str:
    """The clock ticks from the machine's start to the process', where the system tells them (Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return ENDED if fields[0] in "ZX" else fields[19]
