"""Records under other names or in other folders, twice, or with the sidecar of another one: none stands for a run that
it is not of.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from bench.errors import StoreError
from bench.records.json_file import load
from bench.records.run import RunResult
from bench.records.selections import Selections
from bench.records.sidecar import sidecar_path
from bench.records.spec import digest
from bench.store.results import ResultStore
from bench.throughput.corruptions import CorruptionCosts
from tests.environments import made_up_environment
from tests.store.made import refuse_to_list


def signed(text, **entries):
    """The record with these entries, and a digest that is right."""
    values = json.loads(text) | entries
    del values["digest"]
    return json.dumps(values | {"digest": digest(values)})


def test_a_key_that_is_not_its_specs_is_no_record(make_result):
    with pytest.raises(ValueError, match=f"its key 000000000000 is not that of its spec, {make_result().spec.key}"):
        RunResult.from_json(signed(make_result().to_json(), key="0" * 12))


def test_a_copy_with_another_seed_in_its_name_is_no_record_of_that_seed(store, make_result):
    first, second = make_result(seed=0), make_result(seed=1)
    path = store.put(first)
    copy = shutil.copy(path, store.path(second.spec))
    assert store.get(first.spec) == first
    assert store.get(second.spec) is None
    assert store.unusable(second.spec) == {copy: f"it holds the record that belongs in {first.path}"}
    assert store.unusable(first.spec) == {}
    assert store.load() == ([first], {})


def test_equal_copies_are_one_record(store, make_result):
    path = store.put(make_result())
    shutil.copy(path, path.parent / "a copy.json")
    (store.folder / "z.json").write_text(json.dumps(json.loads(path.read_text()), indent=2))  # the same, spaced anew
    assert store.load() == ([make_result()], {})
    assert store.get(make_result().spec) == make_result()


def test_of_different_records_of_one_run_none_is_used(store, make_result):
    ours, theirs, other = make_result(seconds=1.0), make_result(seconds=2.0), make_result("learner")
    path = store.put(ours)
    store.put(other)
    copy = path.parent / "copy of mine.json"
    copy.write_text(theirs.to_json())
    why = (
        f"copy of mine.json, {path.name} are different records of one run: move all but one away, each with its sidecar"
    )
    assert store.load() == ([other], {copy: why, path: why})
    assert store.get(ours.spec) is None
    assert store.unusable(ours.spec) == {copy: why, path: why}
    copy.unlink()
    assert store.get(ours.spec) == ours
    assert store.load() == ([ours, other], {})


def test_several_runs_are_looked_for_at_once(store, make_result):
    """Each as alone: finished, failed, without a record, and under another name."""
    finished, failed, missing, moved = (make_result(seed=seed) for seed in range(4))
    store.put(finished)
    store.put(dataclasses.replace(failed, status="diverged", error="why", selected=Selections()))
    other = store.put(moved).rename(store.folder / "mine.json")
    found = store.find([each.spec for each in (moved, missing, failed, finished)])
    why = f"it holds the record that belongs in {moved.path}: rename it, or move it away"
    assert [each.finished for each in found] == [None, None, None, finished]
    assert [each.unusable for each in found] == [{other: why}, {}, {}, {}]


def test_a_record_under_another_name_alone_is_named(store, make_result):
    path = store.put(make_result())
    moved = path.rename(store.folder / "mine.json")
    why = f"it holds the record that belongs in {make_result().path}: rename it, or move it away"
    assert store.load() == ([], {moved: why})
    assert store.get(make_result().spec) is None
    assert store.unusable(make_result().spec) == {moved: why}


FOLDERS = [
    ".",
    "class_fairness-v1",
    "class_fairness-v2/digits",
    "group_fairness-v1/moons",
    "class_fairness-v1/digits/a/b",
]
"""Where records of earlier versions lie, and those that were moved by hand."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_record_is_found_wherever_it_lies(store, make_result, folder):
    """With what lies beside it. A new one takes its usual place, and the older one is set aside where it lay."""
    result = make_result(arrays=ARRAYS)
    path, beside = store.put(result), sidecar_path(store.path(result.spec), result.sidecar)
    other = store.folder / folder
    other.mkdir(parents=True, exist_ok=True)
    moved = [file.rename(other / file.name) for file in (path, beside)]
    assert store.load() == ([result], {})
    assert store.find([result.spec])[0].files == (moved[0],)
    assert store.get(result.spec) == result
    assert store.sidecar(store.get(result.spec)).digest == result.sidecar
    later = make_result(seconds=2.0, arrays=ARRAYS)
    store.put(later)
    assert store.load() == ([later], {})
    assert sorted(file.name for file in (other / "superseded").iterdir()) == sorted(file.name for file in moved)
    assert (path.exists(), beside.exists()) == (True, True)
    assert [file.exists() for file in moved] == [other == path.parent] * 2


def test_equal_copies_in_several_folders_are_one_record(store, make_result):
    """The sidecar of one of them will do."""
    result = make_result(arrays=ARRAYS)
    path = store.put(result)
    for folder in FOLDERS:
        (store.folder / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, store.folder / folder)
    assert store.load() == ([result], {})
    assert store.get(result.spec) == result
    assert store.sidecar(store.load()[0][0]).digest == result.sidecar
    store.put(make_result(seconds=2.0, arrays=ARRAYS))
    assert store.load() == ([make_result(seconds=2.0, arrays=ARRAYS)], {})
    assert [found for found in store.folder.rglob(path.name) if found.parent.name != "superseded"] == [path]


def test_different_records_in_two_folders_are_named_with_these(store, make_result):
    path, flat = store.put(make_result()), store.folder / store.path(make_result().spec).name
    flat.write_text(make_result(seconds=2.0).to_json())
    why = f"{path}, {flat} are different records of one run: move all but one away, each with its sidecar"
    assert store.load() == ([], {path: why, flat: why})
    assert store.unusable(make_result().spec) == {path: why, flat: why}


def test_what_was_set_aside_or_is_hidden_is_no_record(store, make_result):
    path = store.put(make_result())
    for folder in ("superseded", "class_fairness-v1/superseded/digits", ".ipynb_checkpoints"):
        (store.folder / folder).mkdir(parents=True)
        (store.folder / folder / path.name).write_text(make_result(seconds=2.0).to_json())
    assert store.load() == ([make_result()], {})
    assert store.get(make_result().spec) == make_result()


def test_links_are_followed_and_each_folder_is_looked_at_once(store, make_result, tmp_path):
    """Of a folder that lies on another disk, and of one that holds itself."""
    result = make_result(arrays=ARRAYS)
    store.put(result)
    away = (store.folder / "class_fairness-v1").rename(tmp_path / "away")
    (store.folder / "class_fairness-v1").symlink_to(away)
    (away / "all").symlink_to(store.folder)
    (away / "again").symlink_to(away)
    assert store.load() == ([result], {})
    assert store.get(result.spec) == result
    linked = ResultStore(tmp_path / "link")
    linked.folder.symlink_to(store.folder)
    assert linked.load() == ([result], {})
    assert linked.sidecar(linked.get(result.spec)).digest == result.sidecar


def test_a_link_to_nothing_and_a_folder_with_a_records_name_are_named(store, make_result):
    path = store.path(make_result().spec)
    path.mkdir(parents=True)
    (path / "inside.json").write_text(make_result("learner").to_json())
    link = store.folder / "x.json"
    link.symlink_to(store.folder / "nothing")
    assert store.load() == ([], {path: "it cannot be read: Is a directory", link: "it is a link to nothing"})
    assert store.unusable(make_result().spec) == {path: "it cannot be read: Is a directory"}


def test_a_folder_that_cannot_be_read_is_named_and_stays(store, make_result, monkeypatch):
    """It may hold the record of any run, so none is trained or moved because of what is not there; others are read."""
    store.put(make_result())
    locked = store.folder / "group_fairness-v1"
    locked.mkdir()
    refuse_to_list(locked, monkeypatch)
    results, why = store.load()
    assert results == [make_result()] and list(why) == [locked]
    assert why[locked].startswith("it cannot be read: Permission denied, as the right to read it is missing")
    assert store.unusable(make_result().spec) == why
    store.put(make_result(seconds=2.0))
    assert locked.is_dir()


def test_a_file_that_changes_is_searched_again(store, make_result):
    copy = store.path(make_result().spec).parent / "copy.json"
    copy.parent.mkdir(parents=True)
    copy.write_text(make_result("learner").to_json())
    assert store.unusable(make_result().spec) == {}
    copy.write_text(make_result().to_json())
    assert list(store.unusable(make_result().spec)) == [copy]


def test_what_cannot_be_used_is_moved_aside_and_never_replaced(store, make_result):
    """Also twice, with all that lies beside it, and where it is a folder."""
    result = make_result(arrays=ARRAYS)
    path = store.path(result.spec)
    path.parent.mkdir(parents=True)
    for content in ("mine", "mine too"):
        path.write_text(content)
        path.with_suffix(".npz").write_text(content)
        sidecar_path(path, "f" * 12).write_text(content)
        store.put(result)
        assert store.get(result.spec) == result
        assert store.sidecar(store.load()[0][0]).digest == result.sidecar
        sidecar_path(path, result.sidecar).unlink()
    path.unlink()
    path.mkdir()
    store.put(result)
    kept = {p.name.removeprefix(path.stem): p for p in (path.parent / "superseded").iterdir()}
    beside = f".{'f' * 12}.xz"
    expected = {".json": "mine", ".npz": "mine", beside: "mine"}
    expected |= {f".1{name}": "mine too" for name in expected}
    assert kept.pop(".2.json").is_dir()
    assert {name: file.read_text() for name, file in kept.items()} == expected
    assert store.load() == ([result], {})


def test_a_record_that_is_set_aside_twice_keeps_its_own_sidecar(store, make_result):
    """Also under the number that it gets: the folder can be read as one of records."""
    for value in (1.0, 2.0, 3.0):
        store.put(make_result(test={"accuracy": value / 10}, arrays={"test/last": np.full(3, value)}))
    aside = store.path(make_result().spec).parent / "superseded"
    for number, value in (("", 1.0), (".1", 2.0)):
        (record,) = aside.glob(f"*.{make_result().spec.key}{number}.json")
        result = RunResult.from_json(record.read_text())
        assert result.selected["last"].metrics["test"]["accuracy"] == value / 10
        assert sidecar_path(record, result.sidecar).exists()


COSTS = CorruptionCosts("cmd", "public 1", "noise", 3, 10, 5, [], made_up_environment())


def test_records_of_other_kinds_are_checked_alike(tmp_path):
    path = COSTS.save(tmp_path)
    shutil.copy(path, tmp_path / "copy.json")
    assert load(tmp_path, CorruptionCosts) == ([COSTS], {})
    (tmp_path / "copy.json").write_text(dataclasses.replace(COSTS, severity=5).to_json())
    why = f"copy.json, {path.name} are different records of one run: move all but one away"
    assert load(tmp_path, CorruptionCosts) == ([], {path: why, tmp_path / "copy.json": why})
    path.unlink()
    assert "rename it" in load(tmp_path, CorruptionCosts)[1][tmp_path / "copy.json"]
    path.write_text("mine")
    COSTS.save(tmp_path)
    assert (tmp_path / "superseded" / path.name).read_text() == "mine"


ARRAYS = {"test/last": np.arange(6, dtype=np.float16).reshape(2, 3), "train/weight": np.ones(4)}


def test_the_sidecar_of_another_record_is_refused(store, make_result):
    result = make_result(arrays=ARRAYS)
    store.put(result)
    (read,) = store.load()[0]
    kept = store.sidecar(read)
    assert {name: array.tolist() for name, array in kept.arrays.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    assert kept.history == {"epoch": [2, 3], "step": [5, 10]}
    path = sidecar_path(store.path(result.spec), result.sidecar)
    content = path.read_bytes()
    path.write_bytes(make_result(arrays={"test/last": np.ones(2)}).beside.to_bytes())
    with pytest.raises(StoreError, match=rf"{path.name}: it does not belong to its record: its digest is"):
        store.sidecar(read)
    path.write_bytes(content[:100])
    with pytest.raises(StoreError, match=rf"{path.name}: it is no sidecar of a record"):
        store.sidecar(read)
    path.unlink()
    with pytest.raises(StoreError, match=rf"{path.name} is missing"):
        store.sidecar(read)
    path.mkdir()
    with pytest.raises(StoreError, match=rf"{path.name} cannot be read: Is a directory"):
        store.sidecar(read)


def test_a_record_that_was_read_asks_for_the_store(make_result):
    read = RunResult.from_json(make_result(arrays=ARRAYS).to_json())
    for name in ("history", "arrays"):
        with pytest.raises(StoreError, match=f"what lies beside the record of run {read.spec.key} was not read: ask"):
            getattr(read, name)
