"""The command line as a user meets it: what works, and one clear line for what does not."""

import inspect
import json
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import bench.registry
from bench import DataError, Method, NotApplicableError
from bench.cli import main
from bench.cli.summary import fitting, samples_of
from bench.records.run import RunResult
from bench.registry import Offer, Plugin
from bench.runs.evaluation import Evaluations
from bench.store.results import ResultStore
from bench.training.checkpoints import Checkpoints
from bench_plugins.protocols.fairness import ClassFairness
from tests import twins
from tests.processes import ended_by

RUN = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1"]


@pytest.fixture
def bench_in(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


@pytest.fixture
def offering(monkeypatch):
    """Adds to what is installed a thing of another distribution; gives the registry."""

    registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))

    def add(kind, name, value):
        registry.offers[kind][name] = Offer(value, Plugin("my-plugin", "my-dist", "0.1"))
        monkeypatch.setattr(bench.registry, "installed", lambda: registry)
        return registry

    return add


def records(folder: Path = Path("bench-results")) -> list[Path]:
    return sorted((folder / "results").glob("*/*/*.json"))


def history_of(record: Path) -> dict[str, list[float]]:
    """The history of a run, from beside its record."""
    store = ResultStore(record.parents[2])
    return store.sidecar(RunResult.from_json(record.read_text())).history


def test_a_run_leaves_records_and_a_table(bench_in):
    result = bench_in("run", "--method", "erm", "--method", "forml", "--dataset", "digits", "--epochs", 2, "--seeds", 2)
    assert result.exit_code == 0, result.output
    assert "best validation accuracy" in result.output
    assert [p.name.split(".")[:3] for p in records()] == [
        ["digits", method, seed] for method in ("erm", "forml") for seed in "01"
    ]
    record = json.loads(records()[0].read_text())
    assert record["command"] == "bench run --method erm --dataset digits --epochs 2 --seed 0"
    assert record["off_recipe"] == ["recipe.epochs"]
    assert history_of(records()[0])["epoch"] == [1, 2]
    page = Path("bench-results/class_fairness-v1-digits.md").read_text()
    assert "`bench run --method forml --dataset digits --epochs 2 --seeds 2`" in page
    assert bench_in("leaderboard", "--check").exit_code == 0
    Path("bench-results/class_fairness-v1-digits.md").write_text("changed by hand")
    assert bench_in("leaderboard", "--check").exit_code == 1


class Majority(Method):
    """Makes no step: its logits are the frequencies of the classes."""

    differentiable = False

    def restart(self):
        self.model = Frequencies(torch.zeros(len(self.task.classes)))

    def fit(self, task, meter):
        self.begin(task)
        for _ in meter.epochs(self):
            self.model.logits += torch.bincount(task.train.y, minlength=len(task.classes)).log()
        return self.evaluated()


class Frequencies(torch.nn.Module):
    def __init__(self, logits):
        super().__init__()
        self.register_buffer("logits", logits)

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def test_a_method_without_steps_is_run_and_told(bench_in, offering):
    """From the command line, where progress is shown."""
    offering("methods", "majority", Majority)
    result = bench_in("run", "--method", "majority", "--method", "erm", "--dataset", "digits", "--epochs", 2)
    assert result.exit_code == 0, result.output
    (path,) = [path for path in records() if "majority" in path.name]
    record, history = json.loads(path.read_text()), history_of(path)
    assert history["epoch"] == [1, 2] and record["costs"]["steps"] == 0
    assert not [column for column in history if column.startswith("train/")]
    assert record["about"]["used"] == {"optimizer": "none of the recipe's"}
    table = bench_in("throughput", "mlp", "--method", "majority", "--rounds", 2, "--no-rivals", "--no-memory").output
    assert "no single step can be timed" in " ".join(table.split())


def test_a_run_names_the_tables_that_it_is_in(bench_in):
    for protocol in ("class_fairness", "label_noise"):
        result = bench_in("run", "--method", "erm", "--dataset", "digits", "--epochs", 1, "--protocol", protocol)
    assert result.output.splitlines()[-1].endswith("; tables: bench-results/label_noise-v1-digits.md")


def test_a_run_tells_the_numbers_ofsamples_of(bench_in):
    """25 = 254 / 10: of moons' training data, 254 are of the rarer class."""
    words = ["--dataset", "moons", "--protocol", "imbalance", "-o", "protocol.factor=0.1"]
    result = bench_in("run", "--method", "erm", "--epochs", 1, *words)
    told = "data: 279 for training (negative: 25, positive: 254), 256 for validation, 512 for testing\n"
    assert told in result.output


def test_what_the_options_of_robustness_leave_out_is_undefined(bench_in):
    words = [
        "--dataset",
        "digits",
        "--protocol",
        "robustness",
        "-o",
        "protocol.profile=step",
        "-o",
        "protocol.factor=2",
    ]
    words += ["-o", "protocol.eps=0", "-o", "protocol.corruptions=spatter", "-o", "protocol.severities=1"]
    result = bench_in("run", "--method", "erm", "--epochs", 1, *words)
    assert result.exit_code == 0, result.output
    page = Path("bench-results/robustness-v1-digits.md").read_text()
    assert "- perturbed/: The test data under one perturbation, made on the training data" in page
    (row,) = {line for line in page.splitlines() if "| – | erm" in line}
    cells = [cell.strip() for cell in row.split("|")]
    assert [place for place, cell in enumerate(cells) if cell == "undefined"] == [4, 5, 6, 9, 10, 11]


def test_data_that_a_training_chose_and_a_method_cannot_use_are_no_bad_input(bench_in):
    """Validation batches of FORML have 100 samples, and there are 20."""
    words = ["--dataset", "digits", "--protocol", "pruning", "--epochs", 1, "-o", "recipe.val_size=20"]
    result = bench_in("run", "--method", "forml", "--method", "erm", *words, "-o", "recipe.min_per_group=2")
    assert result.exit_code == 0, result.output
    assert (
        "not applicable: forml: scoring: validation batches of 100 with at least 2 of each group need 10 samples"
        in result.output
    )
    assert "the data were chosen by a training: see the protocol's options" in result.output
    assert [json.loads(path.read_text())["status"] for path in records()] == ["ok", "not applicable"]


def test_of_many_classes_the_largest_and_the_smallest_are_told(make_result):
    about = {"classes": [str(c) for c in range(11)], "groups": ["a", "b"]}
    data = {"counts": {"train": [[1] * 11, [2] * 10 + [0]]}, "sizes": {"train": 3100, "val": 1, "test": 2}}
    told = "3,100 for training (1 to 3 in each of 11 classes; a: 11, b: 20), 1 for validation, 2 for testing"
    assert samples_of(make_result(data=data, about=about)) == told


def test_the_recorded_command_makes_the_same_run_again(bench_in):
    options = ["-o", "weight_lr=10", "-o", "model.hidden=8,4", "-o", "recipe.lr=0.01", "--train-size", 100]
    assert bench_in("run", "--method", "forml", "--dataset", "digits", "--epochs", 1, *options).exit_code == 0
    (path,) = records()
    command = json.loads(path.read_text())["command"].split()[1:]
    again = bench_in(*command)
    assert "1 of 1 runs already recorded" in again.output
    assert records() == [path]


def test_the_recorded_command_says_how_the_run_was_computed(bench_in):
    flags = ["--stack", "--backend", "dual", "--no-check", "--eager", "--threads", 3]
    words = ["run", "--method", "forml", "--dataset", "digits", "--epochs", 1, "--train-size", 100]
    assert bench_in(*words, *flags, "--seeds", 2).exit_code == 0
    record = json.loads(records()[1].read_text())
    assert record["command"] == f"bench {' '.join(map(str, [*words, *flags]))} --seed 1"
    assert [choice["backend"] for choice in record["costs"]["meta_step"]] == ["dual"]
    assert (record["costs"]["threads"], record["costs"]["threads_chosen_by"]) == (3, "--threads")
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
        ([*RUN, "-o", "beta=1"], "method erm has no options (got 'beta')"),
        ([*RUN, "-o", "recipe.lr=fast"], "option lr=fast of the recipe: expected float (default 0.001)"),
        ([*RUN, "-o", "modle.width=3"], "the prefix must be a method of this command or recipe., dataset., protocol."),
        ([*RUN, "-o", "lr"], "expected NAME=VALUE"),
        ([*RUN, "-o", "model.hidden=0.5"], "expected int,..."),
        (
            ["run", "--method", "erm", "--dataset", "digits", "-o", "recipe.epochs=0"],
            "recipe.epochs must be at least 1",
        ),
        ([*RUN, "--force", "--keep"], "give --force or --keep, not both"),
        ([*RUN, "-o", "recipe.epochs=2"], "option recipe.epochs is given twice"),
        ([*RUN, "--each", "recipe.epochs=2"], "option recipe.epochs is given twice"),
        ([*RUN, "--each", "recipe.lr=2", "--each", "recipe.lr=2"], "--each recipe.lr=2 is given twice"),
        ([*RUN, "--each", "recipe.lr"], "option 'recipe.lr': expected NAME=VALUE"),
        ([*RUN, "-o", "erm.x=1", "-o", "erm.x=2"], "option erm.x is given twice"),
        ([*RUN, "-o", "erm.x=1"], "method erm has no options (got 'x')"),
        ([*RUN, "-o", "forml.l1=1"], "the prefix must be a method of this command or"),
        ([*RUN, "-o", "recipe.=1"], "expected NAME=VALUE"),
        (
            [*RUN, "--method", "forml", "--method", "random", "-o", "l1=1"],
            "erm, random: no option l1; give it to one method, as forml.l1=1",
        ),
        ([*RUN, "-o", "recipe.select=acuracy"], "unknown metric 'acuracy': did you mean 'accuracy'?"),
        ([*RUN, "-o", "recipe.lr=-1"], "recipe.lr must be above 0, not -1"),
        ([*RUN, "-o", "recipe.lr=0"], "recipe.lr must be above 0, not 0"),
        ([*RUN, "--method", "digits"], "unknown method 'digits': 'digits' is a data set; known: "),
        ([*RUN, "--model", "erm"], "unknown model 'erm': 'erm' is a method; known: "),
        ([*RUN, "--protocol", "timm/resnet18"], "unknown protocol 'timm/resnet18': 'timm/resnet18' is a model; known"),
        (["data", "audit", "forml"], "unknown dataset 'forml': 'forml' is a method; known: "),
        ([*RUN, "-o"], "error: option -o needs a value NAME=VALUE (`bench run --help` says more)"),
        (["run", "-o", "--seeds", "2", *RUN[1:]], "error: option -o needs a value NAME=VALUE (`"),
        (["run", "--each", "--stack", *RUN[1:]], "option --each needs a value NAME=VALUE"),
        ([*RUN, "--each"], "option --each needs a value NAME=VALUE"),
        ([*RUN, "--seeds"], "option --seeds needs a value N"),
        ([*RUN, "--validation"], "option --validation needs a value [shared|paper]"),
        (["throughput", "-o"], "option -o needs a value model.NAME=VALUE"),
        (["data", "prepare", "digits", "-o"], "option -o needs a value"),
        ([*RUN, "--validation", "half"], "Invalid value for '--validation': 'half' is not one of 'shared', 'paper'"),
        ([*RUN, "--seeds", "x"], "Invalid value for '--seeds': 'x' is not a valid integer range"),
        (["run", "--method", "erm"], "error: Missing option '--dataset' (`"),
        ([*RUN, "--sed", "1"], "No such option '--sed'"),
        (["list", "plugin"], "plugins"),
        (["rn"], "No such command 'rn'"),
        (["--seeds"], "No such option '--seeds'"),
        ([*RUN, "-o", "recipe.momentum=0.9"], "recipe.momentum has no effect with recipe.optimizer=adam"),
        ([*RUN, "-o", "recipe.optimizer=sgd", "-o", "recipe.nesterov=true"], "needs recipe.momentum above 0"),
        ([*RUN, "-o", "recipe.steps=5"], "recipe.epochs or recipe.steps, not both"),
        ([*RUN, "--train-size", "100000"], "1137 for training, fewer than recipe.train_size=100000: ask for fewer"),
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
    assert "Usage: " not in result.stderr
    assert said in errors[0]
    assert not records()


def _offline(*_args, **_kwargs):
    raise OSError("no network")


def test_a_method_among_several_has_options_of_its_own(bench_in):
    words = ["run", "--method", "class_balanced", "--method", "forml", "--dataset", "digits", "--epochs", 1]
    assert bench_in(*words, "-o", "forml.weight_lr=5", "-o", "class_balanced.beta=0.5").exit_code == 0
    specs = [json.loads(path.read_text())["spec"] for path in records()]
    assert {s["method"]: s["options"] for s in specs} == {"class_balanced": {"beta": 0.5}, "forml": {"weight_lr": 5.0}}


def test_an_option_of_one_method_goes_before_that_of_all(bench_in):
    words = ["run", "--method", "class_balanced", "--dataset", "digits", "--epochs", 1]
    assert bench_in(*words, "-o", "class_balanced.beta=0.5", "-o", "beta=0.9").exit_code == 0
    assert json.loads(records()[0].read_text())["spec"]["options"] == {"beta": 0.5}


def test_a_method_with_the_name_of_a_prefix_is_refused_as_one(bench_in, offering):
    offering("methods", "model", Method)
    result = bench_in("run", "--method", "model", "--dataset", "digits", "-o", "model.hidden=5")
    assert result.exit_code == 2
    assert "'model' is a method here, and a prefix" in result.stderr


def test_a_method_that_is_not_applicable_is_no_failure_beside_others(bench_in, offering):
    @dataclass
    class Picky(Method):
        def setup(self):
            raise NotApplicableError("picky needs the moon")

    offering("methods", "picky", Picky)
    together = bench_in(*RUN, "--method", "picky")
    assert (together.exit_code, together.stderr.splitlines()[-1]) == (0, "not applicable: picky: picky needs the moon")
    assert bench_in("run", "--method", "picky", "--dataset", "digits").exit_code == 1


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


def test_each_value_is_named_also_where_it_is_the_default(bench_in):
    """What is printed tells the runs apart; the record knows changed options alone, so that its key is as without."""
    assert bench.registry.installed().find("methods", "class_balanced").value.beta == 0.9999
    words = ["run", "--method", "class_balanced", "--dataset", "digits", "--epochs", 1]
    each = ["--each", "beta=0.9", "--each", "beta=0.9999", "--each", "model.hidden=64"]
    first, again = bench_in(*words, *each), bench_in(*words, *each)
    for beta in ("0.9", "0.9999"):
        name = f"class_balanced[beta={beta}] (model.hidden=64"
        assert re.search(rf"^{re.escape(name)}, epochs=1\) +last epoch ", first.stdout, re.M)
        assert f"{name}): 1 of 1 runs already recorded, not repeated" in again.stdout
    assert [json.loads(path.read_text())["spec"].get("model_options", {}) for path in records()] == [{}, {}]
    assert bench_in(*words).stdout.startswith("class_balanced: 1 of 1 runs already recorded")


def test_each_names_tasks_and_options_of_one_method(bench_in):
    words = ["run", "--method", "erm", "--method", "class_balanced", "--dataset", "digits", "--epochs", 1]
    words += ["--protocol", "imbalance", "--each", "protocol.factor=10", "--each", "class_balanced.beta=0.999"]
    lines = bench_in(*words).stdout.splitlines()
    (title,) = (place for place, line in enumerate(lines) if line.startswith("imbalance on digits, mlp (factor=10): "))
    assert [line.split("  ")[0] for line in lines[title + 2 : title + 6]] == [
        "class_balanced[beta=0.999] (epochs=1)",
        "",
        "erm (epochs=1)",
        "",
    ]


def test_each_value_is_run_with_each_of_other_options(bench_in):
    """One command compares a protocol's variants, and shows each."""
    noise = [word for kind in ("pair", "symmetric") for word in ("--each", f"protocol.kind={kind}")]
    sizes = [word for size in (10, 20) for word in ("--each", f"recipe.train_size={size}")]
    words = ["run", "--method", "erm", "--dataset", "digits", "--protocol", "label_noise", "--epochs", 1]
    result = bench_in(*words, *noise, *sizes)
    assert result.exit_code == 0, result.output
    specs = [json.loads(path.read_text())["spec"] for path in records()]
    found = {(spec["protocol_options"]["kind"], spec["recipe"]["train_size"]) for spec in specs}
    assert found == {(kind, size) for kind in ("pair", "symmetric") for size in (10, 20)}
    assert len(specs) == 4
    for kind, size in found:
        (table,) = re.findall(rf"^label_noise on digits, mlp \(kind={kind}\): .*?\n\n", result.output, re.M | re.S)
        assert len(re.findall(rf"^erm \(epochs=1, train_size={size}\) ", table, re.M)) == 1
    again = bench_in(*words, *noise, *sizes)
    assert again.output.count("1 of 1 runs already recorded") == 4


def test_every_data_set_and_model_is_run_seed_by_seed(bench_in):
    words = [
        "--method",
        "erm,random",
        "--dataset",
        "digits,moons",
        "--model",
        "mlp",
        "--model",
        "logistic",
        "--epochs",
        1,
    ]
    result = bench_in("run", *words, "--seeds", 2)
    assert result.exit_code == 0, result.output
    titles = [line.partition(":")[0] for line in result.output.splitlines() if "samples/s" in line]
    assert titles == [
        f"{method} on {dataset}, {model}, seed {seed}"
        for seed in range(2)
        for dataset in ("digits", "moons")
        for model in ("mlp", "logistic")
        for method in ("erm", "random")
    ]
    for dataset in ("digits", "moons"):
        for model in ("mlp", "logistic"):
            assert f"\nclass_fairness on {dataset}, {model}: mean ± standard error of 2 seeds" in result.output
    assert len(records()) == 16
    again = bench_in("run", *words, "--seeds", 2)
    assert again.output.count("2 of 2 runs already recorded") == 8
    assert "random on moons, logistic: 2 of 2 runs already recorded" in again.output


@pytest.mark.parametrize("text", ["erm,", ",erm", "erm,,random"])
def test_an_empty_name_is_refused(bench_in, text):
    result = bench_in("run", "--method", text, "--dataset", "digits")
    assert result.exit_code == 2 and f"a name is empty in '{text}'" in result.output
    assert not Path("bench-results").exists()


def test_on_a_terminal_the_table_has_as_many_metrics_as_fit(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("FORCE_COLOR", "1")  # which makes rich write as to a terminal
    heads = ["method", "rule", *(f"metric_{number}" for number in range(9)), "s"]
    lines = [["erm", "last epoch", *["12.34 ± 0.56"] * 9, "0.8"]]
    shown, shown_heads, hidden = fitting(lines, heads)
    assert shown_heads == ["method", "rule", "metric_0", "metric_1", "s"]
    assert shown == [["erm", "last epoch", "12.34 ± 0.56", "12.34 ± 0.56", "0.8"]]
    assert hidden == [f"metric_{number}" for number in range(2, 9)]


def test_values_that_are_equal_are_run_once(bench_in):
    """So is a method with none of the options that differ."""
    lrs = [word for lr in ("0.1", "1e-1", "0.2") for word in ("--each", f"recipe.lr={lr}")]
    result = bench_in("run", "--method", "erm", "--dataset", "digits", "--epochs", 1, *lrs)
    assert result.exit_code == 0, result.output
    assert sorted(json.loads(path.read_text())["spec"]["recipe"]["lr"] for path in records()) == [0.1, 0.2]
    assert "already recorded" not in result.output
    weights = ["--each", "class_balanced.beta=0.9", "--each", "class_balanced.beta=0.99"]
    words = ["--method", "class_balanced", "--method", "random", "--dataset", "digits", "--epochs", 1]
    result = bench_in("run", *words, *weights)
    assert len(records()) == 5 and "already recorded" not in result.output


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
    assert result.exit_code == 1
    assert f"skipped the record {damaged}" in result.stderr
    assert damaged.exists()


def test_divergence_is_recorded_as_a_failure_and_not_as_a_result(bench_in):
    result = bench_in(*RUN, "-o", "recipe.lr=1e30", "-o", "recipe.optimizer=sgd")
    assert result.exit_code == 1
    assert "failed (diverged)" in result.stderr
    assert "the training loss is nan in epoch 1" in result.stderr
    record = json.loads(records()[0].read_text())
    assert record["status"] == "diverged"
    assert "selected" not in record
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


def test_list_shows_two_plugins_that_offer_one_name(bench_in, monkeypatch):
    """It is where one looks for them; what else is asked for is refused."""
    point = bench.registry.importlib.metadata.EntryPoint("erm-again", "bench_plugins.methods.erm", "bench")
    points = [*bench.registry.installed_entry_points(), point]
    monkeypatch.setattr(bench.registry, "installed_entry_points", lambda: points)
    monkeypatch.setattr(bench.registry, "installed", lambda: bench.registry.load(points))
    both = "the name 'erm' in methods is offered twice, by erm-again (unknown ?) and by erm (reweight-bench"
    for words in (["list"], ["list", "plugins"], ["list", "methods"]):
        result = bench_in(*words)
        assert result.exit_code == 0
        assert both in result.stderr
    listed = {line.split()[0]: line for line in bench_in("list", "plugins").stdout.splitlines() if line}
    assert "method erm" in listed["erm-again"]
    assert "BROKEN: DuplicateNameError: the name 'erm' in methods is offered twice" in listed["erm"]
    assert bench_in(*RUN).stderr.startswith(f"error: {both}")


@pytest.mark.parametrize("words", [[], ["data"]])
def test_help_is_shown_where_nothing_is_given(bench_in, words):
    assert "Usage: " in bench_in(*words).output


def test_list_shows_everything_by_the_distribution_that_offers_it(bench_in, offering):
    registry = offering("methods", "mine", Method)
    parts = [part.splitlines() for part in bench_in("list").output.strip().split("\n\n")]
    shown = {title: {line.split("  ")[0]: line.rstrip() for line in lines} for title, *lines in parts}
    assert list(shown["methods (my-dist 0.1)"]) == ["mine"]
    for kind, offers in registry.offers.items():
        for name, offer in offers.items():
            line = shown[f"{kind} ({offer.plugin.distribution} {offer.plugin.version})"][name]
            assert line.endswith(f"  {offer.summary}")


def test_list_names_a_distribution_once_a_kind(bench_in):
    kinds = [kind for kind, offers in bench.registry.installed().offers.items() if offers]
    assert bench_in("list").output.count("(reweight-bench ") == len(kinds) + 1  # and the plugins


def test_list_says_what_each_plugin_offers(bench_in):
    lines = [line.split(None, 1) for line in bench_in("list", "plugins").output.splitlines()]
    assert ["synthetic", "dataset moons, dataset separable"] in [[word.rstrip() for word in line] for line in lines]


@pytest.mark.parametrize("name", ["forml", "digits", "mlp", "class_fairness", "timm/*", "torchvision/resnet18"])
def test_show_says_what_it_is(bench_in, name):
    result = bench_in("show", name)
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 2


@pytest.mark.parametrize(("kind", "name"), [("methods", "forml"), ("protocols", "class_fairness"), ("models", "mlp")])
def test_show_prints_the_docstring_as_it_is_written(bench_in, monkeypatch, kind, name):
    monkeypatch.setenv("COLUMNS", "24")
    docstring = inspect.getdoc(bench.registry.installed().find(kind, name).value)
    assert docstring
    assert f"\n\n{docstring}\n\n" in bench_in("show", name).output


def test_show_gives_the_values_of_a_data_sets_recipe(bench_in):
    lines = [line.split() for line in bench_in("show", "digits").output.splitlines()]
    for expected in ("--model mlp", "-o weight_lr=10 for forml", "-o recipe.epochs=30 int or none"):
        assert expected.split() in lines


def test_show_says_why_a_recipe_has_no_values(bench_in, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", None)  # nothing is downloaded
    result = bench_in("show", "mnist", "--data-dir", "none")
    assert result.exit_code == 0
    assert "because the data cannot be read: missing file none/" in result.output
    assert ["-o", "recipe.epochs=", "int", "or", "none"] in [line.split() for line in result.output.splitlines()]


def test_show_gives_the_options_of_data_sets_and_protocols_with_their_prefixes(bench_in, offering):
    def load(files, *, size: int = 3):
        """Made up."""
        raise DataError("there is none")

    @dataclass(frozen=True)
    class Odd(ClassFairness):
        """Odd."""

        factor: float = 0.5

    offering("datasets", "made", load)
    offering("protocols", "odd", Odd)
    assert "-o dataset.size=  int (default 3)" in bench_in("show", "made").output
    assert "-o protocol.factor=  float (default 0.5)" in bench_in("show", "odd").output


def test_stacked_runs_are_recorded_one_by_one(bench_in):
    assert bench_in(*RUN, "--seeds", 3, "--stack").exit_code == 0
    assert [json.loads(p.read_text())["costs"]["stacked"] for p in records()] == [3, 3, 3]
    refused = bench_in("run", "--method", "erm", "--dataset", "digits", "--model", "byrd_cnn", "--stack", "--seeds", 2)
    assert refused.exit_code == 2


def test_an_interrupt_leaves_no_record_and_says_how_to_go_on(tmp_path):
    words = ["run", "--method", "erm", "--dataset", "digits", "--seeds", "500"]
    code, error = ended_by(signal.SIGINT, words, tmp_path, lambda: records(tmp_path / "bench-results"))
    assert code == 130
    assert "give the same command again to go on" in error
    assert "Traceback" not in error
    assert not list(tmp_path.rglob("*.part"))
    assert all(json.loads(p.read_text())["status"] == "ok" for p in records(tmp_path / "bench-results"))


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupted_training_goes_on_and_says_so(bench_in, monkeypatch, force):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    words = ["run", "--method", "erm", "--dataset", "digits", "--epochs", 3, *["--force"] * force]
    with monkeypatch.context() as interrupting:
        interrupting.setattr("bench.runs.evaluation.Evaluations.__call__", _interrupted_in_the_third_epoch)
        result = bench_in(*words)
    assert result.exit_code == 130
    assert ("begins it again" if force else "goes on after epoch 2/3") in result.stderr
    again = bench_in(*words)
    assert again.exit_code == 0
    assert ("goes on after epoch 2/3" in again.stderr) == (not force)


def _interrupted_in_the_third_epoch(evaluations, model, epoch, evaluate=Evaluations.__call__):
    if epoch == 3:
        signal.raise_signal(signal.SIGINT)
    return evaluate(evaluations, model, epoch)


@pytest.mark.parametrize("group", [[], ["data"]])
def test_without_a_word_the_help_is_shown(bench_in, group):
    alone, asked = bench_in(*group), bench_in(*group, "--help")
    assert (alone.exit_code, alone.stdout, alone.stderr) == (0, asked.stdout, "")
    assert alone.stdout.startswith("Usage: ")


def test_help_is_quick_because_it_does_not_import_torch():
    code = "import sys; from bench.cli import main; main(['-h'], standalone_mode=False); print('torch' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines()[-1] == "False"


def test_a_run_needs_no_package_that_it_does_not_use(tmp_path, monkeypatch):
    """Such as on a machine that has only some of them."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    unused = ["platformdirs", "matplotlib", "timm", "torchvision", "fairlearn", "imagecorruptions", "higher"]
    words = [*RUN, "--method", "forml", "--out", str(tmp_path / "out")]
    code = f"import sys; sys.modules |= dict.fromkeys({unused}); from bench.cli import main; main({words})"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "warning" not in ended.stderr


def test_an_interrupt_before_training_has_its_own_exit_code(bench_in, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("bench.runs.requests.resolve", interrupted)
    result = bench_in(*RUN)
    assert (result.exit_code, result.stderr) == (130, "\ninterrupted\n")


def test_test_sets_of_another_name_are_told_by_it(make_result):
    about = {"classes": ["a", "b"], "groups": ["a", "b"], "sets": {"held": "what is tested", "other": "not drawn"}}
    data = {"counts": {"train": [[10, 20]]}, "sizes": {"train": 30, "val": 1, "held": 4000}}
    told = "30 for training (a: 10, b: 20), 1 for validation, 4,000 in held"
    assert samples_of(make_result(data=data, about=about)) == told
