"""What is shown of a training: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from bench.cli.common import prepare_streams
from bench.guards.ending import ENDING
from bench.recipe import Recipe
from bench.text import visible
from bench.training.method import Method
from bench.training.observer import Observer
from bench.training.trials import Trials


class _Watch(Observer):
    """Keeps what is shown: epoch, loss, validation metric, samples per second; and what an interrupt would keep."""

    def __init__(self, title: str, recipe: Recipe, resumes: bool) -> None:
        self.title, self.recipe, self.resumes = title, recipe, resumes
        self.method = Method()
        self.first = self.resumed = self.kept = 0
        self.name = self.finished = ""  # of the stage, and of the one before
        self.loss = self.metric = self.speed = float("nan")

    def stage(self, name: str) -> None:
        self.finished, self.name = self.name, name
        self.first = self.kept = 0

    def begin(self, method: Method, epoch: int) -> None:
        self.method, self.first = method, -method.preparation_epochs
        self.resumed = self.kept = epoch
        if epoch > self.first:
            self.note(f"goes on after {self.place(epoch - 1)}")

    def step(self, epoch: int, step: int, loss: float | None) -> None:
        self.loss = self.loss if loss is None else loss
        steps = self.method.task.steps_of(self.method.recipe_epoch(epoch))
        of = f"/{steps}" if has_recipe_steps(self.method) else ""
        self.show(epoch + min(step / steps, 1), f"{self.place(epoch)} step {step}{of}")

    def evaluating(self, epoch: int) -> None:
        self.show(epoch, f"{self.place(epoch - 1)} evaluating")

    def evaluated(self, row: dict[str, Any], speed: float) -> None:
        runs, done = len(self.method.task.streams.seeds), row["epoch"]
        losses = row["train"].get("loss", [])  # an epoch without steps has none
        self.loss = sum(losses) / runs if losses else float("nan")
        self.metric = sum(row["val"][self.recipe.select]) / runs if "val" in row else float("nan")
        self.speed = runs * speed
        self.show(done, self.place(done - 1), last=done == self.method.training_epochs)

    def saved(self, epoch: int) -> None:
        self.kept = epoch if self.resumes else self.first

    def note(self, text: str) -> None:
        _print(f"{self.title}: {text}", sys.stderr)

    def interrupted(self) -> None:
        """Says what the same command will do."""
        again = "begins it again"
        if self.kept > self.first:
            again = f"goes on after {self.place(self.kept - 1)}"
        elif self.resumes and self.finished:
            again = f"goes on after {self.finished}"
        self.note(f"interrupted; the same command {again}")

    def place(self, epoch: int) -> str:
        """Which epoch of which stage this is."""
        return (f"{self.name}: " if self.name else "") + place(self.method, epoch)

    @property
    def values(self) -> str:
        parts = [f"loss {self.loss:.3f}"] if self.loss == self.loss else []
        parts += [f"val {self.recipe.select} {self.metric:.3f}"] if self.metric == self.metric else []
        parts += [f"{self.speed:,.0f} samples/s"] if self.speed == self.speed else []
        return "  ".join(parts)

    def show(self, done: float, where: str, last: bool = False) -> None:
        """`done`: epochs, negative in the preparation."""
        raise NotImplementedError


def place(method: Method, epoch: int) -> str:
    """Which epoch this is, as the records count them; in the preparation, of which training or of how many epochs."""
    if isinstance(method, Trials) and method.preparation_epochs:
        trainings = method.trial(method.training_epochs - 1) + 1
        number = method.recipe_epoch(epoch) + 1
        return f"training {method.trial(epoch) + 1}/{trainings} epoch {number}/{method.training_epochs}"
    if epoch < 0:
        return f"preparation epoch {epoch + method.preparation_epochs + 1}/{method.preparation_epochs}"
    return f"epoch {epoch + 1}/{method.training_epochs}"


def has_recipe_steps(method: Method) -> bool:
    """Whether it is known to make as many: with batches or a loop of its own, a method may make other steps."""
    return type(method).batches is Method.batches and type(method).fit is Method.fit


class _Lines(_Watch):
    """Plain lines, every few seconds and after the last evaluation."""

    SECONDS = 5.0

    def __init__(self, title: str, recipe: Recipe, resumes: bool) -> None:
        super().__init__(title, recipe, resumes)
        self.shown = self.began = time.perf_counter()

    def begin(self, method: Method, epoch: int) -> None:
        super().begin(method, epoch)
        self.began = time.perf_counter()

    def show(self, done: float, where: str, last: bool = False) -> None:
        now = time.perf_counter()
        if now - self.shown < self.SECONDS and not last:
            return
        self.shown = now
        left = max(0.0, (now - self.began) * (self.method.training_epochs - done) / (done - self.resumed))
        line = f"{self.title}: {where}  {self.values}" + (f"  {left:.0f} s left" if left else "")
        _print(line, sys.stdout)


def _print(line: str, file: TextIO) -> None:
    """A line about a training. Where nobody reads any more, the training goes on without it."""
    with suppress(OSError):
        print(visible(line), file=file, flush=True)


class _Bar(_Watch):
    """A line of its own on the terminal, with the time left."""

    def __init__(self, title: str, recipe: Recipe, resumes: bool, progress: Progress) -> None:
        super().__init__(title, recipe, resumes)
        self.progress = progress
        progress.console.print(visible(title), markup=False)  # brackets stand for options
        self.bar = progress.add_task("", total=None, place="", values="")

    def stage(self, name: str) -> None:
        super().stage(name)
        self.progress.reset(self.bar)

    def show(self, done: float, where: str, last: bool = False) -> None:
        total = self.method.training_epochs - self.first
        self.progress.update(self.bar, total=total, completed=done - self.first, place=where, values=self.values)


def bar(console: Console, transient: bool = False) -> Progress:
    """Bar, time left and text; where the terminal is too narrow, the text loses its end."""
    return Progress(
        BarColumn(bar_width=8, table_column=Column(min_width=8)),
        TimeRemainingColumn(table_column=Column(min_width=7)),
        TextColumn(
            "{task.fields[place]}  {task.fields[values]}", markup=False, table_column=Column(ratio=1, no_wrap=True)
        ),
        console=console,
        expand=True,
        transient=transient,
    )


@contextmanager
def observer(title: str, recipe: Recipe, resumes: bool = True, plain: bool = False) -> Iterator[Observer]:
    """An observer for one training, which tells at an interrupt from where the same command will go on.

    resumes: whether that command uses checkpoints.
    plain: whether it prints lines on a terminal too, as where several trainings go on at once.
    """
    prepare_streams()  # in a process of its own, of --isolate, nobody else does
    with ExitStack() as stack:
        watch: _Watch = _Lines(title, recipe, resumes)
        if sys.stdout.isatty() and not plain:
            watch = _Bar(title, recipe, resumes, shown := stack.enter_context(bar(Console())))
            stack.enter_context(ENDING.before(shown.stop))  # which shows the cursor again
        try:
            yield watch
        except KeyboardInterrupt:
            watch.interrupted()
            raise


@contextmanager
def preparing() -> Iterator[Callable[[str, float], None]]:
    """What `Files.progress` is told while large data are downloaded or converted: a bar on a terminal, which goes when
    it is done; elsewhere a line for each tenth, on the error stream.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tenths()
        return
    with bar(console, transient=True) as progress:
        task = progress.add_task("", total=1, place="", values="", visible=False)
        yield lambda what, done: progress.update(task, completed=done, place=what, visible=True)


def _tenths() -> Callable[[str, float], None]:
    shown = ""

    def tell(what: str, done: float) -> None:
        nonlocal shown
        line = f"{what}: {10 * int(10 * done + 1e-9)} %"
        if line != shown:
            _print(line, sys.stderr)
        shown = line

    return tell
