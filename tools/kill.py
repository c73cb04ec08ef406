"""Makes a table of what kills and crowds do to runs: whether records are those of undisturbed runs, and no file stays.

First each method trains undisturbed. Then its command is killed again and again, at random times and at chosen points
(while a checkpoint, a sidecar, a record, a table or a claim is written, in evaluations, where stages change), and given
again after each kill, until it ends by itself: its records must be equal bit for bit. At last several processes get one
command at the same time, and must make each run once. The exit code is 1 if anything differs. Needs `os.fork`.
"""

import argparse
import functools
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.cli import main as bench
from bench.records.sidecar import SUFFIX
from bench.runs import runner
from bench.runs.evaluation import Evaluations
from bench.store.results import ResultStore
from bench.training.checkpoints import Checkpoints
from bench.training.stages import Stages

COMMANDS = {
    "erm": "--dataset digits --protocol pruning --epochs 3",
    "random": "--dataset moons --epochs 5",
    "class_balanced": "--dataset digits --epochs 3 --stack",
    "data_parameters": "--dataset digits --epochs 3",
    "forml": "--dataset digits --epochs 3",
    "l2rw": "--dataset digits --epochs 2",
    "meta_weight_net": "--dataset moons --epochs 3",
    "jtt": "--dataset digits --epochs 3",
    "classifier_retraining": "--dataset digits --epochs 3",
    "tuned_erm": "--dataset digits --epochs 2 -o trials=2",
}
"""Method -> further words of its command: a protocol with stages, stacked runs, methods with preparation epochs."""
EXIT_CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 143, signal.SIGINT: 130}
WRITERS = {
    "checkpoint": "bench.training.checkpoints.write_whole",
    "sidecar": "bench.store.results.write_whole",
    "record": "bench.records.json_file.write_whole",
    "table": "bench.records.files.write_whole",
}
"""Point -> the function that writes there, by the name that its user has for it."""
CALLS = {
    "evaluation": (Evaluations, "__call__"),
    "stage": (Stages, "train"),
    "discarding": (runner, "_discard"),
    "claiming": (os, "link"),
    "releasing": (os, "unlink"),
}
"""Point -> the function before or after which the process is killed."""
POINTS = ["random", *WRITERS, *CALLS]
LONGEST = 600
"""Seconds after which a command that has not ended counts as one that hangs."""


@dataclass
class Blow:
    """One kill.

    Attributes:
        point: one of POINTS.
        number: of the signal.
        nth: call of the function of that point; or of 100 parts of an undisturbed run's time.
        late: whether it comes after the call, or after the file's content is written, rather than before or amid.
    """

    point: str
    number: int
    nth: int
    late: bool

    def strike(self) -> None:
        os.kill(os.getpid(), self.number)

    @contextmanager
    def armed(self, seconds: float) -> Iterator[None]:
        """Within, this process is killed at the point, if it gets there."""
        if self.point == "random":
            timer = threading.Timer(seconds * self.nth / 100, self.strike)
            timer.daemon = True
            timer.start()
            yield
            timer.cancel()
            return
        wrap = self.writing if self.point in WRITERS else self.calling
        module, _, name = WRITERS.get(self.point, "").rpartition(".")
        owner, name = CALLS.get(self.point, (sys.modules.get(module), name))
        with patch.object(owner, name, wrap(getattr(owner, name))):
            yield

    def calling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        left = self.nth

        @functools.wraps(call)
        def called(*args: Any, **options: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0 and not self.late:
                self.strike()
            result = call(*args, **options)
            if left == 0 and self.late:
                self.strike()
            return result

        return called

    def writing(self, write: Callable[..., None]) -> Callable[..., None]:
        left = self.nth

        def written(path: Path, content: Any) -> None:
            nonlocal left
            left -= 1

            def struck(file: Any) -> None:
                if self.late:
                    file.write(content) if isinstance(content, bytes) else content(file)
                else:
                    file.write(b"half")
                file.flush()
                self.strike()

            write(path, struck if left == 0 else content)

        return written


@dataclass
class Case:
    """A command that is killed again and again.

    Attributes:
        words: of the command, without the folder.
        folder: where it is killed.
        reference: the folder of the same command undisturbed.
        seconds: that one took.
        kills: by signal and point. rounds: how often it ended by itself. wrong: what differed then.
    """

    words: list[str]
    folder: Path
    reference: Path
    seconds: float = 0.0
    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    wrong: list[str] = field(default_factory=list)

    def begin(self) -> None:
        begun = time.perf_counter()
        code = finished(start([*self.words, "--out", str(self.reference)]))
        self.seconds = time.perf_counter() - begun
        if code:
            self.wrong.append(f"undisturbed, it ends with exit code {code}")

    def hit(self, blow: Blow) -> bool:
        """Give the command, to be killed. Returns whether it was; else it has ended by itself, and was compared."""
        words = [*self.words, "--out", str(self.folder)]
        code = finished(start(words, functools.partial(blow.armed, self.seconds)))
        if code == 0:
            self.end_round()
            return False
        name = signal.Signals(blow.number).name
        print(f"{self.words[2]}: {name}, {blow.point} {blow.nth}{' late' * blow.late}", file=sys.stderr, flush=True)
        self.kills[name] += 1
        self.kills[blow.point] += 1
        if code != EXIT_CODES[signal.Signals(blow.number)]:
            self.wrong.append(f"{name} at {blow}: exit code {code}")
        return True

    def finish(self) -> None:
        """Give the command until the end, undisturbed."""
        if code := finished(start([*self.words, "--out", str(self.folder)])):
            self.wrong.append(f"after the kills, it ends with exit code {code}")
        self.end_round()

    def end_round(self) -> None:
        self.rounds += 1
        self.wrong += differences(self.folder, self.reference)
        shutil.rmtree(self.folder, ignore_errors=True)


def start(words: list[str], armed: Callable[[], Any] | None = None) -> int:
    """Start a command in a process of its own, as a copy of this one, which has loaded everything. Returns its number.

    Args:
        armed: gives a context for it.
    """
    sys.stdout.flush()
    if child := os.fork():
        return child
    try:
        for number in EXIT_CODES.keys() - {signal.SIGKILL}:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        silent = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        Checkpoints.SECONDS = 0.0  # after each epoch
        with armed() if armed else nullcontext():
            bench(words)
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        Path(tempfile.gettempdir(), f"bench-kill-{os.getpid()}.txt").write_text(traceback.format_exc())
    os._exit(70)


def finished(process: int) -> int:
    """The exit code of a process, negative for a signal. It is ended if it takes too long or if this one is."""
    deadline = time.monotonic() + LONGEST
    try:
        while time.monotonic() < deadline:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.005)
    except KeyboardInterrupt:
        end(process)
        raise
    end(process)
    return 124


def end(process: int) -> None:
    os.kill(process, signal.SIGKILL)
    os.waitpid(process, 0)


def differences(folder: Path, reference: Path) -> list[str]:
    """What differs between the records, what lies beside them, and the names of files of two folders."""
    names, expected = (sorted(str(p.relative_to(f)) for p in f.rglob("*") if p.is_file()) for f in (folder, reference))
    wrong = [f"file left over: {name}" for name in sorted(set(names) - set(expected))]
    wrong += [f"file missing: {name}" for name in sorted(set(expected) - set(names))]
    made, right = records(folder), records(reference)
    wrong += [f"record differs: {name}" for name in right if name in made and made[name] != right[name]]
    for name in set(names) & {name for name in expected if name.endswith(SUFFIX)}:
        if (folder / name).read_bytes() != (reference / name).read_bytes():
            wrong.append(f"sidecar differs: {name}")
    return wrong


def records(folder: Path) -> dict[str, Any]:
    """What must be equal of each record of a folder."""
    return {result.path: result.reproducible() for result in ResultStore(folder / "results").load()[0]}


def kill(cases: dict[str, Case], kills: int, draw: random.Random) -> None:
    """Kill the commands so many times in all, and let them end."""
    for case in cases.values():
        case.begin()
    done = 0
    staged = [case for case in cases.values() if "pruning" in case.words]
    points = itertools.cycle(point for point in POINTS if point != "stage" or staged)  # no other run gets there
    while done < kills:
        point = next(points)
        case = draw.choice(staged if point == "stage" else list(cases.values()))
        nth = draw.randrange(100) if point == "random" else draw.randint(1, 2)
        done += case.hit(Blow(point, draw.choice(list(EXIT_CODES)), nth, draw.random() < 0.5))
    for case in cases.values():
        case.finish()


def crowd(folder: Path, processes: int, words: list[str]) -> tuple[int, list[str]]:
    """Give one command to several processes at once. Returns how many trainings there were, and what was wrong."""
    reference, out, log = folder / "alone", folder / "crowd", folder / "log"
    wrong = []
    if finished(start([*words, "--out", str(reference)])):
        wrong.append("alone, it fails")

    @contextmanager
    def logged() -> Iterator[None]:
        """Notes what is trained."""
        train = vars(runner)["train"]

        def noting(experiment: Any, method: Any, streams: Any, *rest: Any) -> Any:
            with log.open("a") as file:
                file.writelines(f"{experiment.spec(seed).path}\n" for seed in streams.seeds)
            return train(experiment, method, streams, *rest)

        with patch.object(runner, "train", noting):
            yield

    started = [start([*words, "--out", str(out)], logged) for _ in range(processes)]
    wrong += [f"exit code {code}" for code in map(finished, started) if code]
    trained = Counter(log.read_text().splitlines())
    wrong += [f"trained {count} times: {path}" for path, count in trained.items() if count > 1]
    wrong += differences(out, reference)
    if finished(start(["leaderboard", "--check", "--out", str(out)])):
        wrong.append("the tables are not those of the records")
    return trained.total(), wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="how many kills there are (default 200)")
    parser.add_argument("--processes", type=int, default=8, help="how many get one command at once (default 8)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of methods, points and signals (default 0)")
    parser.add_argument("--method", action="append", choices=COMMANDS, help="only this one; may be given several times")
    asked = parser.parse_args()
    wrong = []
    chosen = asked.method or list(COMMANDS)
    with tempfile.TemporaryDirectory() as scratch:
        cases = {}
        for name in chosen if asked.kills else []:
            words = ["run", "--method", name, *COMMANDS[name].split(), "--seeds", "2", "--threads", "1"]
            cases[name] = Case(words, Path(scratch, f"{name}-killed"), Path(scratch, name))
        try:
            kill(cases, asked.kills, random.Random(asked.seed))
        except KeyboardInterrupt:
            wrong.append("interrupted: the table is of the kills before")
            asked.processes = 0
        heads = [signal.Signals(number).name for number in EXIT_CODES] + POINTS
        print("| method | rounds | " + " | ".join(heads) + " | wrong |\n" + "| --- " * (len(heads) + 3) + "|")
        for name, case in cases.items():
            counts = " | ".join(str(case.kills[head]) for head in heads)
            print(f"| {name} | {case.rounds} | {counts} | {len(case.wrong)} |")
            wrong += [f"{name}: {what}" for what in case.wrong]
        for further in (["--seeds", "4"], ["--seeds", "4", "--stack"]) if asked.processes else []:
            words = ["run", "--method", "erm", "--method", "random", "--dataset", "digits", "--epochs", "3", *further]
            folder = Path(scratch, "-".join(further))
            folder.mkdir()
            trained, found = crowd(folder, asked.processes, [*words, "--threads", "1"])
            print(
                f"{asked.processes} processes, {' '.join(further)}: {trained} trainings of 8 runs, {len(found)} wrong"
            )
            wrong += [f"{' '.join(further)}: {what}" for what in found]
    print("\n".join(wrong) or "nothing is wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
