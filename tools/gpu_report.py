"""Makes the tables that `tools/gpu.sh` prints: of this machine, and of the logs and records of a part."""

import argparse
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.tables.rows import Row as RunRow
    from bench.throughput.record import StepCost, ThroughputRecord

DISTRIBUTION = "reweight-bench"
LIBRARIES = ("platformdirs", "fairlearn", "imagecorruptions", "skimage", "higher", "torchopt", "betty")
"""What comparisons and tests need, and the project itself can be without: names of modules."""
UNUSABLE = 2
MIB = 2**20

Table = tuple[Sequence[str], list[list[str]]]
"""Heads and rows."""


def versions(device: str) -> int:
    """Print what there is; the exit code says whether it is all (0), enough (1) or UNUSABLE."""
    try:
        import torch

        from bench.compat import torchvision
        from bench.registry import installed
        from bench.runs.environment import environment
        from bench.runs.runner import device_of

        found = installed()
        made = environment({}, device_of(device))
    except metadata.PackageNotFoundError as error:
        print(f"no package {error}: build a wheel with `tools/gpu.sh wheels`, where a package index is")
        return UNUSABLE
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
        return UNUSABLE
    print(f"Python {made.python}, torch {torch.__version__}, torchvision {torchvision.__version__}")
    told = [f"{name} {made.gpu.get(name.lower()) or 'none'}" for name in ("CUDA", "cuDNN", "driver")]
    print("; ".join([made.device, ", ".join(told)]))
    print(", ".join(f"{len(offers)} {kind}" for kind, offers in found.offers.items()))
    without = [name for name in LIBRARIES if find_spec(name) is None]
    print(f"without {', '.join(without)}" if without else "with all libraries that are compared")
    faults = [f"plugin {plugin} is broken: {why}" for plugin, why in found.broken.items()]
    if stale := unknown_plugins():
        faults.append(f"plugins that the wheel does not know, build it again: {', '.join(stale)}")
    print("".join(f"{fault}\n" for fault in faults), end="")
    return int(bool(faults))


def unknown_plugins() -> list[str]:
    """Plugins in the source tree's pyproject.toml that the metadata of what is installed do not have."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    known = {entry.name for entry in metadata.distribution(DISTRIBUTION).entry_points if entry.group == "bench"}
    return sorted(project["entry-points"]["bench"].keys() - known)


def steps(logs: Path) -> Iterator[tuple[str, str, str]]:
    """Name, outcome and seconds of each step of a part."""
    for line in (logs / "steps.tsv").read_text().splitlines():
        name, outcome, seconds = line.split("\t")
        yield name, outcome, seconds


def checks(logs: Path, records: Path) -> Table:
    rows = []
    for name, outcome, seconds in steps(logs):
        if name.startswith("group-"):
            lines = (logs / f"{name}.log").read_text().splitlines() if (logs / f"{name}.log").exists() else []
            passed, failed = ([line for line in lines if line.startswith(f"{word} ")] for word in ("ok", "FAIL"))
            rows.append([name.removeprefix("group-"), outcome, str(len(passed)), str(len(failed)), seconds])
            print("".join(f"{name.removeprefix('group-')}: {line[:300]}\n" for line in failed), end="")
    return ("group", "outcome", "ok", "FAIL", "seconds"), rows


def throughput(logs: Path, records: Path) -> Table:
    from bench.records.json_file import load
    from bench.throughput.page import title
    from bench.throughput.record import ThroughputRecord

    rows = []
    for record in load(records / "throughput", ThroughputRecord)[0]:
        ordered = sorted(record.rows, key=lambda row: (not row.baseline, row.method, bool(row.rival_of), row.name))
        rows += [[title(record), row.label, *step_cells(record, row)] for row in ordered]
    return ("workload", "method", "step, ms", "× erm", "MiB", ""), rows


def step_cells(record: "ThroughputRecord", row: "StepCost") -> list[str]:
    from bench.throughput.record import quartiles

    if row.error:
        library = next((name for name in LIBRARIES if row.error.startswith(f"{name} cannot be imported")), None)
        return [f"without {library}" if library else row.error[:80], "", "", ""]
    time, ratio = 1e3 * quartiles(row.seconds).median, record.ratio(row).median
    memory = "" if row.peak_bytes is None else f"{row.peak_bytes / MIB:.0f}"
    return [f"{time:.2f}", f"{ratio:.2f}", memory, "captured" if row.captured else row.eager_because[:80]]


def cifar100(logs: Path, records: Path) -> Table:
    from bench.columns.table import columns_of
    from bench.store.results import ResultStore
    from bench.tables.rows import rows_of

    results = [r for r in ResultStore(records / "results").load()[0] if r.spec.dataset == "cifar100"]
    for r in results:
        if not r.ok:
            print(f"{r.spec.method}, seed {r.spec.seed}: {r.status}: {r.error.strip().splitlines()[-1][:300]}")
    rows = rows_of(columns_of(results))
    metrics = rows[0].first.about.metrics if rows else []
    heads = (
        "method",
        "seeds",
        "epochs",
        *(f"{name}, {rows[0].unit(name)}" for name in metrics),
        "seconds an epoch",
        "",
    )
    return heads, [run_cells(row, metrics) for row in rows]


def run_cells(row: "RunRow", metrics: Sequence[str]) -> list[str]:
    from bench.records.run import LAST
    from bench.tables.rows import mean_and_error

    runs = list(row.runs.values())
    epochs = runs[0].resolved.recipe["epochs"]
    seconds = mean(r.costs.train_seconds for r in runs) / epochs
    reasons = dict.fromkeys("captured" if r.costs.captured else r.costs.eager_because[:80] for r in runs)
    values = [mean_and_error(list(row.values(metric, LAST).values()), row.unit(metric)) for metric in metrics]
    return [row.label, str(len(runs)), str(epochs), *values, f"{seconds:.2f}", " / ".join(reasons)]


PARTS: dict[str, Callable[[Path, Path], Table]] = {
    "checks": checks,
    "throughput": throughput,
    "cifar100": cifar100,
}


def report(part: str, results: Path) -> None:
    """Print what went wrong in a part, and last the table of what is in its folders `logs` and `records`."""
    from bench.cli.common import table

    logs = results / "logs" / part
    heads, rows = PARTS[part](logs, results / "records")
    failed = [step for step in steps(logs) if step[1] != "ok"]
    if failed:
        table("steps that failed", failed, ("step", "outcome", "seconds"))
    table(part, rows, heads)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["versions", *PARTS], help="this machine, or a part")
    parser.add_argument("results", nargs="?", type=Path, default=Path(), help="folder that an archive was unpacked in")
    parser.add_argument("--device", default="cuda", help="for versions: cuda or cpu")
    given = parser.parse_args()
    if given.what == "versions":
        return versions(given.device)
    report(given.what, given.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
