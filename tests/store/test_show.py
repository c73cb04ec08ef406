"""A record on one screen, found by its key, a beginning of it, or its file."""

import dataclasses
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench import registry
from bench.cli import main
from bench.records.selections import Selections
from bench.records.sidecar import sidecars_of
from bench.registry import Offer, Plugin
from bench.store.one import record_of_key
from bench.store.results import ResultStore
from tests.store.made import predicted, refuse_to_list


def bench(*words):
    return CliRunner().invoke(main, ["show", *(str(word) for word in words)], catch_exceptions=False)


@pytest.fixture
def path(make_result, tmp_path, monkeypatch):
    """The file of a record; the folder has another one."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("bench-results/results"))
    store.put(predicted(make_result, seed=1))
    return store.put(predicted(make_result, notes=["it is made up"]))


def test_it_is_found_by_its_key_a_beginning_of_it_and_its_file(path):
    key = path.stem.rpartition(".")[2]
    shown = bench(path)
    assert shown.exit_code == 0 and shown.stderr == ""
    for name in (key, key[:4], key[:7].upper()):
        assert bench(name).stdout == shown.stdout
    text = " ".join(shown.stdout.split())
    for part in (
        "erm, seed 0: ok",
        "bench run --method erm --dataset digits --seed 0",
        "epoch 3 2",
        "tprd 100.00 33.33",
        "accuracy 75.00 75.00",
        "10 train, 10 val, 4 test; 2 classes, 2 groups",
        "1.0 s of training, 10 steps, 100.00 ms for a step, 10 parameters",
        "3 evaluations of 7 columns; predictions of test",
        f"in {sidecars_of(path)[0].name}, verified",
        "note it is made up",
    ):
        assert part in text
    lines = shown.stdout.splitlines()
    assert len(lines) <= 40 and lines == [line.rstrip() for line in lines]


def test_a_plugin_of_that_name_is_shown_instead(path, monkeypatch):
    key = path.stem.rpartition(".")[2]
    known = registry.installed()
    mine = Offer(type("Mine", (), {"__doc__": "Mine."}), Plugin("mine", "mine", "1"))
    offers = known.offers | {"workloads": known.offers["workloads"] | {key: mine}}
    monkeypatch.setattr(registry, "installed", lambda: dataclasses.replace(known, offers=offers))
    assert bench(key).stdout.startswith(f"{key}: workload of plugin mine")


def test_what_is_damaged_or_missing_is_told_and_the_exit_code_is_1(path):
    sidecar = sidecars_of(path)[0]
    sidecar.write_bytes(b"nothing")
    shown = bench(path)
    assert shown.exit_code == 1 and "NOT WHOLE" in shown.stdout and "it is no sidecar" in shown.stdout
    sidecar.unlink()
    assert "NOT WHOLE" in bench(path).stdout and bench(path).exit_code == 1
    path.write_text("half")
    for name in (path, path.stem.rpartition(".")[2]):
        shown = bench(name)
        assert (shown.exit_code, shown.stdout, len(shown.stderr.splitlines())) == (1, "", 1)
        assert str(path) in shown.stderr


def test_a_failure_is_shown_with_its_message(make_result, tmp_path):
    failed = make_result(status="diverged", error="of \x1b[31mold age", selected=Selections())
    path = ResultStore(tmp_path / "results").put(failed)
    shown = bench(path)
    assert shown.exit_code == 0 and "diverged" in shown.stdout and "of \\x1b[31mold age" in shown.stdout
    assert "nothing" in shown.stdout


def test_records_of_one_run_that_differ_are_named(path, make_result):
    ResultStore(Path("bench-results/results/copy")).put(predicted(make_result, seconds=9.0))
    shown = bench(path.stem.rpartition(".")[2])
    assert shown.exit_code == 1 and "different records of one run" in shown.stderr


def test_a_record_under_another_name_is_found_by_its_key(path):
    for file in (*sidecars_of(path), path):
        shutil.move(file, file.with_name(file.name.replace(path.stem, "mine")))
    shown = bench(path.stem.rpartition(".")[2])
    assert shown.exit_code == 1 and "mine.json: it holds the record that belongs in" in shown.stderr


def test_a_beginning_of_several_keys_names_them(make_result, tmp_path):
    """Of some thousand made-up runs, two keys begin alike."""
    first: dict[str, int] = {}
    for seed in range(5000):
        key = make_result(seed=seed).spec.key
        if key[:4] in first:
            break
        first[key[:4]] = seed
    store = ResultStore(tmp_path / "results")
    for each in (first[key[:4]], seed):
        store.put(make_result(seed=each))
    shown = bench(key[:4], "--out", tmp_path)
    assert (shown.exit_code, len(shown.stderr.splitlines())) == (2, 1)
    assert f"{key[:4]} begins the keys of 2 runs" in shown.stderr and key in shown.stderr
    assert record_of_key(store.folder, key)[0].spec.seed == seed


WRONG = {
    "too short": ("abc", "unknown name 'abc'"),
    "a key that is too short": ("466", "give four digits of its key or more"),
    "no hex": ("ermm", "did you mean 'erm'?"),
    "no such key": ("00000000", "no record in bench-results/results has a key that begins with 00000000"),
    "too long": ("0" * 13, "unknown name"),
    "nothing": ("", "the name is empty: name a part of a plugin, the key of a run, or the file of a record"),
    "a folder": ("bench-results", "bench-results is a folder: name a part of a plugin"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line(name, path):
    word, expected = WRONG[name]
    shown = bench(word)
    assert (shown.exit_code, shown.stdout, len(shown.stderr.splitlines())) == (2, "", 1)
    assert expected in shown.stderr


def test_files_that_are_no_records_are_named(path):
    Path("notes.json").write_text("{}")
    Path("empty.json").write_text("")
    path.with_suffix(".txt").write_bytes(path.read_bytes()[:300])
    for name, why in (
        ("notes.json", "not a record: it has no format; no record has such a name, so move it away"),
        ("none.json", "does not exist"),
        ("empty.json", "not a record: it is empty"),
        (path.with_suffix(".txt"), "not a record: it is cut off, or no JSON"),
        (sidecars_of(path)[0], "it is a sidecar, what lies beside a record: name the record, the file that ends in"),
    ):
        shown = bench(str(name))
        assert (shown.exit_code, shown.stdout) == (1, "") and why in shown.stderr, name


def test_a_folder_that_is_none_or_empty_is_named(path, tmp_path):
    Path("empty/results").mkdir(parents=True)
    for out, why in (("nowhere", "does not exist: name"), ("empty", "has no records: make some with `bench run`")):
        shown = bench("d0eb", "--out", out)
        assert (shown.exit_code, shown.stderr.startswith(f"error: {out}/results {why}")) == (2, True)


def test_a_record_is_found_beside_a_folder_that_cannot_be_read(path, monkeypatch):
    locked = Path("bench-results/results/locked")
    locked.mkdir()
    refuse_to_list(locked, monkeypatch)
    assert bench(path.stem.rpartition(".")[2]).exit_code == 0
    shown = bench("00000000")
    assert shown.exit_code == 1 and f"{locked}: it cannot be read: Permission denied" in shown.stderr


def on_a_terminal(width, *words):
    """The lines of a command on a terminal of this width."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    command = [sys.executable, "-m", "bench.cli", *words]
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    with subprocess.Popen(command, stdout=its, stderr=its, env=known | {"TERM": "dumb"}) as process:
        os.close(its)
        shown = b""
        try:
            while part := os.read(ours, 4096):
                shown += part
        except OSError:  # the end, on Linux
            pass
    os.close(ours)
    assert process.returncode == 0
    return shown.decode().replace("\r", "").splitlines()


@pytest.mark.parametrize("width", [80, 200])
def test_no_line_is_broken_on_a_terminal(width, path):
    """All but the path and the command, which are copied, fit the width."""
    lines = on_a_terminal(width, "show", str(path))
    assert max(len(line) for line in lines[4:]) <= width
    assert any(line.split() == ["accuracy", "75.00", "75.00"] for line in lines)


def test_differences_stand_in_tables_of_their_own_where_the_terminal_is_narrow(make_result, tmp_path):
    store = ResultStore(tmp_path / "results")
    for method in ("erm", "forml"):
        for seed in range(12):
            tprd = 0.3 + seed / 100 * (1 if method == "erm" else -1) ** seed
            store.put(make_result(method, seed, test={"tprd": tprd, "accuracy": 0.9}))
    lines = on_a_terminal(80, "compare", "forml", "erm", "--metric", "tprd", "--out", str(tmp_path))
    assert max(map(len, lines)) <= 80 and "forml minus erm" in [line.strip() for line in lines]
    differences = [word.strip(",") for line in lines for word in line.split() if word.strip(",")[:1] in ("+", "-")]
    assert set(differences) >= {f"{-2 * seed:+.2f}" for seed in range(1, 12, 2)}
    assert [line for line in lines if "by seed" in line] and sum("Not separated" in line for line in lines) <= 1
