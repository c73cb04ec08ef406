"""Claims: files beside the records that say who is making a run, so that no run is made twice at once.

A process that is to make runs takes the next one that nobody else holds:

```python
with Claims(store.folder) as claims:
    for spec in specs:
        if claims.take(spec.path):
            ...  # if it is not recorded by now, make it and record it
            claims.release(spec.path)
```

A claim, `RECORD.claim`, is there from the start or not at all: it is written under another name and then linked, which
is atomic on network file systems too. A thread touches the claims of its process every BEAT_SECONDS. A claim is stale
when its process is dead, which is known on its own machine, or when it was not touched for STALE_SECONDS by the clock
of the file system. A stale claim is taken over by a second file, `RECORD.claim.TOKEN`, which is named after the claim
that it takes over. Only one process can link that name, so exactly one takes over, and nothing is removed meanwhile.
Who holds the run is therefore the end of a chain, and the holder alone removes it, from its beginning.

Nothing here imports torch.
"""

import hashlib
import json
import math
import os
import platform
import re
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.errors import StoreError
from bench.records.files import OTHER_FOLDER, part_of, way_out
from bench.records.processes import Process
from bench.store.beside import remove_unnamed

BEAT_SECONDS = 20.0
STALE_SECONDS = 300.0
NAME = re.compile(r"(.+\.\d+\.[0-9a-f]{12})\.claim")
"""The names of claims of records."""
TOKEN = re.compile("[0-9a-f]{16}")
LINKS = re.compile(r".+\.\d+\.[0-9a-f]{12}\.claim(\.[0-9a-f]{16})?")
"""The names of claims, and of the files that take them over."""


@dataclass(frozen=True)
class RunClaim:
    """One file of a chain of claims on a run.

    Attributes:
        path: the file.
        token: 16 hex digits, different for each claim.
        process: the process that made it; None where the file is damaged.
        host, time: of the making, for people to read.
        touched: when its process last showed that it lives, in seconds by the clock of the file system.
    """

    path: Path
    token: str
    process: Process | None
    host: str
    time: str
    touched: float

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The claim in a file; None if there is no such file.

        Args:
            path: the file. One that is damaged is a claim too, of an unknown process.
        """
        try:
            content, touched = _content(path)
        except FileNotFoundError:
            return None
        try:
            known = json.loads(content)
            process = Process(str(known["machine"]), int(known["pid"]), str(known["started"]))
            if process.pid > 0 and TOKEN.fullmatch(known["token"]):
                return cls(path, known["token"], process, str(known["host"]), str(known["time"]), touched)
        except (ValueError, KeyError, TypeError):  # it was cut off where the file system has no links, or is no claim
            pass
        token = hashlib.sha256(content + str(touched).encode()).hexdigest()[:16]
        return cls(path, token, None, "", "", touched)

    def is_stale(self, now: float) -> bool:
        """Whether its process is dead, or has not been heard of for so long that it must be. None lives in the future:
        such a claim, of a clock that was set or a file that was copied, would hold its run for ever.

        Args:
            now: in seconds by the clock of the file system.
        """
        return bool(self.process and self.process.is_dead) or abs(now - self.touched) > STALE_SECONDS

    def __str__(self) -> str:
        return f"process {self.process.pid} on {self.host}" if self.process else f"whoever made {self.path}"


class Claims:
    """What this process holds of the runs of a folder. As a context, it releases all at the end, however it ends.

    Args:
        folder: the folder of records.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, str] = {}  # record -> token
        self._files: dict[str, Path] = {}  # record -> the file to touch
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._beat, daemon=True, name="bench claims").start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._ended.set()
        for record in list(self._held):
            self.release(record)

    def take(self, record: str) -> bool:
        """Take a run, unless another process holds it.

        Another process may have recorded the run just before, so look for its record afterwards.

        Args:
            record: the record's file, in the folder of records.

        Returns:
            Whether this process holds the run from now on: nobody else held it, or the claim on it was stale.

        Raises:
            StoreError: if no claim can be written.
        """
        base = self._base(record)
        if record in self._held:
            return True
        token = secrets.token_hex(8)
        self._held[record] = token  # an interrupt may come at any time, and releasing what was not got does no harm
        try:
            part = part_of(base)
            try:
                got = self._link(part, base, token, self._write(part, token))
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"cannot write {base}: {error.strerror}{way_out(error, OTHER_FOLDER)}") from error
        if got is None:
            del self._held[record]
        else:
            self._files[record] = got
        return got is not None

    def release(self, record: str) -> None:
        """Let others have a run. If others took it over, because this process seemed dead, their claim is left."""
        token = self._held.pop(record, None)
        self._files.pop(record, None)
        chain = _chain(self._base(record))
        if chain and chain[-1].token == token:
            for claim in chain:
                with suppress(OSError):
                    claim.path.unlink()

    def holder(self, record: str) -> RunClaim | None:
        """The claim of another process that makes a run; None if nobody else does."""
        chain = _chain(self._base(record))
        if not chain or record in self._held or chain[-1].is_stale(self._now()):
            return None
        return chain[-1]

    def remove_stale(self) -> None:
        """Remove the claims of dead processes on runs that nobody has asked for again, and what they were recording."""
        for base in self.folder.rglob("*.claim"):
            match = NAME.fullmatch(base.relative_to(self.folder).as_posix())
            if match and self.holder(record := f"{match[1]}.json") is None and self.take(record):
                self.discard_sidecars(record)
                self.release(record)
        for path in self.folder.rglob("*.claim.*"):
            claim = RunClaim.read(path) if LINKS.fullmatch(path.name) else None
            if claim and claim.is_stale(self._now()) and not path.with_suffix("").exists():
                with suppress(OSError):  # it took over a claim that is gone since
                    path.unlink()

    def discard_sidecars(self, record: str) -> None:
        """Remove the sidecars of a run that this process holds which its record does not name."""
        if record in self._held:
            remove_unnamed(self.folder / record)

    def _base(self, record: str) -> Path:
        return self.folder / f"{record.removesuffix('.json')}.claim"

    def _write(self, part: Path, token: str) -> float:
        """Write a new claim under a name of its own. Returns the time on the clock of the file system."""
        part.parent.mkdir(parents=True, exist_ok=True)
        this = Process.this()
        known = {"machine": this.machine, "pid": this.pid, "started": this.started, "token": token}
        known |= {"host": platform.node(), "time": datetime.now(UTC).isoformat(timespec="seconds")}
        with part.open("x") as file:
            json.dump(known, file)
            file.flush()
            os.fsync(file.fileno())
            return os.fstat(file.fileno()).st_mtime

    def _link(self, part: Path, base: Path, token: str, now: float) -> Path | None:
        """Make a claim under the first name that is free, if all that it takes over is stale. Returns the file."""
        while True:
            chain = _chain(base)
            if chain and not chain[-1].is_stale(now):
                return None
            target = _next(base, chain)
            if not _linked(part, target):
                continue  # another process was quicker: look again who holds it
            # The chain may have been removed after it was read. Its end is removed last, so that its beginning tells.
            if not chain or ((first := RunClaim.read(base)) and first.token == chain[0].token):
                return target
            target.unlink(missing_ok=True)

    def _now(self) -> float:
        """The time on the clock of the file system, which may be another machine's."""
        part = part_of(self.folder / "clock")
        try:
            with part.open("x") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return math.nan  # nothing can be told, so nothing is stale
        finally:
            with suppress(OSError):
                part.unlink()

    def _beat(self) -> None:
        """Runs in a thread: shows that this process lives."""
        while not self._ended.wait(BEAT_SECONDS):
            for path in list(self._files.values()):
                with suppress(OSError):
                    os.utime(path)


def _content(path: Path) -> tuple[bytes, float]:
    """The content of a file, and when it was touched. Whatever lies there, it is read at once, and not without end.

    Opening it makes a network file system look again.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise
    except OSError:  # another user's
        return b"", path.lstat().st_mtime
    try:
        touched = os.fstat(descriptor).st_mtime
        with suppress(OSError):  # a folder
            return os.read(descriptor, 4096), touched
        return b"", touched
    finally:
        os.close(descriptor)


def holder_of(record: Path, now: float) -> RunClaim | None:
    """The claim of the process that makes a run. Nothing is changed.

    Args:
        record: the file of the run's record, whether it exists or not.
        now: in seconds by the clock of the file system.

    Returns:
        The claim; None if no process makes the run.
    """
    chain = _chain(record.with_suffix(".claim"))
    return chain[-1] if chain and not chain[-1].is_stale(now) else None


def _chain(base: Path) -> list[RunClaim]:
    """The claims on a run, each of which took over the one before."""
    chain: list[RunClaim] = []
    while claim := RunClaim.read(_next(base, chain)):
        chain.append(claim)
    return chain


def _next(base: Path, chain: list[RunClaim]) -> Path:
    """The file that takes over the end of a chain, or begins one."""
    return base.with_name(f"{base.name}.{chain[-1].token}") if chain else base


def _linked(part: Path, target: Path) -> bool:
    """Give a file a further name, and return whether that name was free."""
    try:
        os.link(part, target)
    except FileExistsError:
        # The answer of a network file system may be lost, and its repetition says that the name is there.
        with suppress(OSError):
            return part.stat().st_nlink == 2
        return False
    except OSError:  # a file system without links
        try:
            with target.open("xb") as file:
                file.write(part.read_bytes())
        except FileExistsError:
            return False
    return True
