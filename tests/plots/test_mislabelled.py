"""Weights of samples with right and with wrong labels."""

import numpy as np
import pytest

from bench.errors import BenchError
from bench.plots.images import images
from bench.plots.mislabelled import mislabelled
from bench.plots.weights import histograms
from bench.store.weighted import beyond, bins, clipped, separation, true_classes
from tests.tables.pages import series_of


def slowly(weights, wrong):
    pairs = [(r, w) for r in weights[~wrong] for w in weights[wrong]]
    return sum((r > w) + 0.5 * (r == w) for r, w in pairs) / len(pairs)


@pytest.mark.parametrize(
    ("weights", "wrong", "auroc"),
    [
        ([3, 4, 1, 2], [0, 0, 1, 1], 1),  # each wrong label weighs less
        ([1, 2, 3, 4], [0, 0, 1, 1], 0),
        ([1, 1, 1], [0, 1, 0], 0.5),
        ([1, 2, 3, 2], [0, 0, 1, 1], 0.125),
    ],
)
def test_the_separation_by_hand(weights, wrong, auroc):
    assert separation(np.array(weights, dtype=float), np.array(wrong, dtype=bool)) == auroc


def test_the_separation_is_that_of_all_pairs():
    random = np.random.default_rng(0)
    weights, wrong = random.integers(0, 9, 60).astype(float), random.random(60) < 0.3
    assert separation(weights, wrong) == pytest.approx(slowly(weights, wrong), abs=1e-12)
    assert np.isnan(separation(weights, np.zeros(60, dtype=bool)))


def stored(weights, y=(0, 1, 1, 1), true=(0, 0, 1, 0)):
    arrays = {"train/weight": np.array(weights, dtype=np.float32), "train/y": np.array(y), "train/group": np.array(y)}
    return arrays | {"given/true_class": np.array(true)}


def test_the_picture_has_both_kinds_and_their_separation(record):
    """The second and the fourth label are wrong; the weights are 2, 1, 2, 1 and 1, 2, 3, 2 in times of 1.5 and 2."""
    runs = [stored([2, 1, 2, 1]), stored([1, 2, 3, 2])]
    figure = mislabelled(series_of([record("ours", seed=s) for s in range(2)]), [runs], "toy")
    (axes,) = figure.axes
    assert axes.get_title() == "ours\nAUROC 0.750 ± 0.354"  # the mean of 1 and 1/2
    right, wrong = axes.patches
    assert right.get_xy()[:, 0].min() == 0.5 and right.get_xy()[:, 0].max() == 1.5
    assert wrong.get_xy()[:, 1].max() == 50 and wrong.get_hatch() and not right.get_hatch()
    high = wrong.get_xy()[wrong.get_xy()[:, 1] > 0][:, 0]  # 1/1.5 twice, and 1 twice
    assert high.min() == pytest.approx(0.65) and high.max() == pytest.approx(1.025)


def test_where_no_label_is_known_to_be_wrong_there_is_no_picture(record):
    series = series_of([record("ours")])
    without = {name: values for name, values in stored([1, 2, 3, 4]).items() if not name.startswith("given")}
    for runs in ([without], [stored([1, 2, 3, 4], true=(0, 1, 1, 1))]):
        with pytest.raises(BenchError, match="ours: nothing that was kept beside its records says which labels are"):
            mislabelled(series, [runs], "toy")


def test_the_true_class_is_that_of_the_origin():
    assert true_classes({"train/weight": np.ones(2)}) is None
    arrays = stored([1, 1, 1, 1]) | {"train/origin": np.array([3, 0, -1, 2])}
    assert true_classes(arrays).tolist() == [0, 0, -1, 1]


def test_the_axis_leaves_out_rare_extremes_and_says_so():
    """1 of 1,000 weights is beyond."""
    weights = np.append(np.linspace(0.5, 1.5, 999), 80.0)
    edges = bins(weights)
    assert edges[-1] <= 1.5 and clipped(weights, edges).max() == edges[-1]
    outside = ((weights < edges[0]) | (weights > edges[-1])).sum()
    assert (
        beyond(weights, edges)
        == f" The outermost bars hold the {outside / 10:.1f} % of the samples that lie beyond the axis."
    )
    assert beyond(np.array([0.5, 1.5]), bins(np.array([0.5, 1.5]))) == ""


def test_of_many_groups_the_extreme_ones_have_rows(record, make_result):
    """30 groups of one sample, whose weights are 1 to 30 in an order of their own."""
    weights = np.random.default_rng(0).permutation(np.arange(1.0, 31))
    arrays = {"train/weight": weights, "train/group": np.arange(30), "train/y": np.arange(30)}
    about = {"groups": [str(g) for g in range(30)], "classes": [str(g) for g in range(30)]}
    figure = histograms(series_of([make_result("ours", test={"accuracy": 0.5}, about=about)]), [[arrays]], "toy")
    order = np.argsort(-weights)
    extremes = [f'class "{g}"' for g in (*order[:5], *order[-5:])]
    assert [axes.get_ylabel() for axes in figure.axes] == [*extremes[:5], "the other 20", *extremes[5:]]
    mean = figure.axes[5].lines[1].get_xdata()[0]
    assert mean == pytest.approx(sum(range(6, 26)) / 20 / 15.5)
    assert "Of 30, the 5 with the largest and with the smallest mean weights." in figure.get_supxlabel()


def test_an_image_with_a_wrong_label_has_both(record):
    (one,) = series_of([record()])
    pictures = [np.zeros((2, 1, 3, 3), dtype=np.uint8)] * 2
    figure = images(one, np.array([1.0, 3.0]), np.array([0, 1]), pictures, "toy", np.array([0, 0]))
    assert [axes.get_title() for axes in figure.axes if axes.images] == [
        "1.50 ×\ndog, is cat", "0.50 ×\ncat", "0.50 ×\ncat", "1.50 ×\ndog, is cat",
    ]  # fmt: skip
    assert "Framed: the label is wrong" in figure.get_supxlabel()
