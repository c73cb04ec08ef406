"""The long table in each format has the numbers of the records, to the last bit."""

import csv
import io
import json
import os
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
    assert done.stderr.splitlines() == [*lines, "error: no such finished run in out/results; there is: none"]
    assert (done.exit_code, done.stdout, Path("table.csv").exists()) == (2, "", False)


def test_a_subfolder_that_cannot_be_read_is_named(folder, monkeypatch):
    locked = folder.folder / "locked"
    locked.mkdir()
    refuse_to_list(locked, monkeypatch)
    done = bench("--out", "out")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"warning: skipped the record {locked}: it cannot be read: Permission denied\n")


@pytest.mark.parametrize("words", [["--file", "table"], ["--file", "table.txt", "--format", "csv"]])
def test_a_file_may_have_no_ending_or_one_that_says_nothing(words, folder):
    assert bench("--out", "out", "--metric", "tprd", *words).exit_code == 0
    assert len(rows("csv", Path(words[1]).read_bytes())) == 6


WRONG = {
    "no such metric": (["--metric", "tprdd"], "unknown metric 'tprdd': did you mean 'tprd'?"),
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
    "a pipe": (["--file", "pipe"], "no file that can be replaced"),
    "no records": (["--out", "nowhere"], "has no folder 'results'"),
    "no finished run": (["--out", "empty"], "there is: none"),
}


@pytest.mark.parametrize("name", WRONG)
def test_bad_input_is_one_line_and_writes_nothing(name, folder, tmp_path):
    os.mkfifo("pipe")
    Path("empty/results").mkdir(parents=True)
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
