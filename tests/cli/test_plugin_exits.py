"""A plugin that ends the program, or raises anything, before its run begins: exit code 1 and one line."""

import sys
from dataclasses import dataclass

import pytest
from click.testing import CliRunner

import bench.registry
from bench.cli import main
from bench.failures import place_of_exit
from bench.metrics import Metric
from bench.registry import Offer, Plugin
from bench_plugins.protocols.fairness import ClassFairness

PLUGIN = Plugin("my-plugin", "my-dist", "0.1", __name__)


def end(*_):
    sys.exit(0)


def fail(*_):
    raise ValueError("no value")


def recurse(*_):
    return recurse()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs ERM on moons, with what a plugin offers; gives the result, and whether anything was left."""
    monkeypatch.chdir(tmp_path)
    registry = bench.registry.load(list(bench.registry.importlib.metadata.entry_points(group="bench")))
    monkeypatch.setattr(bench.registry, "installed", lambda: registry)

    def run(kind, value, *words):
        registry.offers[kind]["mine"] = Offer(value, PLUGIN)
        words = ["run", "--method", "erm", "--dataset", "moons", "--epochs", "1", *words]
        return CliRunner().invoke(main, words, catch_exceptions=False), list(tmp_path.iterdir())

    return run


@pytest.mark.parametrize("does", [end, fail, recurse])
def test_in_a_selection_metric(run, does):
    result, left = run("metrics", Metric(does, True), "-o", "recipe.select=mine")
    assert (result.exit_code, result.stdout, left) == (1, "", [])
    assert result.stderr.startswith("error: my-dist 0.1: metric mine: ")
    assert f" in {does.__name__}, " in result.stderr


def protocol(**methods):
    return dataclass(frozen=True)(type("Mine", (ClassFairness,), {"name": "mine", "default": False, **methods}))


@pytest.mark.parametrize("does", [end, fail, recurse])
@pytest.mark.parametrize("where", ["__post_init__", "splits", "check"])
def test_in_a_protocol(run, does, where):
    result, left = run("protocols", protocol(**{where: does}), "--protocol", "mine", "--batch-size", "16")
    assert (result.exit_code, result.stdout, left) == (1, "", [])
    assert result.stderr.startswith("error: my-dist 0.1: protocol mine: ")


def test_wherever_it_is(run):
    """`metrics` is read all over the place."""
    result, left = run("protocols", protocol(metrics=property(end)), "--protocol", "mine")
    assert (result.exit_code, result.stdout, left) == (1, "", [])
    assert "SystemExit in end, " in result.stderr


def test_an_exit_of_our_own_is_none_of_a_plugin():
    with pytest.raises(SystemExit) as raised:
        end()
    assert place_of_exit(raised.value, ["bench"]).startswith("SystemExit in end, ")
    assert place_of_exit(raised.value, [__name__]) == ""


@pytest.mark.parametrize(("module", "said"), [("rich.console", False), ("bench.cli.run", False), ("acme", True)])
def test_only_an_exit_of_a_plugin_is_said_to_be_one(monkeypatch, module, said):
    """`rich` ends the program where the output is closed, as by `| head -1`."""
    names = {"__name__": module}
    exec("def callback(**asked):\n    raise SystemExit(1)", names)
    monkeypatch.setattr(main.commands["list"], "callback", names["callback"])
    result = CliRunner().invoke(main, ["list"])
    assert (result.exit_code, "a plugin ended the program" in result.stderr) == (1, said)
