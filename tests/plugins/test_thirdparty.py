"""A complete third-party distribution, installed into an environment of its own and run."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "thirdparty"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """A new environment that sees this one's packages, with the third party's distribution installed."""
    folder = tmp_path_factory.mktemp("thirdparty")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    paths = json.loads(run(python, "-c", "import json, site; print(json.dumps(site.getsitepackages()))").stdout)
    ours = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(__file__).parents[2])}
    Path(paths[0], "ours.pth").write_text("".join(f"import site; site.addsitedir({p!r})\n" for p in sorted(ours)))
    source = folder / "source"
    source.mkdir()
    for file in SOURCE.glob("*.*"):
        (source / file.name).write_bytes(file.read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source]
    run(*build)
    run(python, "-m", "pip", "install", "--no-deps", *folder.glob("*.whl"))
    return python


def run(*words):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True, env=env)


def test_it_is_short():
    assert sum(len(file.read_text().splitlines()) for file in SOURCE.glob("*.*")) < 40


def test_it_runs_like_a_built_in(environment, tmp_path):
    assert "methods (bench-trimmed 1.0)\ntrimmed " in run(environment, "-m", "bench.cli", "list", "methods").stdout
    out = tmp_path / "out"
    words = ["run", "--method", "trimmed", "--dataset", "digits", "--epochs", "1", "-o", "keep=0.7", "--out", out]
    run(environment, "-m", "bench.cli", *words)
    (record,) = (out / "results").glob("*.json")
    found = json.loads(record.read_text())
    assert found["status"] == "ok"
    assert found["spec"]["options"] == {"keep": 0.7}
    assert found["environment"]["plugins"]["method"] == "trimmed (bench-trimmed 1.0)"


def test_it_keeps_the_contract(environment):
    run(
        environment,
        "-c",
        "import bench_trimmed; from bench.testing import check_method; check_method(bench_trimmed.Trimmed)",
    )


def test_it_is_not_installed_here():
    assert subprocess.run([sys.executable, "-c", "import bench_trimmed"], capture_output=True).returncode == 1
