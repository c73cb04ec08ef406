"""The whole path on real data, where they are present."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.records.run import RunResult
from bench.store.results import ResultStore


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Runs a command on real data; gives its record, with what lies beside it."""

    def run(file: str, *words: str) -> RunResult:
        if not Path(os.environ.get("BENCH_DATA", "."), file).exists():
            pytest.skip(f"BENCH_DATA has no {file}")
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(main, ["run", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        store = ResultStore(Path("bench-results/results"))
        ((made,), _) = store.load()
        return replace(made, beside=store.sidecar(made))

    return run


def size_beside(result: RunResult) -> int:
    """The bytes of the file of what lies beside a record."""
    assert result.beside is not None
    return len(result.beside.to_bytes())


def test_communities_at_the_full_recipe(record):
    """Majority vote is right for 71 %; the papers print 85 %."""
    found = record("communities/communities.data", "--method", "erm", "--dataset", "communities")
    assert found.costs.steps == 10_000
    assert found.off_recipe == []
    assert 0.80 < found.selected["last"].metrics["test"]["accuracy"] < 0.92


def test_mnist_learns_in_an_epoch(record):
    found = record("MNIST/raw/train-images-idx3-ubyte", "--method", "forml", "--dataset", "mnist", "--epochs", "1")
    assert found.data.sizes == {"train": 55_000, "val": 5_000, "test": 10_000}
    assert found.selected["last"].metrics["test"]["accuracy"] > 0.85


@pytest.mark.slow
@pytest.mark.parametrize("method", ["erm", "forml"])
def test_what_lies_beside_a_run_of_mnist_is_small(record, method):
    """At the full recipe, with all predictions and the history of 50 epochs."""
    found = record("MNIST/raw/train-images-idx3-ubyte", "--method", method, "--dataset", "mnist")
    assert {"test/last", "test/best_val_accuracy", "test/index"} <= found.arrays.keys()
    assert size_beside(found) <= 300_000


def test_what_lies_beside_a_run_of_digits_is_small(record):
    """The largest are those of methods that weight each sample."""
    found = record("", "--method", "forml", "--dataset", "digits", "-o", "weight_lr=100")
    assert {"test/last", "test/best_val_accuracy", "test/index", "train/weight"} <= found.arrays.keys()
    assert size_beside(found) <= 20_000


@pytest.mark.slow
def test_forml_on_cifar100_with_resnet18(record):
    words = ["--method", "forml", "--dataset", "cifar100", "--epochs", "1", "--train-size", "2560"]
    history = record("cifar-100-binary/train.bin", *words).history
    assert history["train/loss_last_tenth"][0] < history["train/loss_first_tenth"][0] - 0.2
