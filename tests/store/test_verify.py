"""What is wrong in a folder of records is named, each kind of it, and nothing is changed."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.records.files import part_of
from bench.records.selections import Selections
from bench.records.sidecar import Sidecar
from bench.records.spec import digest
from bench.store.claims import Claims
from bench.store.results import ResultStore
from bench.store.verify import Recomputed, verify
from tests.store.made import BEST, logits, predicted, refuse_to_list


@pytest.fixture
def two(make_result, tmp_path):
    """A folder with two records, whose predictions are what they count; its files."""
    store = ResultStore(tmp_path / "results")
    return [store.put(predicted(make_result, seed=seed)) for seed in (0, 1)]


def beside(path: Path) -> Path:
    """The sidecar of a record that is, or was, there."""
    (found,) = path.parent.glob(f"{path.stem}.*.xz")
    return found


def problems(path: Path, **more) -> dict[str, str]:
    """File -> what is wrong with it."""
    folder = next(parent for parent in path.parents if parent.name == "results")
    return {file.name: "; ".join(of) for file, of in verify(folder, **more).problems.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_whole_folder_has_no_problem(two, tmp_path):
    before = contents(tmp_path)
    found = verify(tmp_path / "results")
    assert (found.records, found.sidecars, found.with_predictions, dict(found.problems)) == (2, 2, 2, {})
    assert contents(tmp_path) == before


def test_a_folder_that_is_empty_or_is_none_has_no_problem(tmp_path):
    for folder in (tmp_path, tmp_path / "nothing"):
        found = verify(folder)
        assert (found.records, found.sidecars, dict(found.problems)) == (0, 0, {})
    assert list(tmp_path.iterdir()) == []


def test_a_sidecar_without_a_record_is_named_until_the_run_is_made_again(two, make_result, tmp_path):
    two[0].unlink()
    found = problems(two[0])
    assert found.keys() == {beside(two[0]).name} and "it has no record" in found.popitem()[1]
    ResultStore(tmp_path / "results").put(predicted(make_result, seed=0))
    assert problems(two[0]) == {}


def test_a_sidecar_whose_run_is_being_made_is_none_without_a_record(two, tmp_path):
    two[0].unlink()
    with Claims(tmp_path / "results") as claims:
        assert claims.take(two[0].relative_to(tmp_path / "results").as_posix())
        assert problems(two[0]) == {}


def test_what_a_kill_left_beside_an_older_record_is_named_until_the_next_one(two, make_result, tmp_path):
    left = two[0].with_name(f"{two[0].stem}.0123456789ab.xz")
    content = beside(two[0]).read_bytes()
    for name in (left.name, "mine.xz"):
        (two[0].parent / name).write_bytes(content)
    found = problems(two[0])
    assert found.keys() == {left.name, "mine.xz"}
    assert "left by a process that was killed" in found[left.name] and "no sidecar has such a name" in found["mine.xz"]
    ResultStore(tmp_path / "results").put(predicted(make_result, seed=0))
    assert problems(two[0]).keys() == {"mine.xz"}


def test_a_failure_that_takes_the_place_of_what_a_kill_left_has_no_sidecar(two, make_result, tmp_path):
    two[0].unlink()
    ResultStore(tmp_path / "results").put(make_result(seed=0, status="diverged", error="of old age"))
    assert problems(two[0]) == {}
    assert len(list(two[0].parent.glob("*.xz"))) == 1


def other(make_result, seed):
    """What lies beside a record with another history."""
    history = {"epoch": [1, 2, 3], "step": [5, 10, 15], "val/accuracy": [0.5, 0.8, 0.6]}
    return Sidecar(history, dict(predicted(make_result, seed=seed).arrays)).to_bytes()


def damage(name):
    """What is done to the first record, and a part of what is said of it."""

    def of_sidecar(change):
        return lambda first, second, make: change(beside(first), beside(second), make)

    return {
        "no sidecar": (of_sidecar(lambda one, two, make: one.unlink()), "xz is missing; restore it"),
        "an empty sidecar": (of_sidecar(lambda one, two, make: one.write_bytes(b"")), "it is no sidecar"),
        "half a sidecar": (of_sidecar(lambda one, two, make: one.write_bytes(two.read_bytes()[:99])), "no sidecar"),
        "another sidecar": (of_sidecar(lambda o, t, make: o.write_bytes(other(make, 0))), "does not belong to its"),
        "a folder for a sidecar": (
            of_sidecar(lambda o, t, make: (o.unlink(), o.mkdir())),
            "xz cannot be read: Is a directory; move that away; restore it from a copy, or repeat the run",
        ),
        "a record that was edited": (lambda o, t, make: o.write_text(o.read_text().replace("0.75", "0.7")), "by hand"),
        "half a record": (lambda o, t, make: o.write_bytes(o.read_bytes()[:300]), "give the command of its run again"),
        "the record of another run": (lambda o, t, make: shutil.copy(t, o), "it is a copy of"),
        "a newer record": (lambda o, t, make: o.write_text('{"format": 3}'), "use that version"),
    }[name]


DAMAGES = [
    *("no sidecar", "an empty sidecar", "half a sidecar", "another sidecar", "a folder for a sidecar"),
    *("a record that was edited", "half a record", "the record of another run", "a newer record"),
]


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(name, two, make_result):
    harm, expected = damage(name)
    names = {two[0].name, beside(two[0]).name}
    harm(*two, make_result)
    found = problems(two[0])
    assert found.keys() <= names
    assert expected in found[two[0].name]


def test_a_record_in_another_folder_or_under_another_name_is_named(two):
    wrong = two[0].parent.parent / "elsewhere"
    wrong.mkdir()
    for path in (two[0], beside(two[0])):
        path.rename(wrong / path.name)
    for path in (beside(two[1]), two[1]):
        path.rename(path.with_name(path.name.replace(two[1].stem, "mine")))
    found = problems(two[0])
    assert f"it belongs in class_fairness-v1/digits/{two[0].name}" in found[two[0].name]
    assert "rename it" in found["mine.json"]
    assert found.keys() == {two[0].name, "mine.json"}


def test_a_record_that_another_run_s_has_replaced_is_the_only_thing_that_is_named(two):
    """The sidecar of the record that is lost is its only trace, and no other run is to be made."""
    two[1].replace(two[0])
    found = problems(two[0])
    assert found.keys() == {two[0].name}
    assert "rename it, or move it away" in found[two[0].name] and beside(two[0]).name not in found[two[0].name]


def test_of_equal_copies_those_elsewhere_are_to_be_removed(two):
    elsewhere = two[0].parent / "mine"
    elsewhere.mkdir()
    for path in (two[0], beside(two[0])):
        shutil.copy(path, elsewhere)
    shutil.copy(two[1], two[1].with_name("copy.json"))
    found = problems(two[0])
    assert found == {
        two[0].name: f"it is a copy of {two[0]}: remove it, with {beside(two[0]).name}",
        "copy.json": f"it is a copy of {two[1]}: remove it",
    }


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["missing", "damaged"])
def test_the_last_whole_sidecar_is_moved_to_the_record_and_not_removed(two, harm):
    """Also that of a copy under another name."""
    backup = two[0].parent / "backup"
    backup.mkdir()
    for path in (two[0], beside(two[0])):
        shutil.copy(path, backup)
    for path in (two[1], beside(two[1])):
        shutil.copy(path, path.with_name(path.name.replace(two[1].stem, "copy")))
    lost = [beside(path) for path in two]
    for path in lost:
        harm(path)
    found = problems(two[0].parent)
    for record, of_copy in ((two[0], backup / two[0].name), (two[1], two[1].with_name("copy.json"))):
        to = lost[two.index(record)]
        expected = f"it is a copy of {record} and has the whole sidecar: move {beside(of_copy)} to {to}"
        assert expected in found[of_copy.name]
    for of_copy, to in zip((backup / two[0].name, two[1].with_name("copy.json")), lost, strict=True):
        beside(of_copy).replace(to)
        of_copy.unlink()
    assert problems(two[0].parent) == {}


def test_a_sidecar_of_no_runs_name_is_that_of_the_record_with_its_digest(two):
    """It is to be moved there where that one lacks it; no run's command would replace it. Both runs have one digest."""
    lost = beside(two[1])
    stray, foreign = (lost.with_name(name) for name in (f"copy.{lost.name[-15:]}", "mine.0123456789ab.xz"))
    foreign.write_bytes(b"")
    shutil.copy(lost, stray)
    here = f"it has the digest of the sidecar of {two[0]}, which is whole: remove it"
    none = "it has no record mine.json, and no run's record has such a name, so move it away"
    assert problems(two[0]) == {stray.name: here, foreign.name: none}
    copy = shutil.copy(two[0], lost.with_name("a.json"))  # which lacks one, and needs none
    assert problems(two[0]) == {stray.name: here, foreign.name: none, "a.json": f"it is a copy of {two[0]}: remove it"}
    copy.unlink()
    lost.unlink()
    assert problems(two[0])[stray.name] == f"it is the sidecar of {two[1]}, which lacks it: move it to {lost}"
    stray.write_bytes(b"")
    beside(two[0]).unlink()
    expected = f"it has the digest of the sidecar of {two[0]}, and is damaged: move it away"
    assert problems(two[0])[stray.name] == expected


def test_the_sidecar_of_a_copy_that_lies_beside_another_record_of_its_run_is_not_removed(two, make_result, tmp_path):
    """Of two different records of a run, under the name of the first."""
    copy = two[0].with_name("copy.json")
    other = other_run(make_result)
    copy.write_text(other.to_json())
    left = two[0].with_name(f"{two[0].stem}.{other.sidecar}.xz")
    left.write_bytes(other.beside.to_bytes())
    to = copy.with_name(f"copy.{other.sidecar}.xz")
    assert problems(two[0])[left.name] == f"it is the sidecar of {copy}, which lacks it: move it to {to}"


def test_a_record_in_another_folder_than_its_sidecar_is_named_once(two):
    wrong = two[0].parent.parent / "elsewhere"
    wrong.mkdir()
    two[0].rename(wrong / two[0].name)
    assert problems(two[1]) == {two[0].name: f"it belongs in class_fairness-v1/digits/{two[0].name}: move it there"}


def test_a_folder_among_sidecars_is_not_to_be_removed(two):
    (two[0].parent / f"{two[0].stem}.0123456789ab.xz").mkdir()
    (found,) = problems(two[0]).values()
    assert "it is a folder" in found and "remove" not in found


def test_different_records_of_one_run_are_named(two, make_result, tmp_path):
    (copy,) = [ResultStore(tmp_path / "results" / "copy").put(predicted(make_result, seed=0, seconds=9.0))]
    found = verify(tmp_path / "results").problems
    assert found.keys() == {two[0], copy}
    assert found[two[0]][0] == (
        f"{copy} is another record of the same run: move all but one away, each with its sidecar, which is here "
        f"{beside(two[0]).name}"
    )


def test_foreign_files_are_named_and_those_that_are_set_aside_are_not(two):
    (two[0].parent / "notes.json").write_text("{}")
    (two[0].parent / "notes.txt").write_text("mine")
    (two[0].parent / ".hidden").write_text("mine")
    (two[0].parent / part_of(two[0]).name).write_text("half")
    (two[0].parent / "superseded").mkdir()
    for name in ("old.json", "old.txt"):
        (two[0].parent / "superseded" / name).write_text("{}")
    found = problems(two[0])
    assert found.keys() == {"notes.json", "notes.txt"}
    assert found["notes.txt"] == "it is no file of `bench`, so move it away"


def test_a_folder_that_cannot_be_read_is_named_and_the_rest_is_verified(two, tmp_path, monkeypatch):
    locked = two[0].parent / "locked"
    locked.mkdir()
    refuse_to_list(locked, monkeypatch)
    found = verify(tmp_path / "results")
    assert (found.records, list(found.problems)) == (2, [locked])
    assert "the right to read it is missing" in found.problems[locked][0] and "--force" not in found.problems[locked][0]


def test_stale_claims_are_named_and_held_ones_are_not(two, tmp_path):
    code = "import os, pathlib, sys; from bench.store.claims import Claims; c = Claims(pathlib.Path(sys.argv[1]))"
    code += "; assert c.take(sys.argv[2]); os.kill(os.getpid(), 9)"
    folder = tmp_path / "results"
    record = two[0].relative_to(folder).as_posix()
    assert subprocess.run([sys.executable, "-c", code, str(folder), record]).returncode == -9
    with Claims(folder) as claims:
        claims.take(two[1].relative_to(folder).as_posix())
        found = problems(two[0])
    assert found.keys() == {two[0].with_suffix(".claim").name}
    old = two[0].with_name(f"{two[0].stem}.claim.0123456789abcdef")
    old.write_text("")
    two[0].with_suffix(".claim").unlink()
    os.utime(old, (time.time() - 9999,) * 2)
    assert problems(two[0]).keys() == {old.name}


WRONG = {
    "a sample twice": ({"test/index": np.array([7, 7, 5, 1])}, "has a sample twice"),
    "a number below 0": ({"test/index": np.array([7, -1, 5, 1])}, "below 0"),
    "no samples": ({"test/y": None}, "test/y is missing"),
    "no index": ({"test/index": None}, "test/index is missing"),
    "too many samples": ({"test/y": np.zeros(5, np.uint8)}, "test/y has shape [5]"),
    "fractions": ({"test/y": np.zeros(4)}, "whole numbers"),
    "a class that is none": ({"test/y": np.array([0, 0, 2, 1])}, "none of 2"),
    "other classes": ({"test/y": np.array([0, 1, 1, 1])}, "as many samples of each class"),
    "another order of the classes": ({"test/y": np.array([1, 0, 0, 0])}, "does not give the counts"),
    "other predictions": ({"test/last": logits(BEST)}, "test/last does not give the counts"),
    "a rule without predictions": ({"test/last": None}, "test/last is missing"),
    "another number of classes": ({"test/last": np.zeros((4, 3), np.float16)}, "expected 4 samples and 2 classes"),
    "NaN": ({"test/last": np.full((4, 2), np.nan, np.float16)}, "not relative to the largest"),
    "logits of another scale": ({"test/last": logits(BEST) + np.float16(1)}, "not relative to the largest"),
}


@pytest.mark.parametrize("name", WRONG)
def test_predictions_that_are_not_those_of_the_record_are_named(name, make_result, tmp_path):
    arrays, expected = WRONG[name]
    path = ResultStore(tmp_path / "results").put(predicted(make_result, arrays))
    assert expected in problems(path)[path.name]


def test_a_history_that_is_not_that_of_the_record_is_named(make_result, tmp_path):
    result = predicted(make_result)
    beside = Sidecar({**result.history, "test/tprd": [1.0, 0.5, 1.0]}, result.arrays)
    path = ResultStore(tmp_path / "results").put(dataclasses.replace(result, beside=beside, sidecar=beside.digest))
    assert "test/tprd is 0.5 in its history" in problems(path)[path.name]


def test_what_is_recomputed_is_compared_and_counted(two, tmp_path):
    def recompute(result, beside):
        return Recomputed(3, ["test/ece is 2"] if result.spec.seed else [])

    found = verify(tmp_path / "results", recompute)
    assert (found.recomputed, found.values) == (2, 6)
    assert list(found.problems) == [two[1]] and "test/ece is 2" in found.problems[two[1]][0]


def test_the_command_says_it_in_lines(two, tmp_path):
    def verified():
        return CliRunner().invoke(main, ["verify-store", "--out", str(tmp_path)], catch_exceptions=False)

    done = verified()
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith("2 records, 2 sidecars, 2 with predictions") and "0 problems\n" in done.stdout
    two[1].unlink()
    values = json.loads(two[0].read_text()) | {"off_recipe": ["nothing\x1b[31m"]}
    del values["digest"]
    two[0].write_text(json.dumps(values | {"digest": digest(values)}))
    beside(two[0]).unlink()
    done = verified()
    assert done.exit_code == 1 and len(done.stderr.splitlines()) == 2 and "2 problems\n" in done.stdout


@pytest.mark.parametrize(
    ("folder", "more"),
    [("bench-results/results", ""), ("my out/results", " --out 'my out'"), ("results", " --out ."), ("records", "")],
)
def test_the_command_that_repeats_a_run_names_the_folder(folder, more, make_result, tmp_path, monkeypatch):
    """Where that is an output folder's, and not the one that is taken anyway."""
    monkeypatch.chdir(tmp_path)
    result = predicted(make_result)
    path = ResultStore(Path(folder)).put(result)
    beside(path).unlink()
    (why,) = verify(Path(folder)).problems[path]
    assert why.endswith(f"repeat the run: {result.command} --force{more}")


def test_the_command_refuses_a_folder_without_records(tmp_path):
    for out in (tmp_path, tmp_path / "nothing"):
        done = CliRunner().invoke(main, ["verify-store", "--out", str(out)])
        assert done.exit_code == 2 and "has no folder 'results'" in done.stderr
    assert list(tmp_path.iterdir()) == []


def other_run(make_result):
    """The finished run, with another history than the failure's."""
    result = predicted(make_result)
    beside = Sidecar({**result.history, "train/loss": [3.0, 2.0, 1.0]}, result.arrays)
    return dataclasses.replace(result, beside=beside, sidecar=beside.digest)


def test_a_failure_keeps_its_sidecar_where_its_successor_cannot_be_written(make_result, tmp_path, monkeypatch):
    failed = predicted(make_result, status="diverged", error="it did", selected=Selections())
    path = ResultStore(tmp_path / "results").put(failed)

    def full(*_):
        raise OSError(28, "no space left")

    monkeypatch.setattr("bench.records.run.RunResult.save", full)
    with pytest.raises(OSError, match="no space"):
        ResultStore(tmp_path / "results").put(other_run(make_result))
    assert problems(path) == {}
