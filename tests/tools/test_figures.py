"""`tools/figures.py`, and the page of pictures: it is what the committed records give."""

import importlib.metadata
import os
import re
import shlex
import subprocess
import sys

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.cli.run import experiments_asked_for
from bench.errors import BenchError
from bench.tables.pages.papers import published
from tools import figures
from tools.figures import PAGE, ROOT, TABLE, Section, sections

FOLDER = PAGE.with_name("figures")
GENERATED = ("moons", "separable", "digits")
"""Data sets that need no files, or have theirs from a library."""
SECTIONS = sections()
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.image.stem)
the_last_and_slowly_all = pytest.mark.parametrize(
    "section",
    [pytest.param(s, id=s.image.stem, marks=[] if s is SECTIONS[-1] else pytest.mark.slow) for s in SECTIONS],
)


def values(words):
    """The options of a command of `bench`, by name."""
    name, *rest = words
    return main.commands[name].make_context(name, rest).params


def keys_of_the_runs(section: Section):
    """That the commands of a section make."""
    keys = set()
    for command in section.commands[:-1]:
        asked = values(shlex.split(command)[1:])
        methods, seeds, single = (asked.pop(name) for name in ("methods", "seeds", "single"))
        for experiment in experiments_asked_for(methods, asked):
            keys |= {experiment.spec(seed).key for seed in single or range(seeds or 1)}
    return keys


def test_the_page_names_every_picture():
    named = [section.image for section in SECTIONS]
    assert sorted(named) == sorted(FOLDER.iterdir())
    assert [section.plot[-1] for section in SECTIONS] == [str(image.relative_to(ROOT)) for image in named]
    assert PAGE.read_text().count("![") == PAGE.read_text().count("\n## ") == len(named)


@each_section
def test_a_picture_is_of_the_runs_of_its_commands(section: Section):
    if values(section.plot)["dataset"] not in GENERATED and not os.environ.get("BENCH_DATA"):
        pytest.skip("BENCH_DATA names no folder with the files of the data set")
    drawn = {run.spec.key for series in section.series for run in series.runs.values()}
    assert drawn == keys_of_the_runs(section)


@each_section
def test_the_numbers_of_a_section_are_those_of_the_records(section: Section):
    assert section.cells == section.table()
    task = {name: values(section.plot)[name] for name in ("dataset", "protocol")}
    papers = {row["value"] for row in published() if task.items() <= row.items()}
    known = [*re.findall(r" (\d+\.\d+) ", section.cells), *papers]
    assert [n for n in re.findall(r"\d+\.\d+", section.prose + section.alt) if n not in known] == []


@each_section
def test_a_picture_is_told_in_words(section: Section):
    """Of what it is and, of curves, what they do."""
    assert len(section.alt.split()) >= (12 if "surfaces" in section.plot else 25)


@the_last_and_slowly_all
def test_the_command_of_a_section_draws_its_picture(section: Section, tmp_path, monkeypatch):
    tested = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    for name in ("matplotlib", "pillow", "numpy"):
        if (here := importlib.metadata.version(name)) != tested[name]:
            pytest.skip(f"pictures are committed as {name} {tested[name]} draws them, and here is {here}")
    monkeypatch.chdir(ROOT)
    again = tmp_path / section.image.name
    result = CliRunner().invoke(main, [*section.plot, "--file", str(again)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert again.read_bytes() == section.image.read_bytes()


def test_the_program_fills_the_tables_and_draws_the_pictures(tmp_path):
    page, image = tmp_path / "page.md", tmp_path / "drawn.svg"
    text = PAGE.read_text()
    section = text[text.rindex("\n## ") :]
    whole = "# Pictures\n" + section.replace(f"--file {SECTIONS[-1].plot[-1]}", f"--file {image}")
    page.write_text(TABLE.sub(r"<!-- \1 -->\n", whole))
    assert page.read_text() != whole
    command = [sys.executable, ROOT / "tools" / "figures.py", "--page", page]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert page.read_text() == whole
    assert image.read_text().startswith("<?xml")


def broken(tmp_path, section):
    """The exit code for a page of this section."""
    page = tmp_path / "page.md"
    page.write_text(section)
    return figures.main(["--page", str(page)])


def test_a_section_without_a_picture_is_named(tmp_path, capsys):
    assert broken(tmp_path, "# P\n\n## Figure 1\n\n```\nbench plot counts\n```\n\n<!-- counts -->\n") == 1
    assert capsys.readouterr().err == (
        "error: section 'Figure 1' lacks its commands, its picture or the comment above its table\n"
    )


def test_a_command_that_draws_nothing_is_named(tmp_path, make_result, store, capfd):
    counted = {"counts": {"train": [[3, 4]]}, "sizes": {"train": 7}, "revision": "r1", "unofficial": {}}
    store.put(make_result(test={"tprd": 0.1, "accuracy": 0.9}, data=counted))
    line = f"bench plot counts --records {store.folder} --dataset digits --file {tmp_path}/a.txt"
    section = f"# P\n\n## Figure 1\n\n```\n{line}\n```\n\n![All](a.txt)\n\n<!-- counts -->\n"
    assert broken(tmp_path, section) == 1
    *_, why, last = capfd.readouterr().err.splitlines()
    assert "expected a name that ends in .svg or .png" in why
    assert last == f"error: a.txt was not drawn: {line}"
    assert "| erm | 7 | 4 | 3 |" in (tmp_path / "page.md").read_text()


def test_damaged_records_are_no_source_of_tables(make_result, store):
    store.put(make_result())
    path = store.path(make_result().spec)
    path.write_text(path.read_text().replace("erm", "other"))
    with pytest.raises(BenchError, match=f"damaged records: {path}"):
        figures.recorded(store.folder)


def test_a_column_that_no_run_has_is_named(make_result, store):
    history = {"epoch": [3], "step": [10], "test/accuracy": [0.5]}
    store.put(make_result(test={"accuracy": 0.5}, history=history))
    (one,) = figures.recorded(store.folder)
    with pytest.raises(BenchError, match="the runs of erm have no column test/speed"):
        figures.values_of(one, "test/speed")
