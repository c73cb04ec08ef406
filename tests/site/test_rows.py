"""What opens below a row, of hand-made arrays: weights, samples and images, against numbers right by construction."""

import io
import math
import re
import subprocess
import sys
from base64 import b64decode
from dataclasses import replace
from shutil import rmtree
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from bench.cli import main
from bench.cli.store import recorded as recorded_data
from bench.columns.reading import read_columns
from bench.site.rows.details import row_details
from bench.site.rows.pictured import Pictured, data_uri
from bench.site.rows.samples import MOST
from bench.site.rows.small import BOTTOM, LEFT, RIGHT
from bench.store.results import ResultStore
from bench.tables.names import Names
from bench.tables.rows import rows_of
from bench_plugins.datasets.digits import load_digits
from tests.site.read import Element, read, site
from tests.store.made import logits, predicted

PAGE = "html/class_fairness-v1-digits.html"


def weights(*values: float, y: list[int] | None = None, **more: list[int]) -> dict[str, np.ndarray]:
    classes = np.array(y or [0] * len(values), np.uint8)
    arrays = {"train/weight": np.array(values, np.float16), "train/y": classes, "train/group": classes}
    return arrays | {name.replace("_", "/", 1): np.array(of, np.int32) for name, of in more.items()}


def row_of(make_result, arrays: dict[str, np.ndarray] | None = None, pictures=None, **fields) -> Element:
    """The only row of the page of a record of four test samples."""
    record = predicted(make_result, arrays=arrays or {}, **fields)
    return read(site([record], pictures)[PAGE]).one("details", kind="row")


def test_a_row_tells_its_own_noise_floors(make_result):
    record = predicted(make_result, arrays={})
    told = replace(record, selected=replace(record.selected, floor={"tprd": 0.0875}))
    paragraphs = [one.text for one in read(site([told])[PAGE]).one("details", kind="row").all("p")]
    assert "By chance alone, were all groups alike at the rate of this row: tprd 8.75 %" in paragraphs
    assert not any("groups alike" in one.text for one in row_of(make_result).all("p"))


def samples_of(row: Element) -> dict[str, list[list[str]]]:
    """Title of each table of samples -> its cells, with the heads."""
    found = {}
    for part in row.all("div"):
        tables = list(part.all("table", kind="samples"))
        titles = [one.text for one in part.all("h4")]
        if len(tables) == len(titles) == 1:
            cells = [[cell.text for cell in line.all("td")] for line in tables[0].one("tbody").all("tr")]
            found[titles[0]] = [[head.text for head in tables[0].all("th")], *cells]
    return found


def bars(row: Element) -> list[tuple[float, float, float]]:
    """The bars of the histogram that are above the axis: left end, right end and height, in pixels."""
    (path,) = (one.about["d"] for one in row.all("path") if one.about["class"] == "bars")
    begin, _, rest = path.removeprefix("M").partition(" ")
    ups = re.findall(r"V(\d+)H(\d+)", rest)
    left, found = float(begin), []
    for up, right in ups:
        if int(up) < BOTTOM:
            found.append((left, float(right), BOTTOM - float(up)))
        left = float(right)
    return found


def test_the_histogram_has_the_shares_of_the_weights(make_result):
    """Of four weights 1, 1, 1 and 3, the mean is 1.5: three quarters are at 2/3 of the mean, one at twice the mean."""
    row = row_of(make_result, weights(1, 1, 1, 3))
    low, high = bars(row)
    assert low[0] == LEFT and high[1] == RIGHT and low[2] / high[2] == pytest.approx(3, rel=0.02)
    (one,) = (path.about["d"] for path in row.all("path") if path.about["class"] == "zero")
    at = float(re.match(r"M(\d+)", one)[1])
    assert (at - LEFT) / (RIGHT - LEFT) == pytest.approx((1 - 2 / 3) / (2 - 2 / 3), abs=0.01)
    told = next(figure.one("figcaption").text for figure in row.all("figure") if "weight" in figure.text)
    assert "last epoch, seed 0: 0.667 to 2;" in told
    assert f"effective sample size {100 * 36 / (4 * 12):.1f} %" in told  # Kish: the square of the sum over n squares


def test_wrong_labels_are_part_of_the_histogram(make_result):
    """The two samples of class 1 were of class 0, and weigh less than one of the others and as much as the other."""
    arrays = weights(1, 3, 1, 1, y=[0, 0, 1, 1]) | {"given/true_class": np.zeros(4, np.uint8)}
    row = row_of(make_result, arrays)
    assert len([path for path in row.all("path") if path.about["class"] == "bars wrong"]) == 1
    told = next(figure.one("figcaption").text for figure in row.all("figure") if "weight" in figure.text)
    assert "wrong labels; AUROC 0.750" in told
    (table,) = (cells for title, cells in samples_of(row).items() if title.startswith("Largest weights"))
    assert [line[2] for line in table[1:]] == ["no", "no", "yes, is no", "yes, is no"]


def test_weights_over_a_wide_range_have_an_axis_of_ratios(make_result):
    """0.01, 1 and 100 are equally far from each other there."""
    values = [0.01] * 50 + [1.0] * 50 + [100.0] * 50
    row = row_of(make_result, weights(*values))
    low, middle, high = ((left + right) / 2 for left, right, _ in bars(row))
    assert high - middle == pytest.approx(middle - low, abs=14)  # the width of a bar


def test_the_worst_samples_are_those_whose_label_is_least_probable(make_result):
    """Worked out one by one from the logits (0, -1.5): the sample of class 1 that is predicted to be of class 0."""
    (cells,) = (cells for title, cells in samples_of(row_of(make_result)).items() if title.startswith("Worst"))
    right = 1 / (1 + math.exp(-1.5))
    assert cells == [
        ["Test sample", "Label", "Predicted", "Probability", "Label’s probability"],
        ["1", "yes", "no", f"{100 * right:.1f} %", f"{100 * (1 - right):.1f} %"],
        *([str(index), "no", "no", *[f"{100 * right:.1f} %"] * 2] for index in (3, 5, 7)),
    ]


def test_a_probability_is_not_shown_as_certain(make_result):
    extreme = np.array([[0, -20], [0, -20], [0, -20], [0, -20]], np.float16)
    (cells,) = (
        cells
        for title, cells in samples_of(row_of(make_result, {"test/last": extreme})).items()
        if title.startswith("Worst")
    )
    assert cells[1][-2:] == ["> 99.9 %", "< 0.1 %"]


def test_of_many_samples_those_with_the_largest_weights_are_shown(make_result):
    values = [1.0 + place / 8 for place in range(12)]
    mean = sum(values) / 12
    (cells,) = (
        cells
        for title, cells in samples_of(row_of(make_result, weights(*values))).items()
        if title.startswith("Largest weights")
    )
    assert cells[0] == ["Training sample", "Weight / mean", "Label"]
    assert [line[0] for line in cells[1:]] == [str(place) for place in range(11, 11 - MOST, -1)]
    assert cells[1][1] == f"{values[11] / mean:.3g} ×"


def test_how_many_samples_have_an_equal_weight_is_told(make_result):
    row = row_of(make_result, weights(*[3.0] * 2, *[2.0] * 10, 1.0))
    assert "12 samples have a weight as large as the last one." in row.text


def test_samples_that_share_the_largest_weight_are_counted_by_class(make_result):
    """The classes alternate; twelve of 13 samples have a weight of 2, and the mean is 25 / 13."""
    row = row_of(make_result, weights(*[2.0] * 12, 1.0, y=[0, 1] * 6 + [0]))
    assert f"12 samples share the largest weight, {2 / (25 / 13):.3g} × the mean: 6 of no, 6 of yes." in row.text
    assert not [title for title in samples_of(row) if title.startswith("Largest weights")]


def test_samples_that_the_method_has_made_are_not_shown(make_result):
    row = row_of(make_result, weights(1, 2, 9, train_origin=[1, 0, -1]))
    (cells,) = (cells for title, cells in samples_of(row).items() if title.startswith("Largest weights"))
    assert [line[0] for line in cells[1:]] == ["1", "0"]


def test_groups_are_named_where_they_are_not_the_classes(make_result):
    about = {"classes": ["no", "yes"], "groups": ["near", "far"]}
    arrays = weights(1, 2) | {"train/group": np.array([1, 0], np.uint8)}
    arrays |= {"test/group": np.array([1, 1, 1, 1], np.uint8)}
    found = samples_of(row_of(make_result, arrays, about=about))
    (heavy,) = (cells for title, cells in found.items() if title.startswith("Largest weights"))
    assert [line[3] for line in heavy] == ["Group", "near", "far"]


BROKEN = {
    "of other lengths": weights(1, 2) | {"train/y": np.zeros(3, np.uint8)},
    "of no class": weights(1, 2, y=[0, 7]),
    "infinite": weights(1, math.inf),
    "all zero": weights(0, 0),
    "of no sample": weights(),
    "without a class": {"train/weight": np.array([1, 2], np.float16)},
    "of texts": weights(1, 2) | {"train/y": np.array(["a", "b"])},
    "with classes of no sample": weights(1, 2, train_origin=[0, 9]) | {"given/true_class": np.zeros(2, np.uint8)},
}


@pytest.mark.parametrize("case", BROKEN)
def test_weights_that_are_none_are_left_out(make_result, case):
    row = row_of(make_result, BROKEN[case])
    assert not [title for title in samples_of(row) if title.startswith("Largest weights")]
    assert "by weight" not in row.text


def test_predictions_that_the_record_does_not_count_are_left_out(make_result):
    row = row_of(make_result, {"test/last": logits([1, 1, 1, 1])})
    assert not samples_of(row)


def test_a_record_without_arrays_has_no_samples(make_result):
    row = read(site([make_result("erm", 0, test={"tprd": 0.1, "accuracy": 0.9})])[PAGE]).one("details", kind="row")
    assert not samples_of(row) and "by weight" not in row.text


def test_a_record_that_is_gone_by_now_leaves_the_page_as_it_is(make_result, tmp_path):
    """Its columns were read; its files were removed before the rows were told."""
    store = ResultStore(tmp_path)
    store.put(predicted(make_result))
    (task,) = read_columns(tmp_path, keep=False)[0]
    rmtree(tmp_path)
    (row,) = rows_of([task])
    html = row_details(row, Names.of([row]), ["last"], with_files=True)
    assert "bench run --method erm" in html and "Worst" not in html


def decoded(address: str) -> np.ndarray:
    """The pixels of an image that an address holds, as another library reads them."""
    assert address.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(b64decode(address.partition(",")[2]))) as image:
        image.verify()
    with Image.open(io.BytesIO(b64decode(address.partition(",")[2]))) as image:
        return np.asarray(image)


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (3, 48, 48), (1, 1, 1)])
def test_an_image_is_what_it_was(shape):
    image = RANDOM.integers(0, 256, shape, np.uint8)
    expected = image[0] if shape[0] == 1 else image.transpose(1, 2, 0)
    assert np.array_equal(decoded(data_uri(image)), expected)


def test_an_image_of_fractions_is_one_of_bytes():
    assert decoded(data_uri(np.array([[[0.0, 0.5, 1.0, 2.0, np.nan]]], np.float32))).tolist() == [[0, 128, 255, 255, 0]]


def test_of_many_channels_the_first_three_are_shown():
    image = RANDOM.integers(0, 256, (8, 4, 4), np.uint8)
    assert np.array_equal(decoded(data_uri(image)), image[:3].transpose(1, 2, 0))
    assert np.array_equal(decoded(data_uri(image[:2])), image[0])


@pytest.mark.parametrize(("height", "width"), [(97, 200), (200, 40), (96, 96), (500, 1)])
def test_a_large_image_is_made_smaller_by_means(height, width):
    image = RANDOM.integers(0, 256, (1, height, width), np.uint8)
    step = math.ceil(max(height, width) / 48)
    found = decoded(data_uri(image))
    assert max(found.shape) <= 48
    assert found[0, 0] == round(float(image[0, :step, :step].mean()))


def test_images_stand_beside_their_samples_with_what_the_data_set_says(make_result):
    asked = []

    def pictures(run, beside, test, train):
        asked.append((run.spec.seed, list(test), list(train)))
        return Pictured(["data:a"] * len(test), ["data:b"] * len(train), ["made up.", "Licence: none <b>."])

    row = row_of(make_result, weights(1, 2), pictures)
    assert asked == [(0, [3, 1, 2, 0], [1, 0])]
    assert [image.about["src"] for image in row.all("img")] == ["data:a"] * 4 + ["data:b"] * 2
    assert "The images: made up. Licence: none <b>." in row.text


def test_why_there_are_no_images_is_told(make_result):
    row = row_of(make_result, weights(1, 2), lambda *_: Pictured(why="no <file>"))
    assert not list(row.all("img")) and "No images: no <file>." in row.text


def test_what_lies_beside_the_first_seeds_is_read_once(make_result, monkeypatch):
    """Reading it is what takes the time."""
    from bench.site.rows import details

    read_of, records = [], [predicted(make_result, seed=seed) for seed in range(5)]
    expected = details._beside
    monkeypatch.setattr(details, "_beside", lambda run: read_of.append(run.spec.seed) or expected(run))
    site(records)
    assert read_of == [0, 1, 2]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A folder with a short run of a method that weights samples, on images that need no file."""
    out = tmp_path_factory.mktemp("out")
    words = ["run", "--method", "random", "--dataset", "digits", "--epochs", "2", "--out", str(out)]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    return out


def leaderboard(out, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["leaderboard", "--out", str(out), *words], catch_exceptions=False)
    return done.exit_code, done.output


def test_the_images_are_those_of_the_data(recorded):
    """Each is looked up among all digits, and has the class that stands beside it."""
    code, output = leaderboard(recorded, "--html", "--images")
    assert code == 0, output
    row = read((recorded / PAGE).read_text()).one("details", kind="row")
    digits = load_digits(None).train
    classes = {x[0].numpy().tobytes(): int(y) for x, y in zip(digits.x, digits.y, strict=True)}
    places = {x[0].numpy().tobytes(): place for place, x in enumerate(digits.x)}
    lines = [line for line in row.all("tr") if list(line.all("img"))]
    assert len(lines) == 2 * MOST
    for number, line in enumerate(lines):
        image, place, *others = line.all("td")
        label = others[0 if number < MOST else 1]
        pixels = decoded(image.one("img").about["src"]).tobytes()
        assert classes[pixels] == int(label.text)
        if number < MOST:  # test samples have their number in the data set
            assert places[pixels] == int(place.text)
    assert "The images: digits, " in row.text
    assert leaderboard(recorded, "--html", "--images", "--check")[0] == 0
    code, output = leaderboard(recorded, "--html", "--check")
    assert code == 1 and "--html`" in output


def test_without_images_no_data_are_read_and_torch_is_not_loaded(recorded):
    code = "import sys; from bench.cli import main\n"
    code += f"sys.argv = ['bench', 'leaderboard', '--out', {str(recorded)!r}, '--html']\n"
    code += "try:\n    main()\nexcept SystemExit as ending:\n    print(ending.code, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 False"
    assert "<img" not in (recorded / PAGE).read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images"], "--images is for the site: give --html too"),
        (["--html", "--data-dir", "nowhere"], "are for --images"),
        (["--html", "--allow-unofficial-data"], "are for --images"),
    ],
)
def test_options_without_an_effect_are_refused(recorded, words, message):
    code, output = leaderboard(recorded, *words)
    assert code == 2 and message in " ".join(output.split())


def test_data_that_are_not_there_are_told_and_not_downloaded(make_result, tmp_path):
    ResultStore(tmp_path / "results").put(predicted(make_result, dataset="mnist"))
    code, output = leaderboard(tmp_path, "--html", "--images", "--data-dir", str(tmp_path / "data"))
    assert code == 0, output
    assert not (tmp_path / "data").exists()
    row = read((tmp_path / "html/class_fairness-v1-mnist.html").read_text()).one("details", kind="row")
    assert "No images: " in row.text and samples_of(row)


def test_a_data_set_that_is_not_installed_is_told(make_result, tmp_path):
    ResultStore(tmp_path / "results").put(predicted(make_result, dataset="of_others"))
    assert leaderboard(tmp_path, "--html", "--images")[0] == 0
    page = (tmp_path / "html/class_fairness-v1-of_others.html").read_text()
    assert "No images: " in page and "of_others" in page


def test_data_that_are_others_by_now_are_told(make_result, tmp_path):
    """A record of the digits whose data had another hash."""
    ResultStore(tmp_path / "results").put(predicted(make_result))
    assert leaderboard(tmp_path, "--html", "--images")[0] == 0
    row = read((tmp_path / PAGE).read_text()).one("details", kind="row")
    assert "No images: digits: the data or the defaults are no longer those of the record" in row.text
    assert samples_of(row) and not list(row.all("img"))


def test_a_page_holds_so_many_images_and_says_where_they_end(recorded, monkeypatch):
    monkeypatch.setattr("bench.cli.store.recorded.MOST_BYTES", -1)
    assert leaderboard(recorded, "--html", "--images")[0] == 0
    row = read((recorded / PAGE).read_text()).one("details", kind="row")
    assert "No images: the page holds" in row.text and samples_of(row) and not list(row.all("img"))


@pytest.mark.parametrize(
    ("description", "told"),
    [
        ("Made up.\n\nSmall.  Licence: CC BY\n4.0. The rest.", "Licence: CC BY 4.0."),
        ("Free under the MIT license! Small.", "Free under the MIT license!"),
        ("Made up.", "Its description names no licence."),
    ],
)
def test_the_licence_is_what_the_description_of_the_data_set_says(monkeypatch, description, told):
    offers = SimpleNamespace(find=lambda kind, name: SimpleNamespace(description=description))
    monkeypatch.setattr(recorded_data, "installed", lambda: offers)
    run = SimpleNamespace(spec=SimpleNamespace(dataset="made_up"))
    assert recorded_data._about(run, SimpleNamespace(reference="Someone 2020.")) == ["made_up, Someone 2020.", told]


def test_the_site_that_is_viewed_has_images_too(recorded):
    words = ["view", "--no-open", "--images", "--out", str(recorded)]
    done = CliRunner().invoke(main, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "data:image/png" in (recorded / PAGE).read_text()
