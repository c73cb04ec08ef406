"""`bench data`: what it says, and its exit codes."""

import hashlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import bench.registry
from bench import Dataset, Files, Recipe, Split
from bench.cli import main
from bench.data.memory_map import memory_map
from bench.registry import Offer, Plugin

CONTENT = b"a thousand bytes" * 100
URL = "file:///nowhere/toy.bin"
Run = Callable[..., click.testing.Result]


def load(files: Files, *, side: int = 2, md5: str = hashlib.md5(CONTENT).hexdigest(), leak: bool = False) -> Dataset:
    """Made-up images, with a file that is verified and a memory map beside it. leak: the test is of training images."""
    files.require("toy/toy.bin", f"md5:{md5}", URL)

    def blocks() -> Any:
        for part in range(4):
            files.report("toy: preparing", part / 4)
            yield {"x": np.arange(part * 100, part * 100 + 100, dtype=np.uint16).view(np.uint8).reshape(100, 1, 1, 2)}

    x = memory_map(files.root / "toy" / f"prepared-{side}", {"side": side}, blocks).arrays["x"]
    y = torch.arange(400) % 2
    whole = Split(x.expand(-1, 1, side, 2).contiguous(), y, y)
    train, test = whole.select(torch.arange(300)), whole.select(torch.arange(0 if leak else 300, 100 if leak else 400))
    recipe = Recipe(model="logistic", val_size=50, val_batch_size=10)
    return Dataset("toy", train, test, ("no", "yes"), recipe, unofficial=dict(files.unofficial))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command of `bench data` where the data set `toy` is offered, and its file is there."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.bin").write_bytes(CONTENT)
    found = bench.registry.installed()
    offers = found.offers | {"datasets": {**found.offers["datasets"], "toy": Offer(load, Plugin("toy", "toys", "1"))}}
    monkeypatch.setattr(bench.registry, "installed", lambda: replace(found, offers=offers))
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    return lambda *words: CliRunner().invoke(main, ["data", *words], catch_exceptions=False)


def test_prepare_verifies_converts_and_says_what_there_is(run: Run, tmp_path: Path) -> None:
    result = run("prepare", "toy", "-o", "dataset.side=4")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["toy/toy.bin", "official", "md5", "1.6", "kB"] in lines
    assert any(line[:2] == ["toy/prepared-4", "prepared"] for line in lines)
    assert (
        "toy is ready: 300 training samples, 100 test samples of 1 x 4 x 2 values, 2 classes, no groups"
        in result.stdout
    )
    assert result.stderr.splitlines() == [f"toy: preparing: {percent} %" for percent in (0, 20, 50, 70)]
    assert run("prepare", "toy", "-o", "dataset.side=4").stderr == ""  # it is prepared already


def test_a_run_tells_what_it_prepares_too(run: Run, tmp_path: Path) -> None:
    words = ["run", "--method", "erm", "--dataset", "toy", "--epochs", "1", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert result.exit_code == 0
    assert result.stderr.splitlines() == [f"toy: preparing: {percent} %" for percent in (0, 20, 50, 70)]


def test_prepare_names_files_that_are_not_official(run: Run) -> None:
    words = ("prepare", "toy", "-o", f"dataset.md5={'0' * 32}")
    refused = run(*words)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "toy.bin is not the official file" in refused.stderr and "--allow-unofficial-data" in refused.stderr
    accepted = run(*words, "--allow-unofficial-data")
    assert accepted.exit_code == 0
    assert f"not official, sha256:{hashlib.sha256(CONTENT).hexdigest()}" in accepted.stdout
    assert "not known to be the official ones" in accepted.stderr and "toy/toy.bin" in accepted.stderr


def test_a_download_that_fails_is_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "toy" / "toy.bin").unlink()
    result = run("prepare", "toy")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "could not be downloaded" in result.stderr and URL in result.stderr


def test_prepare_where_nothing_is_to_be_had(run: Run) -> None:
    result = run("prepare", "digits")
    assert result.stdout == "digits is ready: 1,797 training samples of 1 x 8 x 8 values, 10 classes, no groups\n"


def test_an_audit_without_a_severe_finding_ends_well(run: Run) -> None:
    result = run("audit", "toy", "--seed", "3")
    assert result.exit_code == 0
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert "toy, class_fairness/1, seed 3" in lines
    assert "test 100 no: 50, yes: 50 1 1" in lines
    assert lines[-1] == "no defects found"


def test_an_audit_needs_no_method(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench.registry.installed()
    monkeypatch.setattr(bench.registry, "installed", lambda: replace(found, offers=found.offers | {"methods": {}}))
    assert run("audit", "toy").stdout.endswith("no defects found\n")


def test_an_audit_with_a_severe_finding_does_not(run: Run) -> None:
    result = run("audit", "toy", "-o", "dataset.leak=true", "-o", "recipe.val_size=100")
    assert result.exit_code == 1
    assert (
        "severe: test: 100 of 100 inputs are in the data set's training data too, as at 0 = 0, 1 = 1" in result.stdout
    )


def test_an_audit_is_of_the_protocol_and_its_options(run: Run) -> None:
    result = run(
        "audit", "toy", "--protocol", "imbalance", "-o", "protocol.factor=0.25", "-o", "protocol.labels=faithful"
    )
    assert result.exit_code == 1
    assert "toy, imbalance/1, seed 0" in result.stdout
    assert "labels are not those that the data set gives the same inputs" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "toi"], "unknown dataset 'toi': did you mean 'toy'?"),
        (["prepare", "toi"], "unknown dataset 'toi': did you mean 'toy'?"),
        (["audit", "digits", "--protocol", "imbalanced"], "unknown protocol 'imbalanced': did you mean 'imbalance'?"),
        (["audit", "toy", "-o", "model.hidden=1"], "expected dataset.NAME=VALUE or protocol.NAME=VALUE or recipe.NAME"),
        (["audit", "toy", "-o", "recipe.val_size"], "option 'recipe.val_size': expected"),
        (["audit", "toy", "-o", "recipe.lr=1", "-o", "recipe.lr=2"], "option recipe.lr is given twice"),
        (["prepare", "toy", "-o", "protocol.factor=1"], "expected dataset.NAME=VALUE"),
        (["prepare", "toy", "-o", "dataset.size=1"], "data set toy has no option 'size'"),
        (["prepare", "toy", "-o", "dataset.side=big"], "expected int (default 2)"),
    ],
)
def test_bad_input_is_one_line(run: Run, words: list[str], said: str) -> None:
    result = run(*words)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert said in result.stderr


def test_help_does_not_import_torch() -> None:
    code = "import sys; from bench.cli import main; main(['data', 'audit', '-h'], standalone_mode=False); "
    done = subprocess.run(
        [sys.executable, "-c", code + "print('torch' in sys.modules)"], capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "False"
