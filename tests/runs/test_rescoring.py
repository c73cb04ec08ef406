"""What a record says of its selected models is computed again from what is stored beside it, to the last bit."""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.data.split import POSITION, Split, Splits
from bench.errors import BenchError
from bench.floor import expected_gap
from bench.metrics import METRICS, Metric, evaluate
from bench.predictions import Predictions, stored_logits, whole_numbers
from bench.records.run import RunResult
from bench.records.selections import RESAMPLES, decoded
from bench.registry import Offer, Plugin, Registry, installed
from bench.runs import rescoring
from bench.runs.build import splits_of
from bench.runs.experiment import Experiment, Request
from bench.runs.rescoring import counts, drawn_places, scores
from bench.runs.resolve import resolve
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.testing import toy_dataset
from bench_plugins.protocols.fairness import ClassFairness, GroupFairness
from tests.experiments import CPU, kept_arrays, one
from tests.plugins.test_contract_of_metrics import likelihood
from tests.plugins.test_contract_of_protocols import DATA, OPTIONS

PROTOCOLS = sorted(installed().offers["protocols"])
QUICK = {"robustness": {"corruptions": ("gaussian_noise",), "severities": (1,), "attack_steps": 1}}
HERE = Plugin("mine", "my-dist", "0.1")


def registry(dataset: Dataset, *protocols: type) -> Registry:
    """All that is installed, with a data set, a metric of scores, and protocols."""
    made = Registry(offers={kind: dict(offers) for kind, offers in installed().offers.items()})
    made.offers["metrics"]["nll"] = Offer(Metric(likelihood, False, "nats"), HERE)
    made.offers["datasets"]["toy"] = Offer(lambda files: dataset, HERE)
    for protocol in protocols:
        made.offers["protocols"][protocol.name] = Offer(protocol, HERE)
    return made


def data_sets(name: str) -> Iterator[Dataset]:
    """Small ones; the first that the protocol takes fits it."""
    if name in DATA:
        yield DATA[name]()
    for images in (False, True):
        for groups in (("a", "b"), ()):
            yield toy_dataset(images, groups)


def experiment_under(name: str, files: Files, select: str = "accuracy", method: str = "erm") -> Experiment:
    """A short training under a protocol."""
    options: dict[str, Any] = {"recipe.epochs": 2, "recipe.select": select}
    options |= {f"protocol.{k}": v for k, v in (OPTIONS.get(name, {}) | QUICK.get(name, {})).items()}
    reasons = []
    for dataset in data_sets(name):
        try:
            return resolve(Request("toy", method, "logistic", name, options), files, registry(dataset))
        except BenchError as error:
            reasons.append(str(error))
    raise AssertionError(reasons)


def store_in(folder: Any) -> ResultStore:
    store = ResultStore(folder / "results")
    store.check_writable()
    return store


def runs(experiment: Experiment, store: ResultStore, stacked: bool) -> list[RunResult]:
    """Of two seeds."""
    if stacked:
        return run(experiment, [0, 1], store, CPU, stacked=True)
    return [one(experiment, store, seed) for seed in (0, 1)]


def again(result: RunResult, arrays: dict[str, Any], experiment: Experiment, name: str, rule: str) -> dict[str, float]:
    """The metrics of a set under a rule, from the arrays alone."""
    groups, by_class = len(result.about.groups), experiment.protocol.group_is_class
    y, group = arrays.get(f"{name}/y"), arrays.get(f"{name}/group")
    return scores(arrays[f"{name}/{rule}"], y, group, groups, by_class, experiment.known_metrics)


def check(result: RunResult, experiment: Experiment, store: ResultStore) -> None:
    """Every metric of every stored set is what the record says, to the bit, and so are the counts."""
    assert result.ok, f"{result.error}\n{result.traceback}"
    arrays = kept_arrays(result, store)
    rules = {"last", f"best_val_{experiment.recipe.select}"}
    assert result.selected.keys() == rules
    splits = splits_of(experiment, result.spec.seed)
    stored_sets = {*splits.tests, *splits.probes}
    predicted = {(name, rule) for name in {"val", *stored_sets} for rule in rules if f"{name}/{rule}" in arrays}
    assert predicted == {(name, rule) for name in stored_sets for rule in rules}
    for rule in rules:
        chosen = result.selected[rule]
        for name in stored_sets:
            assert arrays[f"{name}/{rule}"].dtype == np.float16
            expected = {metric: value.hex() for metric, value in chosen.metrics[name].items()}
            assert {m: v.hex() for m, v in again(result, arrays, experiment, name, rule).items()} == expected
        for name, split in splits.tests.items():
            y, group = arrays[f"{name}/y"], arrays[f"{name}/group"]
            assert np.array_equal(y, split.y) and np.array_equal(group, split.group)
            by_hand = counted(arrays[f"{name}/{rule}"], y, group, len(result.about.classes), rows(result, experiment))
            assert [chosen.counts[name].right, chosen.counts[name].predicted] == by_hand
        assert chosen.counts.keys() == splits.tests.keys()
    assert store.get(result.spec) is not None  # what cannot be true is refused there


def rows(result: RunResult, experiment: Experiment) -> int:
    """Of counts: one where the group is the class."""
    return 1 if experiment.protocol.group_is_class else len(result.about.groups)


def counted(logits: Any, y: Any, group: Any, classes: int, groups: int) -> list[list[list[int]]]:
    """Sample by sample: those that are right, and all, by group and predicted class."""
    right, predicted = ([[0] * classes for _ in range(groups)] for _ in range(2))
    for row, label, of in zip(logits.tolist(), y.tolist(), group.tolist(), strict=True):
        place, guess = of if groups > 1 else 0, row.index(max(row))
        predicted[place][guess] += 1
        right[place][guess] += guess == label
    return [right, predicted]


@pytest.mark.parametrize("select", ["accuracy", "ece", "nll"])
@pytest.mark.parametrize("name", PROTOCOLS)
def test_rescoring_gives_what_the_run_has_written(name, select, tmp_path):
    experiment, store = experiment_under(name, Files(tmp_path), select), store_in(tmp_path)
    check(one(experiment, store, 3), experiment, store)


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if installed().find("protocols", name).value.stackable])
def test_rescoring_gives_what_stacked_runs_have_written(name, tmp_path):
    experiment, store = experiment_under(name, Files(tmp_path), "ece"), store_in(tmp_path)
    for result in run(experiment, [0, 1, 2], store, CPU, stacked=True):
        check(result, experiment, store)


@pytest.mark.parametrize("method", ["jtt", "importance_weighted"])
def test_rescoring_gives_what_runs_of_several_trainings_and_weights_have_written(method, tmp_path):
    experiment, store = experiment_under("group_fairness", Files(tmp_path), "nll", method), store_in(tmp_path)
    check(one(experiment, store), experiment, store)


def test_it_does_not_depend_on_the_threads():
    """The sum over as many numbers as these is rounded by the number of threads."""
    g = torch.Generator().manual_seed(0)
    logits = stored_logits(3 * torch.randn(200_000, 3, generator=g)).numpy()
    y = torch.randint(3, (200_000,), generator=g).numpy().astype(np.uint8)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(scores(logits, y, y, 3, True, METRICS))
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


def test_scores_are_those_of_the_stored_values():
    """Not of the raw logits, which differ by the rounding."""
    raw = torch.tensor([[10.0, 11.2345], [3.0, 1.0], [0.0, 1e-6]])
    y = np.array([1, 1, 0], dtype=np.uint8)
    found = scores(stored_logits(raw).numpy(), y, y, 2, True, {"nll": Metric(likelihood, False, "nats")})
    distances = [float(np.float16(-1.2345)), -2.0, -(2.0**-20) - 2.0**-24]
    assert stored_logits(raw)[2, 0] == float(np.float16(-1e-6))
    losses = [math.log1p(math.exp(distances[0])), 2 + math.log1p(math.exp(-2)), 1e-6 / 2 + math.log(2)]
    assert found["nll"] == pytest.approx(sum(losses) / 3, abs=1e-7)


def test_counts_have_one_row_where_the_group_is_the_class():
    logits = stored_logits(torch.eye(3)[[0, 1, 1, 2]]).numpy()
    y = np.array([0, 1, 2, 2])
    made = counts(logits, y, y, 3, True)
    assert (made.right, made.predicted) == ([[1, 1, 1]], [[1, 2, 1]])
    by_group = counts(logits[:, :2], np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), 2, False)
    assert (by_group.right, by_group.predicted) == ([[1, 1], [0, 0]], [[1, 1], [1, 1]])


@dataclass(frozen=True)
class Halved(GroupFairness):
    """Every second test sample, backwards."""

    name = "halved"

    def splits(self, dataset, recipe, streams):
        splits = super().splits(dataset, recipe, streams)
        test = splits.tests["test"]
        return replace(splits, tests={"test": test.select(torch.arange(len(test) - 1, -1, -2))})


@dataclass(frozen=True)
class Anew(GroupFairness):
    """Its test samples are made, and are none of the data set's."""

    name = "anew"

    def splits(self, dataset, recipe, streams):
        splits = super().splits(dataset, recipe, streams)
        test = splits.tests["test"]
        return replace(splits, tests={"test": Split(test.x + 1, test.y, test.group)})


def made_with(dataset: Dataset, protocol: type, files: Files, method: str = "erm") -> Experiment:
    request = Request("toy", method, "logistic", protocol.name, {"recipe.epochs": 1})
    return resolve(request, files, registry(dataset, protocol))


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("brings", [False, True])
def test_the_index_of_a_test_sample_is_its_position_in_the_data_set(brings, stacked, tmp_path):
    dataset = toy_dataset() if brings else replace(toy_dataset(), test=None)
    experiment, store = made_with(dataset, Halved, Files(tmp_path)), store_in(tmp_path)
    source = dataset.test or dataset.train
    for result in runs(experiment, store, stacked):
        arrays = kept_arrays(result, store)
        index = arrays["test/index"]
        assert index.dtype == np.int32 and len(set(index.tolist())) == result.data.sizes["test"]
        test = splits_of(experiment, result.spec.seed).tests["test"]
        assert torch.equal(source.x[index.tolist()], test.x)
        assert np.array_equal(source.y[index.tolist()], arrays["test/y"])


@pytest.mark.parametrize("name", PROTOCOLS)
def test_test_samples_of_the_installed_protocols_are_found_by_their_index(name, tmp_path):
    experiment = experiment_under(name, Files(tmp_path))
    splits, dataset = splits_of(experiment, 0), experiment.dataset
    source = dataset.test or dataset.train
    for test in splits.tests.values():
        assert torch.equal(source.x[test.columns[POSITION].long()], test.x)


@pytest.mark.parametrize("stacked", [False, True])
def test_the_index_of_samples_that_a_protocol_made_is_their_position_in_the_set(stacked, tmp_path):
    experiment, store = made_with(toy_dataset(), Anew, Files(tmp_path)), store_in(tmp_path)
    for result in runs(experiment, store, stacked):
        assert np.array_equal(kept_arrays(result, store)["test/index"], np.arange(300))


@pytest.mark.parametrize("validation", ["shared", "paper"])
def test_nothing_but_the_test_sets_has_the_positions(validation, tmp_path):
    dataset = replace(toy_dataset(), test=None, probes={"noise": toy_dataset().train})
    given = replace(dataset, train=replace(dataset.train, columns={"time": torch.arange(600)}))
    experiment = replace(made_with(given, Halved, Files(tmp_path)), validation=validation)
    splits: Splits = splits_of(experiment, 0)
    assert [list(of.columns) for of in (splits.train, splits.val, splits.probes["noise"])] == [["time"], ["time"], []]
    assert sorted(splits.tests["test"].columns) == sorted(["time", POSITION])
    assert list(experiment.dataset.train.columns) == ["time"]
    assert experiment.dataset.content == made_with(given, Anew, Files(tmp_path)).dataset.content
    store = store_in(tmp_path)
    weighted = made_with(given, GroupFairness, Files(tmp_path), "importance_weighted")
    result = one(weighted, store)
    arrays = kept_arrays(result, store)
    assert "train/weight" in arrays
    assert [name for name in arrays if name.startswith("given/")] == ["given/time"]


def test_what_is_stored_is_small():
    """Of 10,000 samples in ten classes: before compression 20 bytes a rule, 4 for its place, and 1 each for labels."""
    y = torch.arange(10_000) % 10
    logits = stored_logits(torch.randn(10_000, 10))
    assert logits.numpy().nbytes == 200_000
    assert whole_numbers(y).nbytes == 10_000


def test_a_plugins_metric_that_fails_on_single_runs_alone_is_a_failure_that_names_it(tmp_path):
    """Stacked runs are evaluated together, and scored one by one."""

    def stacked_alone(p: Predictions, counts: torch.Tensor) -> torch.Tensor:
        """Of stacked runs."""
        if p.logits.dim() == 2:
            raise RuntimeError("one run")
        return p.logits[..., 0, 0].double()

    known = registry(toy_dataset())
    known.offers["metrics"]["odd"] = Offer(Metric(stacked_alone, None, "nats"), HERE)
    experiment = resolve(
        Request("toy", "erm", "logistic", "group_fairness", {"recipe.epochs": 1}), Files(tmp_path), known
    )
    results = run(experiment, [0, 1], store_in(tmp_path), CPU, stacked=True)
    assert {result.status for result in results} == {"plugin error"}
    assert "odd" in results[0].error and "one run" in results[0].error


def test_examined_models_are_measured_by_what_would_be_stored(tmp_path):
    """A test set that a protocol examines, against the same set evaluated as a test set."""
    seen: dict[str, dict[str, float]] = {}

    @dataclass(frozen=True)
    class Examining(ClassFairness):
        """Examines its own test set."""

        name = "examining"
        examines = True
        stackable = False

        def examine(self, model, splits, streams, evaluate):
            seen["again"] = evaluate(splits.tests["test"])
            return {"again": seen["again"]}

    experiment, store = made_with(toy_dataset(), Examining, Files(tmp_path)), store_in(tmp_path)
    result = one(experiment, store)
    assert result.ok, result.error
    assert result.selected["last"].metrics["again"] == result.selected["last"].metrics["test"]
    assert "again" not in result.selected["last"].counts


def test_values_of_raw_logits_are_others():
    """So that the tests above tell the two apart."""
    g = torch.Generator().manual_seed(3)
    logits, y = 5 * torch.randn(100, 3, generator=g), torch.randint(3, (100,), generator=g)
    raw = evaluate(Predictions(logits, y, y, 3, True))["ece"].item()
    assert raw != scores(stored_logits(logits).numpy(), y.numpy(), y.numpy(), 3, True, METRICS)["ece"]


# What a record says beside the numbers of its model


def drawn_by_hand(of: str, number: int, samples: int) -> list[int]:
    """Each four bytes of SHAKE-256 are a fraction of 2**32."""
    content = hashlib.shake_256(f"{of}/{number}".encode()).digest(4 * samples)
    return [int.from_bytes(content[4 * i : 4 * i + 4], "little") * samples >> 32 for i in range(samples)]


def test_places_are_drawn_evenly_and_the_same_everywhere():
    assert drawn_places("abc", 3, 50).tolist() == drawn_by_hand("abc", 3, 50)
    assert drawn_places("abc", 0, 5).tolist() == [1, 1, 2, 1, 1]
    places = np.concatenate([drawn_places("abc", number, 10) for number in range(2000)])
    assert chisquare(np.bincount(places, minlength=10)).pvalue > 0.01


def toy_test_set(by_class: bool = True) -> tuple[rescoring.TestSet, "np.ndarray[Any, Any]"]:
    """Of 90 samples of three classes in two groups, with predictions."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 3 if by_class else 2, 90)
    group = y if by_class else generator.integers(0, 2, 90)
    logits = -generator.exponential(size=(90, 3 if by_class else 2)).astype(np.float16)
    logits[np.arange(90), np.where(generator.random(90) < 0.7, y, 0)] = 0
    classes, groups = (3, 3) if by_class else (2, 2)
    shown = {name: METRICS[name] for name in ("accuracy", "tprd", "max_fnr")}
    return rescoring.TestSet(y, group, classes, groups, by_class, shown), logits


def test_drawn_test_sets_are_those_of_a_slow_loop():
    known, logits = toy_test_set()
    found = known.resampled(logits, "abc")
    right = logits.argmax(-1) == known.y

    def by_hand(places: list[int]) -> dict[str, float]:
        rates = [np.mean([right[i] for i in places if known.y[i] == c]) for c in range(3)]
        return {
            "accuracy": np.mean(right[places]),
            "tprd": max(rates) - min(rates),
            "max_fnr": 1 - min(rates),
        }

    own = by_hand(list(range(90)))
    for number in (0, 1, RESAMPLES - 1):
        again = by_hand(drawn_by_hand("abc", number, 90))
        assert {name: values[number] for name, values in found.items()} == pytest.approx(
            {name: value - own[name] for name, value in again.items()}, abs=1e-12
        )
    p = own["accuracy"]
    assert found["accuracy"].std() == pytest.approx((p * (1 - p) / 90) ** 0.5, rel=0.15)


def test_the_constant_prediction_is_right_for_its_class_alone():
    known, _ = toy_test_set()
    share = float(np.mean(known.y == 1))
    assert known.constant(1) == pytest.approx({"accuracy": share, "tprd": 1.0, "max_fnr": 1.0}, abs=1e-12)
    people, _ = toy_test_set(by_class=False)
    assert people.constant(0) == pytest.approx(
        {"accuracy": float(np.mean(people.y == 0)), "tprd": 0.0, "max_fnr": 1.0}, abs=1e-12
    )


def test_a_constant_prediction_has_no_metric_of_how_sure_it_is():
    known, _ = toy_test_set()
    shown = known.metrics | {"ece": METRICS["ece"], "nll": Metric(likelihood, False, "nats")}
    assert known.constant(1) == replace(known, metrics=shown).constant(1)


def test_a_disparity_of_fewer_than_two_groups_has_no_noise_floor():
    known, logits = toy_test_set(by_class=False)
    without = replace(known, y=np.where(known.group == 0, 0, known.y))  # one group alone has positive samples
    assert known.floor(logits).keys() == {"tprd"}
    assert without.floor(logits) == {}


@pytest.mark.parametrize("by_class", [True, False])
def test_the_noise_floor_is_that_of_groups_with_one_rate(by_class: bool):
    known, logits = toy_test_set(by_class)
    positive = np.ones(90, bool) if by_class else known.y == 1
    sizes = [int((positive & (known.group == g)).sum()) for g in range(3 if by_class else 2)]
    rate = float(np.mean(logits.argmax(-1)[positive] == known.y[positive]))
    assert known.floor(logits) == {"tprd": round(expected_gap(sizes, rate), 6)}


class WithoutTest(ClassFairness):
    """Draws the test samples from the test data anew."""

    name = "drawn"

    def splits(self, dataset: Dataset, recipe: Any, streams: Any) -> Splits:
        made = super().splits(dataset, recipe, streams)
        test = made.tests["test"]
        order = streams.draw(lambda g: torch.randperm(len(test), generator=g), "test")
        return replace(made, tests={"test": test.select(order)})


def ran_on(dataset: Dataset, protocol: type, store: ResultStore, method: str = "erm", seed: int = 0) -> RunResult:
    options = {"recipe.epochs": 2, "recipe.evaluate_every": 1}
    request = Request("toy", method, "mlp", protocol.name, options=options)
    return one(resolve(request, Files(store.folder), registry(dataset, protocol)), store, seed)


def test_a_fixed_test_set_is_drawn_from_alike_by_every_run(store: ResultStore):
    dataset = toy_dataset(False, ())
    records = [ran_on(dataset, ClassFairness, store, seed=seed) for seed in (0, 1)]
    assert len({record.data.tests for record in records}) == 1
    for record in records:
        assert record.selected.resampled.keys() == {"tprd", "max_fnr", "accuracy"}
        logits, y = record.arrays["test/last"], record.arrays["test/y"]
        right = logits.argmax(-1) == y
        places = drawn_by_hand(record.data.tests, 7, len(y))
        assert decoded(record.selected.resampled["accuracy"])[7] == pytest.approx(
            right[places].mean() - right.mean(), abs=1e-3
        )


def test_a_test_set_that_each_seed_draws_is_not(store: ResultStore):
    drawn = ran_on(toy_dataset(False, ()), WithoutTest, store)
    held_out = ran_on(replace(toy_dataset(False, ()), test=None), ClassFairness, store)
    assert drawn.selected.resampled == held_out.selected.resampled == {}
    assert drawn.data.constant and held_out.data.constant and drawn.selected.floor


def test_what_a_data_set_fits_on_the_training_rows_makes_no_other_test_set(store: ResultStore):
    def fit(train: Split) -> Any:
        middle = train.x.mean(0)
        return lambda x: x - middle

    dataset = replace(toy_dataset(False, ()), test=replace(toy_dataset(False, ()).train), fit=fit)
    records = [ran_on(dataset, ClassFairness, store, seed=seed) for seed in (0, 1)]
    assert records[0].data.tests == records[1].data.tests
    assert all(record.selected.resampled for record in records)


def test_the_oracle_is_the_first_best_epoch_on_the_test_set(store: ResultStore):
    record = ran_on(toy_dataset(False, ()), ClassFairness, store)
    values = record.history["test/tprd"]
    assert record.selected.oracle == min(values)
    assert record.selected.oracle_epoch == record.history["epoch"][values.index(min(values))]


def test_a_metric_that_fails_for_a_constant_prediction_costs_no_run_and_no_other_metric(store: ResultStore):
    def fragile(p: Predictions, counts: torch.Tensor) -> torch.Tensor:
        """Fails for predictions without doubt."""
        if (p.logits.amin(-1) < -60_000).all():
            raise ZeroDivisionError("no doubt")
        return METRICS["accuracy"].function(p, counts)

    class Fragile(ClassFairness):
        name = "fragile"
        metrics = ("fragile", "accuracy")

    made = registry(toy_dataset(False, ()), Fragile)
    made.offers["metrics"]["fragile"] = Offer(Metric(fragile, True), HERE)
    request = Request("toy", "erm", "mlp", "fragile", options={"recipe.epochs": 2, "recipe.lr": 0.5})
    record = one(resolve(request, Files(store.folder), made), store)
    assert record.ok
    assert record.data.constant.keys() == record.selected.resampled.keys() == {"accuracy"}
    (note,) = record.notes
    assert "fragile lacks the constant prediction" in note and "no doubt" in note


def test_a_protocol_may_conclude_by_validation(store: ResultStore):
    class ByValidation(ClassFairness):
        name = "by_validation"
        concludes_by_validation = True
        problem = "nothing"

    record = ran_on(toy_dataset(False, ()), ByValidation, store)
    assert (record.about.rule, record.about.problem) == ("best_val_accuracy", "nothing")
    assert decoded(record.selected.resampled["accuracy"]).shape == (RESAMPLES,)
