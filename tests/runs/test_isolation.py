"""A process of its own gives the numbers of this one, and its end is told."""

import os

from bench import Files
from bench.records.store import ResultStore
from bench.runs.experiment import Request
from bench.runs.isolation import Ended, in_own_process
from bench.runs.resolve import resolve
from bench.runs.runner import record_failure, run
from tests.experiments import CPU

REQUEST = Request("separable", "erm", options={"recipe.epochs": 1})


def end(experiment, seeds, observer):
    """Ends its process, as no other function may."""
    os._exit(7)


def test_a_run_in_a_process_of_its_own_is_the_same_run(store, tmp_path):
    experiment = resolve(REQUEST, Files(tmp_path))
    other = ResultStore(tmp_path / "other")
    other.check_writable()
    (here,) = run(experiment, [0], store, CPU)
    (there,) = in_own_process(run, experiment, [0], store=other, device=CPU)
    assert there.ok
    assert there.reproducible() == here.reproducible()
    assert other.get(here.spec) is not None


def test_a_process_that_ends_itself_is_the_failure_of_its_run(store, tmp_path):
    experiment = resolve(REQUEST, Files(tmp_path))
    ended = in_own_process(end, experiment, [0])
    assert isinstance(ended, Ended)
    (result,) = record_failure(experiment, [0], store, CPU, ended.failure)
    assert result.status == "plugin error"
    assert result.error.endswith(": method erm: its process ended itself with exit code 7")
    assert store.path(result.spec).exists()
