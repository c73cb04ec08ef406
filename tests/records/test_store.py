"""Run specs, records and the folder that holds them."""

import dataclasses
import errno
import hashlib
import json
import math
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import StoreError
from bench.records.json_file import FORMAT
from bench.records.run import SECTIONS, RunResult
from bench.records.sections import Code
from bench.records.spec import RunSpec, digest
from bench.store.results import ResultStore

SPEC = RunSpec("digits", "erm", "mlp", "class_fairness/1", 3, options={"beta": 0.5})


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path)


# RunSpec


def test_the_key_is_the_sha256_of_the_canonical_json():
    text = (
        '{"dataset":"digits","dataset_options":{},"method":"erm","model":"mlp","model_options":{},'
        '"options":{"beta":0.5},"protocol":"class_fairness/1","protocol_options":{},"recipe":{},"seed":3,"settings":"","validation":"shared"}'
    )
    assert SPEC.key == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_every_field_changes_the_key():
    other = {"seed": 4, "options": {"beta": 0.6}, "model_options": {"a": 1}, "recipe": {"lr": 1.0}}
    names = [f.name for f in dataclasses.fields(RunSpec)]
    keys = {dataclasses.replace(SPEC, **{name: other.get(name, "other")}).key for name in names}
    assert len(keys | {SPEC.key}) == len(names) + 1


@given(st.permutations([("a", 1), ("b", (2.0, 3.0)), ("c", None)]))
def test_the_order_of_options_matters_to_neither_key_nor_command(items):
    def spec(found: dict[str, object]) -> RunSpec:
        return dataclasses.replace(SPEC, options=found, recipe=found, model_options=found)

    a, b = spec(dict(items)), spec(dict(sorted(items)))
    assert a.key == b.key
    assert a.command("mlp", "class_fairness") == b.command("mlp", "class_fairness")


def test_the_command_leaves_out_what_the_data_set_says():
    spec = dataclasses.replace(SPEC, options={})
    assert spec.command("mlp", "class_fairness") == "bench run --method erm --dataset digits --seed 3"
    assert spec.command("cnn", "other") == (
        "bench run --method erm --dataset digits --model mlp --protocol class_fairness --seed 3"
    )


def test_the_command_names_every_difference_as_the_shell_reads_it():
    spec = dataclasses.replace(
        SPEC,
        dataset="celeba[A|B]",
        options={"limit": None, "note": "a b"},
        model_options={"hidden": (64, 32)},
        recipe={"epochs": 5, "train_size": 10, "batch_size": 2, "lr": 0.1, "augment": False},
        validation="paper",
    )
    assert shlex.split(spec.command("mlp", "class_fairness")) == [
        *("bench", "run", "--method", "erm", "--dataset", "celeba[A|B]"),
        *("-o", "recipe.augment=false", "--batch-size", "2", "--epochs", "5", "-o", "recipe.lr=0.1"),
        *(
            "--train-size",
            "10",
            "-o",
            "model.hidden=64,32",
            "-o",
            "limit=none",
            "-o",
            "note=a b",
            "--validation",
            "paper",
            "--seed",
            "3",
        ),
    ]


# RunResult


def test_a_record_is_read_as_it_was_written(make_result):
    result = make_result(options={"beta": 0.5}, test={"tprd": 0.25, "accuracy": 1 / 3}, status="diverged", error="ä\n|")
    assert RunResult.from_json(result.to_json()) == result
    assert (result.ok, make_result().ok) == (False, True)


def test_a_record_names_its_format_and_key_and_has_one_line_for_each_field(make_result):
    text = make_result().to_json()
    values = json.loads(text)
    assert (values["format"], values["key"]) == (FORMAT, make_result().spec.key)
    assert len(text.splitlines()) == len(values) + 2


def test_tuples_survive_as_lists_under_the_same_key(make_result):
    result = make_result(options={"target": (1.0, 3.0)}, recipe={"milestones": (0.5,)})
    read = RunResult.from_json(result.to_json())
    assert read.spec.key == result.spec.key
    assert read.to_json() == result.to_json()


def test_what_is_not_finite_becomes_null(make_result):
    history = {"epoch": [1, 2, 3], "step": [4, 8, 12], "train/loss": [1.0, math.inf, -math.inf]}
    result = make_result(test={"tprd": math.nan, "accuracy": 0.5}, history=history)
    text = result.to_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    read = RunResult.from_json(text)
    assert read.selected["last"].metrics["test"] == {"tprd": None, "accuracy": 0.5}
    assert read.history["train/loss"] == [1.0, None, None]


def test_costs_and_environment_are_not_what_equal_seeds_give_again(make_result):
    a, b = make_result(seconds=1.0, device="A"), make_result(seconds=2.0, device="B")
    assert a != b
    assert a.reproducible() == b.reproducible() != make_result(test={"tprd": 0.1}).reproducible()


def test_of_no_gpu_there_is_no_entry(make_result):
    on_cpu, on_gpu = make_result(), make_result(environment={"gpu": {"driver": "1"}})
    assert "gpu" not in json.loads(on_cpu.to_json())["environment"]
    assert json.loads(on_gpu.to_json())["environment"]["gpu"] == {"driver": "1"}
    assert RunResult.from_json(on_gpu.to_json()) == on_gpu


@pytest.mark.parametrize(
    ("section", "entry", "instead"),
    [
        ("about", "sets", {}),
        ("resolved", "dataset_options", {}),
        ("resolved", "protocol_options", {}),
        ("data", "counts", {}),
        ("data", "content", ""),
        ("costs", "stages", []),
        ("costs", "captured", False),
        ("costs", "eager_because", ""),
        ("costs", "graph_memory_bytes", None),
        ("costs", "meta_step", []),
        ("costs", "threads_chosen_by", ""),
        ("costs", "load", None),
        ("environment", "numerics", {}),
    ],
)
def test_what_records_of_earlier_versions_lack_is_filled_in(make_result, section, entry, instead):
    values = json.loads(make_result().to_json())
    del values["digest"], values[section][entry]
    values["digest"] = digest(values)
    assert getattr(getattr(RunResult.from_json(json.dumps(values)), section), entry) == instead


@pytest.mark.parametrize("entries", [{}, {"metrics": ["accuracy"], "unheard_of": 1}])
def test_a_section_without_an_entry_that_all_records_have_is_damaged(make_result, entries):
    values = json.loads(make_result().to_json())
    del values["digest"]
    values["about"] = entries
    values["digest"] = digest(values)
    with pytest.raises(ValueError, match="not a record: "):
        RunResult.from_json(json.dumps(values))


COMMITTED = sorted((Path(__file__).parents[2] / "leaderboards" / "results").glob("*.json"))


def lines(text: str) -> list[str]:
    """Of a record, without the entries that no committed one has yet, and so without the digest."""
    for entry in (', "planes": ["grid"]', ', "content": ""'):
        text = text.replace(entry, "")
    return [line for line in text.splitlines() if not line.startswith('"digest"')]


def test_committed_records_are_written_as_they_were_read():
    """Those of today to the byte; those of earlier versions with more entries."""
    whole = 0
    for path in COMMITTED:
        text = path.read_text("utf-8")
        before, again = json.loads(text), json.loads(again_text := RunResult.from_json(text).to_json())
        parts = ["spec", *(section for section in SECTIONS if section in before)]
        assert "code" in before or "code" not in again
        assert all(before[part].items() <= again[part].items() for part in parts), path.name
        for entry in ("planes", "content"):  # no committed record has them yet
            again["data"].pop(entry)
        if all(before[part].keys() == again[part].keys() for part in parts):
            assert lines(again_text) == lines(text), path.name
            whole += 1
    assert whole >= 160


# ResultStore


def test_a_record_is_kept_by_data_set_method_seed_and_key(store, make_result):
    result = make_result(dataset="a/b", method="learner", seed=7)
    path = store.put(result)
    assert path == store.folder / f"a-b.learner.7.{result.spec.key}.json" == store.path(result.spec)
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


def test_predictions_lie_beside_the_record(store, make_result):
    path = store.put(make_result(), {"test/last": np.eye(2, dtype=np.float16)})
    assert sorted(p.name for p in store.folder.iterdir()) == [path.name, path.with_suffix(".npz").name]
    with np.load(path.with_suffix(".npz")) as arrays:
        assert arrays["test/last"].tolist() == [[1, 0], [0, 1]]


def failing(error: BaseException):
    def fail(*args: object, **kwargs: object) -> None:
        raise error

    return fail


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_record_and_nothing_else(store, make_result, monkeypatch, step):
    path = store.put(make_result(seconds=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(step, failing(FULL))
        with pytest.raises(StoreError, match=r"cannot write .*\.json: No space left on device; nothing was changed"):
            store.put(make_result(seconds=2.0))
    assert list(store.folder.iterdir()) == [path]
    assert store.load() == ([make_result(seconds=1.0)], {})


def test_a_disk_that_is_full_after_some_bytes(store, make_result):
    """The real thing: the system refuses to write more than 4 kB to one file."""
    import resource

    path = store.put(make_result())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StoreError, match="File too large"):
            store.put(make_result(error="x" * 10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(store.folder.iterdir()) == [path]
    assert store.get(make_result().spec) == make_result()


def test_without_its_predictions_no_record_is_written(store, make_result, monkeypatch):
    monkeypatch.setattr("numpy.savez_compressed", failing(FULL))
    with pytest.raises(StoreError, match=r"\.npz: No space left on device"):
        store.put(make_result(), {"test/last": np.zeros(2)})
    assert list(store.folder.iterdir()) == []


def test_no_predictions_are_left_without_their_record(store, make_result, monkeypatch):
    replace = Path.replace
    monkeypatch.setattr(Path, "replace", lambda a, b: failing(FULL)() if str(b).endswith("json") else replace(a, b))
    with pytest.raises(StoreError):
        store.put(make_result(), {"test/last": np.eye(2)})
    assert list(store.folder.iterdir()) == []


def test_an_interrupt_between_the_two_leaves_no_predictions_without_their_record(store, make_result, monkeypatch):
    monkeypatch.setattr(type(make_result()), "save", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.put(make_result(), {"test/last": np.eye(2)})
    assert list(store.folder.iterdir()) == []


def test_an_interrupt_passes_and_leaves_no_part(store, make_result, monkeypatch):
    monkeypatch.setattr(os, "fsync", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.put(make_result())
    assert list(store.folder.iterdir()) == []


def changed(text: str, **values: object) -> str:
    return json.dumps(json.loads(text) | values)


def without(text: str, name: str) -> str:
    return json.dumps({k: v for k, v in json.loads(text).items() if k != name})


DAMAGES = {
    "empty": (lambda text: "", "Expecting value"),
    "truncated": (lambda text: text[: len(text) // 2], "delimiter|Expecting|Unterminated"),
    "a list": (lambda text: "[]", "not a record"),
    "null": (lambda text: "null", "not a record"),
    "another object": (lambda text: "{}", "not a record: 'format'"),
    "a spec that was edited": (lambda text: text.replace('"seed": 0', '"seed": 1'), "does not have its digest"),
    "a key that was edited": (lambda text: changed(text, key="0" * 12), "does not have its digest"),
    "a metric that was edited": (lambda text: text.replace("0.25", "0.05"), "does not have its digest"),
    "a field missing": (lambda text: without(text, "about"), "does not have its digest"),
    "a field too many": (lambda text: changed(text, note=1), "does not have its digest"),
    "a later format": (
        lambda text: changed(text, format=FORMAT + 1, note=1),
        f"format {FORMAT + 1}, expected {FORMAT}",
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
        [1, "best_val_accuracy", 3, "test", "tprd", -1.0],  # undefined
        [1, "best_val_accuracy", 3, "test", "accuracy", 0.8],
        [1, "best_val_accuracy", 3, "val", "accuracy", 0.5],
    ]
