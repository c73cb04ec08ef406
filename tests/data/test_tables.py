"""Reading text tables and turning columns into features, against what was written and slow loops."""

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import DataError
from bench.data.tables import above, buckets, one_hot, read_table


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def test_cells_by_column_and_the_lines_they_stand_in(path: Path) -> None:
    path.write_text('|a comment\n\nname, age, sex\n"Doe, J", 30, F\n\n"Roe\nR", 40, M\n')
    table = read_table(path, ["sex", "name"])
    assert table.cells == {"sex": ["F", "M"], "name": ["Doe, J", "Roe\nR"]}
    assert list(table.lines) == [4, 7]


def test_a_file_without_a_first_line_of_names(path: Path) -> None:
    path.write_text("30,F\n40,M\n")
    assert read_table(path, ["sex"], names=["age", "sex"]).cells == {"sex": ["F", "M"]}


def test_of_columns_with_one_name_the_first_is_read(path: Path) -> None:
    path.write_text("a,b,a\n1,2,3\n")
    assert read_table(path, ["a"]).cells == {"a": ["1"]}


def test_rows_that_are_kept_keep_their_lines(path: Path) -> None:
    path.write_text("a,b\n1,x\n2,y\n3,x\n")
    table = read_table(path, ["a", "b"]).where("x".__eq__, "b")
    assert table.cells == {"a": ["1", "3"], "b": ["x", "x"]}
    assert list(table.lines) == [2, 4]
    assert len(table) == 2


def test_numbers_and_codes(path: Path) -> None:
    path.write_text("a,b\n-1.5,x\n2,y\n3e0,x\n")
    table = read_table(path, ["a", "b"])
    assert table.numbers("a", -1.5, 3).tolist() == [-1.5, 2, 3]
    assert table.codes("b", ("y", "x")).tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no rows"),
        ("a,b\n", "it has no rows"),
        ("a,c\n1,2\n", "it has no column 'b'; its columns are a, c"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, not 2"),
        ("a,b\n1,x\n", "line 2, column 'b': expected a number in 0..9, not 'x'"),
        ("a,b\n1,nan\n", "line 2, column 'b': expected a number in 0..9, not 'nan'"),
        ("a,b\n1,2\n1,10\n", "line 3, column 'b': expected a number in 0..9, not '10'"),
        ("a,b\n3,2\n", "line 2, column 'a': expected one of 1, 2, not '3'"),
        (f"a,b\n1,{'2' * 200_000}\n", "not a text of comma-separated values"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line_that_names_the_file(path: Path, text: str, message: str) -> None:
    def read() -> None:
        table = read_table(path, ["a", "b"])
        table.numbers("b", 0, 9)
        table.codes("a", ("1", "2"))

    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read()
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{path} is damaged: ")
    assert "\n" not in str(caught.value)


cells = st.text(st.characters(exclude_characters="\r\n|", exclude_categories=["C"]), min_size=1, max_size=5)


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_what_the_standard_library_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    table = read_table(path, ["a", "b"], names=["a", "b"])
    assert list(zip(table.cells["a"], table.cells["b"], strict=True)) == [(a.strip(), b.strip()) for a, b in rows]


def test_features_equal_a_slow_loop() -> None:
    values, edges = np.array([-1, 0, 1, 1.5, 2, 3, 99]), (0, 1, 2)
    bucket = [sum(value > edge for edge in edges) for value in values]
    assert buckets(values, edges).tolist() == [[float(b == k) for k in range(4)] for b in bucket]
    assert above(values, edges).tolist() == [[float(value > edge) for edge in edges] for value in values]
    assert one_hot(np.array([2, 0]), 3).tolist() == [[0, 0, 1], [1, 0, 0]]
