"""Settings in the reader's words."""

import pytest

from bench.plots.against import against
from bench.plots.curves import curves
from bench.plots.settings import axis_of, classes_of, legend_of, ordering, ratio, tick_of, title_of
from tests.tables.pages import series_of


def weighted(record, *ratios):
    return series_of([record("iw", options={"ratio": list(one)}) for one in ratios])


@pytest.mark.parametrize(("value", "text"), [(8, "8:1"), (1 / 8, "1:8"), (1, "1:1"), (1.5, "3:2")])
def test_a_ratio(value, text):
    assert ratio(value) == text


def test_the_ratio_of_the_classes_is_told_by_their_names(record):
    """30 cats and 10 dogs make 3, and 6 and 31 about 1/5; 1/3 is the ratio of dogs to cats."""
    runs = [
        record(counts=counts, protocol_options={"factor": factor})
        for counts, factor in ((((30, 10),), 3.0), (((6, 31),), 0.2))
    ]
    series = series_of(runs)
    assert axis_of(series, "protocol.factor") == "training samples, cat : dog"
    assert [tick_of(series, "protocol.factor", at) for at in (3.0, 0.2)] == ["3:1", "1:5"]
    assert title_of(series, "protocol.factor") == "the numbers of training samples of the classes"
    other = series_of([record(counts=((30, 10),), protocol_options={"factor": 1 / 3})])
    assert classes_of(other, "protocol.factor") == "dog : cat"
    (axes,) = against(series, "protocol.factor", ["accuracy"], "toy").axes
    assert axes.get_xlabel() == "training samples, cat : dog"


def test_a_setting_that_is_no_ratio_of_classes_is_named(record):
    series = series_of([record(counts=((30, 10),), protocol_options={"factor": factor}) for factor in (3.0, 5.0)])
    assert classes_of(series, "protocol.factor") == ""
    assert axis_of(series, "protocol.factor") == "factor of the protocol"
    assert axis_of(series, "model.hidden") == "hidden of the model"
    assert axis_of(series, "weight_lr") == "weight_lr"
    assert tick_of(series, "protocol.factor", 31810) == "31,810"


def test_series_that_differ_in_a_number_have_an_order(record):
    series = weighted(record, (8, 1), (1, 1), (1, 8))
    assert ordering(series) == "ratio"
    assert legend_of(series) == (["8:1", "1:1", "1:8"], "iw\nratio: weight of class cat : dog")
    figure = curves(series, ["test/fraction_positive"], "toy")
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["8:1", "1:1", "1:8"]
    assert legend.get_title().get_text() == "iw\nratio: weight of class cat : dog"
    colors = [marks.lines[0].get_color() for marks in figure.axes[0].containers]
    assert [sum(color[:3]) for color in colors] == sorted(sum(color[:3]) for color in colors)


@pytest.mark.parametrize(
    "options", [[{"beta": 1}, {"beta": 2}], [{"beta": 1}, {"beta": "a"}, {"beta": 2}], [{}, {"beta": 1}, {"gamma": 1}]]
)
def test_other_series_have_none(record, options):
    series = series_of([record("iw", options=of_run) for of_run in options])
    assert ordering(series) == "" and legend_of(series)[1] == ""
