"""The throughput benchmark: what it measures, its records, its page and its gate."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

import bench.throughput.measure as measuring
from bench.cli import main
from bench.errors import BenchError, OptionError
from bench.meta import BACKENDS
from bench.models.operators import Operators
from bench.records.json_file import load
from bench.records.sections import MetaStep
from bench.registry import Offer, Plugin, Registry, installed
from bench.throughput import Conditions, ThroughputRecord, Workload, page
from bench.throughput.counts import counts
from bench.throughput.measure import measure, seconds
from bench.throughput.memory import peak_bytes
from bench.throughput.record import StepCost, older, paired, regressions
from bench.throughput.step import new_step, new_task
from bench.throughput.workload import workloads
from bench.training.capture.update import CapturedUpdate
from bench.training.method import Method
from tests.environments import made_up_environment

TINY = Workload("logistic", (3,), 2, batch_size=8)
QUICK = Conditions(rounds=2, rivals=False)
CPU = torch.device("cpu")
MIB = 2**20


@pytest.fixture
def bench_in(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


@pytest.fixture
def no_memory(monkeypatch):
    """Memory takes a process for each row; here it is not measured."""
    monkeypatch.setattr(measuring, "peak_bytes", lambda device, new_step, steps: None)


def record(**seconds: list[float]) -> ThroughputRecord:
    """A record of these times; `base` is the baseline, r_NAME a rival of NAME."""
    rows = [
        StepCost(
            name, rival_of=name[2:] if name.startswith("r_") else None, baseline=name == "base", seconds=s, flops=100
        )
        for name, s in seconds.items()
    ]
    return ThroughputRecord("bench throughput tiny", "tiny", TINY, Conditions(), 4, rows, made_up_environment())


@pytest.mark.parametrize(
    ("convolution", "precision", "told"),
    [("tf32", "fp32", "fp32, convolutions in TF32, "), ("ieee", "fp32", "fp32, "), ("tf32", "bf16", "bf16, ")],
)
def test_a_page_says_that_convolutions_of_a_gpu_are_not_in_full_precision(convolution, precision, told):
    found = record(base=[1.0, 1.0])
    found.environment.gpu.update(float32_convolution=convolution)
    found = replace(found, conditions=replace(found.conditions, precision=precision))
    assert page.conditions(found).startswith(f"{told}look-aheads: auto")


def test_a_command_leaves_a_record_a_page_and_a_picture(bench_in):
    words = ["--method", "forml", "--model", "logistic", "--shape", 3, "--classes", 2, "--batch-size", 8]
    result = bench_in("throughput", *words, "--rounds", 2, "--no-rivals", "--out", "out")
    assert result.exit_code == 0, result.output
    (found,), _ = load(Path("out/throughput"), ThroughputRecord)
    assert found.command == f"bench throughput {' '.join(map(str, words))} --rounds 2 --no-rivals"
    assert found.workload == TINY
    assert [(row.name, len(row.seconds), row.error) for row in found.rows] == [("erm", 2, ""), ("forml", 2, "")]
    assert all(row.calls and row.flops and row.waits == 0 for row in found.rows)
    assert "| forml, " in Path("out/throughput.md").read_text()
    assert bench_in("leaderboard", "--out", "out", "--check").exit_code == 0
    (picture,) = Path("out/throughput").glob("*.svg")
    picture.write_text(picture.read_text() + " ")
    assert bench_in("leaderboard", "--out", "out", "--check").exit_code == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["resnet81"], "unknown workload 'resnet81': did you mean 'resnet18'?"),
        (["mlp", "--method", "form"], "unknown method 'form': did you mean 'forml'?"),
        (["mlp", "--backend", "dula"], "unknown backend 'dula': did you mean 'dual'?"),
        (["mlp", "--device", "cuda:99"], "device 'cuda:99' cannot be used here"),
        (["--model", "mlp", "--shape", "3"], "--model needs --shape and --classes"),
        (["--model", "mlp", "--shape", "3,a", "--classes", "2"], "--shape 3,a: expected C,H,W or D"),
        (["--model", "mlp", "--shape", "3,3", "--classes", "2"], "needs a shape C,H,W or D"),
        (["--shape", "3"], "a workload has its own"),
        (["mlp", "-o", "hidden=3"], "option 'hidden=3': expected model.NAME=VALUE, such as model.width=16"),
        (["mlp", "-o", "model.width=3"], "model mlp has no option 'width'; valid: hidden: "),
        (["resnet18", "-o", "model.width=a"], "option width=a of model resnet18: expected int (default 64)"),
        (["resnet18", "-o", "model.width=4", "-o", "model.width=5"], "option model.width is given twice"),
        (["resnet18", "--stack", "3"], "Conv2d"),
        (["resnet18", "--val-batch-size", "9"], "a validation batch of 9 cannot hold each of 10 groups"),
        (["mlp", "--compare", "."], "has no record to compare with"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(bench_in, words, said):
    result = bench_in("throughput", *words)
    assert result.exit_code == 2
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert said in line
    assert not list(Path().rglob("*.json"))


def test_a_model_has_as_many_classes_as_its_validation_batch_holds():
    sizes = {"batch_size": 10, "val_batch_size": 300}
    (found,) = workloads(installed(), [], "logistic", "3", 300, {}, **sizes).values()
    assert found == Workload("logistic", (3,), 300, **sizes)


def test_memory_that_is_not_asked_for_is_not_measured(bench_in, monkeypatch):
    monkeypatch.delattr(measuring, "peak_bytes")
    words = ["throughput", "mlp_groups", "--method", "erm", "--batch-size", 2, "--rounds", 2, "--no-rivals"]
    assert bench_in(*words, "--no-memory", "--out", "out").exit_code == 0
    (found,), _ = load(Path("out/throughput"), ThroughputRecord)
    assert [row.peak_bytes for row in found.rows] == [None]
    assert "--no-memory" in found.command


def test_options_of_the_model_are_part_of_the_workload(bench_in, no_memory):
    words = ["throughput", "mlp", "--method", "erm", "-o", "model.hidden=3,4", "--batch-size", 10, "--rounds", 2]
    result = bench_in(*words, "--no-rivals", "--out", "out")
    assert result.exit_code == 0, result.output
    (found,), _ = load(Path("out/throughput"), ThroughputRecord)
    assert found.workload.model_options == {"hidden": [3, 4]}
    assert found.rows[0].flops == 2 * 10 * (2 * 784 * 3 + 3 * (3 * 4 + 4 * 10))  # no gradient of the input is needed
    assert "-o model.hidden=3,4" in found.command


def test_times_are_those_of_one_update_each_method_once_a_round(monkeypatch, no_memory):
    asked = []

    def three(step, repeats, device):
        asked.append((type(step.methods[0]).__name__, repeats))
        return 0.0005 * (3 if asked[-1][0] == "FORML" else 1)

    monkeypatch.setattr(measuring, "seconds", three)
    found = measure("tiny", TINY, replace(QUICK, rounds=5, methods=("forml", "l2rw")), installed())
    timed = asked[-15:]
    assert found.repeats == 4  # of 0.5 ms make 2 ms
    assert all(sorted(timed[i : i + 3]) == [("ERM", 4), ("FORML", 4), ("L2RW", 4)] for i in (0, 3, 6, 9, 12))
    assert len({tuple(timed[i : i + 3]) for i in (0, 3, 6, 9, 12)}) > 1
    assert [found.ratio(row) for row in found.rows] == [(1, 1, 1), (3, 3, 3), (1, 1, 1)]


def test_a_repeated_step_counts_once(monkeypatch):
    clock, calls = iter([10.0, 16.0]), []
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    assert seconds(lambda: calls.append(1), 3, CPU) == 2.0
    assert len(calls) == 3


def test_ratios_are_paired_by_round():
    assert paired([2, 8, 9], [1, 4, 3]) == (2, 2, 2.5)
    slow_in_round_2 = record(base=[1, 10, 1], other=[3, 30, 3])
    assert slow_in_round_2.ratio(slow_in_round_2.rows[1]) == (3, 3, 3)


def test_a_step_gets_the_batches_of_its_workload():
    workload = replace(TINY, batch_size=6, val_batch_size=4, stack=3)
    made = new_task(workload, QUICK, installed().find("models", "logistic").value, range(3))
    batch, val = next(made.batches(0)), next(made.val_batches())
    assert (batch.x.shape, val.x.shape) == ((3, 6, 3), (3, 4, 3))
    assert made.train.group.equal(made.train.y)
    assert made.new_model()(batch.x).shape == (3, 6, 2)
    assert [len(set(run)) for run in val.group.tolist()] == [2, 2, 2]


def test_a_workload_describes_itself():
    workload = Workload("mlp", (3, 32, 32), 10, {"width": 8}, groups=2, batch_size=5, stack=3)
    expected = "mlp width=8 on 3×32×32, 10 classes, 2 groups, batch 5, validation batch 5, 3 stacked runs"
    assert workload.description == expected


@pytest.mark.parametrize("name", installed().offers["workloads"])
def test_installed_workloads_fit_their_models(name):
    workload = installed().find("workloads", name).value
    made = new_task(workload, QUICK, installed().find("models", workload.model).value, range(workload.stack))
    val, runs = next(made.val_batches()), (workload.stack,) if workload.stack > 1 else ()
    with torch.no_grad():
        assert made.new_model()(val.x).shape == (*runs, workload.val_size, workload.classes)
    assert next(made.batches(0)).y.shape == (*runs, workload.batch_size)


@dataclass
class Missing(Method):
    """A rival whose library is not there."""

    rival_of = "forml"

    def setup(self) -> None:
        raise ImportError("no library:\npip install it")


def test_a_rival_that_is_missing_is_a_row_with_the_reason(no_memory):
    here, plugin = installed(), Plugin("mine", "pluggy", "1")
    registry = Registry(offers=here.offers | {"rivals": {"missing": Offer(Missing, plugin)}})
    found = measure("tiny", TINY, replace(QUICK, methods=("forml",), rivals=True), registry)
    assert [(row.name, row.rival_of, row.error) for row in found.rows] == [
        ("erm", None, ""),
        ("forml", None, ""),
        ("missing", "forml", "no library: pip install it"),
    ]
    (line,) = [line for line in page.render([found])[page.PAGE].splitlines() if "missing" in line]
    assert line.startswith("| missing (rival of forml) | no library: pip install it | ")


def test_a_record_has_the_versions_of_the_rivals_libraries(monkeypatch, no_memory):
    needed = [
        "click>=8",
        "pluggy>=1; extra == 'rivals'",
        "missing>1; extra == 'rivals-more'",
        'pytest; extra == "test"',
    ]
    monkeypatch.setattr(measuring.metadata, "requires", lambda distribution: needed)
    versions = measure("tiny", TINY, replace(QUICK, methods=("erm",)), installed()).environment.versions
    assert versions["pluggy"] == version("pluggy")
    assert not {"click", "missing", "pytest"} & {*versions}


def test_what_is_not_asked_for_takes_no_part():
    names = [e.name for e in measuring.entrants(TINY, replace(QUICK, methods=("l2rw",), rivals=True), installed())]
    rivals = [n for n, offer in installed().offers["rivals"].items() if offer.value.rival_of in ("erm", "l2rw")]
    assert names == ["erm", "l2rw", *sorted(rivals)]


def test_stacked_runs_stand_beside_the_same_runs_one_by_one(no_memory):
    found = measure("tiny", replace(TINY, stack=3), replace(QUICK, methods=("forml",)), installed())
    single = measure("tiny", TINY, replace(QUICK, methods=("forml",)), installed())
    assert [row.label for row in found.rows] == [
        f"{m}{way}" for way in ("", ", eager", ", one by one") for m in ("erm", "forml")
    ]
    assert [row.flops for row in found.rows] == [3 * row.flops for row in single.rows] * 3
    assert [row.floor_flops for row in found.rows] == [3 * row.floor_flops for row in single.rows] * 3
    assert found.rows[4].calls == 3 * single.rows[0].calls
    assert [row.captured for row in found.rows] == [True] * 2 + [False] * 4
    for together, alone in zip(found.rows[:4], found.rows[4:] * 2, strict=True):
        assert found.gain(together) == paired(together.seconds, alone.seconds)
        assert found.gain(alone) is None
    assert "One by one" in page.heads(found) and "One by one" not in page.heads(single)


def test_all_backends_of_a_method_are_named():
    step = new_step("methods", installed().find("methods", "forml").value, "", TINY, QUICK, installed())
    assert step.backend is None
    engines = [SimpleNamespace(choice=name and MetaStep(name)) for name in ("dual", None, "reverse", "dual")]
    step.methods[0].engines = lambda: engines
    assert step.backend == "dual + reverse"


def test_rivals_are_never_recorded():
    forml = installed().find("methods", "forml").value
    stacked = (forml, "", replace(TINY, stack=2))
    for kind, eager, captured in (("methods", False, True), ("rivals", False, False), ("methods", True, False)):
        step = new_step(kind, *stacked, replace(QUICK, eager=eager), installed())
        for _ in range(CapturedUpdate.WARM_UP + 1):
            step()
        assert step.captured == captured


class ByItself(Method):
    """A rival that replays its update by itself."""

    rival_of = "erm"

    def setup(self) -> None:
        self.captured, self.eager = False, 0

    def update(self, batch):
        self.captured = True
        return batch.y.float(), torch.ones(batch.y.shape)

    def eager_update(self, batch):
        self.eager += 1
        return super().update(batch)


def test_a_rival_that_replays_by_itself_is_called_captured_and_counted_by_its_eager_update():
    step = new_step("rivals", ByItself, "", TINY, QUICK, installed())
    assert not step.captured
    step()
    assert step.captured and step.methods[0].eager == 0
    step.eager()
    assert step.methods[0].eager == 1


def test_what_cannot_be_stacked_is_timed_one_by_one(monkeypatch):
    unstackable = Offer(type("Single", (Method,), {"stackable": False}), Plugin("mine", "pluggy", "1"))
    here = installed().offers
    registry = Registry(offers=here | {"methods": {"erm": here["methods"]["erm"], "single": unstackable}})
    found = measuring.entrants(replace(TINY, stack=2), replace(QUICK, methods=("single",)), registry)
    ways = [("erm", ""), ("erm", "eager"), ("erm", "one by one"), ("single", "one by one")]
    assert [(e.name, e.way) for e in found] == ways
    eager = measuring.entrants(replace(TINY, stack=2), replace(QUICK, methods=("single",), eager=True), registry)
    assert [(e.name, e.way) for e in eager] == [ways[0], *ways[2:]]


def test_flops_of_a_dual_pass_are_those_counted_by_hand():
    x, w, b = torch.rand(5, 3), torch.rand(2, 3), torch.rand(2)
    with Operators() as found, FlopCounterMode(display=False) as theirs, forward_ad.dual_level():
        torch.nn.functional.linear(*(forward_ad.make_dual(t, torch.rand_like(t)) for t in (x, w, b)))
    product = 2 * 5 * 3 * 2
    assert found.flops == theirs.get_total_flops() == 3 * product  # x w, dx w and x dw


def test_flops_of_a_training_step_are_those_counted_by_hand():
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(16, 2))
    x = torch.rand(5, 3, 4, 4)
    convolution, product = 2 * 5 * 4 * (2 * 2) * (3 * 3 * 3), 2 * 5 * 16 * 2
    found = counts(lambda: None, lambda: model(x).sum().backward(), CPU)
    assert found.flops == 2 * convolution + 3 * product  # no gradient of the input is needed


def test_calls_leave_views_out_and_waits_are_where_the_host_needs_a_value():
    x = torch.rand(4)
    with Operators() as found:
        (x.view(2, 2).t() + 1).mul_(2)
    assert (found.calls, found.waits) == (2, 0)
    with Operators() as found:
        x.sum().item(), x[x > 0.5], x[torch.tensor([0, 1])], x.nonzero(), bool((x > 2).any())
    assert found.waits == 4


def allocate(mib: int):
    """A step that needs so much memory for a moment, and keeps none."""
    return lambda: torch.ones(mib * MIB // 4).max()


def allocate_where_peaks_cannot_be_reset():
    Path.write_text = lambda *_: (_ for _ in ()).throw(PermissionError())
    return allocate(64)


def test_memory_whose_peak_cannot_be_reset_is_unknown():
    assert peak_bytes("cpu", allocate_where_peaks_cannot_be_reset, 2) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_memory_is_the_most_that_a_step_needs():
    need = peak_bytes("cpu", partial(allocate, 64), 2)
    assert abs(need - 64 * MIB) < MIB


@pytest.fixture
def counted(monkeypatch):
    """A made-up GPU that counts what is allocated, with something of somebody else's on it."""
    memory = SimpleNamespace(now=1000, most=5000)

    def allocate(size: int) -> None:
        memory.now += size
        memory.most = max(memory.most, memory.now)

    memory.allocate = allocate
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: memory.now)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: memory.most)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: setattr(memory, "most", memory.now))
    return memory


def test_on_a_gpu_memory_is_counted_in_this_process(counted):
    """A step holds 30 in the end, 20 of them from the first one on, and needs 70 meanwhile."""

    def new_step():
        counted.allocate(400)  # the model and its data
        begun = []

        def step():
            held = 10 if begun else 20
            begun.append(True)
            counted.allocate(held + 70)
            counted.allocate(-70)

        return step

    assert peak_bytes("cuda", new_step, 1) == 20 + 10 + 70


def test_a_step_that_does_not_fit_on_a_gpu_has_no_count(counted):
    def new_step():
        raise torch.OutOfMemoryError("no room")

    assert peak_bytes("cuda:1", new_step, 2) is None


def test_a_record_is_read_as_it_was_written(tmp_path):
    made = record(base=[1, 2], other=[2, 5])
    path = made.save(tmp_path)
    assert load(tmp_path, ThroughputRecord) == ([replace(made, rows=load(tmp_path, ThroughputRecord)[0][0].rows)], {})
    assert load(tmp_path, ThroughputRecord)[0][0].to_json() == path.read_text() == made.to_json()
    path.write_text(path.read_text().replace("[2, 5]", "[2, 4]"))
    assert [*load(tmp_path, ThroughputRecord)[1]] == [path]
    assert replace(made, conditions=Conditions(rounds=99)).path == made.path != replace(made, name="other").path


def test_devices_whose_names_differ_in_signs_alone_have_a_picture_each():
    devices = ["CPU (a)", "CPU a", "CPU-A"]
    files = page.render([replace(record(base=[1, 2]), environment=made_up_environment(device=d)) for d in devices])
    shown = re.findall(r"!\[.*\]\((.*)\)", files[page.PAGE])
    assert len(set(shown)) == 3 and {page.PAGE, *shown} == set(files)


def test_the_page_is_a_pure_function_of_the_records(tmp_path):
    one, two = record(base=[1, 2], other=[2, 5]), replace(record(base=[1, 1], other=[3, 3]), name="second")
    one.save(tmp_path), two.save(tmp_path)
    files = page.render([one, two])
    assert files == page.render([two, one]) == page.render(load(tmp_path, ThroughputRecord)[0])
    pictures = sorted(f"throughput/{made.path.removesuffix('.json')}.svg" for made in (one, two))
    assert [*files] == ["throughput.md", *pictures]
    assert all(text.startswith("<!-- made from records") for text in files.values())
    assert not any("2026" in files[picture] for picture in pictures)
    assert page.render([]) == {}


def test_each_workload_is_folded_with_its_picture_and_its_table():
    records = [replace(record(base=[1, 2], other=[2, 5]), name=name) for name in ("a", "b")]
    lines = page.render(records)[page.PAGE].splitlines()
    for made in records:
        begin = lines.index(f"<summary>{page.title(made)}</summary>")
        end = lines.index("</details>", begin)
        picture = f"![Time of a step relative to base](throughput/{made.path.removesuffix('.json')}.svg)"
        assert lines[begin - 1] == "<details>" and picture in lines[begin:end]
        assert sum(line.startswith("| other |") for line in lines[begin:end]) == 1


def test_the_page_begins_with_what_a_step_costs_and_with_all_methods_on_all_workloads():
    """Times of 2 and 2.5 and of 3 and 3 relative to the baseline's; the other implementation takes twice as long."""
    one = replace(record(base=[1, 2], other=[2, 5], r_other=[4, 10], lonely=[3, 6]), name="one")
    two = replace(record(base=[1, 2], other=[3, 6], r_other=[6, 12]), name="two")
    lines = page.render([two, one])[page.PAGE].splitlines()
    assert lines[3] == (
        "**A training step of other takes 2.25 to 3.00 times as long as the baseline's.** "
        "The fastest other implementation of the same update takes 2.00 times as long as ours."
    )
    begin = next(place for place, line in enumerate(lines) if line.startswith("| Method |"))
    assert lines[begin] == f"| Method | {page.title(one)} | {page.title(two)} |"  # that with the most rows first
    assert lines[begin + 2 : begin + 4] == ["| other | 2.25 × (4.50 ×) | 3.00 × (6.00 ×) |", "| lonely | 3.00 × |  |"]


def test_without_rivals_the_page_says_so():
    lines = page.render([record(base=[1, 2], other=[2, 5])])[page.PAGE].splitlines()
    assert lines[3] == "No method is timed here beside another implementation of its update."


def test_a_picture_has_a_bar_for_each_row_that_was_timed():
    """The ratios are 2 and 2.5, so that the bar ends at 2.25; the rival's are 3 and 3."""
    made = record(base=[1, 2], other=[2, 5], r_other=[3, 6])
    (axes,) = page._drawn(made).axes
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, 2.25, 3])
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [False, False, True]
    assert [text.get_text() for text in axes.texts] == ["1.00 ×", "2.25 ×", "3.00 ×"]
    assert axes.get_xlabel().startswith("time of a step relative to base\n")
    assert axes.get_ylim() == (2.5, -0.5)


def test_a_line_of_the_page():
    made = record(base=[0.1, 0.1, 0.1], other=[0.2, 0.3, 0.5], r_other=[0.4, 0.4, 0.4])
    sizes = ((10 * MIB, 30), (25 * MIB, 90), (None, 75))
    counted = {"calls": 7, "waits": 0, "floor_flops": 75}
    rows = [replace(r, peak_bytes=m, flops=f, **counted) for r, (m, f) in zip(made.rows, sizes, strict=True)]
    line = dict(zip(page.heads(made)[:4], page.cells(replace(made, rows=rows))[1][:4], strict=True))
    assert line == {
        "Method": "other",
        "Step, ms": "300 [250, 400]",
        "Samples/s": "27",
        "Time × base": "3.00 [2.50, 4.00]",
    }
    assert page.cells(replace(made, rows=rows))[1][4:] == ["25.0", "2.50", "7", "0", "3.00", "2.50", "1.20"]
    assert page.cells(replace(made, rows=rows))[2][4:6] == ["", ""]


def with_batch_norm(shape, classes):
    return torch.nn.Sequential(torch.nn.Linear(shape[0], 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, classes))


@pytest.mark.parametrize(("model", "taken"), [("mlp", 4), ("bn", 3)])
def test_the_floor_is_over_all_backends_that_take_the_model(no_memory, model, taken):
    here = installed().offers
    registry = Registry(
        offers=here | {"models": here["models"] | {"bn": Offer(with_batch_norm, Plugin("a", "b", "1"))}}
    )
    workload, flops, floors = replace(TINY, model=model, classes=3), [], []
    for backend in BACKENDS[1:]:
        conditions = replace(QUICK, backend=backend, methods=("forml",))
        erm, forml = measure("tiny", workload, conditions, registry).rows
        flops += [forml.flops] if not forml.error else []
        floors.append(forml.floor_flops)
        assert erm.floor_flops == erm.flops
    assert len(flops) == taken and len(set(flops)) > 1
    assert floors == [min(flops)] * 4


def test_the_floor_is_relative_to_the_baseline():
    made = record(base=[1, 1], other=[3, 3], r_other=[2, 2])
    rows = [
        replace(row, flops=n, floor_flops=least)
        for row, n, least in zip(made.rows, (100, 400, 250), (100, 300, 300), strict=True)
    ]
    assert [made.floor(row) for row in rows] == [1, 3, 3]
    assert made.floor(replace(rows[1], floor_flops=None)) is None


def test_a_method_that_is_not_applicable_is_a_row_with_the_reason_and_no_failure(bench_in):
    words = ["--model", "logistic", "--shape", 3, "--classes", 2, "--batch-size", 8, "--no-rivals", "--rounds", 2]
    result = bench_in("throughput", *words, "--method", "augmix", "--out", "out")
    assert result.exit_code == 0, result.output
    (found,), _ = load(Path("out/throughput"), ThroughputRecord)
    assert [(row.name, row.unfit, row.failed) for row in found.rows] == [("erm", False, False), ("augmix", True, False)]
    assert (
        "| augmix | augmix needs images [C, H, W], not inputs of shape [3] |" in Path("out/throughput.md").read_text()
    )


def test_the_gate_fails_on_a_worse_ratio_and_not_on_a_slower_machine():
    old = record(base=[1, 1, 1], other=[2, 2, 2.2], r_other=[3, 3, 3])
    assert regressions(record(base=[9, 9, 9], other=[18, 19.8, 19.8], r_other=[99, 99, 99]), [old]) == []
    (said,) = regressions(record(base=[1, 1, 1], other=[2.3, 2.3, 2.3], r_other=[3, 3, 3]), [old])
    assert said == "tiny: other: 2.30 [2.30, 2.30] × the baseline, before 2.00 [2.00, 2.10]"
    broken = replace(old, rows=[old.rows[0], StepCost("other", error="no derivative")])
    assert regressions(broken, [old]) == ["tiny: other failed: no derivative"]
    assert regressions(broken, [replace(old, workload=replace(TINY, batch_size=9))]) == []


def test_the_gate_fails_on_a_median_that_is_far_worse_within_the_noise():
    old = record(base=[1, 1, 1], other=[1.9, 2, 9])
    assert regressions(record(base=[1, 1, 1], other=[2.1, 2.29, 9]), [old]) == []
    (said,) = regressions(record(base=[1, 1, 1], other=[2.1, 2.31, 9]), [old])
    assert said.startswith("tiny: other: 2.31 [")


def test_the_gate_fails_on_a_method_that_is_gone_and_not_on_what_was_not_asked_for():
    old, new = record(base=[1, 1], other=[2, 2], r_other=[3, 3]), record(base=[1, 1])

    def asked(made, *methods):
        return replace(made, conditions=Conditions(methods=methods))

    missing = ["tiny: other is missing"]
    assert regressions(new, [old]) == regressions(asked(new, "other"), [old]) == missing
    assert regressions(asked(new, "third"), [old]) == []
    assert regressions(new, [asked(old, "other")]) == []  # it may not take part unless asked for


def test_the_gate_of_the_command(bench_in, monkeypatch, no_memory):
    words = ["throughput", "--model", "logistic", "--shape", 3, "--classes", 2, "--batch-size", 8, "--rounds", 2]
    words += ["--method", "forml", "--no-rivals", "--out", "out"]
    bench_in(*words)
    (path,) = Path("out/throughput").glob("*.json")
    made = load(path.parent, ThroughputRecord)[0][0]
    for name, factor in (("was_faster", 1e-6), ("was_slower", 1e6)):
        rows = [replace(row, seconds=[s * factor for s in row.seconds]) for row in made.rows[1:]]
        text = replace(made, rows=[made.rows[0], *rows]).to_json()
        Path(f"{name}.json").write_text(text)
    assert bench_in(*words, "--compare", "was_slower.json").exit_code == 0
    result = bench_in(*words, "--compare", "was_faster.json")
    assert result.exit_code == 1
    assert "logistic: forml: " in result.stderr


def test_older_records_are_found_in_the_json_of_pytest_benchmark(tmp_path):
    made = record(base=[1, 1], other=[2, 2])
    path = tmp_path / "saved.json"
    path.write_text(json.dumps({"benchmarks": [{"extra_info": {"record": made.values()}}]}))
    assert [r.to_json() for r in older(path, [TINY], Conditions())] == [made.to_json()]
    with pytest.raises(BenchError, match="has no record to compare with for logistic on 3"):
        older(path, [TINY], Conditions(precision="bf16"))
    path.write_text("[1]")
    with pytest.raises(BenchError, match="holds no records"):
        older(path, [TINY], Conditions())


def test_sizes_below_one_are_refused():
    with pytest.raises(OptionError, match="sizes of at least 1"):
        replace(TINY, batch_size=0)


def test_pages_are_made_without_torch():
    code = "import sys, bench.throughput.page; print({'torch', 'matplotlib'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
