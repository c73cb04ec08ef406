"""The page of pictures is what the committed records give."""

import importlib.metadata
import os
import re

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.tables.leaderboard import published
from tests.figures import FOLDER, PAGE, ROOT, Section, sections, values

SECTIONS = sections()
each_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.image.stem)
the_last_and_slowly_all = pytest.mark.parametrize(
    "section",
    [pytest.param(s, id=s.image.stem, marks=[] if s is SECTIONS[-1] else pytest.mark.slow) for s in SECTIONS],
)


def test_the_page_names_every_picture():
    named = [section.image for section in SECTIONS]
    assert sorted(named) == sorted(FOLDER.iterdir())
    assert [section.plot[-1] for section in SECTIONS] == [str(image.relative_to(ROOT)) for image in named]
    assert PAGE.read_text().count("![") == PAGE.read_text().count("\n## ") == len(named)


@each_section
def test_a_picture_is_of_the_runs_of_its_commands(section: Section):
    if section.needs_files and not os.environ.get("BENCH_DATA"):
        pytest.skip("BENCH_DATA names no folder with the files of the data set")
    drawn = {run.spec.key for series in section.series for run in series.runs.values()}
    assert drawn == section.keys()


@each_section
def test_the_numbers_of_a_section_are_those_of_the_records(section: Section):
    assert section.cells == section.table()
    task = {name: values(section.plot)[name] for name in ("dataset", "protocol")}
    papers = {row["value"] for row in published() if task.items() <= row.items()}
    known = [*re.findall(r" (\d+\.\d+) ", section.cells), *papers]
    assert [n for n in re.findall(r"\d+\.\d+", section.prose) if n not in known] == []


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
