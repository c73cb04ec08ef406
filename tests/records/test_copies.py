"""Records under other names, twice, or with the arrays of another one: none stands for a run that it is not of."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from bench.errors import StoreError
from bench.records.arrays import digest_of_arrays, read_arrays
from bench.records.json_file import load
from bench.records.run import RunResult
from bench.records.spec import digest
from bench.throughput.corruptions import CorruptionCosts
from tests.environments import made_up_environment


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
    assert store.unusable(second.spec) == {copy: f"it holds the record that belongs in {path.name}"}
    assert store.unusable(first.spec) == {}
    assert store.load() == ([first], {})


def test_equal_copies_are_one_record(store, make_result):
    path = store.put(make_result())
    shutil.copy(path, store.folder / "a copy.json")
    (store.folder / "z.json").write_text(json.dumps(json.loads(path.read_text()), indent=2))  # the same, spaced anew
    assert store.load() == ([make_result()], {})
    assert store.get(make_result().spec) == make_result()


def test_of_different_records_of_one_run_none_is_used(store, make_result):
    ours, theirs, other = make_result(seconds=1.0), make_result(seconds=2.0), make_result("learner")
    path = store.put(ours)
    store.put(other)
    copy = store.folder / "copy of mine.json"
    copy.write_text(theirs.to_json())
    why = f"copy of mine.json, {path.name} are different records of one run: move all but one away"
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
    store.put(dataclasses.replace(failed, status="diverged", error="why", selected={}))
    other = store.put(moved).rename(store.folder / "mine.json")
    found = store.find([each.spec for each in (moved, missing, failed, finished)])
    why = f"it holds the record that belongs in {moved.path}: rename it, or move it away"
    assert [each.finished for each in found] == [None, None, None, finished]
    assert [each.unusable for each in found] == [{other: why}, {}, {}, {}]


def test_a_record_under_another_name_alone_is_named(store, make_result):
    path = store.put(make_result())
    moved = path.rename(store.folder / "mine.json")
    why = f"it holds the record that belongs in {path.name}: rename it, or move it away"
    assert store.load() == ([], {moved: why})
    assert store.get(make_result().spec) is None
    assert store.unusable(make_result().spec) == {moved: why}


def test_what_lies_in_a_subfolder_is_no_record_of_the_folder(store, make_result):
    path = store.put(make_result())
    (store.folder / "old").mkdir()
    (store.folder / "old" / path.name).write_text(make_result(seconds=2.0).to_json())
    assert store.load() == ([make_result()], {})
    assert store.get(make_result().spec) == make_result()


def test_a_file_that_changes_is_searched_again(store, make_result):
    copy = store.folder / "copy.json"
    copy.write_text(make_result("learner").to_json())
    assert store.unusable(make_result().spec) == {}
    copy.write_text(make_result().to_json())
    assert list(store.unusable(make_result().spec)) == [copy]


def test_what_cannot_be_used_is_moved_aside_and_never_replaced(store, make_result):
    """Also twice, with its arrays, and where it is a folder."""
    path = store.path(make_result().spec)
    for content in ("mine", "mine too"):
        path.write_text(content)
        path.with_suffix(".npz").write_text(content)
        store.put(make_result())
        assert store.get(make_result().spec) == make_result()
    path.unlink()
    path.mkdir()
    store.put(make_result())
    aside = store.folder / "superseded"
    kept = {p.name.removeprefix(path.stem): p for p in aside.iterdir()}
    assert sorted(kept) == [".1.json", ".1.npz", ".2.json", ".json", ".npz"]
    assert [kept[name].read_text() for name in (".json", ".npz", ".1.json", ".1.npz")] == ["mine"] * 2 + [
        "mine too"
    ] * 2
    assert kept[".2.json"].is_dir()
    assert store.load() == ([make_result()], {})


COSTS = CorruptionCosts("cmd", "public 1", "noise", 3, 10, 5, [], made_up_environment())


def test_records_of_other_kinds_are_checked_alike(tmp_path):
    path = COSTS.save(tmp_path)
    shutil.copy(path, tmp_path / "copy.json")
    assert load(tmp_path, CorruptionCosts) == ([COSTS], {})
    (tmp_path / "copy.json").write_text(dataclasses.replace(COSTS, severity=5).to_json())
    assert (load(tmp_path, CorruptionCosts)[0], len(load(tmp_path, CorruptionCosts)[1])) == ([], 2)
    path.unlink()
    assert "rename it" in load(tmp_path, CorruptionCosts)[1][tmp_path / "copy.json"]
    path.write_text("mine")
    COSTS.save(tmp_path)
    assert (tmp_path / "superseded" / path.name).read_text() == "mine"


ARRAYS = {"test/last": np.arange(6, dtype=np.float16).reshape(2, 3), "train/weight": np.ones(4)}


def test_the_digest_of_arrays_is_that_of_their_names_types_shapes_and_values():
    changed = [
        {**ARRAYS, "test/last": ARRAYS["test/last"] + 1},
        {**ARRAYS, "test/last": ARRAYS["test/last"].reshape(3, 2)},
        {**ARRAYS, "train/weight": np.ones(4).view(np.int64)},
        {"test/last": ARRAYS["test/last"]},
        {"test/first": ARRAYS["test/last"], "train/weight": ARRAYS["train/weight"]},
    ]
    assert len({digest_of_arrays(arrays) for arrays in [ARRAYS, *changed]}) == 6
    assert digest_of_arrays(dict(reversed(ARRAYS.items()))) == digest_of_arrays(ARRAYS)
    assert digest_of_arrays({}) == ""


def test_arrays_of_another_record_are_refused(tmp_path, store, make_result):
    path = store.put(make_result(arrays=digest_of_arrays(ARRAYS)), ARRAYS).with_suffix(".npz")
    kept = read_arrays(path, store.load()[0][0].arrays)
    assert {name: array.tolist() for name, array in kept.items()} == {n: a.tolist() for n, a in ARRAYS.items()}
    with pytest.raises(StoreError, match="does not hold the arrays of its record: their digest is not aaaaaaaaaaaa"):
        read_arrays(path, "a" * 12)
    assert read_arrays(path, "").keys() == ARRAYS.keys()  # of an earlier version
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(StoreError, match="cannot be read"):
        read_arrays(path, "")
    with pytest.raises(StoreError, match="is missing"):
        read_arrays(tmp_path / "none.npz", "")
