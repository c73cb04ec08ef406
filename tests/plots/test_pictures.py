"""What pictures of hand-made records show, mark by mark."""

import io
import statistics

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bench import BenchError
from bench.plots import style
from bench.plots.against import against
from bench.plots.counts import counts
from bench.plots.curves import axis_name, curves
from bench.plots.images import images
from bench.plots.margin import max_margin
from bench.plots.select import number_of, seeds, shared
from bench.plots.surfaces import surfaces
from bench.plots.weights import histograms
from bench.store.weighted import extremes
from tests.tables.pages import series_of


def note(figure: Figure) -> str:
    return figure.get_supxlabel()


def texts(axes, axis="x") -> list[str]:
    return [label.get_text() for label in getattr(axes, f"get_{axis}ticklabels")()]


def test_series_are_the_runs_that_differ_by_seed(record):
    found = series_of(
        [record("a", 1), record("b", options={"beta": 0.5}), record("a"), record("b"), record("c", status="diverged")]
    )
    assert [(s.label(), list(s.runs)) for s in found] == [("a", [1, 0]), ("b", [0]), ("b[beta=0.5]", [0])]
    assert seeds(found) == "1 to 2 seeds"
    assert seeds(found[1:]) == "1 seed"
    assert found[2].option_value("beta") == 0.5
    assert found[1].option_value("beta") is None


def test_series_are_in_the_order_of_their_numbers(record):
    found = series_of([record("a", options={"ratio": [1.0, r]}) for r in (16.0, 2.0, 0.25)])
    assert [s.option_value("ratio")[1] for s in found] == [0.25, 2, 16]


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        ([50], 50),
        ((4.0, 1.0), 0.25),
        ("relu", None),
        (True, None),
        (None, None),
        ([1, 2, 3], None),
        ([0, 1], None),
    ],
)
def test_numbers_of_settings(value, number):
    assert number_of(value) == number


def test_lines_are_means_and_bands_standard_deviations(record):
    fractions = [(0.5, 0.4, 0.3), (0.7, 0.4, 0.2), (0.9, 0.1, 0.1)]
    runs = [record(seed=s, fraction=f, epochs=(1, 2, 3)) for s, f in enumerate(fractions)]
    (axes,) = (figure := curves(series_of(runs), ["test/fraction_positive"], "toy")).axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [1, 2, 3]
    assert list(line.get_ydata()) == pytest.approx([statistics.mean(column) for column in zip(*fractions, strict=True)])
    corners = axes.collections[0].get_paths()[0].vertices
    for epoch, column in zip((1, 2, 3), zip(*fractions, strict=True), strict=True):
        mean, deviation = statistics.mean(column), statistics.stdev(column)
        own = sorted({round(y, 9) for x, y in corners if x == epoch})
        assert own[0] == pytest.approx(mean - deviation) and own[-1] == pytest.approx(mean + deviation)
    assert figure.get_suptitle() == "toy"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", 'fraction predicted as "dog"')
    assert axes.get_title() == "test (20 samples)"
    assert note(figure) == "Mean over 3 seeds; band: ± 1 standard deviation (n - 1) over the seeds."


def test_one_seed_has_no_band_and_undefined_values_no_point(record):
    figure = curves(series_of([record(epochs=(1, 2, 3))]), ["train/gradient_norm"], "toy", log=True)
    (axes,) = figure.axes
    assert not axes.collections and note(figure) == "One seed; no band."
    assert np.array_equal(axes.lines[0].get_ydata(), [3, 2, np.nan], equal_nan=True)
    assert axes.get_yscale() == "log"


def test_what_all_have_alike_is_told_once(record):
    results = [
        record(m, recipe={"epochs": 3}, options=o, epochs=(1, 2, 3))
        for m, o in (("a", {}), ("b", {"beta": 1}), ("b", {"beta": 2}))
    ]
    figure = curves(series_of(results), ["test/fraction_positive"], "toy")
    assert [line.get_label() for line in figure.axes[0].lines] == ["a", "b[beta=1]", "b[beta=2]"]
    assert note(figure) == "One seed; no band.\nAll with recipe.epochs=3."


def test_an_axis_names_its_class_or_group(record):
    (one,) = series_of([record()])
    assert axis_name(one, "loss/class0") == 'loss, class "cat"'
    assert axis_name(one, "weight_share/group1") == f'share of the weight, group "{one.first.about.groups[1]}"'


def test_a_column_that_no_run_has_is_told(record):
    with pytest.raises(
        BenchError, match="no run has test/auc in its history; there is: test/accuracy, test/fraction_positive, "
    ):
        curves(series_of([record()]), ["test/auc"], "toy")


def weighted(record, ratio, fraction, seed=0, **recipe):
    found = record("iw", seed, fraction=(fraction,) * 3, options={"ratio": ratio}, recipe=recipe)
    return found


def test_the_final_fraction_against_the_weight(record):
    results = [weighted(record, [1.0, 8.0], f, seed) for seed, f in enumerate((0.6, 0.8))]
    results += [weighted(record, [4.0, 1.0], 0.3), weighted(record, [4.0, 1.0], 0.1, weight_decay=0.1), record("erm")]
    figure = against(series_of(results), "ratio", ["test/fraction_positive"], "toy")
    (axes,) = figure.axes
    assert axes.get_legend_handles_labels()[1] == ["iw", "iw (weight_decay=0.1)"]
    (plain, _, (bars,)), (decayed, *_) = axes.containers
    low, high = bars.get_segments()[1][:, 1]
    assert (low, high) == (pytest.approx(0.7 - 0.02**0.5), pytest.approx(0.7 + 0.02**0.5))
    step = 32 ** (1 / 80)  # half of 1/40 of the axis, which is logarithmic from 1/4 to 8
    assert plain.get_xdata() == pytest.approx([0.25 / step, 8]) and plain.get_ydata() == pytest.approx([0.3, 0.7])
    assert decayed.get_xydata() == pytest.approx(np.array([[0.25 * step, 0.1]]))
    figure.draw_without_rendering()
    assert texts(axes) == ["4:1", "1:8"] and axes.get_xscale() == "log"
    assert axes.get_xlabel() == "ratio: weight of class cat : dog"
    assert note(figure).startswith("After the last epoch. Mean over 1 to 2 seeds; bars: ± 1")


def test_accuracy_against_capacity(record):
    results = [record(m, parameters=p, model_options={"hidden": (p,)}) for m in ("erm", "forml") for p in (20, 10)]
    for x in ("parameters", "model.hidden"):
        figure = against(series_of(results), x, ["accuracy"], "toy")
        axes, below = figure.axes
        assert [(c.get_label(), c.lines[0].get_xydata().tolist()) for c in axes.containers] == [
            (m, [[10 + moved, 0.9], [20 + moved, 0.9]]) for m, moved in (("erm", -0.125), ("forml", 0.125))
        ]
        assert [(c.get_label(), c.lines[0].get_ydata().tolist()) for c in below.containers] == [("forml", [0, 0])]
    for places, scale in (((10, 20, 30), "linear"), ((5, 10, 20, 40), "log"), ((-1, 0, 99), "linear")):
        results = [record("erm", parameters=p, model_options={"hidden": (p,)}) for p in places]
        (axes,) = against(series_of(results), "parameters", ["accuracy"], "toy").axes
        assert axes.get_xscale() == scale
    with pytest.raises(BenchError, match="no record has a setting 'ratio' that is a number"):
        against(series_of(results), "ratio", ["accuracy"], "toy")
    with pytest.raises(BenchError, match="erm has no tprd on test"):
        against(series_of(results), "parameters", ["tprd"], "toy")
    with pytest.raises(BenchError, match="all of these models have -1 parameters: it takes two capacities or more"):
        against(series_of(results[:1]), "parameters", ["accuracy"], "toy")


def plane():
    """A model that says class 1 with a probability of x, on [0, 1] by [0, 2]."""
    x, y = np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 2, 5))
    points = np.stack([x, y], -1).reshape(-1, 2)
    return {
        "grid/x": points,
        "grid/positive/1": np.full(25, 0.9, dtype=np.float16),
        "grid/positive/10": points[:, 0].astype(np.float16),
    }


TWO = (np.array([[0.2, 1.0], [0.8, 0.5]]), np.array([0, 1]))


def lines_of(axes, style: str) -> list:
    """The contours of one level that are drawn so."""
    found = [c for c in axes.collections if len(getattr(c, "levels", ())) == 1]
    return [c for c in found if (c.get_linestyle()[0][1] is not None) == (style == "dashed")]


def test_a_surface_has_its_boundary_where_the_probability_is_a_half(record):
    figure = surfaces(series_of([record()]), [plane()], [TWO], "toy")
    first, tenth, bar = figure.axes
    assert [first.get_title(), tenth.get_title()] == ["epoch 1", "epoch 10"]
    assert first.get_ylabel() == "erm" and bar.get_ylabel() == "probability of dog"
    (boundary,) = lines_of(tenth, "solid")
    assert boundary.get_paths()[0].vertices[:, 0] == pytest.approx(0.5, abs=1e-3)
    assert lines_of(first, "solid") == []
    marks = [axes.collections[-3:-1] for axes in (first, tenth)]  # the last is the dashed line
    assert [[mark.get_offsets().tolist() for mark in found] for found in marks] == [[[[0.2, 1.0]], [[0.8, 0.5]]]] * 2
    assert "One run of each: seed 0." in note(figure)


def test_the_dashed_line_is_as_far_from_two_points(record):
    """The separator of two points is the perpendicular through the middle between them."""
    figure = surfaces(series_of([record()]), [plane()], [TWO], "toy")
    for axes in figure.axes[:2]:
        (dashed,) = lines_of(axes, "dashed")
        drawn = dashed.get_paths()[0].vertices
        assert len(drawn) >= 2
        assert (drawn - [0.5, 0.75]) @ [0.6, -0.5] == pytest.approx(0, abs=1e-6)
    assert "Dashed line: max-margin separator of the training samples." in note(figure)


def test_where_no_line_separates_the_samples_none_is_dashed(record):
    crossed = (np.array([[0.1, 0.5], [0.9, 1.5], [0.1, 1.5], [0.9, 0.5]]), np.array([0, 0, 1, 1]))
    figure = surfaces(series_of([record()]), [plane()], [crossed], "toy")
    assert [lines_of(axes, "dashed") for axes in figure.axes[:2]] == [[], []]
    assert "Dashed" not in note(figure)


@pytest.mark.parametrize(
    ("negative", "positive", "margin", "direction"),
    [
        ([[-1, 0]], [[1, 0]], 1, [1, 0]),  # two points: half their distance
        ([[-2, -9], [-2, 9]], [[5, -1], [5, 2], [1, 0.5]], 1.5, [1, 0]),  # a side and a corner
        ([[0, 0], [0, -5], [-3, -4]], [[3e-3, 4e-3], [7, 1]], 2.5e-3, [0.6, 0.8]),  # corners, close together
    ],
)
def test_the_max_margin_separator_is_that_of_the_nearest_points_of_both_hulls(negative, positive, margin, direction):
    x, y = np.array([*negative, *positive], dtype=np.float64), np.repeat([0, 1], [len(negative), len(positive)])
    w, b = max_margin(x, y)
    size = np.linalg.norm(w)
    assert w / size == pytest.approx(np.array(direction), abs=1e-6)
    assert 1 / size == pytest.approx(margin, rel=1e-5)
    assert (np.where(y == 1, 1, -1) * (x @ w + b)).min() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("third", [[1, 0], [0, 0], [-1, 0]])  # inside, on the other's point
def test_points_that_no_line_separates_have_no_separator(third):
    x = np.array([[-1, 0], [1, 0], third], dtype=np.float64)
    assert max_margin(x, np.array([0, 0, 1])) is None


def test_what_has_no_surface_is_told(record):
    with pytest.raises(BenchError, match="points in a plane"):
        surfaces(series_of([record()]), [{}], [TWO], "toy")
    kept = {name: v for name, v in plane().items() if "positive" not in name}
    with pytest.raises(BenchError, match=r"train with -o recipe\.evaluate_at=1,10,100"):
        surfaces(series_of([record()]), [kept], [TWO], "toy")


def test_counts_of_records_without_any_are_told(record):
    old = record()
    old.data.counts.clear()
    with pytest.raises(BenchError, match="no class counts: run them again"):
        counts(series_of([old]), "toy")


def test_one_class_has_no_separator():
    assert max_margin(np.zeros((3, 2)), np.ones(3, dtype=np.int64)) is None


def test_what_is_told_of_all_is_true_of_runs_that_share_a_panel_too(record):
    """Series of the same training samples are one panel, and only the first of them was looked at."""
    runs = [record(recipe={"epochs": 3}), record("b"), record("c", recipe={"epochs": 3, "lr": None})]
    assert note(counts(series_of(runs), "t")) == "Of the first seed."
    assert "All with recipe.epochs=3." in note(counts(series_of([runs[0], runs[2]]), "t"))
    assert shared(series_of([runs[2], runs[0]])) == {"recipe.epochs": 3}


def test_counts_are_those_of_the_training_data(record):
    results = [record(), record("forml"), record(counts=((5, 10), (1, 2)), groups=2, protocol_options={"factor": 10})]
    figure = counts(series_of(results), "toy")
    plain, other = figure.axes
    assert [bar.get_height() for bar in plain.patches] == [30, 10]
    assert [(bar.get_height(), bar.get_y()) for bar in other.patches] == [(5, 0), (10, 0), (1, 5), (2, 10)]
    assert plain.get_title() == "factor: 100\n40 samples"
    assert other.get_title() == "factor: 10\n18 samples"
    assert texts(plain) == ["cat", "dog"]
    assert note(counts(series_of(results[2:]), "toy")).endswith("\nAll with protocol.factor=10.")


def test_histograms_are_of_weights_relative_to_the_mean_of_their_run(record):
    runs = [
        {"train/weight": np.array([1, 3, np.nan], dtype=np.float32), "train/group": np.array([0, 1, 1])},
        {"train/weight": np.array([10, 20, 30], dtype=np.float32), "train/group": np.array([0, 1, 1])},
    ]
    figure = histograms(series_of([record(seed=s) for s in range(2)]), [runs], "toy")
    cat, dog = figure.axes
    means = [axes.lines[1].get_xdata()[0] for axes in (cat, dog)]
    assert means == pytest.approx([0.5, (1.5 + 1 + 1.5) / 3])
    assert [axes.get_ylabel() for axes in (cat, dog)] == ['class "cat"', 'class "dog"']
    assert cat.get_xlim() == dog.get_xlim() and cat.get_ylim() == dog.get_ylim()
    for axes in (cat, dog):
        assert axes.patches[0].get_xy()[:, 0].min() == 0.5 and axes.patches[0].get_xy()[:, 0].max() == 1.5
    assert dog.patches[0].get_xy()[:, 1].max() == pytest.approx(200 / 3)
    assert note(figure).startswith("Samples of 2 seeds together")


def test_the_images_with_the_largest_and_the_smallest_weights(record):
    weights = np.array([2.0, np.nan, 0.5, 4.0, 0.5, 1.0], dtype=np.float32)
    up, down = extremes(weights, 2)
    assert (up.tolist(), down.tolist()) == ([3, 0], [2, 4])
    pictures = [np.full((2, channels, 3, 3), 7, dtype=np.uint8) for channels in (1, 3)]
    (one,) = series_of([record()])
    figure = images(one, weights, np.array([0, 0, 1, 1, 0, 1]), pictures, "toy")
    shown = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in shown] == ["2.50 ×\ndog", "1.25 ×\ncat", "0.31 ×\ndog", "0.31 ×\ncat"]
    assert [axes.images[0].get_array().shape for axes in shown] == [(3, 3), (3, 3), (3, 3, 3), (3, 3, 3)]


def test_files_are_the_same_whatever_the_user_has_set(record):
    def draw():
        return curves(series_of([record(seed=s) for s in range(2)]), ["test/fraction_positive"], "toy")

    before = style.files(draw)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "svg.hashsalt": "other"}):
        assert style.files(draw) == before
    assert before["png"].startswith(b"\x89PNG") and b"<svg" in before["svg"]
    assert b"toy" in before["svg"]  # text stays text


def test_a_file_is_the_same_alone_and_beside_the_other(record):
    def draw():
        return surfaces(series_of([record()]), [plane()], [TWO], "toy")

    both = style.files(draw)
    assert {suffix: style.files(draw, [suffix])[suffix] for suffix in ("svg", "png")} == both


def test_photographs_alone_keep_more_than_256_colours(record):
    def colours(figure: Figure) -> int:
        picture = Image.open(io.BytesIO(style.files(lambda: figure)["png"]))
        return len(picture.convert("RGB").getcolors(1 << 24))

    photograph, surface = Figure(), surfaces(series_of([record()]), [plane()], [TWO], "toy")
    photograph.subplots().imshow(np.arange(1200, dtype=np.uint8).reshape(20, 20, 3))
    assert colours(photograph) > 256 >= colours(surface)


def test_marks_are_told_apart():
    few, many = style.marks(12), style.marks(31)
    assert len(set(few)) == 12
    assert len({mark.color for mark in many}) == 31


def test_marks_of_an_order_get_lighter_and_differ_in_shape():
    found = style.marks(7, ordered=True)
    red, green, blue = np.array([mark.color[:3] for mark in found]).T
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue  # ITU-R BT.709
    assert (np.diff(luminance) > 0).all() and luminance[-1] < 0.75
    assert len({mark.marker for mark in found}) == 7


def test_samples_with_a_wrong_label_have_another_colour_in_histograms(record):
    """Their share of each row is that of all its samples; with training data of a method's own, by their origin."""
    stored = {
        "train/weight": np.array([1, 3, 2, 2], dtype=np.float32),
        "train/group": np.array([0, 1, 1, 1]),
        "train/y": np.array([0, 1, 1, 1]),
        "train/origin": np.array([2, 0, 1, -1]),
        "given/true_class": np.array([0, 1, 0]),  # so of the samples only the second is wrong
    }
    figure = histograms(series_of([record()]), [[stored]], "toy")
    cat, dog = figure.axes
    assert (len(cat.patches), len(dog.patches)) == (1, 2)
    wrong = dog.patches[1].get_xy()
    assert wrong[:, 1].max() == pytest.approx(100 / 3)
    assert wrong[wrong[:, 1] > 0][:, 0].max() == 1.5
    assert "Hatched: samples whose label is wrong." in note(figure)
