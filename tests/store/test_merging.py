"""Folders of records are merged without loss: nothing is replaced, and what is not taken is named."""

import dataclasses
import json
import lzma
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.errors import StoreError
from bench.records.run import RunResult
from bench.records.sections import Code
from bench.records.selections import Selections
from bench.records.sidecar import Sidecar, sidecars_of
from bench.store import merging
from bench.store.claims import Claims
from bench.store.merging import Merged, merge
from bench.store.results import ResultStore
from bench.store.verify import verify
from tests.store.made import TPRD, predicted, refuse_to_list


def put(folder: Path, *results: RunResult) -> list[Path]:
    return [ResultStore(folder).put(result) for result in results]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def merged(source: Path, target: Path) -> Merged:
    """What one merge says; nothing of the source changes, and the target is whole."""
    before = contents(source)
    found = Merged()
    merge(source, target, RunResult, found)
    assert contents(source) == before
    assert dict(verify(target).problems) == {}
    return found


def test_each_record_is_taken_once_and_byte_by_byte(make_result, tmp_path):
    results = [predicted(make_result, seed=seed) for seed in range(3)]
    put(tmp_path / "a", *results[:2])
    put(tmp_path / "b", *results[1:], make_result(seed=9, status="diverged", error="it did"))
    first, second = (merged(tmp_path / name, tmp_path / "all") for name in "ab")
    assert (len(first.written), first.there, len(second.written), second.there) == (2, 0, 2, 1)
    assert contents(tmp_path / "all") == contents(tmp_path / "a") | contents(tmp_path / "b")
    again = merged(tmp_path / "b", tmp_path / "all")
    assert (again.written, again.there, again.conflicts, again.left) == ({}, 3, {}, {})


def test_other_costs_dates_and_machines_are_no_conflict_and_what_is_there_stays(make_result, tmp_path):
    put(tmp_path / "a", predicted(make_result))
    put(tmp_path / "b", predicted(make_result, seconds=9.0, device="CPU B"))
    before = contents(tmp_path / "a")
    found = merged(tmp_path / "b", tmp_path / "a")
    assert (found.other_costs, found.there, found.conflicts, found.written) == (1, 0, {}, {})
    assert contents(tmp_path / "a") == before


def other_numbers(result):
    chosen = dict(result.selected)
    last = dataclasses.replace(
        chosen["last"], metrics={"test": {"accuracy": 0.75, "tprd": 0.5}, "val": {"accuracy": 0.7}}
    )
    selected = Selections.of(chosen | {"last": last}, {"accuracy"})
    beside = Sidecar({**result.history, "test/tprd": [1.0, TPRD, 0.5]}, result.arrays)
    return dataclasses.replace(result, selected=selected, beside=beside, sidecar=beside.digest)


def other_history(result):
    beside = Sidecar({**result.history, "train/loss": [2.0, 1.0, 0.25]}, result.arrays)
    return dataclasses.replace(result, beside=beside, sidecar=beside.digest)


CONFLICTS = {
    "numbers": (other_numbers, "numbers (test/tprd under last is 1.0 there, 0.5 here)"),
    "history": (other_history, "numbers (in the history or the predictions)"),
    "code": (lambda r: dataclasses.replace(r, code=Code("0123456789ab", {"method": "0" * 12})), "other code"),
    "notes": (lambda r: dataclasses.replace(r, notes=["beware"]), "other notes"),
    "data": (
        lambda r: dataclasses.replace(r, data=dataclasses.replace(r.data, content="a" * 12)),
        "numbers (in data)",
    ),
    "failure": (
        lambda r: dataclasses.replace(r, status="diverged", error="it did", selected=Selections()),
        "status 'ok' there, 'diverged' here",
    ),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_different_records_of_one_run_are_a_conflict_and_the_rest_is_taken(name, make_result, tmp_path):
    change, expected = CONFLICTS[name]
    (there,) = put(tmp_path / "a", predicted(make_result))
    (here, _) = put(tmp_path / "b", change(predicted(make_result)), predicted(make_result, seed=5))
    before = contents(tmp_path / "a")
    found = merged(tmp_path / "b", tmp_path / "a")
    assert len(found.written) == 1 and found.left == {}
    assert found.conflicts.keys() == {here}
    assert expected in found.conflicts[here] and str(there) in found.conflicts[here]
    after = contents(tmp_path / "a")
    assert {name: after[name] for name in before} == before


def test_a_record_under_another_name_in_the_target_is_found(make_result, tmp_path):
    (path,) = put(tmp_path / "a", predicted(make_result))
    for file in (*sidecars_of(path), path):
        file.rename(file.with_name(file.name.replace(path.stem, "mine")))
    put(tmp_path / "b", other_numbers(predicted(make_result)))
    found = Merged()
    merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert (len(found.conflicts), found.written) == (1, {})


DAMAGES = {
    "no sidecar": lambda record, beside: beside.unlink(),
    "half a sidecar": lambda record, beside: beside.write_bytes(beside.read_bytes()[:50]),
    "half a record": lambda record, beside: record.write_bytes(record.read_bytes()[:200]),
    "a newer record": lambda record, beside: record.write_text('{"format": 3}'),
    "a foreign file": lambda record, beside: record.write_text("[]"),
    "an edited record": lambda record, beside: record.write_text(record.read_text().replace("0.75", "0.5")),
    "another name": lambda record, beside: record.rename(record.with_name("mine.json")),
    "a link to nothing": lambda record, beside: (record.unlink(), record.symlink_to("nothing")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_cannot_be_used_is_named_and_left(name, make_result, tmp_path):
    path, _ = put(tmp_path / "b", predicted(make_result), predicted(make_result, seed=1))
    DAMAGES[name](path, sidecars_of(path)[0])
    found = merged(tmp_path / "b", tmp_path / "a")
    assert len(found.written) == 1 and len(found.left) == 1
    assert len([*(tmp_path / "a").rglob("*.*")]) == 2


def test_a_damaged_file_in_the_place_of_a_record_is_named_and_stays(make_result, tmp_path):
    (there,) = put(tmp_path / "a", predicted(make_result))
    (here,) = put(tmp_path / "b", predicted(make_result))
    there.write_text("half")
    before = contents(tmp_path / "a")
    found = Merged()
    merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert found.left.keys() == {here} and "is in its place" in found.left[here]
    assert contents(tmp_path / "a") == before


SIDECARS = {
    "missing": lambda beside: beside.unlink(),
    "empty": lambda beside: beside.write_bytes(b""),
    "half": lambda beside: beside.write_bytes(beside.read_bytes()[:50]),
    "another": lambda beside: beside.write_bytes(Sidecar({"epoch": [1]}).to_bytes()),
    "without a name": lambda beside: beside.write_bytes(without_a_name(beside.read_bytes())),
}


def without_a_name(content: bytes) -> bytes:
    """A sidecar whose first array has no name."""
    head, _, rest = lzma.decompress(content).partition(b"\n")
    about = json.loads(head)
    about["arrays"][0][0] = None
    return lzma.compress(json.dumps(about).encode() + b"\n" + rest)


@pytest.mark.parametrize("name", SIDECARS)
def test_a_record_whose_sidecar_is_not_whole_gets_it_from_an_equal_one(name, make_result, tmp_path):
    (there,) = put(tmp_path / "a", predicted(make_result))
    put(tmp_path / "b", predicted(make_result, seconds=9.0))
    (beside,) = sidecars_of(there)
    content = beside.read_bytes()
    SIDECARS[name](beside)
    found = merged(tmp_path / "b", tmp_path / "a")
    assert (found.completed, found.other_costs, found.left) == (1, 1, {})
    assert beside.read_bytes() == content
    assert merged(tmp_path / "b", tmp_path / "a").completed == 0


@pytest.mark.parametrize("name", SIDECARS)
def test_two_records_without_whole_sidecars_are_named(name, make_result, tmp_path):
    paths = [put(tmp_path / folder, predicted(make_result))[0] for folder in "ab"]
    for path in paths:
        SIDECARS[name](sidecars_of(path)[0])
    before, found = contents(tmp_path), Merged()
    merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert (found.completed, found.written) == (0, {}) and found.left.keys() == {paths[1]}
    assert contents(tmp_path) == before


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_in_the_place_of_a_sidecar_is_named_and_the_rest_is_taken(there, make_result, tmp_path):
    here, _ = put(tmp_path / "b", predicted(make_result), predicted(make_result, seed=1))
    (path,) = put(tmp_path / "a", predicted(make_result))
    (beside,) = sidecars_of(path)
    beside.unlink()
    beside.mkdir()
    (beside / "notes").touch()
    if not there:
        path.unlink()
    found = Merged()
    merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert len(found.written) == 1 and found.left.keys() == {here}
    assert f"{beside} is a folder" in found.left[here] and (beside / "notes").exists()


def test_what_a_killed_process_left_in_the_target_is_removed_and_folders_stay(make_result, tmp_path):
    (path,) = put(tmp_path / "b", predicted(make_result))
    folder = tmp_path / "a" / path.parent.relative_to(tmp_path / "b")
    mine = folder / f"{path.stem}.0123456789ab.xz"
    mine.mkdir(parents=True)
    found = Merged()
    merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert len(found.written) == 1 and mine.is_dir()


def test_a_conflict_names_the_file_that_the_other_record_was_taken_from(make_result, tmp_path):
    (one,) = put(tmp_path / "b", predicted(make_result))
    (other,) = put(tmp_path / "c", other_numbers(predicted(make_result)))
    found = Merged()
    for name in "bc":
        merge(tmp_path / name, tmp_path / "a", RunResult, found)
    assert f"taken from {one}," in found.conflicts[other]


@pytest.mark.parametrize("writes", range(1, 6))
def test_an_interrupt_leaves_whole_records_and_the_next_one_goes_on(writes, make_result, tmp_path, monkeypatch):
    put(tmp_path / "b", *(predicted(make_result, seed=seed) for seed in range(3)))
    real, count = merging.write_whole, iter(range(1, 99))

    def interrupted(path, content):
        if next(count) == writes:
            raise KeyboardInterrupt
        real(path, content)

    monkeypatch.setattr(merging, "write_whole", interrupted)
    found = Merged()
    with pytest.raises(KeyboardInterrupt):
        merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert dict(verify(tmp_path / "a").problems) == {}
    assert len(found.written) == (writes - 1) // 2
    monkeypatch.undo()
    assert len(merged(tmp_path / "b", tmp_path / "a").written) == 3 - len(found.written)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_run_that_another_process_makes_is_left(make_result, tmp_path):
    (path,) = put(tmp_path / "b", predicted(make_result))
    record = path.relative_to(tmp_path / "b").as_posix()
    found = Merged()
    with Claims(tmp_path / "a") as claims:
        claims.take(record)
        merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert (found.busy, found.left) == ([path], {})
    assert [*(tmp_path / "a").rglob("*.json")] == []


def test_a_sidecar_is_written_under_the_claim_of_its_run_alone(make_result, tmp_path):
    (there,), (here,) = (put(tmp_path / name, predicted(make_result)) for name in "ab")
    sidecars_of(there)[0].unlink()
    found = Merged()
    with Claims(tmp_path / "a") as claims:
        claims.take(there.relative_to(tmp_path / "a").as_posix())
        merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    assert (found.busy, found.completed, sidecars_of(there)) == ([here], 0, [])
    assert merged(tmp_path / "b", tmp_path / "a").completed == 1


@pytest.mark.parametrize("kind", ["in its place", "elsewhere alone"])
def test_of_equal_copies_the_one_in_its_place_gets_the_sidecar(kind, make_result, tmp_path):
    """Also where a copy comes first in the order of the paths, and has the last whole sidecar."""
    (there,), _ = (put(tmp_path / name, predicted(make_result)) for name in "ab")
    backup = tmp_path / "a" / "backup"
    backup.mkdir()
    (beside,) = sidecars_of(there)
    content = beside.read_bytes()
    beside.unlink()
    if kind == "in its place":
        shutil.copy(there, backup)
    else:
        there.rename(backup / there.name)
    shutil.copy(backup / there.name, there.with_name("copy.json"))
    found = Merged()
    merge(tmp_path / "b", tmp_path / "a", RunResult, found)
    expected = beside if kind == "in its place" else backup / beside.name
    assert {path: path.read_bytes() for path in tmp_path.glob("a/**/*.xz")} == {expected: content}
    assert (found.there, found.completed) == (1, 1)


def test_of_equal_copies_the_one_with_a_whole_sidecar_is_taken(make_result, tmp_path):
    (path,) = put(tmp_path / "b", predicted(make_result))
    (beside,) = sidecars_of(path)
    (tmp_path / "b" / "kept").mkdir()
    for file in (path, beside):
        shutil.copy(file, tmp_path / "b" / "kept")
    beside.write_bytes(b"")
    found = merged(tmp_path / "b", tmp_path / "a")
    assert (len(found.written), found.left) == (1, {})


def test_records_of_format_1_are_written_in_the_form_of_today(make_result, tmp_path):
    """As an older version wrote them: flat, with the history as an entry."""
    from bench.records.spec import digest

    result = predicted(make_result)
    values = json.loads(result.to_json())
    chosen = {rule: dataclasses.asdict(one) for rule, one in result.selected.items()}
    for one, tprd in zip(chosen.values(), (0.1, 0.2), strict=True):
        del one["counts"]
        one["metrics"]["val"]["tprd"] = tprd
    values |= {"format": 1, "history": dict(result.history), "arrays": "", "selected": chosen}
    del values["sidecar"], values["digest"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / result.file).write_text(json.dumps(values | {"digest": digest(values)}))
    found = merged(tmp_path / "b", tmp_path / "a")
    assert found.left == {}
    assert [path.relative_to(tmp_path / "a").as_posix() for path in found.written] == [result.path]
    (taken,) = ResultStore(tmp_path / "a").load()[0]
    assert ResultStore(tmp_path / "a").sidecar(taken).history == result.history
    assert merged(tmp_path / "b", tmp_path / "a").there == 1
    again = merged(tmp_path / "a", tmp_path / "b")
    assert (again.there, again.written) == (1, {})


# The command


def bench(*words):
    return CliRunner().invoke(main, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def machines(make_result, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(Path("m1/results"), predicted(make_result))
    put(Path("m2/results"), predicted(make_result, seconds=2.0), predicted(make_result, seed=1))


def test_the_command_merges_output_folders_and_writes_the_pages(machines):
    done = bench("merge", "m1", "m2/results", "--out", "all")
    assert (done.exit_code, done.stderr) == (0, "")
    expected = "took 2 records into all; 1 differs from those there in costs and dates alone, which stay\n"
    assert done.stdout == expected
    assert Path("all/class_fairness-v1-digits.md").exists()
    assert bench("leaderboard", "--out", "all", "--check").exit_code == 0
    done = bench("merge", "m1", "all", "m2", "--out", "all")
    assert done.exit_code == 0 and done.stderr == "left out all/results: it is the folder that is merged into\n"


def test_the_command_names_conflicts_and_what_is_left(machines, make_result):
    put(Path("m3/results"), other_numbers(predicted(make_result)), predicted(make_result, seed=4))
    Path("m3/results/notes.json").write_text("{}")
    done = bench("merge", "m1", "m3", "--out", "all")
    assert done.exit_code == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["left m3/results/notes.json", "conflict"]
    assert done.stdout == "took 2 records into all; 1 conflict; 1 file left\n"


def test_runs_that_other_processes_make_are_counted_in_one_line(machines):
    records = [path.relative_to("m2/results").as_posix() for path in Path("m2").rglob("*.json")]
    with Claims(Path("all/results")) as claims:
        assert all(map(claims.take, records))
        done = bench("merge", "m2", "--out", "all")
    assert (done.exit_code, done.stdout) == (1, "took 0 records into all; 2 files left\n")
    assert done.stderr == "left 2 records whose runs other processes make for all: merge again\n"


def test_bad_folders_are_refused_before_anything_is_written(machines):
    Path("empty").mkdir()
    Path("file").write_text("")
    Path("notes").mkdir()
    Path("notes/a.json").write_text("{}")
    for wrong in ("nothing", "empty", "file", "notes"):
        done = bench("merge", "m1", wrong, "--out", "all")
        assert (done.exit_code, len(done.stderr.splitlines()), done.stdout) == (2, 1, ""), done.stderr
    assert bench("merge", "--out", "all").exit_code == 2
    assert not Path("all").exists()


def test_an_empty_store_is_merged_as_none(machines):
    Path("empty/results").mkdir(parents=True)
    done = bench("merge", "empty", "--out", "all")
    assert (done.exit_code, done.stdout) == (0, "took 0 records into all\n")
    assert not Path("all").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_refused(machines):
    Path("all").mkdir(mode=0o500)
    done = bench("merge", "m1", "--out", "all")
    assert done.exit_code == 2 and "cannot write to" in done.stderr


@pytest.mark.parametrize("name", ["results", "throughput"])
def test_a_folder_of_the_target_that_cannot_be_listed_is_named_and_nothing_is_changed(name, machines, monkeypatch):
    Path("m1/throughput").mkdir()
    locked = Path("all") / name / "locked"
    locked.mkdir(parents=True)
    refuse_to_list(locked, monkeypatch)
    done = bench("merge", "m1", "--out", "all")
    expected = f"error: {locked} cannot be read: Permission denied; nothing was taken\n"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", expected)
    assert contents(Path("all")) == {}


def test_a_folder_that_cannot_be_listed_is_no_target(make_result, tmp_path, monkeypatch):
    put(tmp_path / "b", predicted(make_result))
    (tmp_path / "a" / "locked").mkdir(parents=True)
    refuse_to_list(tmp_path / "a" / "locked", monkeypatch)
    with pytest.raises(StoreError, match="locked cannot be read: Permission denied; nothing was taken"):
        merge(tmp_path / "b", tmp_path / "a", RunResult, Merged())
    assert contents(tmp_path / "a") == {}


def test_records_of_costs_are_merged_too(machines):
    source = Path(__file__).parents[2] / "leaderboards"
    for name in ("throughput", "corruptions"):
        shutil.copytree(source / name, Path("m1") / name)
    assert bench("merge", "m1", "--out", "all").exit_code == 0
    for name in ("throughput", "corruptions"):
        copied = contents(Path("all") / name)
        assert {
            n: text for n, text in contents(Path("m1") / name).items() if n.endswith(".json")
        }.items() <= copied.items()
    done = bench("merge", "m1", "--out", "all")
    assert done.exit_code == 0 and done.stdout.startswith("took 0 records into all;")
