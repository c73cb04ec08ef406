"""Records that cannot be used are named, skipped and kept, whatever is wrong with them; the exit code tells."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.cli.leaderboard import write_tables
from bench.records.spec import digest
from bench.store.results import ResultStore

RUN = ["run", "--method", "erm", "--dataset", "digits", "--epochs", "1"]
RESULTS = Path("bench-results/results")
TASK = RESULTS / "class_fairness-v1" / "digits"
PAGE = Path("bench-results/class_fairness-v1-digits.md")


@pytest.fixture
def bench_in(tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return lambda *words: CliRunner().invoke(main, [str(w) for w in words], catch_exceptions=False)


def record(seed=0):
    (path,) = TASK.glob(f"digits.erm.{seed}.*.json")
    return path


def accuracy(path):
    return json.loads(path.read_text())["selected"]["metrics"]["test"]["accuracy"][0]


def test_a_record_that_was_copied_to_another_seed_is_not_its_result(bench_in):
    """It used to be told as seed 1's."""
    bench_in(*RUN, "--seeds", 2)
    first, second = record(0), record(1)
    right = accuracy(second)
    assert right != accuracy(first)
    shutil.copy(first, second)
    result = bench_in(*RUN, "--seeds", 2)
    assert result.exit_code == 1
    assert result.stderr == (
        f"erm: seed 1 is left out, as its record cannot be used: {second}: it holds the record that belongs in "
        f"{first.relative_to(RESULTS)}; --force repeats the run and moves the record to {TASK / 'superseded'}\n"
    )
    assert ": values of 1 seed, test" in result.stdout
    assert second.read_bytes() == first.read_bytes()
    assert bench_in(*RUN, "--seed", 1, "--force").exit_code == 0
    assert accuracy(record(1)) == right
    assert (TASK / "superseded" / second.name).read_bytes() == first.read_bytes()


def test_nothing_is_trained_where_two_records_of_the_run_differ(bench_in):
    bench_in(*RUN)
    bench_in(*RUN, "--out", "elsewhere")  # the same run, with other costs
    copy = shutil.copy(Path("elsewhere/results") / record().relative_to(RESULTS), TASK / "copy.json")
    result = bench_in(*RUN)
    assert result.exit_code == 1
    assert result.stderr.count("different records of one run") >= 2
    assert result.stdout == ""
    copy.unlink()
    assert bench_in(*RUN).exit_code == 0


def signed(values):
    """The text of a record with a digest that is right."""
    values = {name: value for name, value in values.items() if name != "digest"}
    return json.dumps(values | {"digest": digest(values)})


def with_entry(values, place, entry):
    """The record with another entry, at a place such as `spec.seed`, and the right digest and key."""
    *sections, name = place.split(".")
    target = values
    for section in sections:
        target = target[section]
    target[name] = entry
    return signed(values)


def link(path, to):
    path.unlink()
    path.symlink_to(to)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


def huge(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # a hole: no bytes on the disk


def entry(place, value):
    return lambda path: path.write_text(with_entry(json.loads(path.read_text()), place, value))


UNUSABLE = {
    "empty": (lambda path: path.write_text(""), "not a record: it is empty"),
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:900]), "not a record: it is cut off, or no JSON"),
    "bytes": (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not a record: it is no text"),
    "newer": (entry("format", 3), "format 3, expected 2: it was written by a newer version of bench"),
    "nested": (lambda path: path.write_text("[" * 200_000 + "]" * 200_000), "nested too deeply"),
    "a folder": (folder, "Is a directory"),
    "a pipe": (pipe, "it is no file"),
    "endless": (lambda path: link(path, "/dev/zero"), "it is no file"),
    "huge": (huge, "more than"),
    "a link to nothing": (lambda path: link(path, "nowhere"), "a link to nothing"),
    "a link to itself": (lambda path: link(path, path.name), "symbolic links"),
    "no number": (
        lambda path: path.write_text(path.read_text().replace('"steps": ', '"steps": NaN, "x": ', 1)),
        "NaN is no JSON",
    ),
    "half a character": (entry("error", "\ud800"), "half a character"),
    "history": (entry("history", "many"), "it has an entry 'history', which no record has"),
    "an older format": (entry("format", 1), "not a record"),
    "a sidecar": (entry("sidecar", 5), "sidecar is 5"),
    "epochs": (entry("selected.epochs", "many"), "selected.epochs is 'many', expected"),
    "an epoch": (entry("selected.epochs.last", "one"), "selected.epochs.last is 'one', expected"),
    "seed": (entry("spec.seed", "0"), "its key"),
    "metrics": (entry("about.metrics", None), "about.metrics is None, expected"),
    "no metrics": (entry("about.metrics", []), "its metrics are none"),
    "selected": (entry("selected", None), "not a record"),
    "a value": (entry("selected.metrics.test.accuracy", "high"), "is 'high', expected"),
    "counts": (entry("data.counts.train", [[1, 2]]), "its counts of train are not of 10 classes"),
    "costs lost": (entry("costs", {}), "its entry costs lacks 'train_seconds', 'steps', and 'threads'"),
    "costs": (entry("costs.load", []), "costs.load is [], expected"),
    "versions": (entry("environment.versions", {}), "version of torch"),
    "a section": (entry("environment", 3), "not a record"),
}


def files():
    """Every file below the folder of results, and the target of each link, but the pages."""
    return {path: path.lstat() for path in RESULTS.rglob("*")}


@pytest.fixture
def two_runs(bench_in):
    """Of two methods, on one page; gives the first one's record."""
    bench_in(*RUN, "--method", "random")
    return record()


@pytest.mark.parametrize("kind", UNUSABLE)
def test_what_cannot_be_used_is_named_and_kept_and_takes_nothing_down(bench_in, two_runs, kind):
    spoil, why = UNUSABLE[kind]
    spoil(two_runs)
    before = {path: (about.st_ino, about.st_size) for path, about in files().items()}
    for words in (["leaderboard"], ["plot", "counts"], ["leaderboard", "--check"]):
        result = bench_in(*words)
        assert result.exit_code == 1, words
        (line,) = [line for line in result.stderr.splitlines() if "skipped" in line]
        assert line.startswith(f"warning: skipped the record {two_runs}: ") and why in line
    assert "| random (" in PAGE.read_text() and "| erm (" not in PAGE.read_text()
    result = bench_in(*RUN)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"erm: seed 0 is left out, as its record cannot be used: {two_runs}: " in result.stderr
    assert {path: (about.st_ino, about.st_size) for path, about in files().items()} == before


def test_a_record_that_no_page_can_show_is_named_and_takes_no_other_down(bench_in, two_runs):
    """Its values have the right types, as far as any are told."""
    entry("resolved.recipe.lr", "fast")(two_runs)
    result = bench_in("leaderboard")
    assert result.exit_code == 1
    assert f"skipped the record {two_runs}: it cannot be shown: ValueError: " in result.stderr
    assert "| random (" in PAGE.read_text() and "| erm (" not in PAGE.read_text()


@pytest.mark.parametrize("kind", ["newer", "a folder", "a pipe", "a link to itself", "history"])
def test_force_moves_what_cannot_be_used_aside(bench_in, two_runs, kind):
    UNUSABLE[kind][0](two_runs)
    before = two_runs.lstat().st_ino
    assert bench_in(*RUN, "--force").exit_code == 0
    assert accuracy(two_runs) > 0
    assert (TASK / "superseded" / two_runs.name).lstat().st_ino == before
    assert "| erm |" in PAGE.read_text()


def unreadable(path):
    shutil.rmtree(path)
    path.symlink_to(path.name)  # to itself: it can be listed by nobody


def test_pages_stay_where_the_folder_of_their_records_cannot_be_read(bench_in, two_runs):
    text = PAGE.read_text()
    unreadable(RESULTS)
    result = bench_in("leaderboard")
    assert PAGE.read_text() == text
    assert f"left {PAGE} as it is" in result.stderr
    assert result.exit_code == 1


def emptied(path):
    for file in path.rglob("*"):
        if file.is_file():
            file.unlink()


@pytest.mark.parametrize("flags", [[], ["--check"]])
@pytest.mark.parametrize("spoil", [emptied, shutil.rmtree, lambda path: path.rename("elsewhere")])
def test_pages_stay_where_there_is_no_record_at_all(bench_in, two_runs, spoil, flags):
    """Another folder may be meant, or the records may be on a disk that is not there."""
    (RESULTS.parent / "throughput").mkdir()
    text = PAGE.read_text()
    spoil(RESULTS)
    result = bench_in("leaderboard", *flags)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == (
        f"error: {RESULTS} holds no records, and there are pages that were made from some: nothing was changed; name "
        f"the right folder with --out, or remove by hand: {PAGE.name}\n"
    )
    assert PAGE.read_text() == text
    PAGE.unlink()
    assert bench_in("leaderboard").exit_code == 0


@pytest.mark.parametrize("page", ["throughput.md", "throughput/a.svg", "corruptions.md"])
def test_pages_of_each_folder_stay_where_it_is_empty(bench_in, two_runs, page):
    folder = RESULTS.parent / page.partition("/")[0].partition(".")[0]
    folder.mkdir()
    (RESULTS.parent / page).write_text(PAGE.read_text())
    result = bench_in("leaderboard")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"error: {folder} holds no records" in result.stderr and page in result.stderr
    assert (RESULTS.parent / page).exists()


def test_other_commands_leave_pages_without_records_too(bench_in, two_runs):
    emptied(RESULTS)
    old = PAGE.rename(PAGE.with_name("label_noise-v1-digits.md"))
    write_tables(RESULTS.parent)
    assert old.exists()


def test_pages_stay_where_all_records_are_of_a_newer_version(bench_in, two_runs):
    text = PAGE.read_text()
    for path in TASK.glob("*.json"):
        UNUSABLE["newer"][0](path)
    assert bench_in("leaderboard").exit_code == 1
    assert PAGE.read_text() == text


def test_a_page_whose_records_are_gone_is_removed(bench_in, two_runs):
    before = set(TASK.iterdir())
    bench_in(*RUN, "--protocol", "label_noise")
    for path in before:
        path.unlink()
    assert bench_in("leaderboard").exit_code == 0
    assert not PAGE.exists() and PAGE.with_name("label_noise-v1-digits.md").exists()


def test_one_page_that_cannot_be_written_does_not_keep_the_others_from_it(bench_in, two_runs):
    bench_in(*RUN, "--protocol", "label_noise")
    PAGE.unlink()
    PAGE.mkdir()
    other = RESULTS.parent / "label_noise-v1-digits.md"
    other.unlink()
    os.mkfifo(RESULTS.parent / "notes.md")  # is not waited for
    result = bench_in("leaderboard")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: cannot write {PAGE}: ")
    assert other.exists()


def test_a_name_that_is_no_text_is_told(bench_in, two_runs):
    name = os.fsdecode(b"\xff.json")
    shutil.copy(two_runs, RESULTS / name)
    assert bench_in("leaderboard").exit_code == 0  # an equal copy
    (RESULTS / name).write_text("mine")
    result = bench_in("leaderboard")
    assert result.exit_code == 1
    assert "skipped the record bench-results/results/\\udcff.json: " in result.stderr


def test_the_frame_warns_of_what_it_leaves_out(bench_in, two_runs):
    UNUSABLE["history"][0](two_runs)
    with pytest.warns(UserWarning, match="skipped the record .*: not a record: .* 'history'"):
        frame = ResultStore(RESULTS).frame()
    assert set(frame.method) == {"random"}


@pytest.mark.parametrize("kind", ["protocol", "data set", "superseded"])
def test_a_place_that_is_taken_is_told_before_anything_is_trained(bench_in, kind):
    """A file in place of a folder of records, or of that of older ones."""
    bench_in("run", "--method", "random", "--dataset", "digits", "--epochs", 1)
    taken = {"protocol": TASK.parent, "data set": TASK, "superseded": TASK / "superseded"}[kind]
    if taken.exists():
        shutil.rmtree(taken)
    else:
        (random_record,) = TASK.glob("*.json")
        random_record.unlink()
    taken.write_text("mine")
    before = files()
    result = bench_in(*RUN, "--method", "random")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"error: {taken} is no folder, and files") and len(result.stderr.splitlines()) == 1
    assert files() == before
