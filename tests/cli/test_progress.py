"""What is said of where a training is, and of what an interrupt keeps."""

import io
from dataclasses import dataclass

import pytest
import torch
from rich.console import Console

from bench import Method, Trials
from bench.cli.progress import bar, has_recipe_steps, observer, place, preparing
from bench.testing import TOY_RECIPE, toy_task

GOES_ON = "interrupted; the same command goes on after"


@dataclass
class Thrice(Trials):
    def setup(self):
        self.plan(2)


@dataclass
class Warmed(Method):
    def setup(self):
        self.preparation_epochs = 2

    def batches(self, epoch):
        return self.task.batches(epoch, torch.arange(32) if epoch < 0 else None)


def begun(method, **recipe):
    method.begin(toy_task(**recipe))
    return method


def test_trainings_are_counted_where_there_are_several():
    method = begun(Thrice())
    assert [place(method, epoch) for epoch in (-6, -4, -3, 0, 2)] == [
        *("training 1/3 epoch 1/3", "training 1/3 epoch 3/3", "training 2/3 epoch 1/3"),
        *("training 3/3 epoch 1/3", "training 3/3 epoch 3/3"),
    ]


def test_preparation_is_told_from_the_epochs_that_the_record_counts():
    method = begun(Warmed())
    assert [place(method, epoch) for epoch in (-2, -1, 0)] == [
        *("preparation epoch 1/2", "preparation epoch 2/2", "epoch 1/3")
    ]
    assert [place(begun(Method()), epoch) for epoch in (0, 2)] == ["epoch 1/3", "epoch 3/3"]


def test_a_budget_in_steps_cuts_the_last_epoch_short():
    """70 samples in batches of 16 are 5 steps."""
    method = begun(Method(), epochs=None, steps=12)
    assert [method.task.steps_of(epoch) for epoch in range(3)] == [5, 5, 2]
    assert [len(list(method.batches(epoch))) for epoch in range(3)] == [5, 5, 2]


def test_steps_are_promised_only_of_methods_with_the_recipes_batches(capsys):
    for method, expected in ((Method(), "epoch 1/3 step 2/5"), (Warmed(), "preparation epoch 1/2 step 2 ")):
        begun(method)
        assert has_recipe_steps(method) == (type(method) is Method)
        with observer("it", TOY_RECIPE) as watch:
            watch.SECONDS = 0.0
            watch.begin(method, -method.preparation_epochs)
            watch.step(-method.preparation_epochs, 2, 0.5)
        assert expected in capsys.readouterr().out


@pytest.mark.parametrize(
    ("resumes", "begin", "saved", "said"),
    [
        (True, 0, [], "interrupted; the same command begins it again"),
        (True, 0, [1, 2], "interrupted; the same command goes on after epoch 2/3"),
        (True, 1, [], "interrupted; the same command goes on after epoch 1/3"),
        (False, 0, [1, 2], "interrupted; the same command begins it again"),
    ],
)
def test_an_interrupt_tells_what_the_same_command_does(capsys, resumes, begin, saved, said):
    def training():
        with observer("it", TOY_RECIPE, resumes) as watch:
            watch.begin(begun(Method()), begin)
            for epoch in saved:
                watch.saved(epoch)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training()
    lines = capsys.readouterr().err.splitlines()
    assert lines == (["it: goes on after epoch 1/3"] if begin else []) + [f"it: {said}"]


def test_stages_are_named_and_an_interrupt_tells_which_are_done(capsys):
    def interrupted(resumes, steps):
        with observer("it", TOY_RECIPE, resumes) as watch:
            for step in steps:
                step(watch)
            raise KeyboardInterrupt

    def training(*given):
        with pytest.raises(KeyboardInterrupt):
            interrupted(*given)
        return capsys.readouterr()

    def first(watch):
        watch.stage("one")
        watch.begin(begun(Method()), 0)
        watch.evaluated({"epoch": 3, "train": {"loss": [0.5]}}, 100.0)  # nothing is evaluated in a stage
        watch.saved(3)

    def second(watch):
        watch.stage("two")

    def trained(watch):
        watch.begin(begun(Method()), 1)

    shown = training(True, [first])
    assert shown.out == "it: one: epoch 3/3  loss 0.500  100 samples/s\n"
    assert shown.err == "it: interrupted; the same command goes on after one: epoch 3/3\n"
    assert training(True, [first, second]).err == "it: interrupted; the same command goes on after one\n"
    assert training(False, [first, second]).err == "it: interrupted; the same command begins it again\n"
    resumed = training(True, [first, second, trained]).err.splitlines()
    assert resumed == ["it: goes on after two: epoch 1/3", f"it: {GOES_ON} two: epoch 1/3"]


def test_the_bar_begins_anew_with_each_stage(monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    with observer("it", TOY_RECIPE) as watch:
        watch.stage("one")
        watch.begin(begun(Method()), 0)
        watch.evaluated({"epoch": 3, "train": {"loss": [0.5]}}, 100.0)
        (task,) = watch.progress.tasks
        assert task.finished
        watch.stage("two")
        assert (task.completed, task.finished) == (0, False)


def test_a_narrow_terminal_cuts_the_text_and_not_the_bar():
    console = Console(width=60, file=io.StringIO())
    with bar(console) as progress:
        shown = progress.add_task("", total=2, completed=1, place="epoch 1/2 step 1200/1563", values="loss 0.5  " * 9)
        progress.update(shown, completed=1)
        console.print(progress.get_renderable())
    line = console.file.getvalue().splitlines()[0]
    assert line.startswith("━━━━     -:--:-- epoch 1/2 step 1200/1563  loss 0.5")
    assert len(line) == 60


def test_an_interrupt_before_the_training_keeps_nothing(capsys):
    with pytest.raises(KeyboardInterrupt), observer("it", TOY_RECIPE):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "it: interrupted; the same command begins it again\n"


def test_preparing_is_told_by_tenths_where_there_is_no_terminal(capsys):
    with preparing() as tell:
        for fraction in (0, 0.04, 0.1, 0.3, 0.39, 1):
            tell("downloading it", fraction)
    assert capsys.readouterr().err.splitlines() == [f"downloading it: {percent} %" for percent in (0, 10, 30, 100)]


def test_preparing_is_a_bar_on_a_terminal_that_goes_again(monkeypatch):
    file = io.StringIO()
    console = Console(width=60, file=file, force_terminal=True)
    monkeypatch.setattr("bench.cli.progress.Console", lambda **_: console)
    with preparing():
        pass
    assert "━" not in file.getvalue()  # there was nothing to tell
    with preparing() as tell:
        tell("downloading it", 0.5)
    assert "downloading it" in file.getvalue()
    assert file.getvalue().endswith("\x1b[2K")  # the line is erased
