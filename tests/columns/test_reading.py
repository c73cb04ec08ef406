"""Columns say what the files of records say, however they were kept, changed or read; by a plain loop over the JSON."""

import json
import math
import random
import shutil
import sys

import pandas as pd
import pytest

from bench.columns import cache, parts, reading
from bench.columns.frame import frame_of
from bench.columns.lines import COSTS
from bench.columns.reading import read_columns
from bench.errors import StoreError
from bench.records.run import RunResult
from bench.store.reading import records_with_files
from bench.store.results import ResultStore
from tests.store.made import refuse_to_list


@pytest.fixture
def folder(tmp_path, make_result, monkeypatch):
    """Of 24 records: two tasks, a method with an option, a failed run; and everything that is read is kept."""
    monkeypatch.setattr(reading, "WORTH_KEEPING", 1)
    monkeypatch.setattr(cache, "SETTLED", 0)
    store = ResultStore(tmp_path / "results")
    for seed in range(6):
        for dataset in ("digits", "moons"):
            best = {"tprd": None, "accuracy": 0.5 + seed / 100}
            store.put(make_result(seed=seed, dataset=dataset, test={"tprd": seed / 10, "accuracy": 0.5}, best=best))
            options = {"beta": 0.5, "alpha": seed % 2}
            store.put(make_result("b", seed, dataset=dataset, test={"tprd": 0.25}, options=options, seconds=seed))
    store.put(make_result("c", status="diverged"))
    return store.folder


def frame(folder):
    tasks, unused = read_columns(folder)
    assert unused == {}
    return frame_of(tasks)


def test_a_subfolder_that_cannot_be_read_is_named_and_the_rest_is_read(folder, monkeypatch):
    """What was kept of its records stays, so that they are not read again."""
    whole, locked = frame(folder), folder / "class_fairness-v1" / "moons"
    kept = {path.name: path.read_bytes() for path in (folder / cache.FOLDER).iterdir()}
    with monkeypatch.context() as patch:
        refuse_to_list(locked, patch)
        tasks, unused = read_columns(folder)
        records, also_unused = ResultStore(folder).load()
        pairs, unused_too = records_with_files(folder, RunResult)
    assert list(unused) == [locked] and "the right to read it is missing" in unused[locked]
    assert unused == also_unused == unused_too
    assert {record.spec.dataset for record in records} == {"digits"} and [record for record, _ in pairs] == records
    expected = whole[whole["dataset"] == "digits"].reset_index(drop=True)
    pd.testing.assert_frame_equal(frame_of(tasks), expected, check_categorical=False)
    assert {path.name: path.read_bytes() for path in (folder / cache.FOLDER).iterdir()} == kept
    assert_right(folder)


def by_a_plain_loop(folder):
    rows = []
    for path in sorted(folder.glob("*-v*/*/*.json"), key=str):
        record = json.loads(path.read_text())
        spec, selected = record["spec"], record.get("selected", {"epochs": {}})
        for place, (rule, epoch) in enumerate(selected["epochs"].items()):
            for of, metrics in selected["metrics"].items():
                for metric, values in metrics.items():
                    value = math.nan if values[place] is None else values[place]
                    options = json.dumps(spec.get("options", {}), sort_keys=True, separators=(",", ":"))
                    row = [record["key"], spec["method"], spec["dataset"], options, spec["seed"]]
                    rows.append([*row, rule, epoch, of, metric, value, record["costs"]["train_seconds"]])
    names = ("key", "method", "dataset", "options", "seed", "rule", "epoch", "set", "metric", "value", "seconds")
    return pd.DataFrame(rows, columns=names)


def assert_right(folder):
    expected = by_a_plain_loop(folder)
    pd.testing.assert_frame_equal(frame(folder)[list(expected.columns)], expected)


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read, which a test may empty."""
    names = []
    whole = reading.read_parts

    def watched(folder, files):
        names.extend(file for file, _ in files)
        return whole(folder, files)

    monkeypatch.setattr(reading, "read_parts", watched)
    return names


def test_columns_say_what_the_files_say(folder):
    assert_right(folder)
    assert list(frame(folder).columns[-len(COSTS) :]) == list(COSTS)
    assert set(frame_of(read_columns(folder)[0], ["accuracy"])["metric"]) == {"accuracy"}


def test_records_are_read_once(folder, read):
    assert_right(folder)
    assert len(read) == 25
    read.clear()
    assert_right(folder)
    assert read == []


def test_records_that_were_added_changed_or_removed_are_seen(folder, read, make_result):
    frame(folder)
    read.clear()
    store = ResultStore(folder)
    store.put(make_result("d", test={"tprd": 0.5}))
    changed = store.path(make_result(seed=3).spec)
    store.put(make_result(seed=3, test={"tprd": 0.75}))
    store.path(make_result(seed=4).spec).unlink()
    assert_right(folder)
    assert sorted(read) == sorted(
        str(path.relative_to(folder)) for path in (store.path(make_result("d").spec), changed)
    )
    read.clear()
    changed.write_text(changed.read_text().replace("0.75", "0.70"))  # of the same size
    assert list(read_columns(folder)[1]) == [changed] and len(read) == 1


def test_a_record_that_changed_just_before_it_was_read_is_read_again(folder, read, monkeypatch):
    """Its next change might leave no trace in the times of its file."""
    monkeypatch.setattr(cache, "SETTLED", 10**12)
    for _ in range(2):
        read.clear()
        assert_right(folder)
        assert len(read) == 25


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_of_columns_is_not_believed(folder, read, seed):
    frame(folder)
    chance = random.Random(seed)
    path = sorted((folder / cache.FOLDER).glob("*.arrow"))[seed % 2]
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content[: None if seed else 100])
    read.clear()
    assert_right(folder)
    assert 0 < len(read) < 25


def test_columns_that_other_code_has_read_are_not_believed(folder, read, monkeypatch):
    frame(folder)
    read.clear()
    monkeypatch.setattr(cache, "_reader", lambda: b"other checks")
    assert_right(folder)
    assert len(read) == 25


@pytest.mark.parametrize("spoil", ["removed", "a file"])
def test_columns_that_are_gone_or_cannot_be_kept_are_not_missed(folder, spoil):
    frame(folder)
    shutil.rmtree(folder / cache.FOLDER)
    if spoil == "a file":
        (folder / cache.FOLDER).write_text("mine")
    assert_right(folder)
    assert spoil == "removed" or (folder / cache.FOLDER).read_text() == "mine"


def test_nothing_is_written_where_nothing_is_to_be_kept(folder):
    read_columns(folder, keep=False)
    assert not (folder / cache.FOLDER).exists()


def test_copies_are_one_record_and_different_records_of_a_run_none(folder, make_result):
    path = ResultStore(folder).path(make_result(seed=2).spec)
    copy = shutil.copy(path, folder / "copy.json")
    assert len(frame(folder)) == len(by_a_plain_loop(folder))
    other = make_result(seed=2, test={"tprd": 1.0})
    copy.write_text(other.to_json())
    tasks, unused = read_columns(folder)
    assert sorted(unused) == sorted([copy, path]) and all("different records" in why for why in unused.values())
    assert len(read_columns(folder)[0]) == len(tasks) == 2


def test_several_processes_read_the_same(folder, monkeypatch):
    expected = frame(folder)
    shutil.rmtree(folder / cache.FOLDER)
    for name, number in (("MANY", 2), ("BYTES", 6000)):
        monkeypatch.setattr(parts, name, number)
    monkeypatch.setattr(parts, "_cores", lambda: 2)
    pd.testing.assert_frame_equal(frame(folder), expected)


def test_a_process_that_ends_is_an_error(folder, monkeypatch):
    monkeypatch.setattr(parts, "MANY", 2)
    monkeypatch.setattr(parts, "BYTES", 6000)
    monkeypatch.setattr(parts, "_cores", lambda: 2)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(StoreError, match=r"a process that read the records in .* ended with exit code"):
        read_columns(folder)
