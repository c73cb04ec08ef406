"""Runs in processes of their own, so that nothing they do reaches other runs, not even ending the process.

`work` is the function that such a process runs. Everything that it needs is in a `Job`, which can be pickled.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from bench.data.files import Files
from bench.errors import BenchError, DataError
from bench.failures import INTERRUPTING, Interrupts, whole_traceback
from bench.guards.watchdog import RelayingObserver, can_ring
from bench.records.run import PLUGIN_ERROR, TIMED_OUT
from bench.runs.experiment import Experiment, Request
from bench.runs.resolve import resolve
from bench.training.observer import Observer

GRACE = 5.0
"""Seconds that a process has to end itself and to report where it hung, before it is killed."""
START = 120.0
"""Seconds that a process has, in addition to its timeout, to import its libraries and to load the data."""
SET_DEATH_SIGNAL = 1
"""The operation of `prctl` with this name in the header of Linux."""
Watch = Callable[[], AbstractContextManager[Observer]]


@dataclass(frozen=True)
class Job:
    """The work of a process of its own, such as training runs and recording them.

    Attributes:
        function: the function that is called there with the experiment, the seeds, the observer and `how`. It is
            pickled by its name, so it stands in a module.
        request: the request that the experiment is resolved from there.
        data_dir: folder of the data files (`bench.data.files`).
        allow_unofficial: as in `Files`.
        keys: keys of the runs. The experiment must give the same ones there.
        seeds: seeds of the runs.
        how: further arguments of the function, by name.
        watch: makes a context with the observer, which shows the progress there; None: no progress is shown.
        trace: the file that a crash writes the stacks of its threads to.
        parent: number of the process that waits for this one.
    """

    function: Callable[..., Any]
    request: Request
    data_dir: Path
    allow_unofficial: bool
    keys: tuple[str, ...]
    seeds: tuple[int, ...]
    how: Mapping[str, Any]
    watch: Watch | None
    trace: Path
    parent: int


def in_own_process(
    function: Callable[..., Any], experiment: Experiment, seeds: Sequence[int], watch: Watch | None = None, **how: Any
) -> "Any | Ended":
    """Call a function such as `bench.runs.runner.run` in a process of its own.

    An interrupt of this process interrupts the other one too, which has GRACE seconds to write its checkpoint.

    Args:
        function: the function that is called there. It stands in a module, and its result can be pickled.
        experiment: its first argument. It comes from a request, from which it is resolved again there.
        seeds: its second argument.
        watch: makes the context with its argument `observer` there; it can be pickled. None: no progress is shown.
        how: its further arguments, which can be pickled. After `timeout` seconds without progress the process is killed
            if it does not end itself.

    Returns:
        The result of the function; an `Ended` if the process ended before it sent one.

    Raises:
        BenchError: if the function raises it.
        RuntimeError: with the traceback, for any other error that the function lets pass.
        KeyboardInterrupt: if the user has interrupted.
    """
    assert experiment.request and experiment.files, "made by `resolve`"
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            function=function,
            request=experiment.request,
            data_dir=experiment.files.root.absolute(),
            allow_unofficial=experiment.files.allow_unofficial,
            keys=tuple(experiment.spec(seed).key for seed in seeds),
            seeds=tuple(seeds),
            how=how,
            watch=watch,
            trace=Path(folder, "trace"),
            parent=os.getpid(),
        )
        answer = _Process(job).answer(how.get("timeout"))
        if isinstance(answer, Ended) and job.trace.exists():
            answer = replace(answer, trace=job.trace.read_text(errors="replace"))
    if isinstance(answer, BaseException):
        raise answer
    return answer


@dataclass(frozen=True)
class Ended:
    """A process that ended, or was killed, before it sent a result.

    Attributes:
        code: its exit code; if a signal ended it, the negative number of the signal.
        timeout: seconds without progress after which it was killed; None: it ended by something else.
        trace: the stacks of its threads when it crashed; empty if it did not crash.
    """

    code: int
    timeout: float | None = None
    trace: str = ""

    @property
    def failure(self) -> tuple[str, str, str]:
        """The failure of its runs: status, message in one line, and traceback."""
        return (PLUGIN_ERROR if self.timeout is None else TIMED_OUT), self._told(), self.trace

    def _told(self) -> str:
        if self.timeout is not None:
            return f"no progress for {self.timeout:g} seconds, and its process did not listen"
        if self.code < 0:
            return f"its process was ended by {signal.Signals(-self.code).name}{_place(self.trace)}"
        return f"its process ended itself with exit code {self.code}"


def _place(trace: str) -> str:
    """The innermost place in a plugin of the thread that crashed, from the text of `faulthandler`; empty if none is."""
    python, core = str(Path(os.__file__).parent), str(Path(__file__).parents[2])
    for line in trace.partition("Current thread")[2].splitlines():
        is_python = python in line and "site-packages" not in line
        if line.startswith("  File ") and not is_python and f"{os.sep}torch{os.sep}" not in line and core not in line:
            return f" at {line.strip()}"
    return ""


class _Process:
    """A running process of a job, with the pipe that it answers through."""

    def __init__(self, job: Job) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._received, sent = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=work, args=(job, sent))
        with interrupts_held():
            self._process.start()
        sent.close()  # then the pipe ends when the other process ends, which holds the only other copy

    def answer(self, timeout: float | None) -> Any:
        """Wait for the result that `work` sends, or for the end of the process. The process is killed in any case."""
        patience = None if timeout is None else timeout + START
        try:
            while self._received.poll(patience):
                said = self._received.recv()
                if said is not None:
                    return said
                patience = None if timeout is None else timeout + GRACE
        except EOFError:
            self._process.join(GRACE)  # it may live on, without a pipe
            return Ended(self._process.exitcode or 0)
        except KeyboardInterrupt:
            self._interrupt()
            raise
        finally:
            self._end()
        return Ended(0, timeout)

    def _end(self) -> None:
        """End it, and the processes that it has started."""
        if hasattr(os, "killpg"):
            with contextlib.suppress(OSError):  # it leads no group yet, or nobody is left in it
                os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._received.close()

    def _interrupt(self) -> None:
        """Interrupt the process, and wait until it has written its checkpoint, GRACE seconds at most."""
        with contextlib.suppress(OSError):
            os.kill(self._process.pid or 0, signal.SIGINT)
        with contextlib.suppress(EOFError, OSError):
            end = time.monotonic() + GRACE
            while time.monotonic() < end and self._received.poll(end - time.monotonic()):
                self._received.recv()


def work(job: Job, connection: Connection) -> None:
    """The function that a process of its own runs: do a job and send its result, or the error to raise.

    At each progress it sends None. The process ends with this function, even if a plugin has left threads running.

    Args:
        job: the job.
        connection: the end of the pipe to the process that started this one.
    """
    with as_own_process(job.parent, job.trace):
        connection.send(answer_of(lambda: _worked(job, lambda: connection.send(None))))


def _worked(job: Job, beat: Callable[[], None]) -> Any:
    """The result of a job's function."""
    experiment = resolve(job.request, Files(job.data_dir, job.allow_unofficial))
    return called(job.function, experiment, job, beat)


@contextlib.contextmanager
def as_own_process(parent: int, trace: Path) -> Iterator[None]:
    """Within, this process ends with the one that started it, and writes the stacks of its threads where it crashes. It
    ends with the context, even if a plugin has left threads running.

    Args:
        parent: number of the process that started this one.
        trace: the file of the stacks.
    """
    if hasattr(os, "setsid"):
        os.setsid()  # a Ctrl-C in the terminal is passed on by the process that started this one, once
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _end_at_once_with(parent)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTING)
    with trace.open("w") as stacks:
        faulthandler.enable(stacks)
        yield
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # it is closed or full, which the result does not depend on
            stream.flush()
    os._exit(0)


class Call(Protocol):
    """What a process of its own is to do with an experiment: as a `Job` has it."""

    @property
    def keys(self) -> tuple[str, ...]: ...

    @property
    def seeds(self) -> tuple[int, ...]: ...

    @property
    def how(self) -> Mapping[str, Any]: ...

    @property
    def watch(self) -> Watch | None: ...


def called(function: Callable[..., Any], experiment: Experiment, call: Call, beat: Callable[[], None]) -> Any:
    """Call a function in a process of its own.

    Args:
        function: the function.
        experiment: its first argument.
        call: its other arguments.
        beat: is called at each progress.

    Raises:
        DataError: if the experiment gives other runs than in the process that started this one.
    """
    if tuple(experiment.spec(seed).key for seed in call.seeds) != call.keys:
        name = experiment.dataset.name
        raise DataError(
            f"{name} gives other data in another process: give one process (without --isolate and --jobs), "
            f"or mend the data set"
        )
    beat()
    how = dict(call.how)
    if not can_ring():
        how["timeout"] = None  # the process that started this one watches the time
    with call.watch() if call.watch else contextlib.nullcontext(Observer()) as watch:
        return function(experiment, call.seeds, observer=RelayingObserver(watch, Interrupts(), beat), **how)


def answer_of(work: Callable[[], Any]) -> Any:
    """What work gives, or the error that the process that started this one is to raise.

    Args:
        work: the work.
    """
    try:
        return work()
    except KeyboardInterrupt:
        return KeyboardInterrupt()
    except BenchError as error:
        error.__cause__ = error.__context__ = None
        return error if type(error).__init__ is BenchError.__init__ else BenchError(str(error))
    except BaseException as error:
        return RuntimeError(whole_traceback(error))


def _end_at_once_with(parent: int) -> None:
    """Have Linux end this process when the one that started it is gone, also while C code lets no thread run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it had gone before
            os._exit(1)


def _end_with(parent: int) -> None:
    """End this process when the one that started it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


@contextlib.contextmanager
def interrupts_held() -> Iterator[None]:
    """Within this context interrupts wait, in a process that is started here too, until that can handle them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
