"""Records of earlier versions get what their data say, which is what the run itself has recorded."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.store.results import ResultStore
from tools.data_of_records import complete


@pytest.fixture
def store(tmp_path):
    """The records of two runs."""
    words = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1", "--seeds", "2", "--out", str(tmp_path)]
    assert CliRunner().invoke(main, words, catch_exceptions=False).exit_code == 0
    return ResultStore(tmp_path / "results")


def without_tests(store: ResultStore) -> list[Path]:
    """Make the records those of an earlier version."""
    results = store.load()[0]
    earlier = [
        replace(
            one,
            about=replace(one.about, problem=""),
            data=replace(one.data, tests="", pool=0, constant={}),
            selected=replace(one.selected, oracle_epoch=None, oracle=None, floor={}, resampled={}),
        )
        for one in results
    ]
    return [one.save(store.folder) for one in earlier]


def test_all_is_as_the_run_has_it(store):
    before = store.load()[0]
    without_tests(store)
    assert [one.data.tests for one in store.load()[0]] == ["", ""]
    assert complete(store.folder, None) == {}
    assert store.load() == (before, {})
    for one in before:
        assert one.data.constant and one.selected.floor and one.selected.oracle is not None and one.about.problem
    assert before[0].data.tests != before[1].data.tests  # each seed draws its own
    assert before[0].data.pool == 1797
    assert complete(store.folder, None) == {}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"content": "0" * 12}, "other hash of the data"),
        ({"tests": "0" * 12}, "other test sets"),
    ],
)
def test_data_that_are_not_those_of_the_run_are_named_and_left(store, change, why):
    path = without_tests(store)[0]
    first = store.load()[0][0]
    replace(first, data=replace(first.data, **change)).save(store.folder)
    before = path.read_bytes()
    assert complete(store.folder, None) == {path.relative_to(store.folder).as_posix(): why}
    assert path.read_bytes() == before
    assert store.load()[0][1].data.tests
