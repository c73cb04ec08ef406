"""Adult: the real files where BENCH_DATA has them, against the paper's printed values, and a twin."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from bench import DataError, Dataset, Files
from bench.data.fitting import fitted_dataset
from bench.data.tables import read_table
from bench.testing import check_dataset
from bench_plugins.datasets.adult import CATEGORIES, COLUMNS, EDGES, HOT, load_adult
from tests.twins.fairness import adult as write_twin

CUTS = {"age": 102, "capital-gain": 106, "capital-loss": 110, "hours-per-week": 114, "education-num": 118}
"""Where the buckets of each numeric column begin among the features."""


@pytest.fixture(scope="module")
def real() -> Files:
    root = Path(os.environ.get("BENCH_DATA", "nowhere"))
    if not (root / "adult" / "adult.data").exists():
        pytest.skip("BENCH_DATA names no folder with adult/adult.data")
    return Files(root, download=False)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    write_twin(tmp_path)
    return Files(tmp_path, allow_unofficial=True, download=False)


def replaced(files: Files, name: str, old: str, new: str) -> Path:
    """The path of a file of the twin, in which `old` is replaced once."""
    path = files.root / "adult" / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


# The real files


def test_sizes_classes_and_groups_are_those_of_the_official_files(real: Files) -> None:
    data = load_adult(real)
    assert data.test is not None
    assert not data.unofficial
    assert data.shape == (122,)
    assert [len(data.train), len(data.test)] == [32_561, 16_281]
    counts = [(2 * s.group + s.y).bincount().tolist() for s in (data.train, data.test)]
    assert counts == [[9592, 1179, 15_128, 6662], [4831, 590, 7604, 3256]], "women, then men; low, then high income"
    by_race = load_adult(real, group="race")
    assert by_race.train.group.bincount().tolist() == [27_816, 1039, 311, 271, 3124]
    assert torch.equal(by_race.train.x, data.train.x)


def test_buckets_of_the_age_end_at_the_quartiles_of_the_training_data(real: Files) -> None:
    age = read_table(real.root / "adult" / "adult.data", ["age"], names=COLUMNS).numbers("age", 17, 90)
    data = load_adult(real)
    x = fitted_dataset(data, data.train).train.x[:, HOT : HOT + 4]
    assert np.array_equal(x.argmax(1), [sum(a > edge for edge in (28, 37, 48)) for a in age])


def test_logistic_regression_gives_the_accuracies_printed_with_the_label_bias_code(real: Files) -> None:
    """Its notebook for equal opportunity prints them, with the 17-year-olds in no bucket of the age."""
    data = load_adult(real)
    data = fitted_dataset(data, data.train)
    assert data.test is not None
    inputs = []
    for split, name in ((data.train, "adult.data"), (data.test, "adult.test")):
        x = split.x.numpy().copy()
        age = read_table(real.root / "adult" / name, ["age"], names=COLUMNS).numbers("age", 17, 90)
        assert (x[age == 17, CUTS["age"]] == 1).all()
        x[age == 17, CUTS["age"]] = 0
        inputs.append(x)
    model = LogisticRegression(solver="liblinear").fit(inputs[0], data.train.y)
    assert round(model.score(inputs[0], data.train.y), 12) == 0.859770891557
    assert round(model.score(inputs[1], data.test.y), 12) == 0.858485351023


# A twin


@pytest.mark.parametrize("group", ["sex", "race"])
def test_a_twin_is_read_and_fulfils_the_contract(files: Files, group: str) -> None:
    data = load_adult(files, group=group)
    check_dataset(data)
    assert data.groups == CATEGORIES[group]
    assert set(data.unofficial) == {"adult/adult.data", "adult/adult.test"}
    cells = 2 * data.train.group + data.train.y
    assert len(cells.unique()) == 2 * len(data.groups), "every class in every group"


def test_features_are_what_the_columns_say(files: Files) -> None:
    """The age is in buckets that end at the quartiles of the rows that are trained on: here, of the first hundred."""
    data: Dataset = load_adult(files)
    data = fitted_dataset(data, data.train.select(torch.arange(100)))
    table = read_table(files.root / "adult" / "adult.data", COLUMNS, names=COLUMNS)
    edges_by_column = {"age": np.percentile([float(age) for age in table.cells["age"][:100]], [25, 50, 75]), **EDGES}
    names = [f"{column}={value}" for column, values in CATEGORIES.items() for value in values]
    for row in range(0, 400, 37):
        x = data.train.x[row]
        hot = {f"{column}={table.cells[column][row]}" for column in CATEGORIES}
        assert {name for name, value in zip(names, x[:102].tolist(), strict=True) if value} == hot
        for column, start in CUTS.items():
            bucket = sum(float(table.cells[column][row]) > edge for edge in edges_by_column[column])
            assert x[start : start + 4].tolist() == [float(k == bucket) for k in range(4)]
        assert data.train.y[row] == (table.cells["income"][row] == ">50K")
        assert data.groups[data.train.group[row]] == table.cells["sex"][row]


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("adult.data", ", Female", "", "cells, not 15"),
        ("adult.data", "Female", "?", "column 'sex': expected one of Female, Male, not '?'"),
        ("adult.data", ">50K", ">50K.", "column 'income': expected one of <=50K, >50K, not '>50K.'"),
        ("adult.test", ">50K.", ">50K", "column 'income': expected one of <=50K., >50K., not '>50K'"),
        ("adult.test", ", 40, ", ", many, ", "column 'hours-per-week': expected a number in 0..100000, not 'many'"),
    ],
)
def test_damage_is_refused_in_one_line_that_names_the_file(
    files: Files, name: str, old: str, new: str, message: str
) -> None:
    path = replaced(files, name, old, new)
    with pytest.raises(DataError) as caught:
        load_adult(files)
    assert str(caught.value).startswith(f"{path} is damaged: line ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "\n", "|1x3 Cross validator\n"])
def test_a_file_without_rows_is_refused_by_name(files: Files, text: str) -> None:
    path = files.root / "adult" / "adult.test"
    path.write_text(text)
    with pytest.raises(DataError, match="it has no rows") as caught:
        load_adult(files)
    assert str(path) in str(caught.value)


def test_a_file_with_one_class_is_refused_by_name(files: Files) -> None:
    path = files.root / "adult" / "adult.data"
    path.write_text(path.read_text().replace(">50K", "<=50K"))
    with pytest.raises(DataError, match="all of its 400 rows have the same income") as caught:
        load_adult(files)
    assert str(path) in str(caught.value)


def test_an_unofficial_or_missing_file_is_refused_by_name(files: Files) -> None:
    strict = Files(files.root, download=False)
    with pytest.raises(DataError, match="not the official file"):
        load_adult(strict)
    (files.root / "adult" / "adult.test").unlink()
    with pytest.raises(DataError, match=r"missing file .*adult.test: get it from https://"):
        load_adult(files)
