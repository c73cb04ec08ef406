"""Makes the list of codes that give the same numbers, bench/records/equivalent.json, from committed records run again.

Records hold hashes of the code that made them; those of older records come from their commits. Where a hash is no
longer that of today, this program runs the shortest of its records again, unless a record was completed by today's code
(`tools/convert_records.py`), which shows the same. A record from another processor, which rounds otherwise, is made
anew by the code of its commit first. If all numbers are the same to the bit, the hash of then and that of today are
noted as equivalent, with the key of the record: `bench run` and the pages take them for one. Records whose numbers
differ are named and show nothing. Give it after changes that were meant to change no number, and commit the list.
"""

import argparse
import io
import json
import os
import shlex
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.records.files import write_whole
from bench.records.known_code import CORE, Commit, KnownCode
from bench.records.run import RunResult
from bench.records.sections import UNKNOWN
from bench.records.spec import canonical, digest
from bench.sources.closure import Finder, Module, core_hash, hash_of, parsed
from bench.sources.installed import INSTALLED
from bench.store.repetition import different_number
from bench.store.results import ResultStore

ROOT = Path(__file__).parents[1]
FILE = ROOT / "bench/records/equivalent.json"
FOLDERS = {"bench": "bench", "bench_plugins": "plugins"}
"""Top package -> its folder in the source tree."""
PROJECT = "pyproject.toml"
TRIES = 2
"""How many records of a hash are run again, if the numbers of the first ones differ."""
Fact = tuple[str, str, str, list[str]]
"""Whose hashes these are, two that are equivalent, and the keys of the records that show it."""
OVERHEAD = 10.0
"""Seconds beside both trainings of a record, then and today, by a rough guess."""


# Hashes


@cache
def all_files_of(commit: str) -> dict[str, bytes]:
    """The files of the core and of the plugins at a commit, and what describes the project: path -> content.

    Raises BenchError where git has no such commit.
    """
    words = ["git", "-C", str(ROOT), "archive", commit, *FOLDERS.values(), PROJECT]
    done = subprocess.run(words, capture_output=True)
    if done.returncode:
        raise BenchError(f"commit {commit}: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as files:
        return {name: file.read() for name in files.getnames() if (file := files.extractfile(name))}


@cache
def files_of(commit: str) -> dict[str, str]:
    """Of the files of a commit, those in Python, and what describes the project: path -> text."""
    return {name: of.decode() for name, of in all_files_of(commit).items() if name.endswith((".py", PROJECT))}


def project_of(commit: str) -> dict[str, Any]:
    """What `pyproject.toml` says of the project at a commit."""
    project: dict[str, Any] = tomllib.loads(files_of(commit)[PROJECT])["project"]
    return project


class CommitTree(Finder):
    """The modules of a commit of this project."""

    def __init__(self, commit: str) -> None:
        self._files = files_of(commit)
        self._modules: dict[str, Module | None] = {}

    def find(self, module: str) -> Module | None:
        """As `Finder.find`."""
        if module not in self._modules:
            top, _, rest = module.partition(".")
            place = "/".join([FOLDERS.get(top, top), *rest.split(".")]).rstrip("/")
            path = next((path for path in (f"{place}.py", f"{place}/__init__.py") if path in self._files), None)
            self._modules[module] = parsed(self._files[path], module, path.endswith("/__init__.py")) if path else None
        return self._modules[module]

    def below(self, package: str) -> Iterable[str]:
        """As `Finder.below`."""
        folder = f"{FOLDERS.get(package, package)}/"
        paths = sorted(path for path in self._files if path.startswith(folder) and path.endswith(".py"))
        names = (f"{package}/{path.removeprefix(folder).removesuffix('.py')}" for path in paths)
        return [name.removesuffix("/__init__").replace("/", ".") for name in names]

    def follows(self, package: str) -> bool:
        """As `Finder.follows`: of a commit, its own plugins alone."""
        return package == "bench_plugins"


def commits_of(results: Iterable[RunResult]) -> dict[str, Commit]:
    """The commits of the records without hashes, with the hashes of the plugins that these records name."""
    plugins: dict[str, set[str]] = defaultdict(set)
    protocols: dict[str, set[str]] = defaultdict(set)
    for result in results:
        made = result.environment
        if result.code.core or not made.git or made.git.dirty:
            continue
        plugins[made.git.commit] |= set(made.plugins.values())
        if "protocol" not in made.plugins:
            protocols[made.git.commit].add(result.spec.protocol_name)
    commits = {}
    for name, used in sorted(plugins.items()):
        tree = CommitTree(name)
        core, modules = core_hash(tree), project_of(name)["entry-points"]["bench"]
        hashes = {}
        for plugin in sorted(used):
            module = modules.get(plugin.partition(" ")[0])
            hashes[plugin] = (hash_of([module], tree) if module else "") or UNKNOWN
        commits[name] = Commit(core, hashes, {one: _protocol_in(tree, one, core) for one in sorted(protocols[name])})
    return commits


def _protocol_in(tree: CommitTree, protocol: str, core: str) -> str:
    """The hash of a protocol that was part of the core: of its own module, or where it had none of the whole core."""
    module = tree.find(f"bench.protocols.{plugin_of_protocol(protocol)}")
    return digest([protocol, module.parsed.meaning if module and module.parsed else core])


@cache
def now(plugin: str) -> str:
    """Today's hash of a plugin by its name, or of the core."""
    from bench.registry import installed

    if plugin == CORE:
        return core_hash(INSTALLED)
    modules = [one.module for one in installed().plugins if one.name == plugin]
    return hash_of(modules, INSTALLED) or UNKNOWN


@cache
def plugin_of_protocol(name: str) -> str:
    """The plugin that offers a protocol today."""
    from bench.registry import installed

    return installed().find("protocols", name).plugin.name


@dataclass(frozen=True)
class Changed:
    """A hash that is no longer today's.

    Attributes:
        of: CORE, or the plugin.
        old: the hash then.
        new: today's.
    """

    of: str
    old: str
    new: str


def changes_of(result: RunResult, known: KnownCode) -> set[Changed]:
    """All hashes of a record that are not today's; equivalent ones included."""
    own = {CORE: result.code.core} | result.code.plugins
    hashes = own if result.code.core else known.of_commit(result.environment, result.spec.protocol_name)
    changes = set()
    for use, old in hashes.items():
        name = plugin_of(result, use)
        if old != UNKNOWN and now(name) not in (old, UNKNOWN):
            changes.add(Changed(name, old, now(name)))
    return changes


def shown_by_completion(result: RunResult, known: KnownCode) -> set[Changed]:
    """The changes since a record was made that its completion shows to be equivalent: the repetition that gave its
    predictions gave the same numbers to the bit.
    """
    by = result.completed
    if by is None:
        return set()
    then = {plugin_of(result, use): one for use, one in ({CORE: by.core} | by.plugins).items()}
    return {change for change in changes_of(result, known) if then.get(change.of) == change.new}


def plugin_of(result: RunResult, use: str) -> str:
    """The name of the plugin of a record that has a use, or CORE."""
    told = result.environment.plugins.get(use, "").partition(" ")[0]
    return CORE if use == CORE else told or plugin_of_protocol(result.spec.protocol_name)


# Runs


@dataclass(frozen=True)
class Candidate:
    """Records that are run again together: one, or all that were stacked.

    Attributes:
        runs: by seed.
        changes: the hashes that equal numbers show to be equivalent.
    """

    runs: Mapping[int, RunResult]
    changes: frozenset[Changed]

    @property
    def first(self) -> RunResult:
        return self.runs[min(self.runs)]

    @property
    def seconds(self) -> float:
        """About how long it takes."""
        return OVERHEAD + 2 * sum(run.costs.train_seconds for run in self.runs.values())


def candidates_of(results: Iterable[RunResult], known: KnownCode, torch_version: str) -> list[Candidate]:
    """What can be run again here, the shortest first: finished runs on a CPU, by the torch that is installed."""
    groups: dict[tuple[Any, ...], dict[int, RunResult]] = defaultdict(dict)
    for run in results:
        made = run.environment
        if run.ok and made.device.startswith("CPU") and made.versions.get("torch") == torch_version:
            spec = canonical(asdict(replace(run.spec, seed=0)))
            alone = run.spec.seed if run.costs.stacked == 1 else None
            groups[spec, alone, run.costs.stacked, made.git and made.git.commit][run.spec.seed] = run
    candidates = []
    for runs in groups.values():
        first = next(iter(runs.values()))
        if len(runs) == first.costs.stacked:
            candidates.append(Candidate(runs, frozenset(changes_of(first, known))))
    return sorted(candidates, key=lambda candidate: (candidate.seconds, candidate.first.spec.key))


def run_again(runs: Mapping[int, RunResult], trees: Path, data_dir: Path | None, deadline: float) -> str:
    """Run records again.

    Args:
        runs: The records by seed, with what lies beside them; several were stacked.
        trees: Folder of the source trees of commits, each made when it is first needed.
        data_dir: Folder of the data files; None: the default one.
        deadline: Time after which nothing is begun, in seconds since the epoch.

    Returns:
        An empty text if all numbers are the same to the bit; otherwise what is different, or why they were not run.
    """
    if time.time() > deadline:
        return LATE
    try:
        today = run_today(runs, data_dir)
        then = runs if same_processor(runs[min(runs)]) else run_commit(runs, trees, data_dir)
    except BenchError as error:
        return f"it cannot be run: {error}"
    for seed, now_made in today.items():
        if different := different_number(then[seed], now_made):
            return f"{different} is not the same"
    return ""


def run_today(runs: Mapping[int, RunResult], data_dir: Path | None) -> dict[int, RunResult]:
    """By today's code. Raises BenchError, also where the settings of the records have another key today."""
    import torch

    from bench.data.files import Files, default_root
    from bench.runs.experiment import Request
    from bench.runs.resolve import resolve
    from bench.runs.runner import run

    result = runs[min(runs)]
    spec, words = result.spec, shlex.split(result.command)
    files = Files(data_dir or default_root(), allow_unofficial=bool(result.data.unofficial))
    request = Request(spec.dataset, spec.method, spec.model, spec.protocol_name, spec.changed, spec.validation)
    experiment = resolve(request, files)
    if experiment.spec(spec.seed).key != spec.key:
        raise BenchError("its settings have another key today")
    with tempfile.TemporaryDirectory() as folder:
        store = ResultStore(Path(folder) / "results")
        store.check_writable()
        again = run(
            experiment,
            sorted(runs),
            store,
            torch.device("cpu"),
            stacked="--stack" in words,
            backend=words[words.index("--backend") + 1] if "--backend" in words else "auto",
            check="--no-check" not in words,
            eager="--eager" in words,
            threads=result.costs.threads,
        )
    return {one.spec.seed: one for one in again}


def same_processor(result: RunResult) -> bool:
    """Whether a record was made on a processor of this kind: others round otherwise."""
    import torch

    from bench.runs.environment import environment

    return environment({}, torch.device("cpu")).device == result.environment.device


def run_commit(runs: Mapping[int, RunResult], trees: Path, data_dir: Path | None) -> dict[int, RunResult]:
    """By the code of the records' commit, in a process of its own. Raises BenchError where that fails."""
    result = runs[min(runs)]
    made = result.environment.git
    if made is None or made.dirty:
        raise BenchError("it was made on another processor, and by code that is in no commit")
    tree = source_tree(made.commit, trees)
    words = shlex.split(result.command.rpartition(" --seed ")[0])[1:]
    words += [word for seed in sorted(runs) for word in ("--seed", str(seed))]
    words += ["--data-dir", str(data_dir)] if data_dir else []
    threads = {"OMP_NUM_THREADS": str(result.costs.threads), "PYTHONPATH": str(tree)}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "bench.cli", *words, "--out", folder]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | threads)
        store = ResultStore(Path(folder) / "results")
        again = {one.spec.seed: replace(one, beside=store.sidecar(one)) for one in store.load()[0] if one.ok}
    if again.keys() != runs.keys():
        last = (done.stderr.strip() or "no record").splitlines()[-1]
        raise BenchError(f"its commit does not run here: {last}")
    return again


def source_tree(commit: str, trees: Path) -> Path:
    """The core and the plugins of a commit as an installed distribution, which only has to be on the path."""
    tree = trees / commit
    if tree.exists():
        return tree
    made = Path(tempfile.mkdtemp(dir=trees))
    packages = {folder: package for package, folder in FOLDERS.items()}
    project = project_of(commit)
    about = f"{project['name'].replace('-', '_')}.egg-info"
    plugins = (f"{name} = {module}" for name, module in project["entry-points"]["bench"].items())
    distribution = {
        f"{about}/PKG-INFO": f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n",
        f"{about}/entry_points.txt": "\n".join(["[bench]", *plugins]),
    }
    contents = all_files_of(commit) | {name: text.encode() for name, text in distribution.items()}
    for name, content in contents.items():
        top, _, rest = name.partition("/")
        path = made / packages.get(top, top) / rest
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with suppress(OSError):  # another process was quicker
        made.rename(tree)
    return tree


LATE = "there was no time left"


# The list


@dataclass
class Findings:
    """What runs have shown.

    Attributes:
        equal: hashes that are equivalent -> keys of the records that showed it.
        told: keys of records that showed nothing -> why.
        different: the hashes of each run whose numbers differ.
    """

    equal: dict[Changed, set[str]] = field(default_factory=lambda: defaultdict(set))
    told: dict[str, str] = field(default_factory=dict)
    different: list[frozenset[Changed]] = field(default_factory=list)

    def add(self, candidate: Candidate, outcome: str) -> None:
        """Note a run."""
        key = candidate.first.spec.key
        if outcome == "":
            for change in candidate.changes:
                self.equal[change].add(key)
            return
        self.told[key] = outcome
        if outcome.endswith("is not the same"):
            self.different.append(candidate.changes)

    @property
    def sure(self) -> dict[Changed, set[str]]:
        """Those of `equal` of which no run says the contrary: one whose other hashes are all equivalent too."""
        doubtful = {change for changes in self.different if changes <= self.equal.keys() for change in changes}
        return {change: keys for change, keys in self.equal.items() if change not in doubtful}


def choose(
    candidates: Sequence[Candidate], findings: Findings, tried: set[str], busy: Iterable[Candidate]
) -> list[Candidate]:
    """The shortest run for each hash that is not shown to be equivalent yet, and of which no run is under way."""
    open_now = {change for candidate in busy for change in candidate.changes} | findings.equal.keys()
    tries: dict[Changed, int] = defaultdict(int)
    for candidate in candidates:
        for change in candidate.changes if candidate.first.spec.key in tried else ():
            tries[change] += 1
    chosen = []
    for candidate in candidates:
        wanted = {change for change in candidate.changes - open_now if tries[change] < TRIES}
        if wanted and candidate.first.spec.key not in tried:
            chosen.append(candidate)
            open_now |= candidate.changes
    return chosen


def find_out(
    findings: Findings,
    candidates: Sequence[Candidate],
    store: ResultStore,
    seconds: float,
    jobs: int,
    data_dir: Path | None,
) -> None:
    """Run the chosen records of a store again, several at a time, as long as there is time, and add what they show."""
    tried: set[str] = set()
    deadline = time.time() + seconds
    running: dict[Future[str], Candidate] = {}
    with (
        tempfile.TemporaryDirectory() as trees,
        ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool,
    ):
        while True:
            for candidate in choose(candidates, findings, tried, running.values()):
                if len(running) == jobs:
                    break
                tried.add(candidate.first.spec.key)
                if time.time() + candidate.seconds > deadline:
                    findings.add(candidate, LATE)
                    continue
                runs = {seed: replace(run, beside=store.sidecar(run)) for seed, run in candidate.runs.items()}
                running[pool.submit(run_again, runs, Path(trees), data_dir, deadline)] = candidate
            if not running:
                return
            done = next((future for future in running if future.done()), None)
            if done is None:
                time.sleep(0.1)
                continue
            candidate, outcome = running.pop(done), done.result()
            findings.add(candidate, outcome)
            print(f"{candidate.first.command}: {outcome or 'the same'}", flush=True)


def entries(
    before: Iterable[Mapping[str, Any]], shown: Mapping[Changed, set[str]], recorded: set[str]
) -> list[dict[str, Any]]:
    """The list's entries: those that were shown now, and those of before that connect hashes of records with such or
    with today's. Being equivalent passes on: a hash between two of them need not be that of a record. What is connected
    already, and what leads to no hash of a record, goes.
    """
    facts = [(change.of, change.old, change.new, sorted(keys)) for change, keys in sorted(shown.items(), key=_names)]
    facts += sorted((entry["of"], entry["old"], entry["new"], entry["records"]) for entry in before)
    connected = Connected()
    kept = [fact for fact in facts if connected.add(*fact[:3])]
    while ends := [fact for fact in kept if _leads_nowhere(fact, kept, recorded)]:
        kept = [fact for fact in kept if fact not in ends]
    return [{"of": of, "old": old, "new": new, "records": keys} for of, old, new, keys in sorted(kept)]


class Connected:
    """Which hashes are equivalent, as others stand between them."""

    def __init__(self) -> None:
        self._next: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, of: str, one: str, other: str) -> bool:
        """Note that two hashes of one thing are equivalent. Returns whether that was new."""
        if self.are(of, one, other):
            return False
        self._next[self._last(of, one)] = self._last(of, other)
        return True

    def are(self, of: str, one: str, other: str) -> bool:
        """Whether two hashes of one thing are equivalent by what was noted."""
        return self._last(of, one) == self._last(of, other)

    def _last(self, of: str, one: str) -> tuple[str, str]:
        node = (of, one)
        while node in self._next:
            node = self._next[node]
        return node


def _names(item: tuple[Changed, set[str]]) -> tuple[str, str, str]:
    change, _ = item
    return change.of, change.old, change.new


def _leads_nowhere(fact: Fact, facts: Sequence[Fact], recorded: set[str]) -> bool:
    """Whether one of the two hashes of a fact is in no other fact, of no record, and not today's."""
    of, *hashes, _ = fact
    others = {one for other in facts if other is not fact and other[0] == of for one in other[1:3]}
    return any(one not in others | recorded and one != now(of) for one in hashes)


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=Path, default=ROOT / "leaderboards/results", help="folder of the records")
    parser.add_argument("--file", type=Path, default=FILE, help="the list (default: bench/records/equivalent.json)")
    parser.add_argument("--seconds", type=float, default=240.0, help="time for running records again (default: 240)")
    parser.add_argument("--jobs", type=int, default=2, help="how many run at a time (default: 2)")
    parser.add_argument("--data-dir", type=Path, help="folder of the data files, as for bench run")
    asked = parser.parse_args(words)
    try:
        return _main(asked)
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _main(asked: argparse.Namespace) -> int:
    import torch

    store = ResultStore(asked.records)
    results, damaged = store.load()
    if damaged:
        raise BenchError(f"damaged records: {', '.join(map(str, damaged))}; `bench leaderboard` says why")
    before = json.loads(asked.file.read_text("utf-8")) if asked.file.exists() else {"commits": {}, "equivalent": []}
    known = KnownCode(commits_of(results))
    candidates = candidates_of(results, known, torch.__version__)
    shown_before = {
        Changed(entry["of"], entry["old"], entry["new"]): set(entry["records"]) for entry in before["equivalent"]
    }
    fresh = [
        Candidate(one.runs, frozenset(change for change in one.changes if change not in shown_before))
        for one in candidates
    ]
    findings = Findings()
    for result in results:
        for change in shown_by_completion(result, known):
            findings.equal[change].add(result.spec.key)
    find_out(findings, fresh, store, asked.seconds, asked.jobs, asked.data_dir)
    recorded = {one for result in results for one in (result.code.core, *result.code.plugins.values())}
    for commit in known.commits.values():
        recorded |= {commit.core, *commit.plugins.values(), *commit.protocols.values()}
    listed = entries(before["equivalent"], findings.sure, recorded)
    values = {"commits": {name: vars(commit) for name, commit in known.commits.items()}, "equivalent": listed}
    write_whole(asked.file, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())
    connected = Connected()
    for entry in listed:
        connected.add(entry["of"], entry["old"], entry["new"])
    missing: dict[Changed, list[str]] = defaultdict(list)
    for result in results:
        for change in changes_of(result, known) if result.ok else ():
            if not connected.are(change.of, change.old, change.new):
                missing[change].append(result.spec.key)
    for change, keys in sorted(missing.items(), key=lambda item: (item[0].of, item[0].old)):
        why = dict.fromkeys(findings.told[key] for key in keys if key in findings.told)
        print(f"not shown: {change.of} {change.old}, of {len(keys)} records: {'; '.join(why) or 'none was run'}")
    print(f"{len(listed)} pairs of hashes are equivalent, {len(missing)} were not shown; see {asked.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
