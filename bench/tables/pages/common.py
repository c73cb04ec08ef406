"""Which methods can be compared over which tasks: a set of tasks that all have the same methods. Nothing here imports
torch.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

from bench.tables.comparisons import CONCLUSIVE
from bench.tables.conclusions import Verdict
from bench.tables.stats.means import mean_se
from bench.tables.summary import PageSummary, RowSummary, TaskSummary
from bench.text import join_first

FEWEST_TASKS = 5
FEWEST_METHODS = 3
"""Over fewer tasks, or of fewer methods beside the baseline, nothing is ranked."""
MOST_SEEDS = 50
"""So many common seeds of a task count, the first ones."""
NOT_RUN = "not run"
NAMED = 6
"""So many names are told of a list."""


@dataclass(frozen=True)
class Task:
    """A task whose methods are compared with one baseline, in their default configuration.

    Attributes:
        title: the protocol and the data set.
        page: the file of its page.
        summary: of the task.
        baseline: what most of its rows are compared with.
    """

    title: str
    page: str
    summary: TaskSummary
    baseline: RowSummary

    @cached_property
    def rows(self) -> dict[str, RowSummary]:
        """The rows beside the baseline, by name."""
        return {row.name: row for row in reversed(self.summary.rows) if row.key != self.baseline.key}

    def lack(self, method: str) -> str:
        """Why a method is not compared with the baseline here; empty where it is."""
        row = self.rows.get(method)
        if row is None or not row.values:
            return NOT_RUN
        if row.baseline != self.baseline.key:
            return "compared with another baseline" if row.baseline else "compared with no baseline"
        if row.verdict == Verdict.CONSTANT:
            return "not shown to be more accurate than a constant prediction"
        common = row.values.keys() & self.baseline.values.keys()
        if not all(math.isfinite(of.values[seed]) for of in (row, self.baseline) for seed in common):
            return "undefined values"
        return "" if len(common) >= CONCLUSIVE else f"fewer than {CONCLUSIVE} seeds"

    def fault(self, methods: Sequence[str]) -> str:
        """Why the task cannot count for methods that are all compared here; empty where it can."""
        seeds = self.seeds(methods)
        if len(seeds) < CONCLUSIVE:
            return f"fewer than {CONCLUSIVE} seeds that all methods have"
        return "" if self.scale(seeds) else "all seeds of the baseline have the same value"

    def scale(self, seeds: Sequence[str]) -> float:
        """The standard deviation of the baseline over some seeds, by which differences are divided."""
        error = mean_se([self.baseline.values[seed] for seed in seeds])[1] or 0.0
        return error * math.sqrt(len(seeds))

    def seeds(self, methods: Sequence[str]) -> list[str]:
        """The seeds that the baseline and all of some methods have, the first ones of many."""
        common = set(self.baseline.values).intersection(*(self.rows[method].values for method in methods))
        return sorted(common, key=int)[:MOST_SEEDS]


@dataclass(frozen=True)
class Common:
    """Methods that are compared with the baseline on all of some tasks.

    Attributes:
        methods: in the order of their names.
        tasks: in the order of their titles.
        left_out: a task or a method that is left out -> why.
        lacking: why nothing is ranked; empty where there are tasks and methods enough.
    """

    methods: Sequence[str]
    tasks: Sequence[Task]
    left_out: Mapping[str, str]
    lacking: str = ""


def common_set(pages: Mapping[str, PageSummary]) -> Common:
    """The tasks and the methods that are ranked together.

    Of each protocol and data set one task counts, as tasks that share their data are not independent: the one on which
    the most methods are compared, of several the one with the default options. As long as a method is not compared on
    some task, that method or task is left out of which the largest share is missing; of equal shares a method, and what
    comes last in the order of the names. Neither number falls below its smallest; where that leads to no end, it is the
    three methods with the most tasks in common. What has become whole is taken back.

    Args:
        pages: file name -> summary.
    """
    candidates, left_out = _tasks(pages)
    everything = sorted({name for task in candidates for name in task.rows})
    gaps = {(method, task.title): why for task in candidates for method in everything if (why := task.lack(method))}
    methods, titles = _whole(everything, [task.title for task in candidates], gaps.keys())
    tasks = [task for task in candidates if task.title in titles]
    missing = {gap: why for gap, why in gaps.items() if gap[0] in methods and gap[1] in titles}
    if missing or len(methods) < FEWEST_METHODS:
        return Common(methods, tasks, left_out, _lacking(methods, titles, missing))
    for method in everything:
        if method not in methods:
            whys = {title: gaps[method, title] for title in titles if (method, title) in gaps}
            left_out[method] = "; ".join(f"{why} on {join_first(of, NAMED)}" for why, of in _by_reason(whys))
    for task in candidates:
        whys = {method: gaps[method, task.title] for method in methods if (method, task.title) in gaps}
        if task.title not in titles:
            left_out[task.title] = "; ".join(f"{why}: {join_first(of, NAMED)}" for why, of in _by_reason(whys))
        elif fault := task.fault(methods):
            left_out[task.title] = fault
    tasks = [task for task in tasks if task.title not in left_out]
    return Common(methods, tasks, left_out, _lacking(methods, [task.title for task in tasks], {}))


def _tasks(pages: Mapping[str, PageSummary]) -> tuple[list[Task], dict[str, str]]:
    """The tasks that may count, one for each protocol and data set, in the order of their titles; and why the others
    do not.
    """
    found: dict[str, list[Task]] = defaultdict(list)
    left_out = {}
    for name, page in sorted(pages.items()):
        for summary in page.tasks:
            title = _title(page, summary.task)
            task = _task(title, name, summary)
            if task is None:
                left_out[title] = "no method in its default configuration is compared with a baseline"
            elif summary.higher is None:
                left_out[title] = f"neither more nor less {summary.metric} is better"
            else:
                found[_title(page, "")].append(task)
    chosen = {title: max(of, key=_rank) for title, of in found.items()}
    for title, of in found.items():
        for task in of:
            if task is not chosen[title]:
                name = task.title if task.title != chosen[title].title else f"{task.title} ({task.page})"
                left_out[name] = f"it has the protocol and the data of {chosen[title].title}"
    return [chosen[title] for title in sorted(chosen)], left_out


def _title(page: PageSummary, task: str) -> str:
    """What a task is called in a sentence, as titles of pages are."""
    return f"{page.protocol.partition('/')[0].replace('_', ' ')} on {page.dataset}{f', {task}' if task else ''}"


def _task(title: str, page: str, summary: TaskSummary) -> Task | None:
    """A task with what most of its rows are compared with; None where nothing is compared."""
    compared = Counter(row.baseline for row in summary.rows if row.baseline)
    if not (summary.main and compared):
        return None
    key = max(compared, key=lambda key: (compared[key], key))
    baseline = next((row for row in summary.rows if row.key == key), None)
    return Task(title, page, summary, baseline) if baseline else None


def _rank(task: Task) -> tuple[int, bool, str]:
    """The task of a protocol and data set that counts has the largest one."""
    return sum(not task.lack(method) for method in task.rows), not task.summary.task, task.page


def _whole(
    methods: Sequence[str], titles: Sequence[str], gaps: Collection[tuple[str, str]]
) -> tuple[list[str], list[str]]:
    """The methods and the tasks that are left where what lacks the most is left out, as `common_set` has it.

    Args:
        methods, titles: of all.
        gaps: a method and the title of a task on which it is not compared.
    """
    left, tasks = list(methods), list(titles)
    while any((method, title) in gaps for method in left for title in tasks):
        shares = []
        if len(tasks) > FEWEST_TASKS:
            shares += [(_share([(method, title) in gaps for method in left]), False, title) for title in tasks]
        if len(left) > FEWEST_METHODS:
            shares += [(_share([(method, title) in gaps for title in tasks]), True, method) for method in left]
        if not shares:
            return _trio(methods, titles, gaps) or (left, tasks)
        _, is_method, name = max(shares)
        (left if is_method else tasks).remove(name)
    left = [method for method in methods if not any((method, title) in gaps for title in tasks)]
    return left, [title for title in titles if not any((method, title) in gaps for method in left)]


def _trio(
    methods: Sequence[str], titles: Sequence[str], gaps: Collection[tuple[str, str]]
) -> tuple[list[str], list[str]] | None:
    """The three methods that have the most tasks in common, with all others that are compared on these; None where no
    three have enough. Arguments as of `_whole`.
    """
    of = {method: {title for title in titles if (method, title) not in gaps} for method in methods}
    able = [method for method in methods if len(of[method]) >= FEWEST_TASKS]
    most: set[str] = set()
    for one, other in combinations(able, 2):
        both = of[one] & of[other]
        if len(both) > len(most):
            third = [both & of[method] for method in able if method > other]
            most = max([most, *third], key=len)
    if len(most) < FEWEST_TASKS:
        return None
    return [method for method in methods if most <= of[method]], [title for title in titles if title in most]


def _share(missing: Sequence[bool]) -> float:
    return sum(missing) / len(missing)


def _by_reason(whys: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """Reasons, each with what it is given for."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, why in whys.items():
        found[why].append(name)
    return list(found.items())


def _lacking(methods: Sequence[str], titles: Sequence[str], missing: Mapping[tuple[str, str], str]) -> str:
    """What is lacking for a ranking; empty for nothing."""
    if len(titles) < FEWEST_TASKS:
        return f"and {_number(len(titles), 'task')} can count at present"
    if len(methods) < FEWEST_METHODS:
        return f"and {_number(len(methods), 'method')} can count at present"
    of_titles = {title: {name: why for (name, of), why in missing.items() if of == title} for title in titles}
    groups: dict[str, list[str]] = defaultdict(list)
    for title, whys in of_titles.items():
        for why, names in _by_reason(whys):
            groups[f"{join_first(names, NAMED)} ({why})"].append(title)
    gaps = [f"{group} on {join_first(of, NAMED)}" for group, of in groups.items()]
    return f"and what is nearest to it lacks {'; '.join(gaps)}" if gaps else ""


def _number(count: int, what: str) -> str:
    return f"only {count} {what}{'' if count == 1 else 's'}" if count else f"no {what}"
