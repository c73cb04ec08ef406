"""`bench new`: what it writes passes its tests as written, and what cannot become a plugin is one clear line."""

import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.cli.new import FIRST_RUN
from tests.distributions import KINDS, ROOT, run

New = Callable[..., Result]


@pytest.fixture
def new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> New:
    """Runs `bench new` in an empty folder; gives its result."""
    monkeypatch.chdir(tmp_path)
    return lambda *words: CliRunner().invoke(main, ["new", *words], catch_exceptions=False)


def as_installed(folder: Path) -> str:
    """Adds the metadata that an installation would have; gives the folder, to be imported from."""
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    metadata = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Name: {project['name']}\nVersion: {project['version']}\n")
    entry_points = [f"{name} = {module}\n" for name, module in project["entry-points"]["bench"].items()]
    (metadata / "entry_points.txt").write_text("[bench]\n" + "".join(entry_points))
    return str(folder)


def test_what_is_written_passes_its_tests_and_runs(new: New, tmp_path: Path) -> None:
    for kind in FIRST_RUN:
        assert new(kind, f"my_{kind}").exit_code == 0
    folders = [as_installed(tmp_path / f"bench-my_{kind}") for kind in FIRST_RUN]
    path = os.pathsep.join([*folders, os.environ.get("PYTHONPATH", ""), str(ROOT)])
    tested = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *folders, PYTHONPATH=path)
    assert f"{2 * len(FIRST_RUN)} passed" in tested
    names = [word for kind in ("method", "dataset", "model", "protocol") for word in (f"--{kind}", f"my_{kind}")]
    words = ["run", *names, "-o", "recipe.select=my_metric", "--epochs", 1]
    assert "error" not in run(sys.executable, "-m", "bench.cli", *words, PYTHONPATH=path)
    (record,) = Path("bench-results/results").glob("*/*/*.json")
    assert record.name.startswith("my_dataset.my_method.0.")
    assert '"my_metric":[0.' in record.read_text()


def test_it_says_what_was_written_and_how_to_go_on(new: New) -> None:
    assert new("model", "tiny_net", "--out", "a folder/mine").output.splitlines() == [
        "wrote a folder/mine/pyproject.toml",
        "wrote a folder/mine/bench_tiny_net.py",
        "wrote a folder/mine/tests/test_tiny_net.py",
        "",
        "Go on with:",
        "",
        "pip install -e 'a folder/mine'",
        "python -m pytest 'a folder/mine'",
        "bench run --method erm --dataset digits --model tiny_net",
    ]
    written = [path for path in Path("a folder").rglob("*") if path.is_file()]
    assert len(written) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_examples_are_built_as_what_is_written(new: New, kind: str) -> None:
    example = ROOT / "examples" / kind
    new(kind, KINDS[kind])
    (written,) = Path().glob("bench-*")
    assert (written / "pyproject.toml").read_text() == (example / "pyproject.toml").read_text()


def test_the_templates_are_installed_with_bench() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["bench"]
    installed = [path for pattern in patterns for path in (ROOT / "bench").glob(pattern)]
    assert {*(ROOT / "bench" / "templates").iterdir()} <= {*installed}


@pytest.mark.parametrize("kind", FIRST_RUN)
def test_the_word_for_the_kind_can_be_a_name(new: New, kind: str) -> None:
    """The names in the module do not collide with what it imports."""
    assert new(kind, f"new_{kind}").exit_code == 0
    source = Path(f"bench-new_{kind}", f"bench_new_{kind}.py").read_text()
    names: dict[str, Any] = {"__name__": f"bench_new_{kind}"}
    exec(compile(source, kind, "exec"), names)


BAD = {
    "an unknown kind": (["metod", "mine"], "unknown kind 'metod': did you mean 'method'? known: dataset, method"),
    "a dash": (["method", "my-method"], "did you mean 'my_method'?"),
    "a digit first": (["model", "3layers"], "did you mean 'model_3layers'?"),
    "a keyword": (["method", "class"], "did you mean 'method_class'?"),
    "a letter with an accent": (["metric", "entropié"], "did you mean 'entropi'?"),
    "an underscore last": (["metric", "mine_"], "did you mean 'mine'?"),
    "no name": (["metric", ""], "did you mean 'metric'?"),
    "a name with a path": (["dataset", "../mine"], "did you mean 'mine'?"),
    "a name that is offered": (
        ["method", "erm"],
        "the method 'erm' exists already, offered by plugin erm (",
    ),
    "the module of the built-in plugins": (["method", "plugins"], "a module bench_plugins is installed already"),
    "a folder that exists": (["model", "mine", "--out", "."], ". exists already: choose another folder with --out"),
    "a file for a folder": (["model", "mine", "--out", "file/mine"], "file/mine cannot be written: Not a directory"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_one_line_and_writes_nothing(new: New, what: str) -> None:
    words, said = BAD[what]
    Path("file").write_text("")
    result = new(*words)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert result.stderr.startswith("error: ") and said in result.stderr
    assert [path.name for path in Path().rglob("*")] == ["file"]
