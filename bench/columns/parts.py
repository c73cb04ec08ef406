"""Many files of records are read part by part, on all cores that this process may use. Nothing here imports torch."""

import gc
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bench.columns.lines import STAMP, Lines, Stamp, Task
from bench.errors import StoreError
from bench.records.json_file import read_all
from bench.records.run import RunResult

if TYPE_CHECKING:
    import pyarrow as pa

BYTES = 1_500_000
"""So much is read at a time, as some records are ten times as long as others."""
MANY = 2000
"""The number of files from which on other processes read: starting them takes as long as reading some hundreds."""
PROCESSES = 8
"""The most processes that read; the rest of the work is done by one."""
Stamped = Sequence[tuple[str, Stamp]]
"""Names of files within the folder of records, with their stamps."""


@dataclass(frozen=True)
class Part:
    """What some files hold.

    Attributes:
        tables: the columns of each task.
        damaged: file -> the reason, of those that hold no record.
    """

    tables: "dict[Task, pa.Table]"
    damaged: dict[Path, str]


def read_parts(folder: Path, files: Stamped) -> Iterator[Part]:
    """Read the records in some files.

    Args:
        folder: of the records.
        files: the files.

    Returns:
        What they hold, part by part, in their order.

    Raises:
        StoreError: if a process that reads them was killed.
    """
    parts = _parts_of(files)
    processes = min(_cores(), PROCESSES, len(parts)) if len(files) >= MANY and sys.executable else 1
    if processes == 1:
        yield from (read_part(folder, part) for part in parts)
        return
    with ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(processes))  # left last: no thread waits for an ended process
        free = [stack.enter_context(_Reader()) for _ in range(processes)]

        def read(part: Stamped) -> Part:
            reader = free.pop()  # there are as many threads as processes
            try:
                return reader.read(folder, part)
            finally:
                free.append(reader)

        yield from threads.map(read, parts)


def _parts_of(files: Stamped) -> list[list[tuple[str, Stamp]]]:
    """The files in parts of about BYTES, in their order."""
    parts: list[list[tuple[str, Stamp]]] = []
    size = BYTES
    for file, stamp in files:
        if size >= BYTES:
            parts.append([])
            size = 0
        parts[-1].append((file, stamp))
        size += stamp[STAMP.index("size")]
    return parts


def read_part(folder: Path, files: Stamped) -> Part:
    """Read the records in some files, in this process.

    Args:
        folder: of the records.
        files: the files.
    """
    lines = Lines()
    records, damaged = read_all([folder / file for file, _ in files], RunResult)
    for file, stamp in files:
        if (record := records.get(folder / file)) is not None:
            lines.add(record, file, stamp)
    return Part(lines.tables(), damaged)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Reader:
    """A process that reads records. It is started by a command of its own, so that it works from any program."""

    def __enter__(self) -> "_Reader":
        path = os.pathsep.join(os.path.abspath(place) for place in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def read(self, folder: Path, files: Stamped) -> Part:
        jobs, answers = self._process.stdin, self._process.stdout
        assert jobs and answers
        try:
            pickle.dump((folder, files), jobs)
            jobs.flush()
            part: Part = pickle.load(answers)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._process.kill()
            code = self._process.wait()
            raise StoreError(f"a process that read the records in {folder} ended with exit code {code}") from error
        return part


def serve() -> None:
    """Answer each job on the standard input with what `read_part` gives, until there is none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one ends it
    gc.disable()  # what records are made of has no circles, and there is much of it
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(read_part(*job), sys.stdout.buffer, pickle.HIGHEST_PROTOCOL)
        sys.stdout.buffer.flush()
