"""The wraps of libraries, in an environment of their own that has the libraries (`distribution/requirements.txt`)."""

import signal
from pathlib import Path

import pytest

from tests.distributions import Environment, run
from tests.processes import ended_by

DISTRIBUTION = Path(__file__).parent / "distribution"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    folder = tmp_path_factory.mktemp("wraps")
    return Environment(folder, [DISTRIBUTION], DISTRIBUTION / "requirements.txt")


def test_the_wraps_do_what_they_have_to(environment):
    (source,) = environment.sources
    output = run(environment.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", source / "checks.py")
    assert "30 passed" in output, output


@pytest.mark.parametrize("name", ["skorch", "accelerate"])
def test_an_interrupt_within_the_loop_of_a_library_ends_the_command(environment, tmp_path, name):
    """skorch keeps an interrupt to itself, and returns from `fit` as if it were done."""
    words = ["run", "--method", name, "--dataset", "digits", "--epochs", "100000"]
    results = tmp_path / "bench-results"
    code, error = ended_by(signal.SIGINT, words, tmp_path, lambda: list(results.rglob("*.pt")), environment.python)
    assert code == 130, error
    assert "give the same command again to go on" in error
    assert "Traceback" not in error
    assert not list(results.rglob("*.json"))
