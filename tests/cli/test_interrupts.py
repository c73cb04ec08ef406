"""Signals: a command is ended by each of them in the same way, and says at once that it was heard."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.cli.interrupts import SIGNALS
from tests.processes import HEARD, ended_by

CODES = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}
LONG = "import torch; a = torch.ones(2600, 2600); torch.set_num_threads(1); [print('began', flush=True), {call}]"
"""A command whose only step is one call of C code."""


def command(*code: str) -> list[str]:
    """A command of ours that runs Python code in place of `bench list`."""
    body = "; ".join(code)
    lines = [HEARD, "import click", "from bench import cli"]
    lines += [f"cli.main.add_command(click.Command('list', callback=lambda: exec({body!r})))", "cli.main(['list'])"]
    return [sys.executable, "-c", "\n".join(lines)]


def begun(words: list[str], **options: object) -> subprocess.Popen[str]:
    """A process, once it has printed a line."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert process.stdout and process.stdout.readline() == "began\n", process.communicate()[1]
    return process


@pytest.mark.parametrize("name", CODES)
def test_each_signal_ends_a_command_with_its_code_and_no_traceback(name):
    process = begun(command("import time; print('began', flush=True); time.sleep(60)"))
    process.send_signal(getattr(signal, name))
    _, error = process.communicate(timeout=30)
    assert process.returncode == CODES[name]
    heard = f"\n{name} heard: ends as soon as it can; a second one ends at once\n"
    assert sorted(error.splitlines()) == sorted((heard + "\ninterrupted\n").splitlines())


def test_what_is_tidied_up_is_not_interrupted_by_signals_that_come_together(tmp_path):
    """A terminal that closes, or a scheduler, may send several."""
    tidy = f"__import__('pathlib').Path({str(tmp_path / 'tidy')!r}).touch()"
    code = f"import time\ntry: print('began', flush=True); time.sleep(60)\nfinally: time.sleep(0.5); {tidy}"
    process = begun(command(code))
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode in (129, 143)
    assert (tmp_path / "tidy").exists()


def test_an_interrupt_in_a_long_step_is_heard_within_a_second_and_a_second_one_ends_at_once():
    """The step takes minutes, and Python's own handlers are not called before it is over."""
    process = begun(command(LONG.format(call="torch.linalg.matrix_power(a, 2**62 - 1)")))
    try:
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        assert process.stderr
        assert process.stderr.readline() == "\n"
        assert process.stderr.readline() == "SIGINT heard: ends as soon as it can; a second one ends at once\n"
        heard = time.monotonic() - sent
        time.sleep(1)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=5) == 130
    finally:
        process.kill()
        process.communicate()
    assert heard < 1.0


def test_signals_that_are_ignored_stay_ignored():
    """As `nohup` sets SIGHUP, so that a training outlives its terminal."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGHUP); print('went on')"
    words = command(code)
    words[-1] = words[-1].replace(HEARD, "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    ended = subprocess.run(words, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "went on\n", "")


def test_the_handlers_of_before_are_back_afterwards():
    before = [signal.getsignal(getattr(signal, name)) for name in CODES]
    with SIGNALS.listening():
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(getattr(signal, name)) for name in CODES] == before
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    assert wakeup == -1


def test_a_run_that_is_ended_by_a_scheduler_goes_on_from_its_checkpoint(tmp_path):
    words = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "2000"]
    checkpoints = tmp_path / "bench-results" / "checkpoints"
    code, error = ended_by(signal.SIGTERM, words, tmp_path, lambda: list(checkpoints.glob("*.pt")))
    assert code == 143
    assert "SIGTERM heard" in error
    assert "the same command goes on after epoch" in error
    assert "give the same command again to go on" in error
    assert [path.suffix for path in Path(checkpoints).iterdir()] == [".pt"]
