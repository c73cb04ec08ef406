"""Where marks stand, by hand."""

import math

import numpy as np
import pytest

from bench.plots.against import against
from bench.plots.curves import curves
from bench.plots.places import is_logarithmic, joined, limits, neighbours, side_by_side, within
from tests.tables.pages import series_of


@pytest.mark.parametrize(
    ("column", "ends"),
    [
        ("test/accuracy", (0, 1)),
        ("train/weight_share/class0", (0, 1)),
        ("train/loss/class3", (0, math.inf)),
        ("train/loss_ratio/class2", (0, math.inf)),
        ("train/weight_loss_correlation", (-1, 1)),
        ("test/unknown", (-math.inf, math.inf)),
    ],
)
def test_limits_of_a_column(column, ends):
    assert limits(column) == ends


def test_a_metric_of_a_plugin_has_the_limits_of_its_unit():
    assert limits("test/accuracy", {"accuracy": "nats"}) == (-math.inf, math.inf)


def test_a_band_ends_where_no_value_is_possible():
    low, high = within(np.array([0.9, 0.5, 0.1]), np.array([0.3, 0.25, 0.2]), 0, 1)
    assert low.tolist() == pytest.approx([0.6, 0.25, 0]) and high.tolist() == pytest.approx([1, 0.75, 0.3])


def parts(found) -> list[list[int]]:
    return [part.tolist() for part in found]


@pytest.mark.parametrize(
    ("epochs", "lines"),
    [
        ((1, 2, 3), [[0, 1, 2]]),  # nothing lies between them
        ((1, 3, 10, 30, 100), [[0], [1], [2], [3], [4]]),
        ((1, 2, 4, 7, 10), [[0], [1], [2], [3], [4]]),  # few, with gaps: no line at all
        ((1, *range(50, 1001, 50)), [[*range(21)]]),  # 1/20 of the axis apart
        ((1, *range(200, 1001, 20)), [[0], [*range(1, 42)]]),
    ],
)
def test_lines_join_what_is_close(epochs, lines):
    assert parts(joined(epochs, logarithmic=False)) == lines


def test_on_a_logarithmic_axis_decades_are_far_apart():
    epochs = [1, 10, *range(100, 10001, 100)]
    assert parts(joined(epochs, logarithmic=True)) == [[0], [1], [*range(2, 102)]]


def test_settings_with_a_gap_between_them_are_not_joined():
    assert parts(neighbours([1 / 16, 1 / 8, 1 / 4, 4, 8, 16], logarithmic=True)) == [[0, 1, 2], [3, 4, 5]]
    assert parts(neighbours([1, 2, 4, 6], logarithmic=False)) == [[0, 1, 2, 3]]
    assert parts(neighbours([3], logarithmic=False)) == [[0]]


@pytest.mark.parametrize(
    ("values", "logarithmic"), [((1, 3, 10, 30, 100), True), ((1, 2, 3), False), ((0, 1, 100), False), ((5,), False)]
)
def test_an_axis_is_logarithmic_where_that_keeps_values_apart(values, logarithmic):
    assert is_logarithmic(values) is logarithmic


def test_marks_of_one_value_stand_side_by_side():
    """Two of them 1/40 of the axis apart; more of them within 8/10 of the least distance of two values."""
    assert side_by_side([0, 100], [(0, 2), (1, 2)], False, [0, 100]) == pytest.approx([-1.25, 101.25])
    assert side_by_side([10], [(0, 1)], False, [0, 10, 100]) == pytest.approx([10])
    crowd = [side_by_side([10], [(place, 9)], False, [0, 10, 100])[0] for place in range(9)]
    assert np.diff(crowd) == pytest.approx(8 / 9) and crowd[4] == 10
    assert side_by_side([1], [(1, 2)], True, [1, math.e**40]) == pytest.approx([math.e**0.5])


def test_bands_and_bars_are_cut_and_say_so(record):
    """Values 1 and 0.6: the mean 0.8 and the deviation 0.283 end at 1."""
    runs = [record(seed=s, fraction=(f, 0.5, 0.5), epochs=(1, 10, 100)) for s, f in enumerate((1.0, 0.6))]
    figure = curves(series_of(runs), ["test/fraction_positive"], "toy")
    (axes,) = figure.axes
    (marks,) = axes.containers
    (bars,) = marks.lines[2]
    assert bars.get_segments()[0][:, 1] == pytest.approx([0.8 - math.sqrt(0.08), 1])
    assert marks.lines[0].get_linestyle() == "None"
    assert figure.get_supxlabel().startswith(
        "Mean over 2 seeds; bars: ± 1 standard deviation (n - 1) over the seeds, cut"
    )


def test_no_line_crosses_a_gap_of_the_setting(record):
    places = (1 / 16, 1 / 8, 1 / 4, 4, 8, 16)
    runs = [record(model_options={"hidden": (p,)}) for p in places]
    axes = against(series_of(runs), "model.hidden", ["accuracy"], "toy").axes[0]
    lines = [line.get_xdata().tolist() for line in axes.lines if line.get_linestyle() not in ("None", "none")]
    assert lines == [pytest.approx(places[:3]), pytest.approx(places[3:])]


def test_series_of_other_epochs_share_one_axis(record):
    """A tick at each epoch of any of them."""
    runs = [record("a", epochs=(1, 10, 100)), record("b", epochs=(1, 30, 100))]
    figure = curves(series_of(runs), ["test/fraction_positive"], "toy")
    (axes,) = figure.axes
    figure.draw_without_rendering()
    assert axes.get_xscale() == "log" and [tick.get_text() for tick in axes.get_xticklabels()] == [
        "1",
        "10",
        "30",
        "100",
    ]
    assert [len(marks.lines[0].get_xdata()) for marks in axes.containers] == [3, 3]
