"""Records -> markdown, a pure function: the same records give the same bytes. Nothing here imports torch."""

import csv
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from statistics import median
from typing import Any

from bench.described import code_line, definitions, listed, recipe_line, usual_recipe
from bench.markdown import MARK, table
from bench.metrics import METRICS
from bench.options import show
from bench.results import LAST, RunResult, SeedRuns, best_val, by_seed
from bench.spec import canonical
from bench.stats import holm, mean_se, paired_difference

TEST = "test"
OTHER_LOAD = 0.5
"""By how much the load average may exceed a run's threads before its time says nothing."""


@dataclass(frozen=True)
class Row(SeedRuns):
    """What a table says of them."""

    ambiguous: bool = False
    """Whether another row differs from it in nothing but the defaults of its time."""

    @property
    def label(self) -> str:
        """Method and what differs from its defaults; then what differs from the recipe."""
        spec = self.any.spec
        options = ",".join(f"{name}={show(value)}" for name, value in sorted(spec.options.items()))
        return spec.method + (f"[{options}]" if options else "")

    @property
    def variant(self) -> str:
        """Options of the data set and the protocol: another task."""
        spec = self.any.spec
        parts = [f"dataset.{name}={show(value)}" for name, value in sorted(spec.dataset_options.items())]
        return ", ".join(parts + [f"{name}={show(value)}" for name, value in sorted(spec.protocol_options.items())])

    @property
    def changes(self) -> str:
        """What is off the recipe, or trained on more than the shared data."""
        spec = self.any.spec
        parts = [spec.model] if "model" in self.any.off_recipe else []
        parts += [f"model.{name}={show(value)}" for name, value in sorted(spec.model_options.items())]
        parts += [f"{name}={show(value)}" for name, value in sorted(spec.recipe.items())]
        parts += ["trained on validation data too"] if spec.validation == "paper" else []
        parts += [f"settings {spec.settings}"] if self.ambiguous else []
        return ", ".join(parts)

    @property
    def setting(self) -> tuple[Any, ...]:
        """What two rows must share for a comparison to be paired, the training data apart."""
        spec, resolved = self.any.spec, self.any.resolved
        usual = usual_recipe()  # a field of later versions that is not used makes no difference
        recipe = {name: value for name, value in resolved["recipe"].items() if value != usual.get(name)}
        used = canonical([resolved["model_options"], recipe])  # with the data set's defaults of their time
        return spec.model, used, self.any.data["revision"]

    def values(self, metric: str, rule: str) -> dict[int, float]:
        """Values on the test set, or on that of `set/metric`, by seed; NaN where undefined, or where the options of the
        protocol leave out the set; nothing where the rule does not apply.
        """
        of, _, name = metric.rpartition("/")
        chosen = {seed: r.selected[rule]["metrics"] for seed, r in self.runs.items() if rule in r.selected}
        found = {seed: metrics.get(of or TEST, {}).get(name) for seed, metrics in chosen.items()}
        return {seed: math.nan if value is None else value for seed, value in found.items()}

    @property
    def seconds_by_machine(self) -> dict[tuple[Any, ...], float]:
        """Median training seconds for each machine and way of running, of runs that had the machine to themselves."""
        seconds: dict[tuple[Any, ...], list[float]] = defaultdict(list)
        for r in self.runs.values():
            load = r.costs.get("load")
            if load is None or load > r.costs["threads"] + OTHER_LOAD:
                continue
            machine = (
                r.environment["device"],
                r.environment["versions"]["torch"],
                r.costs["threads"],
                r.costs["stacked"],
                r.costs.get("captured", False),  # records of earlier versions have no such entry
            )
            seconds[machine].append(r.costs["train_seconds"])
        return {machine: median(s) for machine, s in seconds.items()}

    @property
    def versions(self) -> set[str]:
        """Of the code that made the runs."""
        return {code_line(r) for r in self.runs.values()}

    def cost(self, baseline: "Row | None") -> float | None:
        """Training time relative to the baseline's on the same machines, or None where there is none to compare."""
        own, base = self.seconds_by_machine, baseline.seconds_by_machine if baseline else {}
        common = own.keys() & base.keys()
        return math.fsum(own[m] for m in common) / math.fsum(base[m] for m in common) if common else None

    @property
    def command(self) -> str:
        base = self.any.command.rpartition(" --seed ")[0]
        seeds = sorted(self.runs)
        if seeds == list(range(len(seeds))):
            return f"{base} --seeds {len(seeds)}"
        return base + "".join(f" --seed {seed}" for seed in seeds)


def render(results: Iterable[RunResult]) -> dict[str, str]:
    """File name -> markdown, one for each protocol and data set."""
    tables: dict[tuple[str, str], list[RunResult]] = defaultdict(list)
    for result in results:
        tables[result.spec.protocol, result.spec.dataset].append(result)
    return {
        f"{protocol.replace('/', '-v')}-{dataset}.md".replace("/", "-"): _page(protocol, dataset, found)
        for (protocol, dataset), found in sorted(tables.items())
    }


def _page(protocol: str, dataset: str, results: Sequence[RunResult]) -> str:
    rows = rows_of(results)
    lines = [MARK + f"# {protocol.replace('/', ', version ')}, on {dataset}", ""]
    if rows:
        about = rows[0].any.about
        data = about["dataset_reference"] or dataset
        lines += [f"Protocol: {about['protocol_reference']}. Data: {data}{'' if data.endswith('?') else '.'}", ""]
        lines += [*definitions(about), "", NOTES, ""]
        for variant in sorted({row.variant for row in rows}):
            lines += _variant(protocol, dataset, variant, [row for row in rows if row.variant == variant])
        lines += _unofficial(rows)
        lines += ["§ Runs of more than one version of the code.", ""] if any(len(r.versions) > 1 for r in rows) else []
        lines += ["## Made by", "", *_told(rows, lambda row: sorted(row.versions)), ""]
    return "\n".join(lines + _without(results))


def _without(results: Sequence[RunResult]) -> list[str]:
    """The runs that are in no table, and why."""
    without = [r for r in sorted(results, key=lambda r: (r.command, r.spec.seed, r.spec.key)) if not r.ok]
    lines = []
    unfit: dict[str, list[str]] = defaultdict(list)
    for r in without:
        if r.unfit:
            unfit[f"{r.error} ({_name(Row({r.spec.seed: r}))}, seed "].append(str(r.spec.seed))
    if unfit:
        lines += ["## Not applicable", "", *(f"- {why}{', '.join(seeds)})" for why, seeds in unfit.items()), ""]
    if failures := [f"- `{r.command}`: {r.status}" for r in without if not r.unfit]:
        lines += ["## Failed runs", "", "Not counted above.", "", *failures, ""]
    return lines


def _told(rows: Sequence[Row], tell: Callable[[Row], Iterable[str]]) -> list[str]:
    """What is told of rows, and of which where it is not of all."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        for text in tell(row):
            found[text][_name(row) + (f" with {row.variant}" if row.variant else "")] = None
    return [f"- {text}{': ' + ', '.join(names) if len(found) > 1 else ''}" for text, names in found.items()]


def _variant(protocol: str, dataset: str, variant: str, rows: Sequence[Row]) -> list[str]:
    """The tables of one task: only its rows can be ranked together."""
    recipe, off = ([row for row in rows if bool(row.any.off_recipe) == is_off] for is_off in (False, True))
    start = f"{variant}: " if variant else ""
    own = [row for row in rows if not row.any.spec.recipe and row.any.spec.validation == "shared"]
    lines = [f"## {_capital(start + 'recipe')}", "", *_told(own or rows, lambda row: [recipe_line(row.any)]), ""]
    for title, part in (("", recipe), ("Off the recipe: ", off)):
        for rule in _rules(part):
            name = RULES.get(rule, rule.replace("best_val_", "best validation "))
            lines += _table(start + title + name, part, rule)
    lines += _constant(rows)
    task = dataset + (f"[{variant}]" if variant else "")
    lines += _beside_the_papers(protocol, task, start, recipe, _rules(recipe))
    commands = [f"- {_name(row)}: `{row.command}`{listed(row.any.resolved['options'], '; {}')}" for row in rows]
    return [*lines, f"## {_capital(start + 'commands')}", "", COMMANDS, "", *commands, ""]


def _constant(rows: Sequence[Row]) -> list[str]:
    """What a model that always predicts the most frequent class would have, where groups are compared."""
    runs = {seed: r for row in rows for seed, r in row.runs.items() if len(r.data.get("counts", {}).get(TEST, [])) > 1}
    if not runs:
        return []
    names, right = set(), []
    for r in runs.values():
        train, test = (
            [sum(column) for column in zip(*r.data["counts"][part], strict=True)] for part in ("train", TEST)
        )
        most = train.index(max(train))
        names.add(r.about["classes"][most])
        right.append(test[most] / sum(test))
    constant = f"Always predicting {' or '.join(sorted(names))!r} has accuracy {percent(right)}"
    return [
        f"{constant} and the same rates in every group: a low disparity means little where the accuracy is near that.",
        "",
    ]


NOTES = (
    "Test values in percent: mean ± standard error (sample standard deviation with n - 1, over the root of the number "
    "of seeds n). Δ: paired difference to the baseline in the first metric over the common seeds, with its 95 % "
    "Student-t interval and Holm-adjusted p; seeds draw the splits, the initial weights and the order anew, not other "
    "data. Cost: training time relative to the baseline on the same machine, evaluation excluded (medians over seeds, "
    "without runs that shared the machine with other work). Val: whether the training uses the validation data; other "
    "trainings use them for the selection of the epoch alone. The baseline of a row is trained on the same data; that "
    "of a baseline trained on the validation data too is the one that is not."
)
COMMANDS = "After each, all options of the method as they were used, whether given, the recipe's or the method's own."
RULES = {LAST: "last epoch"}


def rows_of(results: Sequence[RunResult]) -> list[Row]:
    """The finished runs by what differs in more than the seed."""
    found = by_seed(sorted(results, key=lambda r: (r.command, r.spec.seed, r.spec.key)))
    asked = [canonical(asdict(replace(runs[min(runs)].spec, seed=0, settings=""))) for runs in found]
    times = Counter(asked)
    rows = [Row(runs, times[spec] > 1) for runs, spec in zip(found, asked, strict=True)]
    return sorted(rows, key=lambda row: (row.label, row.changes))


def _rules(rows: Sequence[Row]) -> list[str]:
    """The selection rules of the rows; one row may have another metric to select by than the next."""
    return [LAST, *sorted({best_val(row.any.about["select"]) for row in rows})]


def _table(title: str, rows: Sequence[Row], rule: str) -> list[str]:
    """A ranked table of the rows that the rule applies to."""
    rows = [row for row in rows if row.values(row.any.about["metrics"][0], rule)]
    if not rows:
        return []
    metrics, better = rows[0].any.about["metrics"], rows[0].any.about["higher_is_better"]
    first, sign = metrics[0], -1 if better[metrics[0]] else 1
    baselines = {
        (row.setting, row.any.spec.validation): row
        for row in rows
        if row.any.about["baseline"] and not row.any.spec.options
    }

    def baseline(row: Row) -> Row | None:
        """One that is trained on the same data; of a baseline that is trained on the validation data too, that which is
        not; of a method that learns from the validation data, also one that is trained on them.
        """
        about, own = row.any.about, row.any.spec.validation
        policies = [own, *["shared"] * about["baseline"], *["paper"] * about["uses_val"]]
        found = [base for policy in policies if (base := baselines.get((row.setting, policy)))]
        return next((base for base in found if base is not row), row if found else None)

    def rank(row: Row) -> tuple[bool, float, str]:
        mean = mean_se(list(row.values(first, rule).values()))[0]
        return math.isnan(mean), sign * mean, row.label + row.changes

    rows = sorted(rows, key=rank)
    differences = {
        i: paired_difference(row.values(first, rule), base.values(first, rule))
        for i, row in enumerate(rows)
        if (base := baseline(row)) and base is not row
    }
    adjusted = dict(zip(differences, holm([d.p for d in differences.values()]), strict=True))
    heads = [
        "#",
        "Method",
        *(m + {True: " ↑", False: " ↓", None: ""}[better[m]] for m in metrics),
        f"Δ {first}",
        "Seeds",
        "Cost",
        "Val",
    ]
    cells = []
    for i, row in enumerate(rows):
        cost = row.cost(baseline(row))
        cells.append(
            [
                str(i + 1),
                _name(row),
                *(percent(list(row.values(m, rule).values())) for m in metrics),
                _difference(differences[i], adjusted[i]) if i in differences else "",
                str(len(row.values(first, rule))),
                "–" if cost is None else f"{cost:.2f} ×",
                "yes" if row.any.about["uses_val"] or row.any.spec.validation == "paper" else "no",
            ]
        )
    return [f"## {_capital(title)}", "", *table(heads, cells), ""]


def _capital(title: str) -> str:
    """With a capital, unless it begins with the name of an option."""
    return title if "=" in title.split(":")[0] else title[0].upper() + title[1:]


def _name(row: Row) -> str:
    mark = (" ‡" if row.any.data["unofficial"] else "") + (" §" if len(row.versions) > 1 else "")
    return row.label + mark + (f" ({row.changes})" if row.changes else "")


def percent(values: Sequence[float]) -> str:
    """`12.34 ± 0.56`, in percent; without the error for one value."""
    mean, se = mean_se(values)
    if math.isnan(mean):
        return "undefined"
    return f"{100 * mean:.2f}" + ("" if se is None else f" ± {100 * se:.2f}")


def _difference(difference: Any, p: float) -> str:
    if math.isnan(difference.low):
        return "" if math.isnan(difference.mean) else f"{100 * difference.mean:+.2f}"
    d = replace(difference, mean=100 * difference.mean, low=100 * difference.low, high=100 * difference.high)
    return f"{d.mean:+.2f} [{d.low:+.2f}, {d.high:+.2f}], p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"


@cache
def published() -> list[dict[str, str]]:
    """The papers' printed values, one a row."""
    with files("bench").joinpath("published.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _beside_the_papers(protocol: str, task: str, start: str, rows: Sequence[Row], rules: Sequence[str]) -> list[str]:
    """Our means beside the printed ones, for every method and metric that a paper reports on this task."""
    by_label = {row.label: row for row in rows if not row.changes}
    cells = []
    for printed in published():
        if (printed["protocol"], printed["dataset"]) != (protocol.split("/")[0], task):
            continue
        row, metric = by_label.get(printed["method"]), printed["metric"]
        paper = f"{printed['value']} ± {printed['error']}" if printed["error"] else printed["value"]
        values = [list(row.values(metric, rule).values()) if row and metric in METRICS else [] for rule in rules]
        source = f"{printed['paper']}, {printed['table']}, {printed['error_kind']} of {printed['runs']} runs"
        cells.append([printed["method"], metric, paper, *(percent(v) if v else "–" for v in values), source])
    if not cells or not rows:
        return []
    heads = ["Method", "Metric", "Paper", *(f"Ours, {RULES.get(r, r.replace('_', ' '))}" for r in rules), "Source"]
    show = f"`bench show {task.split('[')[0]}`"
    note = f"Where our setting is not the papers', or they leave one open: {show}, and the same of each method."
    return [f"## {_capital(start + 'beside the papers')}", "", note, "", *table(heads, cells), ""]


def _unofficial(rows: Sequence[Row]) -> list[str]:
    files = {f"{name} ({content[:19]}…)" for row in rows for name, content in row.any.data["unofficial"].items()}
    return [f"‡ Data files without the official checksum: {', '.join(sorted(files))}.", ""] if files else []
