"""The folder of records: what lies there is whole, or it is named."""

import dataclasses
import errno
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.errors import StoreError
from bench.records.run import RunResult
from bench.records.sections import Code
from bench.records.sidecar import Sidecar, digest_of, sidecar_path
from bench.records.spec import digest
from bench.store.results import ResultStore

FORMAT = RunResult.FORMAT
ARRAYS = {"test/last": np.eye(2, dtype=np.float16)}


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


def files(store: ResultStore) -> list[Path]:
    return sorted(path for path in store.folder.rglob("*") if not path.is_dir())


def test_a_record_is_kept_by_data_set_method_seed_and_key(store, make_result):
    result = make_result(dataset="a/b", method="learner", seed=7)
    path = store.put(result)
    assert path == store.folder / "class_fairness-v1" / "a~b" / f"a-b.learner.7.{result.spec.key}.json"
    assert path == store.path(result.spec)
    assert path.read_text() == result.to_json()
    assert store.get(result.spec) == result
    assert store.load() == ([result], {})


def test_a_failure_is_kept_but_is_no_finished_run(store, make_result):
    failure = make_result(status="diverged")
    store.put(failure)
    assert store.get(failure.spec) is None
    assert store.load()[0] == [failure]
    store.put(make_result())
    assert store.load()[0] == [make_result()]


def test_predictions_and_history_lie_beside_the_record(store, make_result):
    result = make_result(arrays=ARRAYS)
    path = store.put(result)
    assert files(store) == sorted([path, path.with_name(f"{path.stem}.{result.sidecar}.xz")])
    read = Sidecar.from_bytes(sidecar_path(path, result.sidecar).read_bytes(), result.sidecar)
    assert read.arrays["test/last"].tolist() == [[1, 0], [0, 1]]
    assert read.history == {"epoch": [2, 3], "step": [5, 10]}


def test_a_run_without_anything_beside_it_has_no_sidecar(store, make_result):
    result = make_result(history={})
    path = store.put(result)
    assert (result.sidecar, files(store)) == ("", [path])
    assert store.sidecar(store.load()[0][0]) == Sidecar()


def test_another_sidecar_takes_the_place_of_the_older_one(store, make_result):
    """Of the same code and numbers nothing is set aside, and nothing is left over."""
    path = store.put(
        make_result(status="diverged", beside=Sidecar({"epoch": [1]}), sidecar=Sidecar({"epoch": [1]}).digest)
    )
    result = make_result(arrays=ARRAYS)
    store.put(result)
    store.put(make_result(seconds=2.0, arrays=ARRAYS))
    assert files(store) == sorted([path, sidecar_path(path, result.sidecar)])


def test_a_record_that_was_read_is_put_without_what_lies_beside_it(store, make_result):
    """And leaves that in its place."""
    store.put(make_result(arrays=ARRAYS))
    before = files(store)
    store.put(dataclasses.replace(store.load()[0][0], notes=["read again"]))
    assert files(store) == before
    assert store.load()[0][0].notes == ["read again"]
    assert store.sidecar(store.load()[0][0]).arrays.keys() == ARRAYS.keys()


@pytest.mark.parametrize("own", [True, False])
def test_a_folder_that_is_named_like_a_sidecar_is_not_lost(store, make_result, own):
    """It is set aside where the run's own sidecar belongs; another one stays."""
    result = make_result(arrays=ARRAYS)
    folder = sidecar_path(store.path(result.spec), result.sidecar if own else "0123456789ab")
    folder.mkdir(parents=True)
    (folder / "notes").write_text("mine")
    path = store.put(result)
    assert store.load() == ([result], {})
    assert store.sidecar(store.load()[0][0]).arrays.keys() == ARRAYS.keys()
    kept = path.parent / "superseded" / folder.name if own else folder
    assert (kept / "notes").read_text() == "mine"


def failing(error: BaseException):
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
@pytest.mark.parametrize("after", range(4))
def test_a_full_disk_leaves_the_old_record_and_nothing_else(store, make_result, monkeypatch, step, after):
    """Full when the older record or its sidecar is copied, or for the new sidecar or record. A record of a
    failed run, which is not copied, keeps its sidecar too.
    """
    old = Sidecar({"epoch": [1]})
    failed = make_result(seed=1, status="diverged", beside=old, sidecar=old.digest)
    for result in (make_result(seconds=1.0, arrays=ARRAYS), failed):
        store.put(result)
    before = files(store)
    owner, name = (os, "fsync") if step == "os.fsync" else (Path, "replace")
    real, calls = getattr(owner, name), []

    def full(*given):
        calls.append(given)
        return real(*given) if len(calls) <= after else failing(FULL)()

    for seed in (0, 1) if after < 2 else (0,):
        calls.clear()
        with monkeypatch.context() as patch:
            patch.setattr(step, full)
            with pytest.raises(StoreError, match=r"cannot write .*: No space left on device; nothing was changed"):
                store.put(make_result(seed=seed, seconds=2.0, arrays={"test/last": np.zeros(9)}))
        assert [path for path in files(store) if path.parent.name != "superseded"] == before
    assert store.load() == ([make_result(seconds=1.0, arrays=ARRAYS), failed], {})
    assert [store.sidecar(result).digest for result in store.load()[0]] == [
        result.sidecar for result in store.load()[0]
    ]


def test_a_disk_that_is_full_after_some_bytes(store, make_result):
    """The real thing: the system refuses to write more than 4 kB to one file."""
    import resource

    store.put(make_result())
    before = files(store)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"\.json: File too large"):
            store.put(make_result(error="x" * 10_000))
        with pytest.raises(StoreError, match=r"\.xz: File too large"):
            store.put(make_result(seed=1, arrays={"noise": np.random.default_rng(0).random(1000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(store) == before
    assert store.get(make_result().spec) == make_result()


@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_without_its_sidecar_no_record_is_written_and_without_its_record_no_sidecar(
    store, make_result, monkeypatch, error
):
    replace = Path.replace
    for ending in ("xz", "json"):
        with monkeypatch.context() as patch:
            patch.setattr(
                Path, "replace", lambda a, b, e=ending: failing(error)() if str(b).endswith(e) else replace(a, b)
            )
            with pytest.raises((StoreError, KeyboardInterrupt)):
                store.put(make_result(arrays=ARRAYS))
        assert files(store) == []
    monkeypatch.setattr(RunResult, "save", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.put(make_result(arrays=ARRAYS))
    assert files(store) == []


def test_an_interrupt_passes_and_leaves_no_part(store, make_result, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.put(make_result())
    assert files(store) == []


def changed(text: str, **values: object) -> str:
    return json.dumps(json.loads(text) | values)


def without(text: str, name: str) -> str:
    return json.dumps({k: v for k, v in json.loads(text).items() if k != name})


DAMAGES = {
    "empty": (lambda text: "", "Expecting value"),
    "truncated": (lambda text: text[: len(text) // 2], "delimiter|Expecting|Unterminated"),
    "an empty list": (lambda text: "[]", "^not a record: it is a list$"),
    "a list of pairs": (lambda text: '[["format", 2]]', "^not a record: it is a list$"),
    "a list of texts": (lambda text: '["digits.erm.0.0123456789ab"]', "^not a record: it is a list$"),
    "a text": (lambda text: '"mine"', "^not a record: it is a text$"),
    "a number": (lambda text: "3", "^not a record: it is a number$"),
    "a fraction": (lambda text: "0.5", "^not a record: it is a number$"),
    "true": (lambda text: "true", "^not a record: it is true or false$"),
    "null": (lambda text: "null", "^not a record: it is null$"),
    "another object": (lambda text: "{}", "^not a record: it has no format$"),
    "no digest": (lambda text: without(text, "digest"), "^not a record: it has no digest$"),
    "a spec that was edited": (lambda text: text.replace('"seed": 0', '"seed": 1'), "does not have its digest"),
    "a key that was edited": (lambda text: changed(text, key="0" * 12), "does not have its digest"),
    "a metric that was edited": (lambda text: text.replace("0.25", "0.05"), "does not have its digest"),
    "a field missing": (lambda text: without(text, "about"), "does not have its digest"),
    "a field too many": (lambda text: changed(text, note=1), "does not have its digest"),
    "a later format": (
        lambda text: changed(text, format=FORMAT + 1, note=1),
        f"format {FORMAT + 1}, expected {FORMAT}: it was written by a newer version of bench",
    ),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_record_is_named_and_skipped_and_stays(store, make_result, kind):
    damage, reason = DAMAGES[kind]
    path, other = store.put(make_result(test={"tprd": 0.25, "accuracy": 0.9})), make_result(method="learner")
    store.put(other)
    path.write_text(text := damage(path.read_text()))
    results, damaged = store.load()
    assert results == [other]
    assert list(damaged) == [path]
    with pytest.raises(ValueError, match=reason):
        RunResult.from_json(text)
    assert store.get(make_result().spec) is None
    assert path.read_text() == text


def test_a_record_that_is_no_text_is_skipped(store, make_result):
    path = store.put(make_result())
    path.write_bytes(b"\xff\xfe\x00")
    assert list(store.load()[1]) == [path]
    assert store.get(make_result().spec) is None


def test_other_files_are_no_records(store):
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "digits.json.part").write_text("{")
    assert store.load() == ([], {})
    assert ResultStore(store.folder / "nowhere").load() == ([], {})


def test_a_folder_that_cannot_be_written_is_told(tmp_path, make_result):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StoreError, match=r"cannot write to .*file.*; name another folder with --out"):
            ResultStore(folder).check_writable()
        with pytest.raises(StoreError, match=r"cannot write .*: Not a directory"):
            ResultStore(folder).put(make_result())


def test_check_writable_makes_nothing_and_put_makes_the_folder(tmp_path, make_result):
    store = ResultStore(tmp_path / "a" / "b")
    store.check_writable()
    assert list(tmp_path.iterdir()) == []
    store.put(make_result())
    assert store.get(make_result().spec) == make_result()


def test_the_frame_tells_codes_apart(store, make_result):
    for seed, method in enumerate(["m1", "m2"]):
        code = Code.read({"core": "c", "plugins": {"method": method}})
        store.put(make_result(seed=seed, test={"tprd": 0.2}, code=code))
    assert list(store.frame()["code"]) == ['{"method":"m1"}', '{"method":"m2"}']


def test_the_frame_has_a_row_for_each_value(store, make_result):
    store.put(make_result(seed=1, test={"tprd": 0.2, "accuracy": 0.9}, best={"tprd": math.nan, "accuracy": 0.8}))
    store.put(make_result(seed=2, status="diverged"))
    frame = store.frame()
    assert list(frame.columns) == [
        *("key", "protocol", "dataset", "method", "options", "model", "off_recipe"),
        *("dataset_options", "protocol_options", "model_options", "recipe"),
        *("code", "validation", "seed", "rule", "epoch", "set", "metric", "value"),
        *("seconds", "steps", "parameters", "peak_memory_bytes", "peak_process_bytes"),
        *("threads", "stacked", "captured", "load"),
    ]
    assert frame.fillna(-1.0)[["seed", "rule", "epoch", "set", "metric", "value"]].to_numpy().tolist() == [
        [1, "last", 3, "test", "tprd", 0.2],
        [1, "last", 3, "test", "accuracy", 0.9],
        [1, "last", 3, "val", "accuracy", 0.5],
        [1, "best_val_accuracy", 2, "test", "tprd", -1.0],  # undefined
        [1, "best_val_accuracy", 2, "test", "accuracy", 0.8],
        [1, "best_val_accuracy", 2, "val", "accuracy", 0.5],
    ]


def test_the_frame_of_no_run_has_the_same_columns(store, make_result):
    empty = store.frame()
    store.put(make_result(seed=2, status="diverged"))
    failed = store.frame()
    store.put(make_result(seed=1))
    assert len(empty) == len(failed) == 0
    assert list(empty.columns) == list(failed.columns) == list(store.frame().columns)


# Format 1

FORMAT_1 = Path(__file__).parents[1] / "records" / "format_1" / "communities.forml.1.5f77a28ccb5b.json"


def test_a_record_of_format_1_is_read_with_its_history(store):
    path = Path(shutil.copy(FORMAT_1, store.folder))
    values = json.loads(path.read_text("utf-8"))
    ((result,), unused) = store.load()
    assert (unused, result.spec.key, result.sidecar) == ({}, "5f77a28ccb5b", "")
    assert store.get(result.spec) == result
    for rule, choice in values["selected"].items():
        assert result.selected[rule].epoch == choice["epoch"]
        assert result.selected[rule].metrics["test"] == choice["metrics"]["test"]
        assert result.selected[rule].metrics["val"].items() <= choice["metrics"]["val"].items()
        assert result.selected[rule].counts == {}
    for section in ("about", "costs", "data", "environment", "resolved", "spec"):
        was, now = values[section], dataclasses.asdict(getattr(result, section))
        if section == "resolved":
            now["recipe"] = {name: now["recipe"][name] for name in was["recipe"]}
        was["meta_step"], now["meta_step"] = [], []  # of MetaStep, which has more fields by now
        assert {name: now[name] for name in was} == was
    beside = store.sidecar(result)
    assert beside.history == values["history"]
    assert beside.arrays == {}
    assert (
        Sidecar.from_bytes(beside.to_bytes(), beside.digest).history["test/accuracy"]
        == values["history"]["test/accuracy"]
    )


def test_arrays_of_format_1_are_read_and_have_to_be_those_of_the_record(store):
    path = Path(shutil.copy(FORMAT_1, store.folder))
    np.savez_compressed(path.with_suffix(".npz"), **ARRAYS)  # it does not say whose they are
    ((result,), _) = store.load()
    assert store.sidecar(result).arrays["test/last"].tolist() == [[1, 0], [0, 1]]
    values = json.loads(path.read_text("utf-8"))
    del values["digest"]
    values["arrays"] = digest_of(ARRAYS)
    path.write_text(json.dumps(values | {"digest": digest(values)}))
    assert store.sidecar(result).arrays["test/last"].tolist() == [[1, 0], [0, 1]]
    np.savez_compressed(path.with_suffix(".npz"), **{"test/last": np.zeros(2)})
    with pytest.raises(StoreError, match="does not hold the arrays of its record"):
        store.sidecar(result)
    path.with_suffix(".npz").write_bytes(b"PK")
    with pytest.raises(StoreError, match="cannot be read"):
        store.sidecar(result)
    path.with_suffix(".npz").unlink()
    with pytest.raises(StoreError, match="is missing"):
        store.sidecar(result)


def test_a_record_of_format_1_is_set_aside_whole(store):
    """Under its name, with its arrays, when the run is repeated."""
    path = Path(shutil.copy(FORMAT_1, store.folder))
    np.savez_compressed(path.with_suffix(".npz"), **ARRAYS)
    ((result,), _) = store.load()
    beside = Sidecar({"epoch": [834]}, ARRAYS)
    store.put(dataclasses.replace(result, notes=["again"], sidecar=beside.digest, beside=beside))
    new = store.path(result.spec)
    aside = store.folder / "superseded"
    expected = [new, sidecar_path(new, beside.digest), aside / path.name, (aside / path.name).with_suffix(".npz")]
    assert files(store) == sorted(expected)
    assert (aside / path.name).read_bytes() == FORMAT_1.read_bytes()


@pytest.mark.parametrize("form", [FORMAT + 1, 99])
def test_a_newer_format_is_named_and_kept(store, make_result, form):
    path = store.put(make_result(arrays=ARRAYS))
    path.write_text(changed(path.read_text(), format=form))
    before = {file: file.read_bytes() for file in files(store)}
    why = f"format {form}, expected {FORMAT}: it was written by a newer version of bench"
    assert store.load() == ([], {path: why})
    assert store.unusable(make_result().spec) == {path: why}
    assert {file: file.read_bytes() for file in files(store)} == before


@pytest.mark.parametrize("form", [0, -1, "2", 2.0, None, True])
def test_a_format_that_never_was_is_refused(make_result, form):
    with pytest.raises(ValueError, match=f"format .*, expected {FORMAT}$"):
        RunResult.from_json(changed(make_result().to_json(), format=form))
