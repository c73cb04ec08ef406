"""Made-up records are valid, all different, and can be added to."""

import sys
from dataclasses import replace

import pytest

from bench.store.results import ResultStore
from tools import many_records


@pytest.fixture
def real(tmp_path, make_result):
    """A folder of four real records: a baseline and a method with an option, of two seeds each."""
    store = ResultStore(tmp_path / "real")
    for seed in range(2):
        store.put(make_result(seed=seed, test={"tprd": 0.2 + seed / 10, "accuracy": 0.9}))
        other = make_result("b", seed, test={"tprd": 0.1, "accuracy": 0.8}, options={"beta": 0.5})
        store.put(replace(other, selected=replace(other.selected, oracle_epoch=3, oracle=0.1)))
    return store.folder


def write(monkeypatch, real, *words):
    monkeypatch.setattr(sys, "argv", ["many_records.py", *map(str, words), "--records", str(real)])
    many_records.main()


def test_made_up_records_are_valid_and_different(monkeypatch, real, tmp_path):
    write(monkeypatch, real, 12, tmp_path / "many", "--seeds", 3)
    records, unused = ResultStore(tmp_path / "many" / "results").load()
    assert unused == {} and len(records) == 12
    assert {(r.spec.method, r.spec.seed) for r in records} == {(m, s) for m in ("erm", "b") for s in (1000, 1001, 1002)}
    assert {tuple(r.spec.options.values()) for r in records} == {(), (0.5,), (0.5 * 1.001,)}
    values = [r.selected["last"].metrics["test"]["tprd"] for r in records]
    assert len(set(values)) == 12 and all(0.095 <= value <= 0.3 for value in values)


def test_records_are_added_to_those_there_are(monkeypatch, real, tmp_path):
    write(monkeypatch, real, 2, tmp_path / "many")
    write(monkeypatch, real, 3, tmp_path / "many", "--from", 2)
    assert len(ResultStore(tmp_path / "many" / "results").load()[0]) == 5
