"""The picture of paired differences, read back as XML."""

import xml.etree.ElementTree as ElementTree

import pytest

from bench.columns.table import columns_of
from bench.tables.conclusions import conclude
from bench.tables.names import Names
from bench.tables.pages.forest import LINE, MOST, TOP, forest
from bench.tables.rows import rows_of

BASE = [0.40, 0.42, 0.38, 0.41, 0.39, 0.43]
TESTS = {"revision": "r1", "unofficial": {}, "sizes": {"train": 1000, "test": 50}, "tests": "0123456789ab"}


def drawn(make_result, methods: dict[str, list[float]]) -> str:
    results = [
        make_result(method, seed, test={"tprd": value, "accuracy": 0.9 - value / 10}, data=TESTS)
        for method, values in methods.items()
        for seed, value in enumerate(values)
    ]
    rows = rows_of(columns_of(results))
    return forest(conclude(rows, "last"), Names.of(rows), "A title & more")


def elements(picture: str, name: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(picture.split("\n", 1)[1]).iter() if one.tag.endswith(name)]


def test_each_row_has_a_dot_where_its_difference_is(make_result):
    """On two scales, each with its zero: that of tprd, and that of accuracy, a tenth of it with the other sign."""
    down, up = [value - 0.1 for value in BASE], [value + 0.05 for value in BASE]
    down[0] -= 0.01
    up[0] += 0.01
    picture = drawn(make_result, {"erm": BASE, "down": down, "up": up})
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in elements(picture, "circle")]
    assert [y for _, y in dots] == [TOP + 10, TOP + LINE + 10] * 2
    zeros = [float(line.get("x1")) for line in elements(picture, "line") if line.get("stroke-width") == "1.2"]
    offsets = [x - zero for (x, _), zero in zip(dots, [zeros[0], zeros[0], zeros[1], zeros[1]], strict=True)]
    assert offsets[0] / offsets[1] == pytest.approx((-0.61 / 6) / (0.31 / 6), rel=0.01)
    assert offsets[2] / offsets[3] == pytest.approx((-0.61 / 6) / (0.31 / 6), rel=0.01)
    assert offsets[0] < 0 < offsets[2]
    assert [text.text for text in elements(picture, "text")][:3] == ["A title & more", "▲ down", "▼ up"]


def test_the_bytes_are_the_same_each_time(make_result):
    methods = {"erm": BASE, "other": BASE[::-1]}
    assert drawn(make_result, methods) == drawn(make_result, dict(reversed(methods.items())))


def test_without_a_comparison_there_is_no_picture(make_result):
    assert drawn(make_result, {"erm": BASE}) == ""


def test_many_rows_are_cut(make_result):
    methods = {f"m{i}": [value + i / 1000 for value in BASE] for i in range(MOST + 5)}
    assert len(elements(drawn(make_result, {"erm": BASE} | methods), "circle")) == 2 * MOST


def test_equal_rows_have_a_dot_at_zero(make_result):
    picture = drawn(make_result, {"erm": BASE, "same": BASE})
    dots = [dot.get("cx") for dot in elements(picture, "circle")]
    zeros = [line.get("x1") for line in elements(picture, "line") if line.get("stroke-width") == "1.2"]
    assert dots == zeros
