"""`tools/equivalent.py`: records run again, and which hashes that shows to be equivalent."""

import json
import subprocess
import sys
import time
from dataclasses import replace

import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.errors import BenchError
from bench.records.known_code import Commit, KnownCode
from bench.records.run import RunResult
from bench.records.sections import Code, Completed, Git
from bench.records.sidecar import Sidecar
from bench.store.repetition import difference
from bench.store.results import ResultStore
from tools import equivalent
from tools.equivalent import (
    Candidate,
    Changed,
    Connected,
    Findings,
    candidates_of,
    changes_of,
    choose,
    entries,
    shown_by_completion,
)

COMMITTED = equivalent.ROOT / "leaderboards/results"

A, B, C = (Changed(name, f"{name}-old", f"{name}-new") for name in ("core", "erm", "mlp"))


@pytest.fixture
def today(monkeypatch):
    """Today's hash of anything is `NAME-new`."""
    monkeypatch.setattr(equivalent, "now", lambda name: f"{name}-new")


def test_the_numbers_of_a_record_are_compared_to_the_bit():
    then = {"history": {"loss": [0.1, None]}, "data": {"sizes": {"train": 3}}}
    assert difference(then, then) == ""
    assert difference(then, then | {"history": {"loss": [0.1, None], "newer": [1.0]}}) == ""
    assert difference(then, then | {"history": {"loss": [0.1 + 5e-18, None]}}) == ""  # the same double
    assert difference(then, then | {"history": {"loss": [0.10000000000000002, None]}}) == "history loss"
    assert difference(then, {"history": {}, "data": {"sizes": {"train": 4}}}) == "history loss"
    assert difference({"a": {}}, {}) == "a"


def test_a_run_is_the_same_and_an_altered_record_is_not(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "run --method erm --dataset digits --epochs 2 --train-size 100 --seeds 2 --stack --threads 1 --out out"
    assert CliRunner().invoke(main, words.split()).exit_code == 0
    store = ResultStore(tmp_path / "out/results")
    records = {one.spec.seed: replace(one, beside=store.sidecar(one)) for one in store.load()[0]}
    later = time.time() + 1000

    def again(runs: dict[int, RunResult], until: float = later) -> str:
        return equivalent.run_again(runs, tmp_path / "trees", None, until)

    assert again(records) == ""
    assert again(records, time.time() - 1) == equivalent.LATE
    altered = replace(records[1], beside=Sidecar(dict(records[1].history) | {"train/loss": [0.5, 0.5]}))
    assert again({0: records[0], 1: altered}) == "history train/loss is not the same"
    other = replace(records[1], spec=replace(records[1].spec, settings="other", seed=0))
    assert again({0: other}) == "it cannot be run: its settings have another key today"
    elsewhere = replace(records[0].environment, device="CPU of another kind", git=None)
    told = again({seed: replace(one, environment=elsewhere) for seed, one in records.items()})
    assert told == "it cannot be run: it was made on another processor, and by code that is in no commit"


@pytest.fixture
def record(make_result):
    """`record(seed, seconds, ...)`: of a commit, without hashes."""

    def make(seed: int = 0, seconds: float = 1.0, stacked: int = 1, commit: str = "c1", **fields) -> RunResult:
        made = {"versions": {"torch": "2.0"}, "plugins": {"method": "erm (reweight-bench 0.1.0)"}}
        made["git"] = {"commit": commit, "dirty": False}
        costs = {"stacked": stacked}
        return make_result("erm", seed, seconds=seconds, environment=made, costs=costs, **fields)

    return make


KNOWN = KnownCode({"c1": Commit("core-old", {"erm (reweight-bench 0.1.0)": "erm-old"}, {"class_fairness": "f-old"})})


def test_the_changes_of_a_record_are_its_hashes_that_are_not_todays(today, record, monkeypatch):
    monkeypatch.setattr(equivalent, "plugin_of_protocol", lambda name: "fairness")
    assert changes_of(record(), KNOWN) == {A, B, Changed("fairness", "f-old", "fairness-new")}
    assert changes_of(record(commit="c2"), KNOWN) == set()
    own = Code.read({"core": "core-new", "plugins": {"method": "erm-older"}})
    assert changes_of(replace(record(), code=own), KNOWN) == {Changed("erm", "erm-older", "erm-new")}


def test_a_completed_record_shows_what_a_run_would(today, record, monkeypatch):
    monkeypatch.setattr(equivalent, "plugin_of_protocol", lambda name: "fairness")
    by = Completed("2026-11-28T00:00:00+00:00", "core-new", {"method": "erm-new", "protocol": "fairness-between"})
    assert shown_by_completion(replace(record(), completed=by), KNOWN) == {A, B}  # the protocol has changed since
    assert shown_by_completion(replace(record(), completed=replace(by, core="core-between")), KNOWN) == {B}
    assert shown_by_completion(record(), KNOWN) == set()


def test_stacked_runs_are_run_again_together_or_not_at_all(today, record, monkeypatch):
    monkeypatch.setattr(equivalent, "plugin_of_protocol", lambda name: "fairness")
    records = [record(0, 9.0), record(1, 2.0), record(2, 3.0, stacked=2), record(3, 3.0, stacked=2)]
    records += [record(4, 1.0, stacked=2, commit="c2"), record(5, 1.0, device="Tesla"), record(6, status="diverged")]
    found = candidates_of(records, KNOWN, "2.0")
    assert [sorted(one.runs) for one in found] == [[1], [2, 3], [0]]  # the shortest first
    assert [one.seconds - equivalent.OVERHEAD for one in found] == [4.0, 12.0, 18.0]  # then and today
    assert candidates_of(records, KNOWN, "2.1") == []


def candidate(record, seed: int, *changes: Changed) -> Candidate:
    return Candidate({seed: record(seed)}, frozenset(changes))


def test_each_hash_is_tried_by_its_shortest_record(record):
    ab, a, b, c = (candidate(record, i, *changes) for i, changes in enumerate([(A, B), (A,), (B,), (C,)]))
    everything = [ab, a, b, c]
    assert choose(everything, Findings(), set(), []) == [ab, c]
    assert choose(everything, Findings(), set(), [ab]) == [c]
    findings = Findings()
    findings.add(ab, "")
    assert choose(everything, findings, {ab.first.spec.key}, []) == [c]
    findings = Findings()
    findings.add(ab, "history loss is not the same")
    assert choose(everything, findings, {ab.first.spec.key}, []) == [a, b, c]
    tried = {one.first.spec.key for one in (ab, a)}
    assert choose([ab, a, candidate(record, 9, A)], findings, tried, []) == []  # two have been enough


def test_a_run_that_says_the_contrary_makes_its_hashes_doubtful(record):
    findings = Findings()
    findings.add(candidate(record, 0, A, C), "")
    findings.add(candidate(record, 1, A, B), "history loss is not the same")
    assert set(findings.sure) == {A, C}  # as `erm` may have changed
    findings.add(candidate(record, 2, B), "")
    assert set(findings.sure) == {C}
    assert len(findings.told) == 1


def test_the_list_is_sorted_and_forgets_hashes_that_nobody_has(today):
    before = [
        {"of": "mlp", "old": "mlp-old", "new": "mlp-new", "records": ["k3"]},
        {"of": "core", "old": "core-older", "new": "passing", "records": ["k1"]},
        {"of": "core", "old": "core-older", "new": "recorded", "records": ["k2"]},
        {"of": "core", "old": "replaced", "new": "recorded", "records": ["k6"]},
        {"of": "core", "old": "replaced", "new": "older than that", "records": ["k7"]},
    ]
    listed = entries(before, {B: {"k9", "k4"}, A: {"k5"}}, {"recorded", "core-older", "mlp-old", A.old, B.old})
    assert [(one["of"], one["new"], one["records"]) for one in listed] == [
        ("core", "core-new", ["k5"]),
        ("core", "recorded", ["k2"]),
        ("erm", "erm-new", ["k4", "k9"]),
        ("mlp", "mlp-new", ["k3"]),
    ]


def test_hashes_stay_equivalent_by_one_that_no_record_has_any_more(today):
    """A core that is no longer today's, and that made no record, stands between those of records and today's."""
    before = [
        {"of": "core", "old": "first", "new": "passing", "records": ["k1"]},
        {"of": "core", "old": "second", "new": "passing", "records": ["k2"]},
        {"of": "core", "old": "third", "new": "passing", "records": ["k3"]},
    ]
    known = {"first", "second", A.old}
    shown = {Changed("core", "first", "core-new"): {"k1"}, A: {"k5"}}
    listed = entries(before, shown, known)
    assert [(one["old"], one["new"], one["records"]) for one in listed] == [
        (A.old, "core-new", ["k5"]),
        ("first", "core-new", ["k1"]),
        ("first", "passing", ["k1"]),
        ("second", "passing", ["k2"]),
    ]
    connected = Connected()
    for one in listed:
        connected.add(one["of"], one["old"], one["new"])
    assert connected.are("core", "second", "core-new") and not connected.are("core", "third", "core-new")
    assert not connected.are("erm", "second", "core-new")


def test_the_hashes_of_a_commit_are_those_of_its_files(record, monkeypatch, tmp_path):
    """A repository of its own, with one plugin and a protocol that was no plugin then."""
    files = {
        "pyproject.toml": '[project]\nname = "a-b"\nversion = "1"\nentry-points.bench = {erm = "bench_plugins.erm"}\n',
        "bench/__init__.py": "",
        "bench/loop.py": "x = 1\n",
        "plugins/__init__.py": "",
        "plugins/erm.py": "from bench_plugins.shared import f\n",
        "plugins/shared.py": "def f(): return 1\n",
    }
    monkeypatch.setattr(equivalent, "ROOT", tmp_path)

    def commit(changed: dict[str, str]) -> str:
        for name, text in changed.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        for words in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "a change"]):
            subprocess.run(["git", "-C", tmp_path, *words], check=True)
        words = ["git", "-C", tmp_path, "rev-parse", "HEAD"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()

    def hashes(changed: dict[str, str]) -> Commit:
        name = commit(changed)
        (made,) = equivalent.commits_of([record(commit=name)]).values()
        return made

    first = hashes(files)
    assert hashes({"plugins/shared.py": "def f(): return 1  # one\n"}) == first
    shared = hashes({"plugins/shared.py": "def f(): return 2\n"})
    assert shared.core == first.core and shared.plugins != first.plugins
    core = hashes({"bench/loop.py": "x = 2\n"})
    assert core.core != first.core and core.plugins == shared.plugins
    assert core.protocols["class_fairness"] not in (core.core, first.protocols["class_fairness"])
    named = hashes({"bench/protocols/fairness.py": "x = 1\n"})
    assert hashes({"bench/loop.py": "x = 3\n"}).protocols == named.protocols
    assert hashes({"bench/protocols/fairness.py": "x = 2\n"}).protocols != named.protocols
    data = {"bench/templates/first.json": "[5]"}  # read where the code is imported
    last = commit({"plugins/erm.py": "from bench_plugins.shared import f\ny = 1\n"} | data)
    tree = equivalent.source_tree(last, tmp_path)
    code = "import bench.loop, bench_plugins.erm, importlib.metadata as m; print(bench.loop.x, bench_plugins.erm.f())"
    code += "; print([one.load().f() for one in m.entry_points(group='bench') if one.dist.name == 'a-b'])"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=tmp_path / "plugins", env={"PYTHONPATH": str(tree)}, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["3 2", "[2]"]
    assert (tree / "bench/templates/first.json").read_text() == "[5]"
    with pytest.raises(BenchError, match="commit 000000"):
        equivalent.commits_of([record(commit="0" * 40)])
    dirty = replace(record().environment, git=Git(last, True))
    assert equivalent.commits_of([replace(record(), environment=dirty)]) == {}


def test_the_committed_list_can_be_read_and_is_as_the_program_writes_it():
    text = equivalent.FILE.read_text("utf-8")
    values = json.loads(text)
    assert text == json.dumps(values, indent=1, sort_keys=True) + "\n"
    known = KnownCode.of(values)
    recorded = {commit.core for commit in known.commits.values()}
    recorded |= {one for commit in known.commits.values() for one in commit.plugins.values()}
    recorded |= {one for commit in known.commits.values() for one in commit.protocols.values()}
    assert all(entry["records"] for entry in values["equivalent"])
    for entry in values["equivalent"]:
        files = [path for key in entry["records"] for path in COMMITTED.glob(f"*/*/*.{key}.json")]
        assert files, f"{entry}: no committed record has a key that shows it"
        of_records = any(f'"{entry["old"]}"' in path.read_text() for path in files)  # which have hashes of their own
        assert entry["old"] in recorded or of_records
