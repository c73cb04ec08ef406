"""The long table in each format has the numbers of the records, to the last bit."""

import csv
import io
import json
import os
import stat
import threading
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.store.results import ResultStore
from tests.store.made import TPRD, predicted, refuse_to_list


def bench(*words):
    return CliRunner().invoke(main, ["export", *(str(word) for word in words)], catch_exceptions=False)


@pytest.fixture
def folder(make_result, tmp_path, monkeypatch):
    """Of three records, two of one method."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("out/results"))
    for fields in ({}, {"seed": 1}, {"method": "learner", "model": "cnn"}):
        store.put(predicted(make_result, **fields))
    return store


EXPECTED = [("best_val_accuracy", TPRD), ("last", 1.0)]
"""The value of tprd under each rule."""


def rows(form, content):
    """Rule, value and seed of each row."""
    if form == "csv":
        read = list(csv.DictReader(io.StringIO(content.decode())))
        return sorted((int(row["seed"]), row["method"], row["rule"], float(row["value"])) for row in read)
    if form == "json":
        return sorted((row["seed"], row["method"], row["rule"], row["value"]) for row in json.loads(content))
    frame = pd.read_parquet(io.BytesIO(content))
    return sorted(zip(frame["seed"], frame["method"], frame["rule"], frame["value"], strict=True))


@pytest.mark.parametrize("form", ["csv", "json", "parquet"])
def test_each_format_has_the_values_to_the_last_bit(form, folder):
    expected = sorted(
        (seed, method, rule, value)
        for seed, method in ((0, "erm"), (1, "erm"), (0, "learner"))
        for rule, value in EXPECTED
    )
    done = bench("--out", "out", "--format", form, "--metric", "tprd", "--file", f"new/table.{form}")
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"new/table.{form}\n", "")
    assert rows(form, Path(f"new/table.{form}").read_bytes()) == expected
    done = bench("--out", "out", "--format", form, "--metric", "tprd")
    assert rows(form, done.stdout_bytes) == expected
    assert bench("--out", "out", "--metric", "tprd", "--file", f"again.{form}").exit_code == 0
    assert rows(form, Path(f"again.{form}").read_bytes()) == expected


def test_filters_and_metrics_choose_rows(folder):
    def chosen(*words):
        return {row[:2] for row in rows("csv", bench("--out", "out", *words).stdout_bytes)}

    everything = {(0, "erm"), (1, "erm"), (0, "learner")}
    assert chosen() == chosen("--dataset", "digits", "--protocol", "class_fairness") == everything
    assert chosen("--method", "learner") == chosen("--model", "cnn") == {(0, "learner")}
    assert chosen("--method", "learner", "--method", "erm") == everything
    assert chosen("--metric", "test/tprd", "--metric", "val/accuracy") == everything
    of_test = bench("--out", "out", "--metric", "test/accuracy").stdout.splitlines()
    assert len(of_test) == 1 + 3 * 2 and all(",test,accuracy," in line for line in of_test[1:])
    pages = [bench("--out", "out", "--rows", "--metric", metric).stdout for metric in ("tprd", "test/tprd")]
    assert pages[0] == pages[1] != bench("--out", "out", "--rows").stdout
    both = bench("--out", "out", "--metric", "tprd", "--metric", "accuracy", "--method", "learner").stdout
    assert len(both.splitlines()) == 1 + 2 * 2 + 2  # both of the test set, and accuracy of the validation data


def test_undefined_values_are_empty(make_result, tmp_path):
    ResultStore(tmp_path / "results").put(make_result(test={"accuracy": None, "tprd": 0.25}))
    read = json.loads(bench("--out", tmp_path, "--format", "json").stdout)
    assert [(row["metric"], row["value"]) for row in read] == [("accuracy", None), ("tprd", 0.25)]
    (row,) = csv.DictReader(io.StringIO(bench("--out", tmp_path, "--metric", "accuracy").stdout))
    assert (row["metric"], row["value"]) == ("accuracy", "")


def test_a_damaged_record_is_named_and_the_rest_is_written(folder):
    path = folder.path(folder.load()[0][0].spec)
    path.write_text("half")
    done = bench("--out", "out", "--file", "table.csv")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"warning: skipped the record {path}") and len(done.stderr.splitlines()) == 1
    assert len(pd.read_csv("table.csv")["key"].unique()) == 2


def test_the_reasons_are_named_where_no_record_can_be_used(folder):
    paths = sorted(folder.folder.rglob("*.json"))
    for path in paths:
        path.write_text("[]")
    done = bench("--out", "out", "--file", "table.csv")
    lines = [f"warning: skipped the record {path}: not a record: it is a list" for path in paths]
    empty = "out/results has no record of a finished run: make some with `bench run`, or name another folder with --out"
    assert done.stderr.splitlines() == [*lines, f"error: {empty}"]
    assert (done.exit_code, done.stdout, Path("table.csv").exists()) == (2, "", False)


def test_a_subfolder_that_cannot_be_read_is_named(folder, monkeypatch):
    locked = folder.folder / "locked"
    locked.mkdir()
    refuse_to_list(locked, monkeypatch)
    done = bench("--out", "out")
    assert done.exit_code == 1 and done.stdout == bench("--out", "out").stdout != ""
    assert done.stderr == (
        f"warning: skipped the record {locked}: it cannot be read: Permission denied, as the right to read it is "
        "missing: ask its owner for it, or give it with chmod\n"
    )


@pytest.mark.parametrize("words", [["--file", "table"], ["--file", "table.txt", "--format", "csv"]])
def test_a_file_may_have_no_ending_or_one_that_says_nothing(words, folder):
    assert bench("--out", "out", "--metric", "tprd", *words).exit_code == 0
    assert len(rows("csv", Path(words[1]).read_bytes())) == 6


WRONG = {
    "no such metric": (["--metric", "tprdd"], "unknown metric 'tprdd': did you mean 'tprd'?"),
    "no such set": (["--metric", "noise/tprd"], "unknown metric 'noise/tprd': did you mean 'test/tprd'?"),
    "metrics in LaTeX": (["--format", "latex", "--metric", "tprd"], "leave out --metric"),
    "rows in LaTeX": (["--file", "r.tex", "--rows"], "leave out --rows"),
    "no such run": (["--method", "forml"], "there is: erm on digits (mlp), learner on digits (cnn)"),
    "no such format": (["--format", "xml"], "is not one of"),
    "the ending of another format": (["--format", "csv", "--file", "r.parquet"], "has not the ending of csv"),
    "the ending of no format": (
        ["--file", "r.xlsx"],
        "r.xlsx has none of the endings .csv, .parquet, .json, .tex: name",
    ),
    "the ending of another table": (["--file", "r.tsv"], "name another file, or the format with --format"),
    "the ending of an archive": (["--file", "r.csv.gz"], "r.csv.gz has the ending of an archive"),
    "an archive in a format": (["--format", "csv", "--file", "r.csv.ZIP"], "has the ending of an archive"),
    "a folder": (["--file", "out"], "is a directory"),
    "a place among the records": (["--file", "out/results/table.csv"], "lies in out/results, where the records are"),
    "a link into the records": (["--file", "records/table.json"], "lies in out/results, where the records are"),
    "a record": (["--format", "csv", "--file", "other/digits.erm.0.0123456789ab.json"], "has not the ending of csv"),
    "a record of another folder": (["--file", "other/digits.erm.0.0123456789ab.json"], "has the name of a record"),
    "no records": (["--out", "nowhere"], "has no folder 'results'"),
    "no finished run": (["--out", "empty"], "empty/results has no record of a finished run: make some"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line_and_writes_nothing(name, folder, tmp_path):
    Path("empty/results").mkdir(parents=True)
    Path("records").symlink_to("out/results")
    Path("other").mkdir()
    Path("other/digits.erm.0.0123456789ab.json").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    words, expected = WRONG[name]
    done = bench(*([] if "--out" in words else ["--out", "out"]), *words)
    assert (done.exit_code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert expected in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupt_leaves_the_older_file(folder, monkeypatch):
    Path("table.csv").write_text("mine")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    assert bench("--out", "out", "--file", "table.csv").exit_code == 130
    assert Path("table.csv").read_text() == "mine" and not list(Path().glob("*.part"))


def read_from(pipe):
    """A thread that reads all of a pipe, and what it has read."""
    read = []
    thread = threading.Thread(target=lambda: read.append(Path(pipe).read_bytes()))
    thread.start()
    return thread, read


def test_what_a_link_leads_to_is_written_and_the_link_stays(folder):
    Path("link.csv").symlink_to("there/table.csv")
    Path("there").mkdir()
    for _ in range(2):  # at first there is nothing
        assert bench("--out", "out", "--file", "link.csv").stdout == "link.csv\n"
        assert Path("link.csv").is_symlink() and rows("csv", Path("there/table.csv").read_bytes())
        assert [path.name for path in Path("there").iterdir()] == ["table.csv"]


@pytest.mark.parametrize("through", ["pipe", "link"])
def test_a_pipe_is_written_to_and_stays(through, folder):
    os.mkfifo("pipe")
    Path("link").symlink_to("pipe")
    thread, read = read_from("pipe")
    done = bench("--out", "out", "--file", through)
    thread.join()
    assert (done.exit_code, done.stdout, done.stderr) == (0, f"{through}\n", "")
    assert stat.S_ISFIFO(os.lstat("pipe").st_mode) and Path("link").is_symlink()
    assert len(rows("csv", read[0])) == len(rows("csv", bench("--out", "out").stdout_bytes))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs the files that are open as paths")
def test_an_open_file_and_the_output_are_written_to(folder):
    plain = bench("--out", "out").stdout
    Path("output").symlink_to("/proc/self/fd/1")
    assert bench("--out", "out", "--file", "output").stdout == plain == bench("--out", "out", "--file", "-").stdout
    assert os.readlink("output") == "/proc/self/fd/1"
    with open("log", "w") as file:
        file.write("before\n")
        file.flush()
        Path("log.link").symlink_to(f"/proc/self/fd/{file.fileno()}")
        assert bench("--out", "out", "--file", "log.link", "--format", "csv").exit_code == 0
        file.write("after\n")
    assert Path("log").read_text() == f"before\n{plain}after\n"


def test_a_file_that_cannot_be_written_names_its_option(folder):
    Path("taken").write_text("")
    done = bench("--out", "out", "--file", "taken/table.csv")
    assert done.exit_code == 2 and done.stderr.endswith("name another file with --file\n")
