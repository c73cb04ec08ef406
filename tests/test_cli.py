"""The command line as a user meets it: what works, and one clear line for what does not."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

import bench.registry
from bench.cli import main
from bench.registry import Plugin
from tests import twins

RUN = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1"]


@pytest.fixture
def bench_in(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


def records(folder: Path = Path("bench-results")) -> list[Path]:
    return sorted((folder / "results").glob("*.json"))


def test_a_run_leaves_records_and_a_table(bench_in):
    result = bench_in("run", "--method", "erm", "--method", "forml", "--dataset", "digits", "--epochs", 2, "--seeds", 2)
    assert result.exit_code == 0, result.output
    assert "best val accuracy" in result.output
    assert [p.name.split(".")[:3] for p in records()] == [
        ["digits", method, seed] for method in ("erm", "forml") for seed in "01"
    ]
    record = json.loads(records()[0].read_text())
    assert record["command"] == "bench run --method erm --dataset digits --epochs 2 --seed 0"
    assert record["off_recipe"] == ["recipe.epochs"]
    assert record["history"]["epoch"] == [1, 2]
    page = Path("bench-results/class_fairness-v1-digits.md").read_text()
    assert "`bench run --method forml --dataset digits --epochs 2 --seeds 2`" in page
    assert bench_in("leaderboard", "--check").exit_code == 0
    Path("bench-results/class_fairness-v1-digits.md").write_text("changed by hand")
    assert bench_in("leaderboard", "--check").exit_code == 1


def test_the_recorded_command_makes_the_same_run_again(bench_in):
    options = ["-o", "weight_lr=10", "-o", "model.hidden=8,4", "-o", "recipe.lr=0.01", "--train-size", 100]
    assert bench_in("run", "--method", "forml", "--dataset", "digits", "--epochs", 1, *options).exit_code == 0
    (path,) = records()
    command = json.loads(path.read_text())["command"].split()[1:]
    again = bench_in(*command)
    assert "1 of 1 runs already recorded" in again.output
    assert records() == [path]


def test_the_recorded_command_says_how_the_run_was_computed(bench_in):
    flags = ["--stack", "--backend", "dual", "--no-check", "--eager"]
    words = ["run", "--method", "forml", "--dataset", "digits", "--epochs", 1, "--train-size", 100]
    assert bench_in(*words, *flags, "--seeds", 2).exit_code == 0
    record = json.loads(records()[1].read_text())
    assert record["command"] == f"bench {' '.join(map(str, [*words, *flags]))} --seed 1"
    assert [choice["backend"] for choice in record["costs"]["meta_step"]] == ["dual"]
    assert "2 of 2 runs already recorded" in bench_in(*words, "--seeds", 2).output


def test_tables_that_records_no_longer_give_go_and_nothing_else_does(bench_in):
    bench_in(*RUN)
    page = Path("bench-results/class_fairness-v1-digits.md")
    old, foreign = page.with_name("class_fairness-v1-old.md"), page.with_name("api-v1-guide.md")
    old.write_text(page.read_text())
    foreign.write_text("# a guide")
    assert bench_in("leaderboard", "--check").exit_code == 1
    bench_in("leaderboard")
    assert (page.exists(), old.exists(), foreign.exists()) == (True, False, True)
    assert bench_in("leaderboard", "--check").exit_code == 0


def test_what_is_recorded_is_not_repeated_without_force(bench_in):
    bench_in(*RUN)
    before = records()[0].stat().st_mtime_ns
    assert "already recorded" in bench_in(*RUN).output
    assert records()[0].stat().st_mtime_ns == before
    assert "already recorded" not in bench_in(*RUN, "--force").output
    assert records()[0].stat().st_mtime_ns != before


def test_equal_values_written_differently_are_one_run(bench_in):
    bench_in(*RUN, "-o", "recipe.lr=0.01")
    assert "already recorded" in bench_in(*RUN, "-o", "recipe.lr=1e-2").output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--method", "forml", "--dataset", "digit"], "unknown dataset 'digit': did you mean 'digits'?"),
        (["run", "--method", "form", "--dataset", "digits"], "unknown method 'form': did you mean 'forml'?"),
        ([*RUN, "--model", "resnet81"], "unknown model 'resnet81': did you mean 'resnet18'?"),
        ([*RUN, "--model", "torchvision/resnet81"], "resnet"),
        ([*RUN, "--model", "timm/*"], "unknown timm model '*'"),
        ([*RUN, "--protocol", "fairness"], "unknown protocol 'fairness'"),
        ([*RUN, "-o", "beta=1"], "method erm has no option 'beta'; valid: it has none"),
        ([*RUN, "-o", "recipe.lr=fast"], "option lr=fast of the recipe: expected float (default 0.001)"),
        ([*RUN, "-o", "modle.width=3"], "the prefix must be one of method., model., dataset."),
        ([*RUN, "-o", "lr"], "expected NAME=VALUE"),
        ([*RUN, "-o", "model.hidden=0.5"], "expected int,..."),
        (
            ["run", "--method", "erm", "--dataset", "digits", "-o", "recipe.epochs=0"],
            "recipe.epochs must be at least 1",
        ),
        ([*RUN, "-o", "recipe.epochs=2"], "option recipe.epochs is given 2 times"),
        ([*RUN, "-o", "recipe.select=acuracy"], "unknown metric 'acuracy': did you mean 'accuracy'?"),
        ([*RUN, "-o", "recipe.lr=-1"], "recipe: Invalid learning rate: -1"),
        ([*RUN, "-o", "recipe.momentum=0.9"], "recipe.momentum has no effect with recipe.optimizer=adam"),
        ([*RUN, "-o", "recipe.optimizer=sgd", "-o", "recipe.nesterov=true"], "recipe: Nesterov momentum requires"),
        ([*RUN, "-o", "recipe.steps=5"], "recipe.epochs or recipe.steps, not both"),
        ([*RUN, "--train-size", "100000"], "lower train_size"),
        ([*RUN, "--protocol", "group_fairness"], "needs a sensitive attribute"),
        ([*RUN, "--device", "cuda:99"], "device 'cuda:99' cannot be used here; there is: cpu"),
        ([*RUN, "--backend", "dula"], "unknown backend 'dula': did you mean 'dual'?"),
        ([*RUN, "--device", "warp"], "device 'warp' cannot be used here"),
        ([*RUN, "--seed", "1", "--seeds", "2"], "not both"),
        (["run", "--method", "class_balanced", "--dataset", "digits", "-o", "beta=2"], "beta must be in [0, 1)"),
        (["run", "--method", "erm", "--dataset", "mnist", "--data-dir", "none"], "missing file none/"),
        (
            ["run", "--method", "forml", "--dataset", "digits", "-o", "recipe.min_per_group=90"],
            "hold out more (recipe.val_size)",
        ),
        (["show", "formll"], "did you mean 'forml'?"),
        (["leaderboard", "--out", "nowhere"], "has no folder 'results'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(bench_in, monkeypatch, words, said):
    monkeypatch.setattr("urllib.request.urlopen", _offline)
    result = bench_in(*words)
    assert result.exit_code == 2, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert not records()


def _offline(*_args, **_kwargs):
    raise OSError("no network")


@pytest.mark.parametrize("damage", ["truncated", "wrong checksum"])
def test_damaged_data_are_refused(bench_in, damage):
    twins.cifar10(Path("data"))
    words = ["run", "--method", "erm", "--dataset", "cifar10", "--data-dir", "data", "--epochs", 1]
    words += ["--allow-unofficial-data"] if damage == "truncated" else []
    if damage == "truncated":
        path = next(Path("data").rglob("data_batch_1.bin"))
        path.write_bytes(path.read_bytes()[:-5])
    result = bench_in(*words)
    assert result.exit_code == 2
    assert "data_batch_1.bin" in result.stderr
    assert "Traceback" not in result.output


def test_unofficial_data_are_marked_in_record_and_table(bench_in):
    twins.communities(Path("data"))
    words = ["run", "--method", "erm", "--dataset", "communities", "--data-dir", "data", "--allow-unofficial-data"]
    small = ["-o", "recipe.val_size=60", "-o", "recipe.test_size=40", "--epochs", 1]
    result = bench_in(*words, *small)
    assert result.exit_code == 0, result.output
    assert json.loads(records()[0].read_text())["data"]["unofficial"]
    assert "--allow-unofficial-data" in json.loads(records()[0].read_text())["command"]
    assert "erm ‡" in Path("bench-results/group_fairness-v1-communities.md").read_text()


def test_an_unwritable_folder_is_told_before_training(bench_in):
    Path("taken").write_text("a file")
    result = bench_in(*RUN, "--out", "taken/deep")
    assert result.exit_code == 2
    assert "cannot write to taken/deep/results" in result.stderr


def test_a_damaged_record_is_named_skipped_and_kept(bench_in):
    bench_in(*RUN)
    damaged = Path("bench-results/results/digits.erm.9.123456789abc.json")
    damaged.write_text('{"format": 1, "key"')
    result = bench_in("leaderboard")
    assert result.exit_code == 0
    assert f"skipped the damaged record {damaged}" in result.stderr
    assert damaged.exists()


def test_divergence_is_recorded_as_a_failure_and_not_as_a_result(bench_in):
    result = bench_in(*RUN, "-o", "recipe.lr=1e30", "-o", "recipe.optimizer=sgd")
    assert result.exit_code == 1
    assert "failed (diverged)" in result.stderr
    assert "the training loss is nan in epoch 1" in result.stderr
    record = json.loads(records()[0].read_text())
    assert record["status"] == "diverged"
    assert record["selected"] == {}
    assert "## Failed runs" in Path("bench-results/class_fairness-v1-digits.md").read_text()
    assert "already recorded" not in bench_in(*RUN, "-o", "recipe.lr=1e30", "-o", "recipe.optimizer=sgd").output


def test_broken_plugins_are_named_and_the_others_work(bench_in, monkeypatch):
    registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))
    registry.broken[Plugin("mine", "my-dist", "0.1")] = "ImportError: no module named missing"
    monkeypatch.setattr(bench.registry, "installed", lambda: registry)
    listed = bench_in("list", "plugins")
    assert "BROKEN: ImportError: no module named missing" in listed.output
    assert bench_in("run", "--method", "mine", "--dataset", "digits").stderr.count("could not be loaded") == 2
    assert bench_in(*RUN).exit_code == 0


def test_list_shows_everything_with_its_plugin(bench_in):
    output = bench_in("list").output
    offers = bench.registry.installed().offers
    for name, offer in ((n, o) for kind in offers.values() for n, o in kind.items()):
        (line,) = [line for line in output.splitlines() if line.split("  ")[0] == name and str(offer.plugin) in line]
        assert offer.summary in line


@pytest.mark.parametrize("name", ["forml", "digits", "mlp", "class_fairness", "timm/*", "torchvision/resnet18"])
def test_show_says_what_it_is(bench_in, name):
    result = bench_in("show", name)
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 2


def test_stacked_runs_are_recorded_one_by_one(bench_in):
    assert bench_in(*RUN, "--seeds", 3, "--stack").exit_code == 0
    assert [json.loads(p.read_text())["costs"]["stacked"] for p in records()] == [3, 3, 3]
    refused = bench_in("run", "--method", "erm", "--dataset", "digits", "--model", "byrd_cnn", "--stack", "--seeds", 2)
    assert refused.exit_code == 2


def test_an_interrupt_leaves_no_record_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "bench.cli", "run", "--method", "erm", "--dataset", "digits", "--seeds", "500"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while not records(tmp_path / "bench-results"):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "give the same command again to go on" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.part"))
    assert all(json.loads(p.read_text())["status"] == "ok" for p in records(tmp_path / "bench-results"))


def test_help_is_quick_because_it_does_not_import_torch():
    code = "import sys; from bench.cli import main; main(['-h'], standalone_mode=False); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "False"
