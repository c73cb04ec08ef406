"""Runs of a method that is edited: trained again, kept aside, and never resumed from its older code."""

import importlib
import json
import sys
from dataclasses import replace

import pytest

from bench.metrics import Metric
from bench.recipe import Recipe
from bench.records import known_code
from bench.records.known_code import CORE, Commit, KnownCode
from bench.records.run import RunResult
from bench.records.sections import UNKNOWN, Code, Git
from bench.records.sidecar import sidecar_path
from bench.records.spec import digest
from bench.registry import Plugin
from bench.runs.code import code_of, difference
from bench.runs.standing import Standing, standing
from bench.training.checkpoints import Checkpoints
from bench.training.observer import Observer
from bench_plugins.protocols.fairness import GroupFairness
from tests.experiments import one, toy_experiment

RECIPE = Recipe(protocol="group_fairness", lr=0.05, epochs=4, batch_size=16, val_size=40, test_size=60)
SOURCE = """
from acme_share import SHARE
from bench import Method

class Trimmed(Method):
    def weights(self, batch, losses):
        return (losses <= losses.quantile(SHARE)).float().detach()
"""


@pytest.fixture
def edited(tmp_path, monkeypatch):
    """`edited(share, text)`: an experiment with the method of a third party after an edit, as a new process has it."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def make(share: str, source: str = SOURCE):
        (folder / "acme_share.py").write_text(f"SHARE = {share}\n")
        (folder / "acme_trimmed.py").write_text(source)
        for name in ("acme_share", "acme_trimmed"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode  # else an edit within a second is not seen
        method = importlib.import_module("acme_trimmed").Trimmed
        sys.dont_write_bytecode = before
        made = toy_experiment(RECIPE, GroupFairness(), method, "shared", {}, {}, ("a", "b"))
        plugin = Plugin("trimmed", "acme", "0.1", "acme_trimmed")
        return replace(made, plugins={"method": plugin}, loaded=(plugin,))

    yield make
    for name in ("acme_share", "acme_trimmed"):
        sys.modules.pop(name, None)


def stands(experiment, store, seeds=(0,), **how) -> Standing:
    return standing(experiment, seeds, store, **how)


def test_an_edited_method_is_trained_again_and_its_older_record_is_kept(edited, store):
    old = one(edited("0.5"), store)
    path = store.path(old.spec)
    content, arrays = path.read_bytes(), sidecar_path(path, old.sidecar).read_bytes()
    now = edited("0.9")  # in a module that the method's own imports
    assert now.spec(0).key == old.spec.key
    found = stands(now, store)
    then, after = old.code.plugins["method"], code_of(now).plugins["method"]
    assert (found.kept, found.missing) == ([], [0])
    assert found.lines == [
        f"1 run was recorded by other code of the method ({then}, now {after}): trained again, and what was "
        f"recorded moves to {path.parent / 'superseded'}; --keep leaves it"
    ]
    assert path.read_bytes() == content  # until the new one is there
    new = one(now, store)
    assert new.history != old.history
    aside = sorted((path.parent / "superseded").iterdir(), key=lambda file: file.suffix)
    assert [file.read_bytes() for file in aside] == [content, arrays]
    assert store.get(old.spec) == RunResult.from_json(new.to_json())
    assert store.load()[0] == [store.get(old.spec)]
    assert stands(now, store).missing == []
    one(edited("0.5"), store)  # back to the older code: its record stays beside that of the newer
    assert len(list((path.parent / "superseded").iterdir())) == 4


def test_an_edit_of_the_words_repeats_nothing(edited, store):
    one(edited("0.5"), store)
    worded = SOURCE.replace("(Method):\n", '(Method):\n    """Leaves out large losses."""\n\n').replace(
        "losses):", "losses: object) -> object:  # detached"
    )
    found = stands(edited("0.50", worded), store)
    assert (found.missing, found.lines) == ([], [])


def test_keep_leaves_the_record_and_trains_nothing(edited, store):
    one(edited("0.5"), store)
    found = stands(edited("0.9"), store, seeds=(0, 1), keep=True)
    assert found.missing == [1] and len(found.kept) == 1
    assert found.lines[0].endswith("not repeated (--keep)")


def test_a_run_that_fails_leaves_the_older_record(edited, store):
    old = one(edited("0.5"), store)
    failed = one(edited("2"), store)  # which is no quantile
    assert failed.status == "plugin error"
    assert store.get(old.spec) == RunResult.from_json(old.to_json())
    assert not list(store.folder.rglob("superseded"))


def test_force_keeps_aside_what_is_different_alone(edited, store):
    made = edited("0.5")
    one(made, store)
    assert stands(made, store, force=True).missing == [0]
    one(made, store)
    assert not list(store.folder.rglob("superseded"))
    other = replace(store.get(made.spec(0)), code=Code.read({}))
    store.put(other)
    assert len(list(store.folder.rglob("superseded/*.json"))) == 1


class Stop(Observer):
    """Interrupts a training after its second epoch, and remembers the notes."""

    def __init__(self, stops: bool) -> None:
        self.stops, self.notes, self.begun = stops, [], []

    def begin(self, method, epoch):
        self.begun.append(epoch)

    def saved(self, epoch):
        if self.stops and epoch == 2:
            raise KeyboardInterrupt

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("other", ["plugin", "core", "nothing"])
def test_a_checkpoint_of_other_code_is_not_resumed_from(edited, store, tmp_path, monkeypatch, other):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        one(edited("0.5"), store, observer=Stop(True))
    now = edited("0.9" if other == "plugin" else "0.5")
    if other == "core":
        monkeypatch.setattr("bench.runs.code.core_hash", lambda finder: "0123456789ab")
    watch = Stop(False)
    result = one(now, store, observer=watch)
    note = "the checkpoint of this run is of other code or other data, so the training starts from the beginning"
    assert (watch.notes, watch.begun) == (([], [2]) if other == "nothing" else ([note], [0]))
    assert list((tmp_path / "checkpoints").iterdir()) == []
    store.path(result.spec).unlink()
    assert result.reproducible() == one(now, store).reproducible()


def test_code_without_a_source_is_never_resumed_from(edited, store, monkeypatch):
    monkeypatch.setattr(Checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr("bench.runs.code.hash_of", lambda roots, finder: "")
    with pytest.raises(KeyboardInterrupt):
        one(edited("0.5"), store, observer=Stop(True))
    watch = Stop(False)
    result = one(edited("0.5"), store, observer=watch)
    assert len(watch.notes) == 1 and watch.begun == [0]
    assert result.code.plugins["method"] == UNKNOWN
    found = stands(edited("0.5"), store)
    assert found.missing == [] and "recorded by code (method" in found.lines[0]


def test_another_core_is_told_and_repeats_nothing(edited, store, monkeypatch):
    made = edited("0.5")
    old = one(made, store)
    monkeypatch.setattr("bench.runs.code.core_hash", lambda finder: "0123456789ab")
    found = stands(made, store)
    assert found.missing == []
    hashes = f"({old.code.core}, now 0123456789ab)"
    assert found.lines[0] == f"1 run was recorded by another core of bench {hashes}: --force repeats them"
    one(made, store)  # as --force does
    assert len(list(store.folder.rglob("superseded/*.json"))) == 1


@pytest.fixture
def knowing(monkeypatch):
    """`knowing(known)`: what the committed file says."""

    def say(known: KnownCode) -> None:
        monkeypatch.setattr(known_code, "known", lambda: known)
        monkeypatch.setattr(known_code, "_representatives", known.representatives)

    return say


def test_equivalent_hashes_are_one(edited, store, knowing):
    old = one(edited("0.5"), store)
    now = edited("0.5 + 0")
    assert stands(now, store).missing == [0]
    then, after = old.code.plugins["method"], code_of(now).plugins["method"]
    knowing(KnownCode({}, [(then, "between"), ("between", after)]))
    assert (stands(now, store).missing, len(stands(now, store).lines)) == ([], 0)


@pytest.mark.parametrize(("commit", "dirty", "known"), [("c1", False, True), ("c1", True, False), ("c2", False, False)])
def test_a_record_without_hashes_has_those_of_its_commit(edited, store, knowing, commit, dirty, known):
    made = edited("0.5")
    result = one(made, store)
    plugins = dict.fromkeys(result.environment.plugins.values(), "other")
    protocols = {"group_fairness": result.code.plugins["protocol"]}
    knowing(KnownCode({"c1": Commit(result.code.core, plugins, protocols)}))
    environment = replace(result.environment, git=Git(commit, dirty))
    old = replace(result, code=Code.read({}), environment=environment)
    assert "code" not in json.loads(old.to_json())
    store.path(result.spec).unlink()
    store.put(old)
    found = difference(store.get(made.spec(0)), code_of(made))
    assert set(found.plugins) == ({"method"} if known else set())
    assert set(found.unknown) == {"model"} | (set() if known else {"method", "protocol", CORE})
    if not known:
        assert stands(made, store).missing == []
        assert "that is not known: --force repeats them" in stands(made, store).lines[0]


def test_all_that_takes_part_is_in_the_record_and_all_that_is_loaded(edited, store):
    result = one(edited("0.5"), store)
    assert set(result.code.plugins) == {"method", "model", "protocol"}
    assert result.code.loaded == {"acme 0.1": digest([["trimmed", result.code.plugins["method"]]])}
    assert RunResult.from_json(result.to_json()).code == result.code
    assert "code" not in result.reproducible()
    foreign = Metric(test_equivalent_hashes_are_one, True, "-")
    made = edited("0.5")
    protocol = replace(made.protocol)
    object.__setattr__(protocol, "metrics", ("oddity", "accuracy"))
    made = replace(made, protocol=protocol, known_metrics={**made.known_metrics, "oddity": foreign})
    assert "metric oddity" in code_of(made).plugins
