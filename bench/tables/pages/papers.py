"""What papers print, beside our means. Nothing here imports torch."""

import csv
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from bench.columns.run import Run
from bench.columns.table import Columns
from bench.metrics import METRICS
from bench.options import show
from bench.records.run import rule_name
from bench.records.spec import PAPER
from bench.tables.ahead import change
from bench.tables.comparisons import CONCLUSIVE, baselines_of, difference_of
from bench.tables.markdown import code, plain, table
from bench.tables.rows import Row, mean_and_error
from bench.tables.stats.means import mean_se
from bench.tables.stats.paired import FEWEST
from bench.tables.stats.verdicts import AGREE, AGREES, Agreement, agreement, standard_error
from bench.tables.wording import capital

KINDS = {"se": "standard error", "sd": "standard deviation", "ci95": "95 % interval"}
"""What stands behind a printed mean, by its name in the table of published values."""
GAINS = ("Paper minus its baseline", "Ours minus our baseline")
"""The heads of the columns of what the method changes."""
MOST_REDUCED = 3
"""So many rows off the recipe stand beside a printed value at the most."""
WORDS = {
    "agrees": f"the two means are up to {AGREES:.0f} combined standard errors apart",
    "compatible": f"they are up to {AGREES:.0f} combined standard errors apart, but the interval of their difference "
    "is wider than what the paper says the method changes, so that nothing follows for that change",
    "differs": f"they are more than {AGREES:.0f} combined standard errors apart",
    "artefact": "the printed value follows from the defect that is named, so that no run should give it",
    "reduced": "there are only runs of a training that was changed as is said; nothing follows for the value",
    "too few seeds": f"ours are fewer than {CONCLUSIVE}",
    "no verdict": "there is no standard error to judge by",
    "undefined": "the metric is undefined for one of our seeds",
    "not run": "there is no run to compare with, for the reason that is named",
}
"""What the verdicts mean, by how they begin."""
Printed = Mapping[str, str]
"""One printed value, by the names of the columns of the table of published values."""


@cache
def published() -> list[dict[str, str]]:
    """The values that papers print, one a row of `bench/tables/published.csv`, by the names of its columns.

    Two columns are empty in most rows. `select` is the selection rule that the paper says it takes; empty for the last
    epoch. `artefact` is the defect that the value follows from, where one is known.
    """
    with files("bench.tables").joinpath("published.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, restval=""))


@dataclass(frozen=True)
class Recorded:
    """What we have of a task.

    Attributes:
        rows: all of its rows, on the recipe and off it.
        columns: of all runs of its page.
        variant: what tells the task from the others of its page.
    """

    rows: Sequence[Row]
    columns: Columns
    variant: str

    @cached_property
    def failed(self) -> Mapping[str, str]:
        """What is said of runs by the recipe that have not finished: label of the method -> how many, and why."""
        statuses: dict[str, list[str]] = defaultdict(list)
        for place, finished in enumerate(self.columns.finished):
            run = Run(self.columns, place)
            if not finished and not run.off_recipe and ", ".join(run.spec.variant()) == self.variant:
                statuses[run.spec.label()].append(run.status)
        return {
            label: f"{len(of)} run{'s' if len(of) > 1 else ''} ended as {', '.join(sorted(set(of)))}"
            for label, of in statuses.items()
        }

    def by_recipe(self, label: str) -> Row | None:
        """The row of a method that is trained as the recipe says, on the shared data; None where there is none."""
        return next((row for row in self.rows if row.label == label and not _changes(row)), None)

    @cached_property
    def baselines(self) -> Mapping[Row, Row | None]:
        """Row -> what it is compared with, which may be itself."""
        return dict(zip(self.rows, baselines_of(self.rows), strict=True))

    def baseline_of(self, row: Row | None) -> Row | None:
        """What a row is compared with; None where that is itself or nothing."""
        found = self.baselines.get(row) if row else None
        return None if found is row else found

    @cached_property
    def baseline_label(self) -> str:
        """What the baseline is called; empty where there is none."""
        return next((row.label for row in self.rows if row.first.about.baseline and not _changes(row)), "")

    def claimed(self, printed: Printed) -> float | None:
        """What a paper says that a method changes: its value minus that of the baseline in the same table, in percent;
        None where it prints none.
        """
        same = {name: printed[name] for name in ("paper", "table", "protocol", "dataset", "metric")}
        if printed["method"] == self.baseline_label:
            return None
        found = (one for one in published() if same.items() <= one.items() and one["method"] == self.baseline_label)
        return next((float(printed["value"]) - float(one["value"]) for one in found), None)

    def reduced(self, label: str) -> list[Row]:
        """Its rows off the recipe, those with the fewest changes first, and of these those with the most seeds."""
        rows = [row for row in self.rows if row.label == label and _off_recipe(row)]
        return sorted(rows, key=lambda row: (len(_changes(row)), -len(row.rows), _changes(row)))[:MOST_REDUCED]

    def why_not(self, label: str) -> str:
        """Why there is no row by the recipe."""
        if label in self.failed:
            return self.failed[label]
        if others := [", ".join(_changes(row)) for row in self.rows if row.label == label]:
            return f"only {others[0]}"
        method = label.partition("[")[0]
        others = [row.label for row in self.rows if row.first.spec.method == method]
        return f"only {others[0]}" if others else "no records"


def _off_recipe(row: Row) -> list[str]:
    """The names of what differs from the recipe."""
    given = [name for name in row.first.spec.changed if name.startswith(("recipe.", "model."))]
    return sorted({*row.first.off_recipe, *given})


def _changes(row: Row) -> list[str]:
    """What differs from the recipe, by the names of `bench run -o`, and whether it is trained on more data."""
    spec = row.first.spec
    parts = []
    for name in _off_recipe(row):
        value = {"model": spec.model, "protocol": "another recipe's"}.get(name, "")
        parts.append(f"{name}={value or show(spec.changed.get(name))}")
    if spec.validation == PAPER:
        parts.append("trained on validation data too")
    return parts + row.of_their_time


def beside_the_papers(protocol: str, task: str, start: str, recorded: Recorded, rules: Sequence[str]) -> list[str]:
    """Our means beside the printed ones, for every method and metric that a paper reports on this task.

    Args:
        protocol: `name/version`.
        task: The data set, in brackets the options that make it another task.
        start: What the heading begins with.
        recorded: What we have of this task.
        rules: The selection rules, each of which has a column.

    Returns:
        The lines of the section; none where no paper prints anything.
    """
    here = {"protocol": protocol.split("/")[0], "dataset": task}
    values = [one for one in published() if here.items() <= one.items() and one["metric"] in METRICS]
    lines = [line for printed in values for line in _lines(printed, recorded, rules)]
    if not lines:
        return []
    ours = [f"Ours, {plain(rule_name(rule))}" for rule in rules]
    heads = ["Method", "Metric", "Paper", *ours, "Ours minus paper", *GAINS, "Verdict", "Source"]
    note = _note(task, rules, [line[-2] for line in lines], any(one.get("select") for one in values))
    return [f"## {plain(capital(start + 'beside the papers'))}", "", note, "", *table(heads, lines), ""]


def _note(task: str, rules: Sequence[str], verdicts: Sequence[str], selects: bool) -> str:
    """What the columns are, and what the verdicts that occur mean."""
    show_task = code(f"bench show {task.split('[')[0]}")
    meanings = [f"`{word}`: {what}" for word, what in WORDS.items() if any(one.startswith(word) for one in verdicts)]
    rule = rule_name(rules[0]).lower()
    others = ", or on what the paper selects by where its source names that" if selects else ""
    return (
        f"{show_task} says where our setting differs from the papers' and what they leave open; so does that of each "
        f"method. The verdict is on the {rule}{others}. Behind our mean minus the printed one stands in brackets the "
        f"difference with {AGREES:.0f} combined standard errors to both sides, and in the verdict the difference in "
        f"combined standard errors. Both are over one data set, so that errors have no correction for splits that "
        f"overlap; that of our own difference from the baseline has it. {'; '.join(meanings)}."
    )


def _lines(printed: Printed, recorded: Recorded, rules: Sequence[str]) -> Iterator[list[str]]:
    """The lines of one printed value: one, but for a value that has several rows off the recipe beside it."""
    rule = printed.get("select") or rules[0]
    row = recorded.by_recipe(printed["method"])
    if row is not None and _is_measured(row, printed["metric"], rule):
        values = list(row.values(printed["metric"], rule).values())
        claimed, baseline = recorded.claimed(printed), recorded.baseline_of(row)
        difference, verdict = _compared(values, printed, claimed)
        if baseline and _is_again(row, baseline, rule):
            verdict += f"; ours is identical to {plain(baseline.label)}"
        yield _line(printed, row, rules, difference, verdict, recorded)
        return
    reduced = [one for one in recorded.reduced(printed["method"]) if _is_measured(one, printed["metric"], rules[0])]
    if row is None and reduced:
        for one in reduced:
            yield _line(printed, one, rules, "", f"reduced: {plain(', '.join(_changes(one)))}", recorded)
        return
    why = recorded.why_not(printed["method"]) if row is None else f"no {printed['metric']}, {rule_name(rule).lower()}"
    yield _line(printed, row, rules, "", f"not run: {plain(why)}", recorded)


def _is_measured(row: Row, metric: str, rule: str) -> bool:
    """Whether the runs of a row have a metric under a selection rule."""
    return ("test", metric) in {(of, one) for _, of, one in row.first.layout.places} and bool(row.values(metric, rule))


def _is_again(row: Row, baseline: Row, rule: str) -> bool:
    """Whether a row has the values of its baseline in all metrics that are shown, on all common seeds."""
    for metric in row.first.about.metrics:
        ours, theirs = row.values(metric, rule), baseline.values(metric, rule)
        common = ours.keys() & theirs.keys()
        if not common or any(ours[seed] != theirs[seed] for seed in common):
            return False
    return True


def _gains(printed: Printed, row: Row | None, rule: str, recorded: Recorded) -> list[str]:
    """What the method changes against the baseline, in the paper and in our runs."""
    claimed, baseline = recorded.claimed(printed), recorded.baseline_of(row)
    cells = ["" if claimed is None else f"{claimed:+.2f}", ""]
    if row and baseline and all(_is_measured(one, printed["metric"], rule) for one in (row, baseline)):
        found = difference_of(row, baseline, printed["metric"], rule)
        cells[1] = (
            "0" if found.identical else "" if math.isnan(found.mean) else change(found, "%").replace(" points", "")
        )
    return cells


def _line(
    printed: Printed, row: Row | None, rules: Sequence[str], difference: str, verdict: str, recorded: Recorded
) -> list[str]:
    """The cells of a line."""
    gains = _gains(printed, row, printed.get("select") or rules[0], recorded)
    metric = printed["metric"]
    paper = f"{printed['value']} ± {printed['error']}" if printed["error"] else printed["value"]
    ours = [
        mean_and_error(list(row.values(metric, rule).values())) if row and _is_measured(row, metric, rule) else "–"
        for rule in rules
    ]
    source = f"{printed['paper']}, {printed['table']}, {printed['error_kind']} of {printed['runs']} runs"
    if select := printed.get("select"):
        source += f", {rule_name(select).lower()}"
    return [printed["method"], metric, paper, *ours, difference, *gains, verdict, source]


def _compared(values: Sequence[float], printed: Printed, claimed: float | None) -> tuple[str, str]:
    """Our mean minus the printed one with its interval, and the verdict.

    Args:
        values: ours, one for each seed, as fractions.
        printed: the printed value, in percent.
        claimed: that value minus the paper's baseline; None where that is not known.
    """
    mean, se = mean_se([100 * value for value in values])
    if math.isnan(mean):
        return "", "undefined"
    kind, runs = KINDS.get(printed["error_kind"], ""), int(printed["runs"] or 0)
    error = standard_error(float(printed["error"]), kind, runs) if printed["error"] else None
    found = agreement(mean, se, float(printed["value"]), error)
    return _difference(found, len(values)), _verdict(found, len(values), printed, claimed)


def _difference(found: Agreement, seeds: int) -> str:
    """The difference, with its interval where there are seeds enough for one."""
    text = f"{found.difference:+.2f}"
    return text if math.isnan(found.low) or seeds < FEWEST else f"{text} [{found.low:+.2f}, {found.high:+.2f}]"


def _verdict(found: Agreement, seeds: int, printed: Printed, claimed: float | None) -> str:
    """What follows from the difference."""
    if defect := printed.get("artefact"):
        return f"artefact: {plain(defect)}"
    errors = "" if math.isnan(found.errors) else f" ({found.errors:+.1f})"
    if seeds < CONCLUSIVE:
        return f"too few seeds{errors}"
    if not printed["error"]:
        return "no verdict: the paper prints no error"
    if found.word == AGREE and claimed is not None and found.high - found.low > abs(claimed):
        return f"compatible{errors}"
    return f"{found.word}{errors}" if errors else "no verdict: the paper does not say of what its error is"
