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
        machine: 8 hex digits that stand for what process numbers are unique in: one start of a machine and, in a
            container, that container.
        pid: the number of the process.
        started: when it was started, in the machine's own count; empty where that cannot be told. It tells processes
            apart that were given the same number one after another.
    """

    machine: str
    pid: int
    started: str

    @classmethod
    def this(cls) -> Self:
        """The process that asks."""
        return cls(_machine(), os.getpid(), _started(os.getpid()))

    @property
    def is_dead(self) -> bool:
        """Whether the process has certainly ended. It is False where that cannot be told, as of a process on another
        machine.
        """
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
        """The process as a part of a file's name, without a dot."""
        return f"{self.pid}-{self.machine}-{self.started or 0}"

    @classmethod
    def of_mark(cls, mark: str) -> Self:
        """The process of a mark.

        Args:
            mark: what `mark` gave.

        Raises:
            ValueError: for any other text.
        """
        pid, machine, started = mark.split("-")
        return cls(machine, int(pid), "" if started == "0" else started)


MARK = r"\d+-[0-9a-f]{8}-\d+"
"""The form of marks, as a regular expression."""
ENDED = "ended"
"""Stands for the start of a process that has ended but whose parent has not yet asked for its exit code."""


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
