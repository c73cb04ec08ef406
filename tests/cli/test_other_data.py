"""Data that are others than before make another run, whatever their name or their revision says."""

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import bench.registry
from bench import Dataset, Recipe, Split
from bench.cli import main
from bench.registry import Offer, Plugin
from bench.tables.pages.oracle import TITLE

EASY = Recipe(model="mlp", protocol="class_fairness", epochs=3, batch_size=32, val_size=60, val_batch_size=20, lr=1e-2)


def samples(n, seed):
    """n samples of two classes in 4 dimensions that any model tells apart."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(0, 2, (n,), generator=generator)
    x = torch.randn(n, 4, generator=generator) * 0.5 + torch.eye(4)[y] * 3
    return x, y


def loader(name, shuffled=False, revision=""):
    """What a plugin offers; with shuffled training labels nothing can be learned."""

    def load(files, *, size: int = 400):
        """Samples made here."""
        x, y = samples(size, 0)
        if shuffled:
            y = y[torch.randperm(size, generator=torch.Generator().manual_seed(9))]
        return Dataset(
            name=name,
            train=Split(x, y, y),
            test=Split(*samples(200, 1), group=samples(200, 1)[1]),
            classes=("a", "b"),
            recipe=EASY,
            reference="made here",
            revision=revision,
        )

    return load


@pytest.fixture
def bench_with(tmp_path, monkeypatch):
    """`bench_with({name: loader}, *words)`: the command where a plugin offers these data sets."""
    monkeypatch.chdir(tmp_path)

    def bench_with(loaders, *words):
        registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))
        for name, load in loaders.items():
            registry.offers["datasets"][name] = Offer(load, Plugin("acme", "acme-bench", "0.1"))
        monkeypatch.setattr(bench.registry, "installed", lambda: registry)
        return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)

    return bench_with


RUN = ["run", "--method", "erm", "--dataset", "acme"]


def accuracies(folder="bench-results/results"):
    records = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*/*/*.json"))]
    return [record["selected"]["metrics"]["test"]["accuracy"][0] for record in records]


def test_a_data_set_is_called_as_it_is_offered(bench_with):
    """Two of one Dataset.name would share their records."""
    loaders = {"first": loader("same"), "second": loader("same", shuffled=True)}
    for name, options in (("first", []), ("second", ["-o", "dataset.size=300"])):
        result = bench_with(loaders, "run", "--method", "erm", "--dataset", name, *options)
        assert result.exit_code == 2
        assert result.stderr == (
            f"error: data set {name} of plugin acme (acme-bench 0.1) has Dataset.name 'same': it must be '{name}', the "
            "name that the plugin offers it by, as records are kept by that name\n"
        )
    assert not list(Path().rglob("*.json"))


def test_what_is_no_data_set_is_one_line(bench_with):
    result = bench_with({"acme": lambda files: None}, *RUN)
    assert (result.exit_code, result.stderr) == (
        2,
        "error: data set acme of plugin acme (acme-bench 0.1): it returned NoneType, expected bench.Dataset\n",
    )


def test_other_samples_without_a_revision_make_another_run(bench_with):
    assert bench_with({"acme": loader("acme")}, *RUN).exit_code == 0
    assert accuracies() == [1.0]
    result = bench_with({"acme": loader("acme", shuffled=True)}, *RUN)
    assert "already recorded" not in result.output
    (wrong,) = [value for value in accuracies() if value != 1.0]
    assert wrong < 0.7
    page, _, _ = Path("bench-results/class_fairness-v1-acme.md").read_text().partition(TITLE)
    assert page.count("| erm (settings ") == 4  # two rows under each of two rules
    assert page.count("| 1–2 |") + page.count("| – |") >= 2  # of one seed each nothing tells which is better
    again = bench_with({"acme": loader("acme")}, *RUN)
    assert "1 of 1 runs already recorded, not repeated" in again.output


def test_a_revision_that_was_not_raised_is_found_out(bench_with):
    """The same key: the run is repeated, and the old record kept aside with its predictions."""
    assert bench_with({"acme": loader("acme", revision="1")}, *RUN).exit_code == 0
    (old,) = Path("bench-results/results").glob("*/*/*.json")
    whole = {path.name: path.read_bytes() for path in old.parent.iterdir()}
    assert len(whole) == 2
    result = bench_with({"acme": loader("acme", shuffled=True, revision="1")}, *RUN)
    assert result.exit_code == 0
    assert result.stderr == (
        "erm: the data of acme have changed since 1 of 1 runs, which are repeated; their records are kept in "
        "bench-results/results/class_fairness-v1/acme/superseded\n"
    )
    assert accuracies() < [0.7]
    aside = old.parent / "superseded"
    assert {path.name: path.read_bytes() for path in aside.iterdir()} == whole
    assert list(Path("bench-results/results").glob("*/*/*.json")) == [old]
    assert "not repeated" in bench_with({"acme": loader("acme", shuffled=True, revision="1")}, *RUN).output


def test_seeds_of_other_data_are_no_seeds_of_one_row(bench_with):
    bench_with({"acme": loader("acme", revision="1")}, *RUN, "--seed", 0)
    bench_with({"acme": loader("acme", shuffled=True, revision="1")}, *RUN, "--seed", 1)
    contents = [json.loads(p.read_text())["data"]["content"] for p in Path("bench-results/results").glob("*/*/*.json")]
    page, _, _ = Path("bench-results/class_fairness-v1-acme.md").read_text().partition(TITLE)
    assert len(set(contents)) == 2
    for content in contents:
        assert page.count(f"data {content}) | ") == 2
    rows = [line for line in page.splitlines() if "| erm" in line]
    assert any("100.00 |" in row for row in rows) and not any("±" in row for row in rows)


def test_a_checkpoint_of_other_data_is_not_gone_on_from(bench_with, monkeypatch):
    from bench.runs import runner
    from bench.runs.train import train

    checkpoints = []

    def noting(*arguments):
        checkpoints.append(arguments[5])
        return train(*arguments)

    monkeypatch.setattr(runner, "train", noting)
    for shuffled in (False, True):
        bench_with({"acme": loader("acme", shuffled, revision="1")}, *RUN)
    assert len(set(checkpoints)) == 2
