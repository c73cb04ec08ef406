"""Every program in `tools/` says what it makes, at its top and under `--help`, and the guide says how to call it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "tools"
SCRIPTS = sorted(TOOLS.glob("*.sh"))
MODULES = sorted(path for path in TOOLS.glob("*.py") if "__main__" in path.read_text())
each_program = pytest.mark.parametrize("path", [*SCRIPTS, *MODULES], ids=lambda path: path.name)


def first_line(path: Path) -> str:
    """What a program says of itself first."""
    if path in SCRIPTS:
        return path.read_text().splitlines()[1].removeprefix("# ")  # below the interpreter
    return ast.get_docstring(ast.parse(path.read_text())).splitlines()[0]


def test_there_are_programs_of_both_languages():
    assert [path.name for path in SCRIPTS] == ["gpu.sh"]
    assert [path.name for path in MODULES] == [
        "convert_records.py",
        "corruptions.py",
        "data_of_records.py",
        "equivalent.py",
        "figures.py",
        "fuzz.py",
        "gpu_report.py",
        "kill.py",
        "many_records.py",
        "record_schema.py",
    ]


@each_program
def test_help_begins_with_how_to_call_it_and_what_it_makes(path, tmp_path):
    interpreter = [] if path in SCRIPTS else [sys.executable]
    environment = os.environ | {"COLUMNS": "120"}
    command = [*interpreter, path, "--help"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("usage: ")
    assert first_line(path).startswith("Makes ") and first_line(path).endswith(".")
    assert first_line(path) in " ".join(result.stdout.split())
    assert list(tmp_path.iterdir()) == []


@each_program
def test_the_guide_says_how_to_call_it(path):
    assert f"tools/{path.name}" in (TOOLS / "README.md").read_text()


def test_no_program_borrows_from_the_tests():
    borrowing = []
    for path in TOOLS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            borrowing += [(path.name, name) for name in names if name.split(".")[0] == "tests"]
    assert borrowing == []
