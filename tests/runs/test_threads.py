"""The threads of a run: who chooses them, and what the record says of it."""

import math
import signal

import pytest
import torch
from torch import nn

import bench.runs.threads
from bench.data.files import Files
from bench.errors import ModelError
from bench.recipe import Recipe
from bench.runs.experiment import Request
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.runs.threads import choose_threads, sample_flops
from bench.training.method import Method
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import CPU, Plain, one, toy_experiment

RECIPE = Recipe(protocol="group_fairness", epochs=1, batch_size=16, val_size=40, test_size=60)


@pytest.fixture(autouse=True)
def four_threads(monkeypatch):
    """What torch has, where nobody says anything."""
    before = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def experiment():
    def make(method=Plain, **recipe):
        return toy_experiment(RECIPE, GroupFairness(), method, "shared", recipe, {}, ("a", "b"))

    return make


class Watching(Method):
    """Notes how many threads it trains with."""

    def setup(self):
        Watching.found = torch.get_num_threads()


def test_a_model_is_counted_by_its_products(experiment):
    """3 features, 6 hidden, 2 classes; a multiplication and an addition for each weight."""
    assert sample_flops(experiment()) == 2 * (3 * 6 + 6 * 2)


@pytest.mark.parametrize(("dataset", "inputs", "outputs"), [("digits", 64, 10), ("moons", 2, 1)])
def test_a_data_set_is_counted_however_it_is_kept(dataset, inputs, outputs, tmp_path):
    """Images as bytes, points as floats; by their recipes for a perceptron of 64 hidden units."""
    given = resolve(Request(dataset, "erm"), Files(tmp_path))
    assert sample_flops(given) == 2 * (inputs * 64 + 64 * outputs)
    assert choose_threads(given, 1, CPU, None).chosen_by.startswith("rule: ")


@pytest.mark.parametrize("value", ["abc", "0", "", "-1"])
def test_a_variable_that_says_no_number_chooses_nothing(experiment, monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert choose_threads(experiment(), 1, CPU, None).chosen_by.startswith("rule: ")


@pytest.mark.parametrize(
    ("mega_flops", "runs", "count"),
    [(0, 1, 1), (19.9, 1, 1), (20, 1, 2), (39, 1, 3), (40, 1, 4), (999, 1, 4), (4, 5, 2)],
)
def test_a_thread_for_each_ten_million_operations(experiment, monkeypatch, mega_flops, runs, count):
    monkeypatch.setattr(bench.runs.threads, "sample_flops", lambda _: round(mega_flops * 1e6 / 100))
    found = choose_threads(experiment(batch_size=100), runs, CPU, None)
    assert found.count == count
    assert found.chosen_by == f"rule: a batch's forward pass has {mega_flops * runs:g} MFLOP, 10 a thread"


def test_a_given_number_goes_before_the_environment_and_that_before_the_rule(experiment, monkeypatch):
    cuda = torch.device("cuda")
    assert choose_threads(experiment(), 1, CPU, None).count == 1
    found = choose_threads(experiment(), 1, cuda, None)
    assert (found.count, found.chosen_by) == (4, "torch: the model is on cuda")
    monkeypatch.setenv("OMP_NUM_THREADS", "4")  # as torch has read it
    for device in (CPU, cuda):
        found = choose_threads(experiment(), 1, device, None)
        assert (found.count, found.chosen_by) == (4, "OMP_NUM_THREADS")
        found = choose_threads(experiment(), 1, device, 3)
        assert (found.count, found.chosen_by) == (3, "--threads")


def test_a_run_takes_its_threads_tells_them_and_puts_them_back(experiment, store):
    for asked, count, by in (
        (None, 1, "rule: a batch's forward pass has 0.00096 MFLOP, 10 a thread"),
        (3, 3, "--threads"),
    ):
        costs = one(experiment(Watching), store, threads=asked).costs
        assert (Watching.found, costs.threads, costs.threads_chosen_by) == (count, count, by)
        assert torch.get_num_threads() == 4


def test_stacked_runs_count_together(experiment, store):
    results = run(experiment(), [0, 1, 2], store, CPU, stacked=True)
    flops = 3 * 16 * 2 * (3 * 6 + 6 * 2)
    told = f"rule: a batch's forward pass has {flops / 1e6:.3g} MFLOP, 10 a thread"
    assert [result.costs.threads_chosen_by for result in results] == [told] * 3


def test_an_interrupted_run_puts_them_back(experiment, store):
    class Interrupted(Watching):
        def losses(self, batch):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        one(experiment(Interrupted), store)
    assert (Watching.found, torch.get_num_threads()) == (1, 4)


def test_they_are_no_part_of_the_run_but_of_its_command(experiment, store):
    by_rule, asked = one(experiment(), store), one(experiment(), store, threads=2)
    assert asked.spec.key == by_rule.spec.key
    assert asked.command == by_rule.command.replace(" --seed 0", " --threads 2 --seed 0")


def test_a_model_that_fails_is_told_by_its_training(experiment, store):
    class Broken(nn.Linear):
        def forward(self, x):
            raise RuntimeError("broken")

    made = experiment()
    object.__setattr__(made, "model", lambda shape, classes, *, hidden: Broken(math.prod(shape), classes))
    assert choose_threads(made, 1, CPU, None).chosen_by == "torch: the forward pass of a sample fails: broken"
    with pytest.raises(ModelError, match=r"^model tiny fails in training on inputs \[4, 3\]: RuntimeError: broken$"):
        one(made, store)
