"""The checks of `tests.gpu`: on a pretended device, each by itself; on a GPU, each group in a process of its own."""

import ast
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from bench.training.capture.backends import CudaGraphs
from tests.gpu import GROUPS, checks
from tests.gpu.__main__ import main
from tests.pretended import pretended

CHECKS = {name: check for group in GROUPS for name, check in checks(group).items()}
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", CHECKS)
def test_on_a_pretended_device(name, monkeypatch):
    monkeypatch.setattr(CudaGraphs, "unable", "")  # what fails to be recorded here says nothing of the next one
    with pretended():
        CHECKS[name](torch.device("cuda"))


@pytest.mark.gpu
@pytest.mark.parametrize("group", GROUPS)
def test_on_a_gpu(group):
    """In a process of its own: what fails there leaves a device that is of no use to the process."""
    done = command(group, "--device", "cuda")
    print(done.stdout)
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert done.returncode == 0 and not failed, "\n".join([*failed, done.stderr[-5000:]])


def command(*words):
    return subprocess.run([sys.executable, "-m", "tests.gpu", *words], cwd=ROOT, capture_output=True, text=True)


def test_the_command_names_the_groups():
    assert command("--list").stdout.split() == list(GROUPS)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(
            ["images"],
            "torch finds no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (["imagse", "--device", "cpu"], f"there is no group imagse; there are: {', '.join(GROUPS)}"),
    ],
)
def test_the_command_refuses_what_is_not_there(words, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert capsys.readouterr().err.endswith(f"error: {message}\n")


MISSING = {"fairlearn", "imagecorruptions", "skimage", "higher", "torchopt", "betty", "platformdirs"}
"""Packages that a machine with a GPU need not have."""


def imported(path):
    """By a file when it is imported."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Import):
            yield from (name.name.partition(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def test_what_pytest_collects_imports_nothing_that_a_machine_with_a_gpu_need_not_have():
    files = [path for folder in ("bench", "plugins", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert [(path.name, name) for path in files for name in MISSING.intersection(imported(path))] == []


def test_this_file_alone_has_tests_for_a_gpu():
    marked = [path.name for path in (ROOT / "tests").rglob("*.py") if "mark.gpu" in path.read_text()]
    assert marked == ["test_gpu.py"]


def good(device):
    return "bit for bit"


def bad(device):
    raise ValueError("no\n such device")


def test_each_check_is_a_line_and_one_that_fails_is_told_by_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr("tests.gpu.__main__.checks", lambda group: {f"{group}.good": good, f"{group}.bad": bad})
    assert main(["waits", "--device", "pretended"]) == 1
    shown = capsys.readouterr()
    assert shown.out == "ok   waits.good 0.0 bit for bit\nFAIL waits.bad 0.0 ValueError: no such device\n"
    assert shown.err.startswith("Traceback")
    monkeypatch.setattr("tests.gpu.__main__.checks", lambda group: {f"{group}.good": good})
    assert main(["waits", "--device", "cpu"]) == 0


def test_several_groups_are_run_in_processes_of_their_own(monkeypatch):
    started = []

    def run(words):
        started.append(words[words.index("-m") :])
        return SimpleNamespace(returncode=int("waits" in words))

    monkeypatch.setattr(subprocess, "run", run)
    assert main(["images", "waits", "methods", "--device", "cpu"]) == 1
    assert started == [["-m", "tests.gpu", "--device", "cpu", name] for name in ("images", "waits", "methods")]
