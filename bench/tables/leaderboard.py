"""Records -> markdown, a pure function: the same records give the same bytes. Nothing here imports torch."""

import csv
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files

from bench.metrics import METRICS
from bench.records.run import LAST, RunResult, best_val, rule_name
from bench.records.spec import canonical
from bench.tables.comparisons import baselines_of, between_tasks, differences
from bench.tables.markdown import MARK, table
from bench.tables.rows import TEST, Row, rows_of
from bench.tables.stats import mean_se
from bench.tables.wording import definitions, listed, recipe_line, sizes_line


def render(results: Iterable[RunResult]) -> dict[str, str]:
    """File name -> markdown, one for each protocol and data set."""
    tables: dict[tuple[str, str], list[RunResult]] = defaultdict(list)
    for result in results:
        tables[result.spec.protocol, result.spec.dataset].append(result)
    return {page_name(*task): _page(*task, found) for task, found in sorted(tables.items())}


def page_name(protocol: str, dataset: str) -> str:
    return f"{protocol.replace('/', '-v')}-{dataset}.md".replace("/", "-")


def _page(protocol: str, dataset: str, results: Sequence[RunResult]) -> str:
    rows = rows_of(results)
    lines = [MARK + f"# {protocol.replace('/', ', version ')}, on {dataset}", ""]
    if rows:
        about = rows[0].any.about
        data = about.dataset_reference or dataset
        lines += [
            f"Protocol: {about.protocol_reference}; `bench show {protocol.split('/')[0]}` says what it does. "
            f"Data: {data}{'' if data.endswith('?') else '.'}",
            "",
        ]
        tables = []
        for variant in sorted({row.variant for row in rows}):
            tables += task_section(protocol, dataset, variant, [row for row in rows if row.variant == variant])
        for rule in _rules(rows):
            if compared := between_tasks(rows, rule):
                tables += [f"## Between tasks: {rule_name(rule)}", "", *compared, ""]
        lines += [*definitions(about), "", *_notes(tables), "", *tables, *_unofficial(rows)]
        lines += ["§ Runs of more than one version of the code.", ""] if any(len(r.versions) > 1 for r in rows) else []
        lines += ["## Made by", "", *shared_lines(rows, lambda row: sorted(row.versions)), ""]
    return "\n".join(lines + _without(results))


def _without(results: Sequence[RunResult]) -> list[str]:
    """The runs that are in no table, and why."""
    without = [r for r in sorted(results, key=lambda r: (r.command, r.spec.seed, r.spec.key)) if not r.ok]
    lines = []
    unfit: dict[str, list[str]] = defaultdict(list)
    for r in without:
        if r.unfit:
            unfit[f"{r.error} ({Row({r.spec.seed: r}).name}, seed "].append(str(r.spec.seed))
    if unfit:
        lines += ["## Not applicable", "", *(f"- {why}{', '.join(seeds)})" for why, seeds in unfit.items()), ""]
    if failures := [f"- `{r.command}`: {r.status}" for r in without if not r.unfit]:
        lines += ["## Failed runs", "", "Not counted above.", "", *failures, ""]
    return lines


def shared_lines(rows: Sequence[Row], tell: Callable[[Row], Iterable[str]]) -> list[str]:
    """What is told of rows, and of which where it is not of all."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        for text in tell(row):
            found[text][row.name + (f" with {row.variant}" if row.variant else "")] = None
    return [f"- {text}{': ' + ', '.join(names) if len(found) > 1 else ''}" for text, names in found.items()]


def _recipes(rows: Sequence[Row]) -> list[str]:
    """A line for each recipe, and of which rows it is where there are several."""
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        alike[recipe_line(row.any), canonical(row.any.spec.recipe)].append(row)
    return [
        f"- {line} {sizes_line([run for row in same for run in row.runs.values()])}"
        + (f" Rows: {', '.join(dict.fromkeys(row.name for row in same))}." if len(alike) > 1 else "")
        for (line, _), same in alike.items()
    ]


def task_section(protocol: str, dataset: str, variant: str, rows: Sequence[Row]) -> list[str]:
    """The tables of one task: only its rows can be ranked together."""
    recipe, off = ([row for row in rows if bool(row.any.off_recipe) == is_off] for is_off in (False, True))
    start = f"{variant}: " if variant else ""
    own = [row for row in rows if set(row.any.off_recipe) <= {"protocol"} and row.any.spec.validation == "shared"]
    lines = [f"## {_capital(start + 'recipe')}", "", *_recipes(own or rows), ""]
    for title, part in (("", recipe), ("off the recipe: ", off)):
        for rule in _rules(part):
            lines += _table(start + title + rule_name(rule), part, rule)
    lines += _constant(rows)
    task = dataset + (f"[{variant}]" if variant else "")
    lines += _beside_the_papers(protocol, task, start, recipe, _rules(recipe))
    commands = [f"- {row.name}: `{row.command}`{listed(row.any.resolved.options, '; {}')}" for row in rows]
    return [*lines, f"## {_capital(start + 'commands')}", "", COMMANDS, "", *commands, ""]


def _constant(rows: Sequence[Row]) -> list[str]:
    """What a model that always predicts the most frequent class would have, where groups are compared."""
    runs = {seed: r for row in rows for seed, r in row.runs.items() if len(r.data.counts.get(TEST, [])) > 1}
    if not runs:
        return []
    names, right = set(), []
    for r in runs.values():
        train, test = r.class_counts("train"), r.class_counts(TEST)
        most = train.index(max(train))
        names.add(r.about.classes[most])
        right.append(test[most] / sum(test))
    constant = f"Always predicting {' or '.join(sorted(names))!r} has accuracy {percent(right)}"
    return [
        f"{constant} and the same rates in every group: a low disparity means little where the accuracy is near that.",
        "",
    ]


NOTES = {
    "Method": "Test values in percent: mean ± standard error (sample standard deviation with n - 1, over the root of "
    "the number of seeds n), in the order of the first metric's mean over the seeds that each row has.",
    "Δ": "Δ: paired difference in the first metric over the common seeds, with its 95 % Student-t interval, for itself "
    "alone, and its p, adjusted for all of the table's (Holm); seeds draw the splits, the initial weights and the "
    "order anew, not other data. It is to the baseline that is trained on the same data; that of a baseline trained on "
    "the validation data too is the one that is not.",
    "Compared": "Between tasks, it is to the same method on the task without that one option, which may change the "
    "test data too.",
    "Cost": "Cost: training time relative to the baseline on the same machine, evaluation excluded (medians over "
    "seeds, without runs that shared the machine with other work; – where nothing is left to compare).",
    "Val": "Val: whether the training uses the validation data; other trainings use them for the selection of the "
    "epoch alone.",
}
"""What the columns of the tables are, by the beginning of their heads."""
COMMANDS = "After each, all options of the method as they were used, whether given, the recipe's or the method's own."


def _notes(tables: Sequence[str]) -> list[str]:
    """Of the columns that there are."""
    text = "\n".join(tables)
    return [" ".join(note for head, note in NOTES.items() if f"| {head}" in text)]


def _rules(rows: Sequence[Row]) -> list[str]:
    """The selection rules of the rows; one row may have another metric to select by than the next."""
    return [LAST, *sorted({best_val(row.any.about.select) for row in rows})]


def _table(title: str, rows: Sequence[Row], rule: str) -> list[str]:
    """A ranked table of the rows that the rule applies to."""
    rows = [row for row in rows if row.values(row.ranked_by, rule)]
    if not rows:
        return []
    metrics = dict.fromkeys(metric for row in rows for metric in row.any.about.metrics)
    better = {metric: up for row in rows for metric, up in row.any.about.higher_is_better.items()}
    first = rows[0].ranked_by
    sign = -1 if better[first] else 1

    def rank(row: Row) -> tuple[bool, float, str]:
        mean = mean_se(list(row.values(first, rule).values()))[0]
        return math.isnan(mean), sign * mean, row.label + row.changes

    rows = sorted(rows, key=rank)
    baselines = baselines_of(rows)
    costs = [row.cost(baseline) for row, baseline in zip(rows, baselines, strict=True)]
    columns = {"#": [str(i + 1) for i in range(len(rows))], "Method": [row.name for row in rows]}
    for metric in metrics:
        head = metric + {True: " ↑", False: " ↓", None: ""}[better[metric]]
        columns[head] = [percent(list(row.values(metric, rule).values())) for row in rows]
    columns[f"Δ {first}"] = differences(list(zip(rows, baselines, strict=True)), first, rule)
    columns["Seeds"] = [str(len(row.values(first, rule))) for row in rows]
    columns["Cost"] = ["–" if cost is None else f"{cost:.2f} ×" for cost in costs]
    columns["Val"] = ["yes" if row.uses_val else "no" for row in rows]
    telling = {
        f"Δ {first}": any(columns[f"Δ {first}"]),
        "Cost": any(cost and base is not row for row, base, cost in zip(rows, baselines, costs, strict=True)),
    }
    shown = {head: cells for head, cells in columns.items() if telling.get(head, True)}
    return [f"## {_capital(title)}", "", *table(list(shown), zip(*shown.values(), strict=True)), ""]


def _capital(title: str) -> str:
    """With a capital, unless it begins with the name of an option."""
    return title if "=" in title.split(":")[0] else title[0].upper() + title[1:]


def percent(values: Sequence[float]) -> str:
    """`12.34 ± 0.56`, in percent; without the error for one value."""
    mean, se = mean_se(values)
    if math.isnan(mean):
        return "undefined"
    return f"{100 * mean:.2f}" + ("" if se is None else f" ± {100 * se:.2f}")


@cache
def published() -> list[dict[str, str]]:
    """The papers' printed values, one a row."""
    with files("bench.tables").joinpath("published.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _beside_the_papers(protocol: str, task: str, start: str, rows: Sequence[Row], rules: Sequence[str]) -> list[str]:
    """Our means beside the printed ones, for every method and metric that a paper reports on this task."""
    by_label = {row.label: row for row in rows if not row.changes}
    here = {"protocol": protocol.split("/")[0], "dataset": task}
    cells = []
    for printed in published():
        if not here.items() <= printed.items() or printed["metric"] not in METRICS:
            continue
        row, metric = by_label.get(printed["method"]), printed["metric"]
        paper = f"{printed['value']} ± {printed['error']}" if printed["error"] else printed["value"]
        values = [list(row.values(metric, rule).values()) if row else [] for rule in rules]
        source = f"{printed['paper']}, {printed['table']}, {printed['error_kind']} of {printed['runs']} runs"
        cells.append([printed["method"], metric, paper, *(percent(v) if v else "–" for v in values), source])
    if not cells or not rows:
        return []
    heads = ["Method", "Metric", "Paper", *(f"Ours, {rule_name(r)}" for r in rules), "Source"]
    show = f"`bench show {task.split('[')[0]}`"
    note = f"Where our setting is not the papers', or they leave one open: {show}, and the same of each method."
    return [f"## {_capital(start + 'beside the papers')}", "", note, "", *table(heads, cells), ""]


def _unofficial(rows: Sequence[Row]) -> list[str]:
    files = {f"{name} ({content[:19]}…)" for row in rows for name, content in row.any.data.unofficial.items()}
    return [f"‡ Data files without the official checksum: {', '.join(sorted(files))}.", ""] if files else []
