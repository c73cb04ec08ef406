"""`tools/gpu_report.py`: the tables that `tools/gpu.sh` prints."""

import dataclasses
import re

from bench.store.results import ResultStore
from bench.throughput import Conditions, ThroughputRecord, Workload
from bench.throughput.record import StepCost
from tests.environments import made_up_environment
from tools import gpu_report


def test_the_wheels_metadata_are_those_of_the_source_tree(monkeypatch):
    known = gpu_report.metadata.distribution(gpu_report.DISTRIBUTION).entry_points
    older = [entry for entry in known if entry.name not in ("erm", "mlp")]
    stale = type("Older", (), {"entry_points": older})
    monkeypatch.setattr(gpu_report.metadata, "distribution", lambda name: stale)
    assert {"erm", "mlp"} <= {*gpu_report.unknown_plugins()}


def steps(work, part, *lines):
    folder = work / "logs" / part
    folder.mkdir(parents=True)
    (folder / "steps.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))


def test_the_table_of_steps_says_what_is_faster_and_what_there_is_without(tmp_path, capsys):
    rows = [
        StepCost("erm", baseline=True, captured=True, seconds=[0.001, 0.003, 0.002], peak_bytes=3 * 2**20),
        StepCost("captured_loop", rival_of="erm", captured=True, seconds=[0.001, 0.0015, 0.001]),
        StepCost("betty", rival_of="forml", error="betty cannot be imported (No module): to install it"),
        StepCost("forml", seconds=[0.003, 0.009, 0.006], eager_because="recording failed"),
        StepCost("higher", rival_of="forml", error="RuntimeError: no"),
    ]
    workload, made = Workload("mlp", (3,), 2, batch_size=8), made_up_environment(device="A")
    folder = tmp_path / "records" / "throughput"
    folder.mkdir(parents=True)
    ThroughputRecord("", "tiny", workload, Conditions(precision="bf16"), 1, rows, made).save(folder)
    steps(tmp_path, "throughput", ("versions", "ok", "3"), ("tiny-bf16", "timed out", "9"))
    gpu_report.report("throughput", tmp_path)
    assert [re.split(r" {2,}", line.strip()) for line in capsys.readouterr().out.splitlines()] == [
        ["steps that failed"],
        ["step", "outcome", "seconds"],
        ["tiny-bf16", "timed out", "9"],
        [""],
        ["throughput"],
        ["workload", "method", "step, ms", "× erm", "MiB"],
        ["tiny (batch 8), bf16", "erm", "2.00", "1.00", "3", "captured"],
        ["tiny (batch 8), bf16", "captured_loop (rival of erm)", "1.00", "0.50", "captured"],
        ["tiny (batch 8), bf16", "forml", "6.00", "3.00", "recording failed"],
        ["tiny (batch 8), bf16", "betty (rival of forml)", "without betty"],
        ["tiny (batch 8), bf16", "higher (rival of forml)", "RuntimeError: no"],
        [""],
    ]


def test_the_table_of_cifar100_has_means_over_seeds_and_failures(tmp_path, make_result, capsys):
    folder = tmp_path / "records" / "results"
    folder.mkdir(parents=True)
    more = {"dataset": "cifar100", "recipe": {"epochs": 2}}
    runs = [
        make_result("erm", seed, {"accuracy": value, "tprd": 0.5}, seconds=seconds, **more)
        for seed, value, seconds in ((0, 0.25, 2.0), (1, 0.75, 4.0))
    ]
    runs.append(make_result("forml", 0, status="diverged", error="Traceback\n  it\nis not finite\n", **more))
    for run, captured in zip(runs, (True, False, False), strict=True):
        costs = dataclasses.replace(run.costs, captured=captured, eager_because="" if captured else "it draws")
        ResultStore(folder).put(dataclasses.replace(run, costs=costs))
    steps(tmp_path, "cifar100", ("seed-0", "ok", "3"))
    gpu_report.report("cifar100", tmp_path)
    first, title, heads, row, *_ = (re.split(r" {2,}", s.strip()) for s in capsys.readouterr().out.splitlines())
    assert first == ["forml, seed 0: diverged: is not finite"]
    assert (title, heads[-1]) == (["cifar100"], "seconds an epoch")
    assert dict(zip(heads, row, strict=False)) == {
        "method": "erm",
        "seeds": "2",
        "epochs": "2",
        "tprd, %": "50.00 ± 0.00",
        "accuracy, %": "50.00 ± 25.00",
        "seconds an epoch": "1.50",
    }
    assert row[-1] == "captured / it draws"
