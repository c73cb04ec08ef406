"""What a picture is read against: chance, selected epochs, the baseline, printed values."""

import dataclasses
import math
import statistics

import pytest
from scipy import stats

from bench.plots.against import against
from bench.plots.curves import curves
from bench.plots.references import chance_of, differences, printed_of, selected_epochs
from bench.records.selections import Selected, Selections
from bench.records.sidecar import Sidecar
from tests.tables.pages import series_of


def test_chance_is_what_the_most_frequent_class_gives(record):
    """Of 5 cats and 15 dogs."""
    (one,) = series_of([record()])
    assert chance_of(one, "test", "accuracy") == 0.75
    assert chance_of(one, "test", "balanced_accuracy") == 0.5
    assert chance_of(one, "test", "tprd") is None
    assert chance_of(one, "other", "accuracy") is None


@pytest.mark.parametrize(("fraction", "shown"), [((0.7, 0.8, 0.9), True), ((0.9, 0.95, 0.96), False)])
def test_chance_is_a_line_with_its_name_where_the_axis_has_it(record, fraction, shown):
    figure = curves(series_of([record(fraction=fraction)]), ["test/accuracy"], "toy")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["chance"] * shown
    assert [
        line.get_ydata()[0] for line in axes.lines if len(set(line.get_ydata())) == 1 and len(line.get_xdata()) == 2
    ] == [0.75] * shown
    assert ("Chance: what predicting the most frequent class" in figure.get_supxlabel()) == shown


def long(made, **selected):
    """A record with a history of 12 epochs."""
    history = {"epoch": [*range(1, 13)], "test/accuracy": [epoch / 12 for epoch in range(1, 13)]}
    chosen = {rule: Selected(epoch, {"test": {"accuracy": epoch / 12}}) for rule, epoch in selected.items()}
    return dataclasses.replace(made, beside=Sidecar(history), selected=Selections.of(chosen, ()))


def test_the_selected_epoch_of_each_seed_is_marked(record):
    runs = [long(record(seed=seed), last=12, best_val_accuracy=epoch) for seed, epoch in ((0, 3), (1, 9))]
    (one,) = series_of(runs)
    assert selected_epochs(one) == {0: 3, 1: 9}
    figure = curves([one], ["test/accuracy"], "toy")
    (diamonds,) = [line for line in figure.axes[0].lines if line.get_marker() == "D"]
    assert diamonds.get_xydata().tolist() == [[3, 0.25], [9, 0.75]]
    assert "Diamonds: for each seed the epoch with the best validation accuracy." in figure.get_supxlabel()


NOISY = {"dataset": "mnist", "protocol": "label_noise/1"}


def test_a_printed_value_stands_beside_the_axis(record):
    """FORML, Table 4: 92.51 ± 0.26 % with uniform weights, 97.85 ± 0.07 % of them without noise; the ratio is 2.9."""
    noisy = series_of([record(**NOISY), record(**NOISY, protocol_options={"fraction": 0.0})])
    assert [printed_of(one, "test", "accuracy")[1:] for one in noisy] == [
        pytest.approx((0.9251, 0.0026)), pytest.approx((0.9785, 0.0007)),
    ]  # fmt: skip
    assert printed_of(noisy[0], "train", "loss_ratio/class2") == ("forml", 2.9, 0)
    figure = curves(noisy, ["test/accuracy"], "toy")
    stars = [line for line in figure.axes[0].lines if line.get_marker() == "*"]
    assert [star.get_ydata()[0] for star in stars] == pytest.approx([0.9251, 0.9785])
    assert all(star.get_xdata()[0] > 1 for star in stars)  # in parts of the axis
    assert "Stars beside the axes: what the paper prints (forml)" in figure.get_supxlabel()


def test_what_no_paper_prints_has_no_star(record):
    changed, other = series_of([record(**NOISY, recipe={"lr": 0.5}), record("random", **NOISY)])
    assert printed_of(changed, "test", "accuracy") is None
    assert printed_of(other, "test", "accuracy") is None
    assert printed_of(series_of([record(**NOISY)])[0], "val", "accuracy") is None


OURS, BASE = [0.91, 0.95, 0.93, 0.90], [0.90, 0.91, 0.93, 0.86]


def paired(record):
    return [
        record(method, seed, measured={"accuracy": value}, model_options={"hidden": (hidden,)}, parameters=hidden)
        for hidden in (10, 20)
        for method, values in (("ours", OURS), ("erm", BASE))
        for seed, value in enumerate(values)
    ]


def test_the_difference_from_the_baseline_is_that_of_the_t_test(record):
    """Each seed may have its own test data, 20 for 40 training samples: s² (1/4 + 1/2) is the variance of the mean."""
    of_ten, _ = differences(series_of(paired(record)), "accuracy")
    apart = [a - b for a, b in zip(OURS, BASE, strict=True)]
    half = stats.t.ppf(0.975, 3) * statistics.stdev(apart) * math.sqrt(1 / 4 + 20 / 40)
    mean = statistics.mean(apart)
    assert of_ten.difference.mean == pytest.approx(mean)
    assert (of_ten.difference.low, of_ten.difference.high) == pytest.approx((mean - half, mean + half))
    assert (of_ten.series.first.spec.method, of_ten.baseline.first.spec.method) == ("ours", "erm")


def test_the_picture_of_the_capacity_has_it_below(record):
    figure = against(series_of(paired(record)), "parameters", ["accuracy"], "toy")
    above, below = figure.axes
    assert [c.get_label() for c in above.containers] == ["erm", "ours"]
    (bars,) = below.containers
    found, _ = differences(series_of(paired(record)), "accuracy")
    ends = [found.difference.low, found.difference.high]
    assert [segment[:, 1].tolist() for segment in bars.lines[2][0].get_segments()] == [pytest.approx(ends)] * 2
    assert bars.lines[0].get_xdata().tolist() == [10, 20]
    assert below.get_ylabel() == "difference from erm in\naccuracy"
    assert below.get_xlabel() == "parameters of the model" and above.get_xlabel() == ""
    assert "\nBelow: the method minus erm with the same seed" in figure.get_supxlabel()


def test_each_task_has_its_own_baseline(record):
    runs = [
        record(m, measured={"accuracy": a}, protocol_options=o)
        for m, a, o in (("erm", 0.5, {}), ("erm", 0.7, {"fraction": 0.0}), ("ours", 0.8, {"fraction": 0.0}))
    ]
    (found,) = differences(series_of(runs), "accuracy")
    assert found.difference.mean == pytest.approx(0.1)
