"""Makes the list of codes that give the same numbers, bench/records/equivalent.json, from committed records run again.

Records hold hashes of the code that made them; those of older records come from their commits. Where a hash is no
longer that of today, this program runs the shortest of its records again. If all numbers are the same to the bit, the
hash of then and that of today are noted as equivalent, with the key of the record: `bench run` and the pages take them
for one. Records whose numbers differ are named and show nothing. Give it after changes that were meant to change no
number, and commit the list.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
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
from bench.records.store import ResultStore
from bench.sources.closure import Finder, Module, core_hash, hash_of, parsed
from bench.sources.installed import INSTALLED

ROOT = Path(__file__).parents[1]
FILE = ROOT / "bench/records/equivalent.json"
FOLDERS = {"bench": "bench", "bench_plugins": "plugins"}
"""Top package -> its folder in the source tree."""
TRIES = 2
"""How many records of a hash are run again, if the numbers of the first ones differ."""
OVERHEAD = 3.0
"""Seconds beside the training of a run, for its data and its evaluations, by a rough guess."""


# Hashes


def git(*words: str) -> str:
    """The output of git in the source tree. Raises BenchError where it fails."""
    done = subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


class CommitTree(Finder):
    """The modules of a commit of this project."""

    def __init__(self, commit: str) -> None:
        self.commit = commit
        self._files = set(git("ls-tree", "-r", "--name-only", commit).split("\n"))
        self._modules: dict[str, Module | None] = {}

    def find(self, module: str) -> Module | None:
        """As `Finder.find`."""
        if module not in self._modules:
            top, _, rest = module.partition(".")
            place = "/".join([FOLDERS.get(top, top), *rest.split(".")]).rstrip("/")
            path = next((path for path in (f"{place}.py", f"{place}/__init__.py") if path in self._files), None)
            self._modules[module] = self._read(path, module) if path else None
        return self._modules[module]

    def _read(self, path: str, module: str) -> Module:
        return parsed(git("show", f"{self.commit}:{path}"), module, path.endswith("/__init__.py"))

    def below(self, package: str) -> Iterable[str]:
        """As `Finder.below`."""
        folder = f"{FOLDERS.get(package, package)}/"
        paths = sorted(path for path in self._files if path.startswith(folder) and path.endswith(".py"))
        names = (f"{package}/{path.removeprefix(folder).removesuffix('.py')}" for path in paths)
        return [name.removesuffix("/__init__").replace("/", ".") for name in names]

    def follows(self, package: str) -> bool:
        """As `Finder.follows`: of a commit, its own plugins alone."""
        return package == "bench_plugins"

    @property
    def entry_points(self) -> dict[str, str]:
        """Plugin -> its module."""
        text = git("show", f"{self.commit}:pyproject.toml")
        modules: dict[str, str] = tomllib.loads(text)["project"]["entry-points"]["bench"]
        return modules


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
        core, modules = core_hash(tree), tree.entry_points
        hashes = {}
        for plugin in sorted(used):
            module = modules.get(plugin.partition(" ")[0])
            hashes[plugin] = (hash_of([module], tree) if module else "") or UNKNOWN
        commits[name] = Commit(core, hashes, {one: digest([core, one]) for one in sorted(protocols[name])})
    return commits


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
        told = result.environment.plugins.get(use, "").partition(" ")[0]
        name = CORE if use == CORE else told or plugin_of_protocol(result.spec.protocol_name)
        if old != UNKNOWN and now(name) not in (old, UNKNOWN):
            changes.add(Changed(name, old, now(name)))
    return changes


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
        return OVERHEAD + sum(run.costs.train_seconds for run in self.runs.values())


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


def run_again(runs: Mapping[int, RunResult], data_dir: Path | None, deadline: float) -> str:
    """Run records again.

    Returns:
        An empty text if all numbers are the same to the bit; otherwise what is different, or why they were not run.
    """
    if time.time() > deadline:
        return LATE
    import torch

    from bench.data.files import Files, default_root
    from bench.runs.experiment import Request
    from bench.runs.resolve import resolve
    from bench.runs.runner import run

    result = runs[min(runs)]
    spec, words = result.spec, shlex.split(result.command)
    files = Files(data_dir or default_root(), allow_unofficial=bool(result.data.unofficial))
    request = Request(spec.dataset, spec.method, spec.model, spec.protocol_name, spec.changed, spec.validation)
    try:
        experiment = resolve(request, files)
        if experiment.spec(spec.seed).key != spec.key:
            return "its settings have another key today"
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
    except BenchError as error:
        return f"it cannot be run: {error}"
    for one in again:
        if different := difference(numbers_of(runs[one.spec.seed]), numbers_of(one)):
            return f"{different} is not the same"
    return ""


def numbers_of(result: RunResult) -> dict[str, Any]:
    """What must be the same to the bit, as JSON has it."""
    numbers: dict[str, Any] = json.loads(canonical(result.reproducible()))
    data = {name: numbers["data"][name] for name in ("sizes", "counts")}
    return {"data": data, "history": numbers["history"], "selected": numbers["selected"]}


LATE = "there was no time left"


def difference(then: Any, today: Any, place: str = "") -> str:
    """The first entry of a record that is not the same today; empty for none. What is new today does not count."""
    if isinstance(then, dict) and isinstance(today, dict):
        for name, value in then.items():
            if found := difference(value, today.get(name), f"{place} {name}".strip()):
                return found
        return ""
    return "" if then == today else place


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


def find_out(candidates: Sequence[Candidate], seconds: float, jobs: int, data_dir: Path | None) -> Findings:
    """Run the chosen records again, several at a time, as long as there is time."""
    findings, tried = Findings(), set[str]()
    deadline = time.time() + seconds
    running: dict[Future[str], Candidate] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        while True:
            for candidate in choose(candidates, findings, tried, running.values()):
                if len(running) == jobs:
                    break
                tried.add(candidate.first.spec.key)
                if time.time() + candidate.seconds > deadline:
                    findings.add(candidate, LATE)
                    continue
                running[pool.submit(run_again, candidate.runs, data_dir, deadline)] = candidate
            if not running:
                return findings
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
    """The list's entries: those that were shown now, and those of before between hashes of records or of today."""
    kept = {(change.of, change.old, change.new): sorted(keys) for change, keys in shown.items()}
    for entry in before:
        if entry["new"] in recorded or entry["new"] == now(entry["of"]):
            kept.setdefault((entry["of"], entry["old"], entry["new"]), entry["records"])
    return [{"of": of, "old": old, "new": new, "records": records} for (of, old, new), records in sorted(kept.items())]


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

    results, damaged = ResultStore(asked.records).load()
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
    findings = find_out(fresh, asked.seconds, asked.jobs, asked.data_dir)
    recorded = {one for result in results for one in (result.code.core, *result.code.plugins.values())}
    listed = entries(before["equivalent"], findings.sure, recorded)
    values = {"commits": {name: vars(commit) for name, commit in known.commits.items()}, "equivalent": listed}
    write_whole(asked.file, (json.dumps(values, indent=1, sort_keys=True) + "\n").encode())
    shown = {Changed(entry["of"], entry["old"], entry["new"]) for entry in listed}
    missing: dict[Changed, list[str]] = defaultdict(list)
    for result in results:
        for change in changes_of(result, known) - shown if result.ok else ():
            missing[change].append(result.spec.key)
    for change, keys in sorted(missing.items(), key=lambda item: (item[0].of, item[0].old)):
        why = dict.fromkeys(findings.told[key] for key in keys if key in findings.told)
        print(f"not shown: {change.of} {change.old}, of {len(keys)} records: {'; '.join(why) or 'none was run'}")
    print(f"{len(listed)} pairs of hashes are equivalent, {len(missing)} were not shown; see {asked.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
