"""Processes that make runs side by side. Each imports its libraries and loads the data once.

`Pool.results` is called where the runs are claimed and recorded results are awaited; `serve` is the function that each
process runs. A process that is killed is replaced, and its run goes on from its last checkpoint.
"""

import contextlib
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.records.run import RunResult
from bench.records.spec import canonical
from bench.registry import installed
from bench.runs.executors.isolation import (
    GRACE,
    START,
    Ended,
    Watch,
    answer_of,
    as_own_process,
    called,
    interrupts_held,
)
from bench.runs.experiment import Experiment, Request
from bench.runs.resolve import resolve

DEATHS = 3
"""How often the process of a run may be killed before the run counts as failed."""


@dataclass(frozen=True)
class Task:
    """One run, or the runs of one stack.

    Attributes:
        function: makes them, as `bench.runs.runner.run` does. It is pickled by its name, so it stands in a module.
        request: that their experiment is resolved from.
        keys: of the runs. The experiment must give the same ones.
        seeds: of the runs.
        watch: makes a context with the observer, which shows the progress; it can be pickled.
        how: further arguments of the function.
        threads: how many threads the training computes with.
        deaths: how often a process was killed that made them.
    """

    function: Callable[..., Any]
    request: Request
    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    watch: Watch | None = None
    how: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    deaths: int = 0


class Pool:
    """A number of processes that make runs. As a context, it ends them.

    Args:
        jobs: the most processes at once.
        cores: how many threads all trainings together may have. One that needs more has all others wait.
        files: the data files.
        fresh: whether each run has a process of its own, which nothing that other runs left can reach.
    """

    def __init__(self, jobs: int, cores: int, files: Files, fresh: bool = False) -> None:
        self._jobs, self._cores, self._files, self._fresh = jobs, cores, files, fresh
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        for worker in self._workers:
            worker.end()

    def results(self, tasks: Iterable[Task]) -> Iterator[tuple[Task, list[RunResult] | Ended]]:
        """Make runs, and give what came of each as soon as it is over.

        Args:
            tasks: what is to be made. The next one is asked for when there is room for it.

        Yields:
            A task, and its records; or how its process ended, where that was not by being killed from outside.

        Raises:
            BenchError, RuntimeError: what the function of a task raised, which ends everything.
            KeyboardInterrupt: if the user has interrupted. Then all processes are interrupted too.
        """
        coming, again = iter(tasks), list[Task]()
        following: Task | None = None
        try:
            while True:
                following = following or (again.pop() if again else next(coming, None))
                while following and self._has_room(following):
                    self._idle().give(following)
                    following = again.pop() if again else next(coming, None)
                if not (busy := [worker for worker in self._workers if worker.task]):
                    return
                for worker, task, answer in self._answers(busy):
                    if isinstance(answer, Ended) and answer.code == -signal.SIGKILL and task.deaths + 1 < DEATHS:
                        again.append(replace(task, deaths=task.deaths + 1))
                    elif isinstance(answer, BaseException):
                        raise answer
                    else:
                        yield task, answer
                    if self._fresh or isinstance(answer, Ended):
                        self._workers.remove(worker)
                        worker.end()
        except KeyboardInterrupt:
            self._interrupt()
            raise

    def _has_room(self, task: Task) -> bool:
        running = [worker.task.threads for worker in self._workers if worker.task]
        return not running or (len(running) < self._jobs and sum(running) + task.threads <= self._cores)

    def _idle(self) -> "Worker":
        """A process without work, which is started where there is none."""
        for worker in self._workers:
            if not worker.task:
                return worker
        self._workers.append(worker := Worker(self._files))
        return worker

    def _answers(self, busy: "Sequence[Worker]") -> "Iterator[tuple[Worker, Task, Any]]":
        """What processes say, once one of them says something or has been silent for too long."""
        limits = [worker.patience for worker in busy if worker.patience is not None]
        ready = wait([worker.connection for worker in busy], min(limits, default=None))
        for worker in busy:
            task = worker.task
            if task and (worker.connection in ready or worker.patience == 0):
                answer = worker.answer()
                if answer is not None:
                    yield worker, task, answer

    def _interrupt(self) -> None:
        """Interrupt all processes, and wait until they have written their checkpoints, GRACE seconds at most."""
        end = time.monotonic() + GRACE
        for worker in self._workers:
            worker.interrupt()
        for worker in self._workers:
            worker.finish(end)


class Worker:
    """A process that makes one task after the other.

    Attributes:
        task: what it makes; None while it waits.
        connection: this end of the pipe to it.
    """

    def __init__(self, files: Files) -> None:
        spawn = get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        self._trace = Path(self._folder.name, "trace")
        self.connection, theirs = spawn.Pipe()
        self._process = spawn.Process(
            target=serve, args=(theirs, files.root.absolute(), files.allow_unofficial, self._trace, os.getpid())
        )
        with interrupts_held():
            self._process.start()
        theirs.close()  # then the pipe ends when the other process ends, which holds the only other copy
        self.task: Task | None = None
        self._until: float | None = None

    def give(self, task: Task) -> None:
        """Let it make a task."""
        self.task = task
        self._wait_for(START)
        with contextlib.suppress(OSError):  # it was killed meanwhile, which `answer` sees
            self.connection.send(task)

    @property
    def patience(self) -> float | None:
        """Seconds until it has been silent for too long; None: it may be silent for ever."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())

    def answer(self) -> Any:
        """What it has to say of its task: None if it has made progress, or else what came of it."""
        assert self.task
        if self.patience == 0 and not self.connection.poll():
            return self._over(Ended(0, self.task.how.get("timeout")))
        try:
            said = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(GRACE)
            ended = Ended(self._process.exitcode or 0)
            return self._over(replace(ended, trace=self._trace.read_text(errors="replace") if self._traced else ""))
        if said is None:
            self._wait_for(GRACE)
            return None
        return self._over(said)

    def interrupt(self) -> None:
        """Interrupt what it makes."""
        if self.task:
            with contextlib.suppress(OSError):
                os.kill(self._process.pid or 0, signal.SIGINT)

    def finish(self, end: float) -> None:
        """Wait for what comes of its task, until a time by the monotonic clock."""
        with contextlib.suppress(EOFError, OSError):
            while self.task and self.connection.poll(max(0.0, end - time.monotonic())):
                self.answer()

    def end(self) -> None:
        """End it, and the processes that it has started."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):  # it leads no group yet, or nobody is left in it
                os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self.connection.close()
        self._folder.cleanup()

    @property
    def _traced(self) -> bool:
        return self._trace.exists()

    def _over(self, answer: Any) -> Any:
        self.task = self._until = None
        return answer

    def _wait_for(self, further: float) -> None:
        timeout = self.task.how.get("timeout") if self.task else None
        self._until = None if timeout is None else time.monotonic() + timeout + further


def serve(connection: Connection, data_dir: Path, allow_unofficial: bool, trace: Path, parent: int) -> None:
    """The function that a process runs: make each task that is sent and answer with its records, or with the error that
    is to be raised. At each progress it sends None.

    Args:
        connection: the end of the pipe to the process that started this one.
        data_dir, allow_unofficial: as for `Files`.
        trace: the file that a crash writes the stacks of its threads to.
        parent: number of the process that started this one. When it is gone, this one ends.
    """
    with as_own_process(parent, trace):
        experiments = Experiments(Files(data_dir, allow_unofficial))
        with contextlib.suppress(EOFError, KeyboardInterrupt):  # an interrupt may come just when a task was over
            while True:
                task = connection.recv()
                connection.send(answer_of(partial(_worked, task, experiments, connection)))


class Experiments:
    """The experiments of this process. Those that share their data load them once; of others, the last are kept.

    Args:
        files: the data files.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._known: dict[str, Experiment] = {}
        self._loaded: dict[str, Dataset] = {}

    def of(self, request: Request) -> Experiment:
        """The experiment of a request."""
        options = {name: v for name, v in request.options.items() if name.startswith(("dataset.", "protocol."))}
        task = canonical([request.dataset, request.protocol, options])
        if task not in self._loaded:
            self._known.clear()
            self._loaded.clear()
        whole = canonical([task, request.method, request.model, dict(request.options), request.validation])
        if whole not in self._known:
            experiment = resolve(request, self._files, installed(), self._loaded.get(task))
            self._known[whole] = experiment
            self._loaded[task] = experiment.dataset
        return self._known[whole]


def _worked(task: Task, experiments: Experiments, connection: Connection) -> Any:
    """The records of a task."""
    return called(task.function, experiments.of(task.request), task, lambda: connection.send(None))
