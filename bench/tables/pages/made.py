"""How the rows of a page were made: recipes, commands with their records, code, and what is in no table. Nothing here
imports torch.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.columns.run import Run
from bench.columns.table import Columns
from bench.records.known_code import CORE
from bench.records.run import LAST, OK
from bench.records.spec import SHARED, canonical
from bench.tables.markdown import code, folded, link, plain, table
from bench.tables.rows import Row, in_order, mean_and_error
from bench.tables.wording import listed, recipe_line, sizes_line

OLDER_CODE = (
    "The code of a plugin has changed since these runs, and other runs of the same settings were made by newer code. "
    "They are in no table above. The code is named by the hash of each plugin that took part."
)
COMMANDS = (
    "Each command makes the runs of one row. Behind it are all options of the method with the values that were used, "
    "whether they were given, set by the recipe or defaults of the method, and the record of each seed."
)


def made(tasks: Mapping[str, Sequence[Row]], folder: str) -> list[str]:
    """How the rows of a page were made, folded.

    Args:
        tasks: what tells each task from the others -> its rows.
        folder: that of the records, as a link from the page.
    """
    rows = [row for of_task in tasks.values() for row in of_task]
    recipes = [line for task, of_task in tasks.items() for line in _recipes_of(task, of_task)]
    return [
        *folded("Recipe", recipes),
        *folded("Commands and records", [COMMANDS, "", *(_command(row, folder) for row in rows)]),
        *folded("Code", shared_lines(rows, lambda row: map(plain, sorted(row.versions)))),
    ]


def _recipes_of(task: str, rows: Sequence[Row]) -> list[str]:
    usual = [row for row in rows if set(row.first.off_recipe) <= {"protocol"} and row.first.spec.validation == SHARED]
    lines = _recipes(usual or rows)
    return [f"- {plain(task)}: {line.removeprefix('- ')}" for line in lines] if task else lines


def _command(row: Row, folder: str) -> str:
    """The command of a row, the options that it used, and links to its records."""
    records = ", ".join(link(str(seed), f"{folder}/{path}") for seed, path in sorted(row.paths.items()))
    options = plain(listed(row.first.resolved.options, "; {}"))
    return f"- {row.shown_with_task}: {code(row.command)}{options}; seed{'s' if len(row.paths) > 1 else ''} {records}"


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


def of_older_code(rows: Sequence[Row]) -> list[str]:
    """The rows in whose place others of newer code stand, folded.

    Args:
        rows: those rows.
    """
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
    heads = ["Method", "Seeds", "Date", "Last epoch", "Code"]
    title = f"Older code ({len(rows)} row{'s' if len(rows) > 1 else ''})"
    return folded(title, [OLDER_CODE, "", *table(heads, cells)])


def without_tables(columns: Columns) -> list[str]:
    """The runs that are in no table, and why.

    Args:
        columns: those of the page.
    """
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


def unofficial(rows: Sequence[Row]) -> list[str]:
    """The line that names the data files without an official checksum.

    Args:
        rows: those of the page.
    """
    files = {plain(f"{name} ({content[:19]}…)") for row in rows for name, content in row.first.data.unofficial.items()}
    return [f"‡ Data files without the official checksum: {', '.join(sorted(files))}.", ""] if files else []
