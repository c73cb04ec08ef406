"""COMPAS: the real file where BENCH_DATA has it, against the paper's printed values, and a twin."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.utils import shuffle

from bench import DataError, Files
from bench.data.fitting import fit_on
from bench.data.tables import read_table
from bench.testing import check_dataset
from bench_plugins.datasets.compas import DAYS, FILE, load_compas
from tests.twins.fairness import compas as write_twin


@pytest.fixture(scope="module")
def real() -> Files:
    root = Path(os.environ.get("BENCH_DATA", "nowhere"))
    if not (root / FILE).exists():
        pytest.skip(f"BENCH_DATA names no folder with {FILE}")
    return Files(root, download=False)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    write_twin(tmp_path)
    return Files(tmp_path, allow_unofficial=True, download=False)


def rows(files: Files) -> list[dict[str, str]]:
    """Of the twin, by the standard library, without those that the loader has to leave out."""
    with (files.root / FILE).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row[DAYS] and abs(int(row[DAYS])) <= 30]


# The real file


def test_sizes_classes_and_groups_are_those_of_propublica(real: Files) -> None:
    data = load_compas(real)
    assert not data.unofficial
    assert data.shape == (30,)
    assert len(data.train) == 6172
    assert data.train.y.bincount().tolist() == [3363, 2809]
    by_race = (2 * data.train.group + data.train.y).bincount().tolist()
    assert by_race == [1514, 1661, 1281, 822, 320 + 219 + 23 + 6, 189 + 124 + 8 + 5]
    by_sex = load_compas(real, group="sex").train
    assert (2 * by_sex.group + by_sex.y).bincount().tolist() == [762, 413, 2601, 2396]


def test_thresholds_on_all_rows_are_the_quantiles_of_the_published_code(real: Files) -> None:
    """24, 29, 35, 45, 52.9; 1, 3, 5, 7, 9; 0, 1, 3, 5, 9."""
    columns = ("age", "decile_score", "priors_count")
    table = read_table(real.root / FILE, (*columns, DAYS)).where(lambda d: d != "" and abs(int(d)) <= 30, DAYS)
    age, decile, priors = (table.numbers(column, 0, 1000) for column in columns)
    data = load_compas(real)
    x = fit_on(data, data.train)(data.train).x.numpy()
    assert np.array_equal(x[:, 14:20].argmax(1), [sum(a > edge for edge in (24, 29, 35, 45, 52.9)) for a in age])
    assert np.array_equal(x[:, 20:25], decile[:, None] > [1, 3, 5, 7, 9])
    assert np.array_equal(x[:, 25:], priors[:, None] > [0, 1, 3, 5, 9])


def test_propublicas_other_exclusions_leave_out_no_row(real: Files) -> None:
    with (real.root / FILE).open(newline="") as file:
        kept = [row for row in csv.DictReader(file) if row[DAYS] and abs(int(row[DAYS])) <= 30]
    assert len(kept) == 6172
    assert not any(r["is_recid"] == "-1" or r["c_charge_degree"] == "O" or r["score_text"] == "N/A" for r in kept)


def test_logistic_regression_gives_the_accuracies_printed_with_the_label_bias_code(real: Files) -> None:
    """Its notebook for equal opportunity prints them; there the days are not scaled."""
    data = load_compas(real)
    train = fit_on(data, data.train)(data.train)
    x = train.x.double().numpy()
    x[:, 0] = x[:, 0] * 60 - 30
    x, y = shuffle(x, train.y.numpy(), random_state=12345)
    n = int(0.66 * len(y))
    model = LogisticRegression(solver="liblinear").fit(x[:n], y[:n])
    assert round(model.score(x[:n], y[:n]), 12) == 0.691136754235
    assert round(model.score(x[n:], y[n:]), 12) == 0.685088137208


# A twin


@pytest.mark.parametrize(("group", "names"), [("race", ("African-American", "Caucasian", "other")), ("sex", None)])
def test_a_twin_is_read_and_fulfils_the_contract(files: Files, group: str, names: tuple[str, ...] | None) -> None:
    data = load_compas(files, group=group)
    check_dataset(data)
    assert data.groups == (names or ("Female", "Male"))
    assert set(data.unofficial) == {FILE}
    assert len(data.train) == 390, "ten rows are too far from the screening"
    assert len((2 * data.train.group + data.train.y).unique()) == 2 * len(data.groups), "every class in every group"


def test_features_are_what_the_columns_say(files: Files) -> None:
    """Thresholds are percentiles of the rows that are trained on: here, of the first hundred."""
    data = load_compas(files)
    train = fit_on(data, data.train.select(torch.arange(100)))(data.train)
    columns = ("age", "decile_score", "priors_count")
    percent = ([20, 40, 60, 80, 90], [20, 40, 60, 80, 90], [0, 50, 70, 80, 90])
    first = rows(files)[:100]
    cuts = [np.percentile([int(row[c]) for row in first], p) for c, p in zip(columns, percent, strict=True)]
    for i, row in enumerate(rows(files)):
        age, decile, priors = (int(row[name]) for name in columns)
        bucket = sum(age > edge for edge in cuts[0])
        races = ["African-American", "Asian", "Caucasian", "Hispanic", "Native American", "Other"]
        expected = [
            (int(row[DAYS]) + 30) / 60,
            *(row["c_charge_degree"] == value for value in "FM"),
            *(row["race"] == value for value in races),
            *(row["score_text"] == value for value in ("High", "Low", "Medium")),
            *(row["sex"] == value for value in ("Female", "Male")),
            *(bucket == k for k in range(6)),
            *(decile > edge for edge in cuts[1]),
            *(priors > edge for edge in cuts[2]),
        ]
        assert train.x[i].tolist() == np.array(expected, np.float32).tolist()
        assert train.y[i] == int(row["two_year_recid"])
        assert train.group[i] == {"African-American": 0, "Caucasian": 1}.get(row["race"], 2)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",race,", ",origin,", "it has no column 'race'; its columns are id, name, c_charge_degree, origin"),
        (",Hispanic,", ",Martian,", "column 'race': expected one of African-American, Asian, Caucasian"),
        (",-31,", ",soon,", f"line 3, column '{DAYS}': expected a number in -30..30, not 'soon'"),
        ('"Doe, J"', "Doe, J", "line 2 has 14 cells, not 13"),
    ],
)
def test_damage_is_refused_in_one_line_that_names_the_file(files: Files, old: str, new: str, message: str) -> None:
    path = files.root / FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DataError) as caught:
        load_compas(files)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_rows_to_keep_is_refused_by_name(files: Files) -> None:
    path = files.root / FILE
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:11]))
    with pytest.raises(DataError, match=f"no row has '{DAYS}' in -30..30") as caught:
        load_compas(files)
    assert str(path) in str(caught.value)


def test_an_unofficial_or_missing_file_is_refused_by_name(files: Files) -> None:
    with pytest.raises(DataError, match="not the official file"):
        load_compas(Files(files.root, download=False))
    (files.root / FILE).unlink()
    with pytest.raises(DataError, match=r"missing file .*two-years.csv: get it from https://"):
        load_compas(files)
