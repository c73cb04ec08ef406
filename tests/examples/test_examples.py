"""The five examples: whole third-party distributions, installed into an environment of their own, tested and run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.distributions import KINDS, ROOT, Environment

EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(tmp_path_factory.mktemp("examples"), [EXAMPLES / kind for kind in KINDS])


@pytest.mark.parametrize("kind", KINDS)
def test_an_example_has_under_60_lines_in_all(kind: str) -> None:
    """All lines of its pyproject.toml, its module and its test are counted, blank ones included."""
    folder = EXAMPLES / kind
    files = [file for pattern in ("*.*", "tests/*.*") for file in folder.glob(pattern) if file.is_file()]
    assert len(files) == 3
    assert sum(len(file.read_text().splitlines()) for file in files) < 60


def test_each_passes_its_own_tests(environment: Environment) -> None:
    environment.passes_the_tests_of_its_distributions(2 * len(KINDS))


def test_each_is_listed_with_its_distribution(environment: Environment) -> None:
    listed = environment.bench("list")
    for kind, name in KINDS.items():
        assert f"{kind}s (bench-{name} 1.0)\n{name} " in listed


def test_one_run_uses_all_of_them(environment: Environment, tmp_path: Path) -> None:
    names = [word for kind in ("method", "dataset", "model", "protocol") for word in (f"--{kind}", KINDS[kind])]
    options = ["-o", "keep=0.7", "-o", "protocol.keep=0.5", "-o", "recipe.select=log_loss"]
    environment.bench("run", *names, "--epochs", 1, *options, "--out", tmp_path)
    (path,) = (tmp_path / "results").glob("*/*/*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "ok"
    assert record["spec"]["options"] == {"keep": 0.7}
    assert record["spec"]["protocol_options"] == {"keep": 0.5}
    for kind in ("method", "dataset", "model", "protocol"):
        name = KINDS[kind]
        assert record["environment"]["plugins"][kind] == f"{name} (bench-{name} 1.0)"
    assert all(0 < loss < 2 for loss in record["selected"]["metrics"]["test"]["log_loss"])


def test_they_are_not_installed_here() -> None:
    for name in KINDS.values():
        assert subprocess.run([sys.executable, "-c", f"import bench_{name}"], capture_output=True).returncode == 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_guide_shows_the_module_as_it_is(kind: str) -> None:
    module = (EXAMPLES / kind / f"bench_{KINDS[kind]}.py").read_text()
    assert f"```python\n{module}```" in (ROOT / "CONTRIBUTING.md").read_text()
