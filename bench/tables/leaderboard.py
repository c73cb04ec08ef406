"""Records -> markdown, a pure function: the same records give the same bytes. Nothing here imports torch."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from bench.columns.run import Run
from bench.columns.table import Columns
from bench.records.known_code import CORE
from bench.records.run import LAST, OK, rule_name
from bench.records.spec import SHARED, canonical, file_name
from bench.tables.comparisons import baselines_of, between_tasks, differences, ranked, rules_of
from bench.tables.markdown import MARK, code, plain, table
from bench.tables.papers import beside_the_papers
from bench.tables.rows import TEST, Row, in_order, mean_and_error, older_rows, rows_of
from bench.tables.wording import capital, definitions, listed, recipe_line, sizes_line

VERSION = re.compile(r"(?=-v\d+-)")
"""Where the version of a protocol may stand in the name of a page."""


def render(tasks: Iterable[Columns]) -> dict[str, str]:
    """The pages of the leaderboard, one for each protocol and data set.

    Args:
        tasks: The columns of each task, which have at least one run; failed ones are listed below the tables.

    Returns:
        File name -> markdown.
    """
    by_task = {_task(columns): columns for columns in tasks}
    return {page_name(*task): _page(*task, columns) for task, columns in sorted(by_task.items())}


def page_of(columns: Columns) -> str:
    """The file name of the page of a task.

    Args:
        columns: of its runs, of which there is at least one.
    """
    return page_name(*_task(columns))


def _task(columns: Columns) -> tuple[str, str]:
    return columns.listed("protocol")[0], columns.listed("dataset")[0]


def page_name(protocol: str, dataset: str) -> str:
    """The file name of a page, another one for each task. Where others could be read in it too, it has a digest.

    Args:
        protocol: `name/version`.
        dataset: its name.
    """
    # No name has a `~` or an `@`, so `a/b` and `a-b` differ, and no name looks as if it had a digest.
    name = f"{protocol.replace('/', '-v')}-{dataset.replace('/', '~')}"
    one_version = len(VERSION.findall(name)) <= 1
    return f"{file_name(name, [protocol, dataset], one_version)}.md"


def _page(protocol: str, dataset: str, columns: Columns) -> str:
    rows = rows_of([columns])
    lines = [MARK + f"# {plain(protocol.replace('/', ', version '))}, on {plain(dataset)}", ""]
    if rows:
        about = rows[0].first.about
        data = about.dataset_reference or dataset
        protocol_name = protocol.split("/")[0]
        lines += [
            f"Protocol: {plain(about.protocol_reference)}; {code(f'bench show {protocol_name}')} says what it does. "
            f"Data: {plain(data)}{'' if data.endswith('?') else '.'}",
            "",
        ]
        tables = []
        by_variant: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_variant[row.variant].append(row)
        for variant, of_task in sorted(by_variant.items()):
            tables += task_section(protocol, dataset, variant, of_task)
        for rule in rules_of(rows):
            if compared := between_tasks(rows, rule):
                tables += [f"## Between tasks: {plain(rule_name(rule))}", "", *compared, ""]
        lines += [*definitions(about), "", *_notes(tables), "", *tables, *_unofficial(rows)]
        if any(len(row.versions) > 1 for row in rows):
            lines += ["§ The runs of this row were made by more than one version of the code.", ""]
        lines += ["## Made by", "", *shared_lines(rows, lambda row: map(plain, sorted(row.versions))), ""]
    return "\n".join(lines + _of_older_code(older_rows([columns])) + _without(columns))


def _of_older_code(rows: Sequence[Row]) -> list[str]:
    """The rows in whose place others of newer code stand, folded."""
    if not rows:
        return []
    cells = []
    for row in rows:
        metrics = [
            f"{metric} {mean_and_error(list(row.values(metric, LAST).values()), row.unit(metric))}"
            for metric in row.first.about.metrics
        ]
        by_use = [f"{use} {one}" for use, one in row.first.code_by_use.items() if use != CORE]
        date = max(run.created for run in row.runs.values())[:10]
        told = plain(", ".join(by_use)) or "not known"
        cells.append([row.shown_with_task, str(len(row.rows)), date, plain(", ".join(metrics)), told])
    return [
        "## Older code",
        "",
        OLDER_CODE,
        "",
        "<details>",
        f"<summary>{len(rows)} row{'s' if len(rows) > 1 else ''}</summary>",
        "",
        *table(["Method", "Seeds", "Date", "Last epoch", "Code"], cells),
        "",
        "</details>",
        "",
    ]


def _without(columns: Columns) -> list[str]:
    """The runs that are in no table, and why."""
    order, statuses = in_order(columns), columns.listed("status")
    failed = [row for row in range(len(columns)) if statuses[row] != OK]
    without = [Run(columns, row) for row in sorted(failed, key=order.__getitem__)]
    lines = []
    unfit: dict[str, list[str]] = defaultdict(list)
    for r in without:
        if r.unfit:
            unfit[f"{plain(r.error)} ({Row(columns, {r.spec.seed: r.row}).shown}, seed "].append(str(r.spec.seed))
    if unfit:
        lines += ["## Not applicable", "", *(f"- {why}{', '.join(seeds)})" for why, seeds in unfit.items()), ""]
    if failures := [f"- {code(r.command)}: {plain(r.status)}" for r in without if not r.unfit]:
        lines += ["## Failed runs", "", "These runs are in no table above.", "", *failures, ""]
    return lines


def shared_lines(rows: Sequence[Row], tell: Callable[[Row], Iterable[str]]) -> list[str]:
    """A bullet for each different text that `tell` gives of the rows; of several texts, with the names of their rows.

    Args:
        rows: The rows of a page.
        tell: The texts that apply to a row, as markdown.
    """
    names_by_text: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        for text in tell(row):
            names_by_text[text][row.shown_with_task] = None
    if len(names_by_text) == 1:
        return [f"- {text}" for text in names_by_text]
    return [f"- {text}: {', '.join(names)}" for text, names in names_by_text.items()]


def _recipes(rows: Sequence[Row]) -> list[str]:
    """A line for each recipe, and of which rows it is where there are several."""
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        alike[recipe_line(row.first), canonical(row.first.spec.recipe)].append(row)
    return [
        f"- {plain(line)} {plain(_sizes(same))}"
        + (f" Rows: {', '.join(dict.fromkeys(row.shown for row in same))}." if len(alike) > 1 else "")
        for (line, _), same in alike.items()
    ]


def _sizes(rows: Sequence[Row]) -> str:
    different = dict.fromkeys(sizes for row in rows for sizes in row.told(_sizes_of, "data").values())
    return sizes_line(map(dict, different))


def _sizes_of(run: Run) -> tuple[tuple[str, int], ...]:
    return tuple(run.data.sizes.items())


def task_section(protocol: str, dataset: str, variant: str, rows: Sequence[Row]) -> list[str]:
    """The tables of one task: only its rows can be ranked together."""
    recipe = [row for row in rows if not row.first.off_recipe]
    off = [row for row in rows if row.first.off_recipe]
    start = f"{variant}: " if variant else ""
    usual = [row for row in rows if set(row.first.off_recipe) <= {"protocol"} and row.first.spec.validation == SHARED]
    lines = [f"## {plain(capital(start + 'recipe'))}", "", *_recipes(usual or rows), ""]
    for title, part in (("", recipe), ("off the recipe: ", off)):
        for rule in rules_of(part):
            lines += _table(start + title + rule_name(rule), part, rule)
    lines += _constant(rows)
    task = dataset + (f"[{variant}]" if variant else "")
    lines += beside_the_papers(protocol, task, start, recipe, rules_of(recipe))
    commands = [
        f"- {row.shown}: {code(row.command)}{plain(listed(row.first.resolved.options, '; {}'))}" for row in rows
    ]
    return [*lines, f"## {plain(capital(start + 'commands'))}", "", COMMANDS, "", *commands, ""]


def _constant(rows: Sequence[Row]) -> list[str]:
    """The accuracy of a model that always predicts the most frequent class, where groups are compared."""
    constant_by_seed: dict[int, tuple[str, float]] = {}
    for row in rows:
        constant_by_seed |= {seed: told for seed, told in row.told(_most_frequent, "data", "about").items() if told}
    if not constant_by_seed:
        return []
    names = {name for name, _ in constant_by_seed.values()}
    right = [share for _, share in constant_by_seed.values()]
    constant = f"Always predicting {plain(repr(' or '.join(sorted(names))))} has accuracy {mean_and_error(right)}"
    return [
        f"{constant} and the same rates in every group, so a low disparity means little at an accuracy near that.",
        "",
    ]


def _most_frequent(run: Run) -> tuple[str, float] | None:
    """The most frequent class of the training data, and its share of the test set; None without groups to compare."""
    if len(run.data.counts.get(TEST, [])) <= 1:
        return None
    train, test = run.data.class_counts("train"), run.data.class_counts(TEST)
    most = train.index(max(train))
    return run.about.classes[most], test[most] / sum(test)


CONSTANT = (
    "These selected models predict one and the same class for every test sample, so their numbers say nothing about "
    "what was learned:"
)
METRIC = "Each metric"
NOTES = {
    "Method": "the method, in brackets its options that differ from their defaults, and in parentheses what differs "
    "from the recipe. The rows are in the order of the first metric's mean.",
    METRIC: "its value on the test set (of `set/metric`, on that set), as mean ± standard error over the seeds of the "
    "row. Values are in percent unless the heading names a unit; ↑ marks metrics of which more is better, ↓ those "
    "of which less is. The standard error is the sample standard deviation (n - 1) divided by the root of the "
    "number of seeds n.",
    "Δ": "the paired difference in the first metric: the row minus its baseline, over the seeds that both have. "
    "Behind it are its 95 % Student-t interval, which holds for this difference alone, and its p-value, which is "
    "adjusted for all differences of the table (Holm). A seed draws the splits, the initial weights and the order "
    "of the samples; the data set stays the same. The baseline of a row is trained on the same data as the row. A "
    "baseline that is trained on the validation data too is compared with the baseline that is not. A method that "
    "learns from the validation data is compared with a baseline trained on them where no other was run.",
    "Compared with": "between tasks, Δ is the row minus the same method on the task where this one option has the "
    "value in this column. The option may change the test data too.",
    "Seeds": "the number of seeds that the values of the row are of.",
    "Cost": "the training time relative to the baseline's on the same machine, without evaluation, as a ratio of "
    "medians over the seeds. Runs that shared the machine with other work are left out; – means that no time is "
    "left to compare.",
    "Val": "whether the training uses the validation data. Where it does not, they serve only to select the epoch.",
}
"""What the columns of the tables are, by the beginning of their headings."""
OLDER_CODE = (
    "The code of a plugin has changed since these runs, and other runs of the same settings were made by newer code. "
    "They are in no table above. The code is named by the hash of each plugin that took part."
)
COMMANDS = (
    "Each command makes the runs of one row. Behind it are all options of the method with the values that were used, "
    "whether they were given, set by the recipe or defaults of the method."
)


def _notes(tables: Sequence[str]) -> list[str]:
    """A bullet for each kind of column that the tables have."""
    text = "\n".join(tables)
    lines = ["Columns of the tables:", ""]
    for head, note in NOTES.items():
        if head == METRIC or f"| {head}" in text:
            lines.append(f"- **{head}**: {note}")
    return lines


def _table(title: str, rows: Sequence[Row], rule: str) -> list[str]:
    """A ranked table of the rows that the rule applies to."""
    rows = ranked(rows, rule)
    if not rows:
        return []
    metrics = dict.fromkeys(metric for row in rows for metric in row.first.about.metrics)
    better = {metric: up for row in rows for metric, up in row.first.about.higher_is_better.items()}
    first = rows[0].ranked_by
    baselines = baselines_of(rows)
    costs = [row.cost(baseline) for row, baseline in zip(rows, baselines, strict=True)]
    columns = {"#": [str(i + 1) for i in range(len(rows))], "Method": [row.shown for row in rows]}
    for metric in metrics:
        unit = next(row.unit(metric) for row in rows)
        head = (
            plain(metric + ("" if unit == "%" else f" ({unit})")) + {True: " ↑", False: " ↓", None: ""}[better[metric]]
        )
        columns[head] = [mean_and_error(list(row.values(metric, rule).values()), unit) for row in rows]
    delta = f"Δ {plain(first)}"
    columns[delta] = differences(list(zip(rows, baselines, strict=True)), first, rule)
    columns["Seeds"] = [str(len(row.values(first, rule))) for row in rows]
    columns["Cost"] = ["–" if cost is None else f"{cost:.2f} ×" for cost in costs]
    columns["Val"] = ["yes" if row.uses_val else "no" for row in rows]
    telling = {
        delta: any(columns[delta]),
        "Cost": any(cost and base is not row for row, base, cost in zip(rows, baselines, costs, strict=True)),
    }
    shown = {head: cells for head, cells in columns.items() if telling.get(head, True)}
    return [
        f"## {plain(capital(title))}",
        "",
        *table(list(shown), zip(*shown.values(), strict=True)),
        "",
        *_warning(rows, rule),
        *_used(rows),
    ]


def _used(rows: Sequence[Row]) -> list[str]:
    """A line for each row that was trained with something else than the recipe says."""
    lines = [
        f"- {row.shown}: {plain('; '.join(f'{name}: {value}' for name, value in row.first.about.used.items()))}"
        for row in rows
        if row.first.about.used
    ]
    return ["Trained with something else than the recipe says:", "", *lines, ""] if lines else []


def _warning(rows: Sequence[Row], rule: str) -> list[str]:
    """A line that names the rows whose selected models are constant; nothing where there is none."""
    constant = {
        row.name: f"{len(seeds)} of {len(row.values(row.ranked_by, rule))}"
        for row in rows
        if (seeds := row.constant(rule))
    }
    if not constant:
        return []
    named = ", ".join(f"{plain(name)} ({seeds} seeds)" for name, seeds in constant.items())
    return [f"**{CONSTANT}** {named}.", ""]


def _unofficial(rows: Sequence[Row]) -> list[str]:
    files = {plain(f"{name} ({content[:19]}…)") for row in rows for name, content in row.first.data.unofficial.items()}
    return [f"‡ Data files without the official checksum: {', '.join(sorted(files))}.", ""] if files else []
