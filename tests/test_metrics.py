import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import sklearn.metrics
import torch
from torch import Tensor

from bench.errors import BenchError, ProtocolError
from bench.metrics import METRICS, Metric, evaluate
from bench.predictions import Predictions, Rates, confusion, not_finite, outside

LOWER_IS_BETTER = {
    "error",
    "tprd",
    "fprd",
    "max_fnr",
    "max_fpr",
    "ece",
    "demographic_parity_difference",
    "equalized_odds_difference",
}
HIGHER_IS_BETTER = {"accuracy", "balanced_accuracy", "macro_f1", "worst_group_accuracy"}
NAN = math.nan


def sensitive(seed: int, *shape: int, groups: int = 3, classes: int = 2) -> Predictions:
    """Random predictions for samples `shape` [.., N] with a sensitive attribute."""
    g = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(*shape, classes, generator=g)
    y, group = torch.randint(classes, shape, generator=g), torch.randint(groups, shape, generator=g)
    return Predictions(logits, y, group, groups)


def by_class(seed: int, *shape: int, classes: int = 5) -> Predictions:
    """Random predictions where the group is the class."""
    p = sensitive(seed, *shape, classes=classes)
    return replace(p, group=p.y, groups=classes, group_is_class=True)


def predicting(y_hat: list[int], y: list[int], group: list[int], groups: int) -> Predictions:
    """Predictions of a binary task by hand."""
    return Predictions(torch.eye(2)[y_hat], torch.tensor(y), torch.tensor(group), groups)


def take(p: Predictions, index: Tensor | int) -> Predictions:
    """Samples `index` of one run, or the run `index` of stacked runs."""
    return replace(p, logits=p.logits[index], y=p.y[index], group=p.group[index])


def values(p: Predictions) -> dict[str, float]:
    return {name: value.item() for name, value in evaluate(p).items()}


def loop(p: Predictions) -> dict[str, float]:
    """All metrics of one run, from their definitions, sample by sample."""
    samples = []
    for logits, y, group in zip(p.logits.tolist(), p.y.tolist(), p.group.tolist(), strict=True):
        exp = [math.exp(v - max(logits)) for v in logits]
        samples.append((logits.index(max(logits)), y, group, max(exp) / sum(exp)))

    def rate(events: list[bool]) -> list[float]:
        return [sum(events) / len(events)] if events else []

    def mean(rates: list[float]) -> float:
        return sum(rates) / len(rates) if rates else NAN

    def spread(rates: list[float]) -> float:
        return max(rates) - min(rates) if len(rates) > 1 else NAN

    recalls: list[float] = []
    f1: list[float] = []
    for c in range(p.classes):
        recalls += rate([h == y for h, y, _, _ in samples if y == c])
        tp = sum(h == y == c for h, y, _, _ in samples)
        wrong = sum((h == c) != (y == c) for h, y, _, _ in samples)
        f1 += [2 * tp / (2 * tp + wrong)] if tp + wrong else []

    tpr: list[float] = []
    fnr: list[float] = []
    fpr: list[float] = []
    selected: list[float] = []
    group_accuracy: list[float] = []
    for k in range(p.groups):
        # One class against the rest over all samples, or class 1 within a group.
        c = k if p.group_is_class else 1
        inside = [(h == c, y == c) for h, y, g, _ in samples if p.group_is_class or g == k]
        tpr += rate([predicted for predicted, positive in inside if positive])
        fnr += rate([not predicted for predicted, positive in inside if positive])
        fpr += rate([predicted for predicted, positive in inside if not positive])
        selected += rate([predicted for predicted, _ in inside])
        group_accuracy += rate([h == y for h, y, g, _ in samples if g == k])

    ece = 0.0
    for b in range(15):
        inside_bin = [(h == y, q) for h, y, _, q in samples if b / 15 < q <= (b + 1) / 15]
        if inside_bin:
            gap = mean([float(hit) for hit, _ in inside_bin]) - mean([q for _, q in inside_bin])
            ece += len(inside_bin) / len(samples) * abs(gap)

    return {
        "accuracy": mean([float(h == y) for h, y, _, _ in samples]),
        "error": mean([float(h != y) for h, y, _, _ in samples]),
        "balanced_accuracy": mean(recalls),
        "macro_f1": mean(f1),
        "worst_group_accuracy": min(group_accuracy),
        "tprd": spread(tpr),
        "fprd": spread(fpr),
        "max_fnr": max(fnr, default=NAN),
        "max_fpr": max(fpr, default=NAN),
        "ece": ece,
        "demographic_parity_difference": spread(selected),
        "equalized_odds_difference": max(spread(tpr), spread(fpr)),
        "fraction_positive": mean([h == 1 for h, _, _, _ in samples]),
    }


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_a_loop_over_samples(seed: int) -> None:
    for p in (sensitive(seed, 80), sensitive(seed, 80, groups=1), by_class(seed, 80), by_class(seed, 8, classes=6)):
        assert values(p) == pytest.approx(loop(p), abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true:UserWarning")
def test_metrics_equal_scikit_learn(seed: int) -> None:
    p = by_class(seed, 40, classes=12)  # few samples: some classes do not occur, or are not predicted
    y, y_hat = p.y.numpy(), p.logits.argmax(-1).numpy()
    found = values(p)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(y, y_hat), abs=1e-15)
    assert found["balanced_accuracy"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(y, y_hat), abs=1e-15)
    assert found["macro_f1"] == pytest.approx(sklearn.metrics.f1_score(y, y_hat, average="macro"), abs=1e-15)


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_fairlearn(seed: int) -> None:
    import fairlearn.metrics  # within, so that a machine without it can collect the tests of a GPU

    p = sensitive(seed, 100, groups=4)
    y, y_hat, group = p.y.numpy(), p.logits.argmax(-1).numpy(), p.group.numpy()
    rates = {
        "tpr": fairlearn.metrics.true_positive_rate,
        "fpr": fairlearn.metrics.false_positive_rate,
        "fnr": fairlearn.metrics.false_negative_rate,
        "accuracy": sklearn.metrics.accuracy_score,
    }
    frame = fairlearn.metrics.MetricFrame(metrics=rates, y_true=y, y_pred=y_hat, sensitive_features=group)
    differences, least, most = frame.difference(), frame.group_min(), frame.group_max()
    truth = {
        "tprd": differences["tpr"],
        "fprd": differences["fpr"],
        "max_fnr": most["fnr"],
        "max_fpr": most["fpr"],
        "worst_group_accuracy": least["accuracy"],
        "demographic_parity_difference": fairlearn.metrics.demographic_parity_difference(
            y, y_hat, sensitive_features=group
        ),
        "equalized_odds_difference": fairlearn.metrics.equalized_odds_difference(y, y_hat, sensitive_features=group),
    }
    found = values(p)
    assert {name: found[name] for name in truth} == pytest.approx(truth, abs=1e-15)


def test_confusion_equals_scikit_learn_group_by_group() -> None:
    p = sensitive(0, 100, groups=3, classes=4)
    counts = confusion(p)
    assert counts.dtype == torch.int64
    for g, found in enumerate(counts):
        q = take(p, p.group == g)
        assert found.tolist() == sklearn.metrics.confusion_matrix(q.y, q.logits.argmax(-1), labels=range(4)).tolist()


def test_classes_as_groups_are_one_against_the_rest() -> None:
    p = by_class(0, 60)
    counts = confusion(p)
    assert counts.shape == (1, 5, 5)
    found = Rates.of(p, counts)
    truth = sklearn.metrics.multilabel_confusion_matrix(p.y, p.logits.argmax(-1), labels=range(5))
    assert torch.stack([found.tn, found.fp, found.fn, found.tp], -1).view(5, 2, 2).tolist() == truth.tolist()


def test_equal_logits_predict_the_first_class() -> None:
    p = Predictions(torch.tensor([[0.0, 1.0, 1.0], [2.0, 2.0, 2.0]]), torch.tensor([1, 1]), torch.tensor([0, 0]), 1)
    assert confusion(p).tolist() == [[[0, 0, 0], [1, 1, 0], [0, 0, 0]]]


@pytest.mark.parametrize("make", [sensitive, by_class])
def test_stacked_runs_equal_one_by_one(make: Callable[..., Predictions]) -> None:
    p = make(3, 2, 4, 50)  # two leading dimensions
    stacked = evaluate(p)
    assert all(value.shape == (2, 4) and value.dtype == torch.float64 for value in stacked.values())
    for i in range(2):
        for j in range(4):
            run = take(take(p, i), j)
            assert torch.equal(confusion(p)[i, j], confusion(run))
            one = {name: value[i, j].item() for name, value in stacked.items()}
            assert one == pytest.approx(values(run), abs=1e-14)


@pytest.mark.parametrize("make", [sensitive, by_class])
def test_the_order_of_samples_and_the_names_of_groups_do_not_matter(make: Callable[..., Predictions]) -> None:
    p = make(4, 70)
    q = take(p, torch.randperm(70, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(confusion(p), confusion(q))
    assert values(q) == pytest.approx(values(p), abs=1e-14)
    if p.group_is_class:
        q = replace(p, logits=p.logits.flip(-1), y=p.classes - 1 - p.y, group=p.classes - 1 - p.group)
    else:
        q = replace(p, group=p.groups - 1 - p.group)
    named = {"fraction_positive"} if p.group_is_class else set()  # of one class, by its number
    found, expected = ({k: v for k, v in values(of).items() if k not in named} for of in (q, p))
    assert found == pytest.approx(expected, abs=1e-14)


def test_a_group_without_positives_is_left_out_of_true_positive_rates() -> None:
    # TPR 1/2, 1 and undefined; FPR 0, 1 and 1/2.
    p = predicting([1, 0, 0, 1, 1, 1, 0], y=[1, 1, 0, 1, 0, 0, 0], group=[0, 0, 0, 1, 1, 2, 2], groups=3)
    found = values(p)
    assert (found["tprd"], found["max_fnr"], found["fprd"], found["max_fpr"]) == (0.5, 0.5, 1.0, 1.0)
    assert found["worst_group_accuracy"] == 0.5


def test_fairlearn_counts_a_rate_without_samples_as_zero() -> None:
    import fairlearn.metrics

    y_hat, y, group = [1, 0, 1, 1, 0], [1, 1, 1, 0, 0], [0, 0, 1, 2, 2]
    frame = fairlearn.metrics.MetricFrame(
        metrics=fairlearn.metrics.true_positive_rate, y_true=y, y_pred=y_hat, sensitive_features=group
    )
    assert frame.by_group.tolist() == [0.5, 1.0, 0.0]
    assert frame.difference() == 1.0
    assert values(predicting(y_hat, y, group, groups=3))["tprd"] == 0.5


def test_a_group_without_samples_changes_nothing() -> None:
    p = sensitive(5, 60)
    assert values(replace(p, groups=5)) == values(p)


def test_a_disparity_needs_two_defined_rates() -> None:
    p = predicting([1, 0, 1, 0], y=[1, 1, 0, 0], group=[0, 0, 1, 1], groups=2)
    found = values(p)
    assert all(math.isnan(found[name]) for name in ("tprd", "fprd", "equalized_odds_difference"))
    assert (found["max_fnr"], found["max_fpr"], found["demographic_parity_difference"]) == (0.5, 0.5, 0.0)


def test_a_maximum_needs_one_defined_rate() -> None:
    found = values(predicting([1, 0], y=[0, 0], group=[0, 1], groups=2))
    assert math.isnan(found["max_fnr"])
    assert (found["max_fpr"], found["fprd"], found["worst_group_accuracy"]) == (1.0, 1.0, 0.0)
    assert math.isnan(found["equalized_odds_difference"])  # half of it is undefined


def test_a_class_without_samples_is_left_out() -> None:
    logits = torch.eye(4)[[0, 0, 1, 2]]  # classes 0, 1 occur with recall 1/2 and 1; 2 is only predicted; 3 neither
    p = Predictions(logits, y := torch.tensor([0, 0, 1, 0]), y, 4, group_is_class=True)
    found = values(p)
    assert found["balanced_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["macro_f1"] == pytest.approx((4 / 5 + 1 + 0) / 3)
    assert found["tprd"] == pytest.approx(1 / 3)
    assert found["worst_group_accuracy"] == pytest.approx(2 / 3)


def test_no_samples_give_nan() -> None:
    assert all(map(math.isnan, values(sensitive(0, 0)).values()))


def test_calibration_error_by_hand() -> None:
    """Confidence 0.9 twice, once right, and 0.6 once, right: (2 |0.5 - 0.9| + |1 - 0.6|) / 3 = 0.4."""
    confidence = torch.tensor([0.9, 0.9, 0.6], dtype=torch.float64)
    logits = torch.stack([confidence, 1 - confidence], -1).log()
    p = Predictions(logits, torch.tensor([0, 1, 0]), torch.tensor([0, 0, 0]), 1)
    assert values(p)["ece"] == pytest.approx(0.4, abs=1e-15)


def test_over_and_underconfidence_cancel_within_a_bin_only() -> None:
    confidence = torch.tensor([[0.75, 0.75], [0.75, 0.85]], dtype=torch.float64)  # one bin; two bins
    logits = torch.stack([confidence, 1 - confidence], -1).log()
    p = Predictions(logits, torch.tensor([[0, 1], [0, 1]]), torch.zeros(2, 2, dtype=torch.int64), 1)
    assert evaluate(p)["ece"].tolist() == pytest.approx([0.25, (0.25 + 0.85) / 2], abs=1e-15)


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_calibration_error_of_a_uniform_prediction(classes: int) -> None:
    p = Predictions(torch.zeros(1, classes), torch.tensor([0]), torch.tensor([0]), 1)
    assert METRICS["ece"].function(p, confusion(p)).item() == pytest.approx(1 - 1 / classes, abs=1e-15)


def test_bins_of_the_confidence_are_closed_on_the_right() -> None:
    """Confidence 3 / 15, right, and 0.19, wrong, share the third bin: |(1 - 0.2) - 0.19| / 2."""
    fifth = torch.full((20,), -math.inf, dtype=torch.float64).index_fill(0, torch.arange(5), 0.0)
    less = torch.full((20,), 0.81 / 19, dtype=torch.float64).index_fill(0, torch.tensor([0]), 0.19).log()
    p = Predictions(torch.stack([fifth, less]), torch.tensor([0, 1]), torch.tensor([0, 0]), 1)
    assert METRICS["ece"].function(p, confusion(p)).item() == pytest.approx((0.8 - 0.19) / 2, abs=1e-15)


def test_calibration_error_of_huge_logits_is_the_error_rate() -> None:
    p = by_class(6, 50)
    p = replace(p, logits=p.logits * 1e6)
    assert values(p)["ece"] == pytest.approx(1 - values(p)["accuracy"], abs=1e-12)


def test_perfect_predictions_reach_the_best_value() -> None:
    y = torch.tensor([0, 1, 0, 1])
    for p in (
        Predictions(100 * torch.eye(2)[y], y, torch.tensor([0, 0, 1, 1]), 2),
        Predictions(100 * torch.eye(2)[y], y, y, 2, group_is_class=True),
    ):
        best = {name: float(m.higher_is_better) for name, m in METRICS.items() if m.higher_is_better is not None}
        assert values(p) == best | {"fraction_positive": 0.5}


def test_samples_without_labels_have_the_metrics_that_need_none() -> None:
    p = predicting([1, 0, 1, 1], y=[7, 7, 7, 7], group=[9, 9, 9, 9], groups=2)  # of none of its classes
    assert {name: value.item() for name, value in evaluate(p, labelled=False).items()} == {"fraction_positive": 0.75}


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinity_is_taken_as_undefined(value: float) -> None:
    p = predicting([0, 1], [0, 1], [0, 0], 1)
    infinite = Metric(lambda p, counts: torch.full(p.y.shape[:-1], value), False, "nats")
    assert math.isnan(evaluate(p, metrics={"infinite": infinite})["infinite"])


def test_registry() -> None:
    assert {name for name, metric in METRICS.items() if metric.higher_is_better is False} == LOWER_IS_BETTER
    assert {name for name, metric in METRICS.items() if metric.higher_is_better} == HIGHER_IS_BETTER
    assert set(METRICS) == LOWER_IS_BETTER | HIGHER_IS_BETTER | {"fraction_positive"}
    for metric in METRICS.values():
        assert metric.summary.endswith(".")
        assert len(metric.summary) < 120


def test_a_sensitive_attribute_needs_two_classes() -> None:
    with pytest.raises(ProtocolError, match="need a task with two classes, not 3"):
        evaluate(sensitive(0, 10, classes=3))


def test_shapes_that_do_not_fit_are_refused() -> None:
    n = torch.zeros(4, dtype=torch.int64)
    with pytest.raises(BenchError, match=r"logits \[5, 2\], y \[4\], group \[4\]"):
        Predictions(torch.zeros(5, 2), n, n, 2)
    with pytest.raises(BenchError, match="2 logits need as many groups: 3"):
        Predictions(torch.zeros(4, 2), n, n, 3, group_is_class=True)


@pytest.mark.parametrize("make", [sensitive, by_class])
def test_no_value_is_read_on_the_host(make: Callable[..., Predictions]) -> None:
    """Tensors of the meta device have shapes but no values: whatever needs a value fails."""
    p = make(0, 3, 20)
    p = replace(p, logits=p.logits.to("meta"), y=p.y.to("meta"), group=p.group.to("meta"))
    assert all(value.shape == (3,) for value in evaluate(p).values())


def test_import_is_cheap() -> None:
    code = "import sys, bench.metrics; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("by_class_alone", [False, True])
@pytest.mark.parametrize("label", [2, -1, -100, 10**6])
def test_a_label_outside_is_in_no_cell_and_leaves_its_run_without_metrics(label, by_class_alone):
    """Four right and one wrong prediction of two classes; the label outside would be in another cell, or in none."""
    y, logits = torch.tensor([[0, 1, 0, 1, 1]] * 2), torch.eye(2)[torch.tensor([[0, 1, 0, 1, 0]] * 2)]
    y[1, 0] = label
    p = Predictions(logits, y, y if by_class_alone else torch.zeros_like(y), 2, by_class_alone)
    counts = confusion(p).sum(1)
    assert counts[0].tolist() == [[2, 0], [1, 2]]
    assert counts[1].tolist() == [[1, 0], [1, 2]]
    assert outside(p).tolist() == [0, 1]
    values = evaluate(p)
    assert values["accuracy"][0] == 4 / 5
    assert all(value[1].isnan() for value in values.values())


def test_a_group_outside_leaves_its_run_without_metrics():
    p = Predictions(torch.eye(2), torch.tensor([0, 1]), torch.tensor([0, 2]), 2)
    assert outside(p) == 1
    assert confusion(p).sum() == 1
    assert evaluate(p)["accuracy"].isnan()


@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_logits_that_are_not_finite_are_no_predictions(value):
    logits = torch.eye(2).repeat(2, 1, 1)
    logits[1, 0, 1] = value
    p = Predictions(logits, torch.tensor([[0, 1]] * 2), torch.tensor([[0, 1]] * 2), 2, True)
    assert not_finite(p).tolist() == [0, 1]
    values = evaluate(p)
    assert values["accuracy"][0] == 1
    assert all(of_run[1].isnan() for of_run in values.values())
    unlabelled = evaluate(p, labelled=False)["fraction_positive"]
    assert unlabelled[0] == 0.5
    assert unlabelled[1].isnan()
