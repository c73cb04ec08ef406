"""What the runs of a task say, in sentences. Nothing here imports torch."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

from bench.records.run import rule_name
from bench.records.selections import TEST
from bench.tables.ahead import better_ones, cheaper_choice, level_with, parts, price, question, what_decides
from bench.tables.comparisons import CONCLUSIVE, overlap_of
from bench.tables.conclusions import NOT_ABOVE, Compared, Verdict
from bench.tables.context import at_chance, beside_chance, constant_class
from bench.tables.markdown import code, plain
from bench.tables.names import Names
from bench.tables.rows import Row, mean_and_error, scale_of
from bench.tables.stats.means import mean_se
from bench.tables.wording import capital, in_words
from bench.text import join_first

SEEDS_ALONE = "Seeds alone"
"""The head of the column with the intervals over the seeds alone."""
NAMED = 6
"""So many methods are named of each verdict."""
SHARED = "All seeds share one test set, so the errors are those of training alone."
BOTH = "All seeds share one test set: intervals have the error of its {samples} samples beside that of the seeds."
FEW_SEEDS = (
    "All seeds share one test set. Few seeds make intervals over them alone so wide that the error of its {samples} "
    "samples gives no wider ones: these intervals are those over the seeds alone."
)
NOT_WIDER = f" Where `{SEEDS_ALONE}` has the same interval, that over the seeds alone is the wider one."
SOME = f" Where `{SEEDS_ALONE}` is empty, the records do not tell the error of the samples, and it is left out."
DRAWN = "Each seed draws its test data anew from one pool"
UNKNOWN = "The records do not say whether the seeds share their test data, so it is assumed that each draws its own"
SOME_UNKNOWN = (
    "Some records do not say whether the seeds share their test data, so it is assumed in comparisons with them that "
    "each draws its own"
)
BRACKETS = "Brackets hold 95 % intervals of differences from the baseline, without that correction."
SETTLED = (Verdict.WORSE, Verdict.IDENTICAL, Verdict.CONSTANT)
"""Verdicts by which a method is not proposed, however many seeds follow."""
DOES = {True: "raise", False: "lower", None: "change"}
"""What a better method does to a metric, by whether more of it is better."""
OPPOSITE = {"raise": "lower", "lower": "raise"}
TOLD = {
    Verdict.OPEN: ("is not separated from the baseline", "are not separated from the baseline"),
    Verdict.IDENTICAL: ("trains exactly as the baseline does", "train exactly as the baseline does"),
    Verdict.FEW: (
        f"has fewer than {CONCLUSIVE} seeds in common with the baseline",
        f"have fewer than {CONCLUSIVE} seeds in common with the baseline",
    ),
    Verdict.CONSTANT: (
        "is not shown to be more accurate than a constant prediction",
        "are not shown to be more accurate than a constant prediction",
    ),
    Verdict.BELOW: ("is less accurate than a constant prediction", "are less accurate than a constant prediction"),
    Verdict.UNDEFINED: ("has undefined values", "have undefined values"),
}


def answers(of_tasks: Sequence[tuple[str, Sequence[Compared]]], rule: str, names: Names) -> list[str]:
    """Paragraphs that answer which methods differ from the baseline, by how much and at what price.

    Args:
        of_tasks: for each task of the page what tells it from the others, and its main family.
        rule: the selection rule.
        names: of the rows.

    Returns:
        Markdown, a paragraph each, or a list. Where nothing is compared there is only what all rows share, if anything.
    """
    tasks = [(task, [one for one in compared if one.difference is not None]) for task, compared in of_tasks]
    tasks = [(task, tested) for task, tested in tasks if tested]
    if not tasks:
        return list(filter(None, [names.sentence()]))
    if len(tasks) == 1:
        ((task, tested),) = tasks
        begin = f"{plain(task)}: " if task else ""
        first = [
            f"**{begin}{_lead(tested, names, told=True)}** {_rest(tested, names)}".rstrip(),
            _best(tested, names),
        ]
    else:
        alike: dict[str, list[str]] = defaultdict(list)
        for task, tested in tasks:
            alike[_lead(tested, names, told=True)].append(plain(task) or "default")
        first = ["\n".join(f"- {'; '.join(of)}: {headline}" for headline, of in alike.items())]
    return [*filter(None, first), _basis(tasks, rule, names)]


def headline(compared: Sequence[Compared], names: Names) -> str:
    """The sentence that answers the question of one task; empty where nothing is compared.

    Args:
        compared: its main family.
        names: of the rows.
    """
    tested = [one for one in compared if one.difference is not None]
    return _lead(tested, names) if tested else ""


def exploratory(title: str, compared: Sequence[Compared], names: Names) -> str:
    """A sentence that names what is better than the baseline in another family; empty where nothing is.

    Args:
        title: of the family.
        compared: its rows.
        names: of the rows.
    """
    tested = [one for one in compared if one.difference is not None]
    better = [one for one in tested if one.verdict is Verdict.BETTER]
    if not better:
        return ""
    share = f"{len(better)} of {len(tested)} {'is' if len(better) == 1 else 'are'} better than the baseline"
    named = [f"{names(one.row)}{''.join(f': {told}' for told in price(one))}" for one in better]
    return f"Exploratory, {plain(title)}: {share} ({join_first(named, NAMED, '; ')})."


def proposal(
    compared: Sequence[Compared], names: Names, options: str = "", is_alike: Callable[[Compared], bool] | None = None
) -> str:
    """A sentence that says which method to use, and how sure that is. The baseline is proposed where no question is
    left: where all others are worse, or shown to be alike.

    Args:
        compared: the rows that may be proposed; those of the main family of a task.
        names: of the rows.
        options: further ones of the command, such as ` --out FOLDER`.
        is_alike: whether a row is shown to be equivalent to its baseline; None where that is not asked.
    """
    tested = [one for one in compared if one.difference is not None]
    if not tested:
        return "no method is compared with a baseline, so nothing can be proposed."
    wanted = [one for one in tested if one.verdict is Verdict.BETTER]
    if wanted:
        best, p = wanted[0], wanted[0].p
        others = [one for one in wanted[1:] if one.ranks and best.ranks and one.ranks[0] <= best.ranks[1]]
        text = f"use {names(best.row)} ({plain(', '.join(parts(best)))}; p {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
        text += f" after Holm's correction). Its command: {code(best.row.command + options)}."
        return text + (f" Not told from it: {_names(others, names)}." if others else "")
    left = [one for one in tested if not (one.verdict in SETTLED or (is_alike and is_alike(one)))]
    cheaper = cheaper_choice(tested, names.plain)
    if not left:
        return f"use {plain(cheaper.name)}: {_lead(tested, names)} {_rest(tested, names)}".strip()
    found = question(left, names.plain)
    commands = " and ".join(code(command + options) for command in found.commands) if found else ""
    told = f"{plain(found.text)}. {_at_chance(tested, names)}" if found else f"undecided: {_lead(tested, names)}"
    takes = f"That takes: {commands}." if commands else ""
    return " ".join(filter(None, [told.strip(), takes, f"{capital(plain(cheaper.text))}."]))


def _headline(tested: Sequence[Compared], names: Names, told: bool = False) -> str:
    """How many methods are better than the baseline, and which; with what the metric is, where that is to be told."""
    row = tested[0].row
    higher = row.first.about.higher_is_better[row.ranked_by]
    against = _against(tested, names)
    if all(one.verdict is Verdict.FEW for one in tested):
        has = f"{names(row)} has fewer than" if len(tested) == 1 else "no method has"
        return f"Nothing is concluded: {has} {CONCLUSIVE} seeds in common with {against.rstrip(',')}."
    words = in_words(row.first.about, row.ranked_by) if told else ""
    metric = plain(f"{row.ranked_by} ({words})" if words else row.ranked_by)
    does, what = DOES[higher], f"{metric} against {against} by more than chance"
    if len(tested) == 1:
        return f"{names(row)} {_does(tested[0].verdict, does, what)}."
    better = [one for one in tested if one.verdict is (Verdict.OTHER if higher is None else Verdict.BETTER)]
    count = {0: "none", len(tested): "all"}.get(len(better), f"{len(better)}")
    verb = does if len(better) > 1 else f"{does}s"
    constant = any(one.verdict in NOT_ABOVE for one in tested)
    but = " and is more accurate than a constant prediction" if constant and not better else ""
    which = f": {_names(better, names)}" if better else ""
    return f"Of {len(tested)} methods and controls, {count} {verb} {what}{but}{which}."


def _against(tested: Sequence[Compared], names: Names) -> str:
    """The baseline by its role and its name."""
    baselines = list(dict.fromkeys(names(one.baseline) for one in tested if one.baseline))
    return f"the baseline{'s' if len(baselines) > 1 else ''}, {join_first(baselines, 2)},"


def _does(verdict: Verdict, does: str, what: str) -> str:
    """What the only method does."""
    if verdict in (Verdict.BETTER, Verdict.OTHER):
        return f"{does}s {what}"
    if verdict is Verdict.WORSE:
        return f"{OPPOSITE[does]}s {what}"
    return f"does not {does} {what}" if verdict is Verdict.OPEN else TOLD[verdict][0]


def _rest(tested: Sequence[Compared], names: Names) -> str:
    """What the other methods do; empty where the headline has said it."""
    if len(tested) == 1 or all(one.verdict is Verdict.FEW for one in tested):
        return ""
    parts = []
    worse = [one for one in tested if one.verdict is Verdict.WORSE]
    if worse:
        parts.append(f"{len(worse)} {'is' if len(worse) == 1 else 'are'} worse ({_names(worse, names)})")
    for verdict, (one_does, they_do) in TOLD.items():
        if these := [one for one in tested if one.verdict is verdict]:
            parts.append(f"{len(these)} {one_does if len(these) == 1 else they_do} ({_names(these, names)})")
    return "; ".join(parts) + "." if parts else ""


def _names(compared: Sequence[Compared], names: Names) -> str:
    return join_first([names(one.row) for one in compared], NAMED)


def _best(tested: Sequence[Compared], names: Names) -> str:
    """The difference of the method that comes first, what it costs in accuracy, and what would decide."""
    better = [one for one in better_ones(tested) if one.ranks]
    if not better:
        return ""
    best = better[0]
    begin = "The best is" if best.verdict is Verdict.BETTER else "The best mean is that of"
    text = f"{begin} {names(best.row)}: {plain(', '.join(parts(best)))}{level_with(best, better, names)}."
    return f"{text} {what_decides(best)}".rstrip()


def _basis(tasks: Sequence[tuple[str, Sequence[Compared]]], rule: str, names: Names) -> str:
    """What the conclusions rest on: the metric, the rule, the seeds and what these draw."""
    baselines = [next(one.baseline for one in tested if one.baseline) for _, tested in tasks]
    baseline = baselines[0]
    lines = [f"Rule: {rule_name(rule).lower()}."]
    if len(tasks) == 1:
        metric, unit = baseline.ranked_by, baseline.unit(baseline.ranked_by)
        values = list(baseline.values(metric, rule).values())
        mean = f"{mean_and_error(values, unit)} {unit}"
        seeds = f"{len(values)} seed{'s' if len(values) > 1 else ''}"
        lines = [f"{plain(metric)} of {names(baseline)}: {mean} over {seeds}, {rule_name(rule).lower()}."]
    tests = [sum(not math.isnan(one.p) for one in compared) for _, compared in tasks]
    if any(tests):
        count = f"{max(tests)} test{'s' if max(tests) > 1 else ''}" if len(tasks) == 1 else "the tests of each task"
        lines.append(f"By more than chance means p < 0.05 after Holm's correction for {count}. {BRACKETS}")
    drawn: dict[str, list[str]] = defaultdict(list)
    for (task, tested), of_task in zip(tasks, baselines, strict=True):
        drawn[_drawn(of_task, rule, tested)].append(plain(task) or "default")
    lines += [said if len(drawn) == 1 else f"{'; '.join(of)}: {said}" for said, of in drawn.items() if said]
    if len(tasks) == 1:
        lines += [_constant(baseline), _floor(baseline, rule)]
    return " ".join(filter(None, [*lines, names.sentence()]))


def _drawn(row: Row, rule: str, tested: Sequence[Compared]) -> str:
    """What the seeds draw, and what that does to the errors; empty for a single seed."""
    overlap, seeds = overlap_of(row), len(row.values(row.ranked_by, rule))
    told = [one.difference for one in tested if one.difference and not math.isnan(one.difference.low)]
    if any(difference.test_se for difference in told):
        lacking = any(not (difference.test_se or difference.identical) for difference in told)
        known = [difference for difference in told if difference.test_se]
        wider = [difference.wider_by_samples for difference in known]
        said = (BOTH if all(wider) else BOTH + NOT_WIDER) if any(wider) else FEW_SEEDS
        return said.format(samples=f"{row.first.data.sizes.get(TEST, 0):,}") + (SOME if lacking else "")
    if seeds < 2 or not overlap:
        others = max((overlap_of(one.row) for one in tested), default=0.0)
        if seeds > 1 and others:
            return f"{SOME_UNKNOWN}: these intervals are {_wider(seeds, others):.2f} times as wide as for one test set."
        return SHARED if seeds > 1 and row.test_is_fixed else ""
    factor = _wider(seeds, overlap)
    drawn = DRAWN if len(row.tests - {""}) > 1 else UNKNOWN
    return f"{drawn}: intervals of differences are {factor:.2f} times as wide as for independent data."


def _wider(seeds: int, overlap: float) -> float:
    """How many times as wide an interval is as over independent seeds."""
    return math.sqrt(1 + seeds * overlap)


def _constant(row: Row) -> str:
    """The accuracy of the best constant prediction."""
    if not row.constant_prediction:
        return ""
    name = constant_class(name for name, _ in row.constant_prediction.values())
    shares = [share for _, share in row.constant_prediction.values()]
    return f"Always predicting {plain(name)} has accuracy {100 * mean_se(shares)[0]:.2f} %."


def _floor(row: Row, rule: str) -> str:
    """What the metric that ranks would be by chance alone; empty where that is not known."""
    if (known := beside_chance(row, rule)) is None:
        return ""
    unit = row.unit(row.ranked_by)
    return f"Were all groups alike, {plain(row.ranked_by)} would be {scale_of(unit) * known[1]:.2f} {unit} by chance."


def is_at_chance(compared: Sequence[Compared]) -> bool:
    """Whether no method can be shown to lower a disparity, as that of the baseline is not above chance, and none is.

    Args:
        compared: the rows of a task.
    """
    better = any(one.verdict is Verdict.BETTER for one in compared)
    return not better and any(at_chance(one.baseline, one.rule) for one in compared if one.baseline)


def _at_chance(tested: Sequence[Compared], names: Names) -> str:
    """That the question has no answer, where the baseline has no disparity above that of chance; empty elsewhere."""
    one = next(one for one in tested if one.baseline)
    row = one.baseline or one.row
    if not is_at_chance(tested) or (known := beside_chance(row, one.rule)) is None:
        return ""
    unit = row.unit(row.ranked_by)
    mean, floor = (scale_of(unit) * value for value in known)
    return (
        f"This cannot be answered here: {plain(row.ranked_by)} of the baseline, {names(row)}, is {mean:.2f} {unit}, "
        f"and chance alone gives {floor:.2f} {unit}, so there is no disparity to lower."
    )


def _lead(tested: Sequence[Compared], names: Names, told: bool = False) -> str:
    """Whether the question can be answered, and the headline."""
    return f"{_at_chance(tested, names)} {_headline(tested, names, told)}".strip()
