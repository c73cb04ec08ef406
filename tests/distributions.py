"""Distributions of plugins, installed into an environment of their own as a third party would, without network."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
KINDS = {
    "method": "trimmed",
    "dataset": "diabetes",
    "model": "layer_norm_mlp",
    "protocol": "rare_group",
    "metric": "log_loss",
}
"""The examples: kind -> name."""


class Environment:
    """A new virtual environment that sees this one's packages, with some distributions installed."""

    def __init__(self, folder: Path, distributions: Iterable[Path], libraries: Path | None = None) -> None:
        """`folder`: an empty one. The distributions are built from copies, so that nothing is left in their folders.

        `libraries`: a file of requirements, each with its version. They come from the package index, without what they
        need themselves, so that none of this environment's packages is replaced. A test is skipped where there is none.
        """
        venv.create(folder / "venv", with_pip=False)
        self.python = folder / "venv" / "bin" / "python"
        purelib = sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})
        ours = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(ROOT)})
        Path(purelib, "ours.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in ours))
        self.sources = []
        for distribution in distributions:
            copy = folder / distribution.name
            shutil.copytree(distribution, copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
            self.sources.append(copy)
        install = ["-m", "pip", "--python", self.python, "install", "--no-deps"]
        if libraries:
            try:
                run(sys.executable, *install, "-r", libraries)
            except AssertionError as error:
                if "from versions: none" not in str(error):
                    raise
                pytest.skip(f"the package index cannot be reached, or lacks a library: {str(error).splitlines()[-1]}")
        run(sys.executable, *install, "--no-build-isolation", "--no-index", *self.sources)

    def bench(self, *words: object) -> str:
        """What the command `bench` prints in this environment."""
        return run(self.python, "-m", "bench.cli", *words)

    def passes_the_tests_of_its_distributions(self, count: int) -> None:
        """Raises AssertionError where one fails, or where there are not `count` tests."""
        output = run(self.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *self.sources)
        assert f"{count} passed" in output, output


def run(*words: object, **variables: str) -> str:
    """The output of a command that has these environment variables too.

    Raises AssertionError, with what the command said, where it fails.
    """
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")} | variables
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
