"""Cards that begin with "I have ...": from a problem to a protocol, a method and its command. Nothing here imports
torch.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bench.tables.ahead import Question, cheaper_choice, parts, question
from bench.tables.conclusions import Compared, Verdict
from bench.tables.markdown import code, link, plain
from bench.tables.names import Names
from bench.tables.summary import Advice, PageSummary
from bench.tables.wording import capital
from bench.text import join_first

TITLE = "Which method, and how to run it"
NOTHING = "no method is compared with a baseline"
NAMED = 6
"""So many methods are named of those that were run."""
OfTasks = Sequence[tuple[str, Sequence[Compared]]]
"""For each task of a page, what tells it from the others, and its rows, compared."""


def advice_of(of_tasks: OfTasks, names: Names, methods: Sequence[str]) -> Advice:
    """What to do: run the best of the methods that are better than the baseline; or, as long as something is not
    decided, what would decide; or else run the baseline.

    Args:
        of_tasks: the rows that the answer of a page is about.
        names: of the rows.
        methods: the names of all methods of the page.
    """
    tasks = [(task, [one for one in compared if one.difference is not None]) for task, compared in of_tasks]
    tasks = [(task, tested) for task, tested in tasks if tested]
    for task, best in ((task, one) for task, tested in tasks for one in tested if one.verdict is Verdict.BETTER):
        after = f" is better than the baseline: {', '.join(parts(best))}"
        return Advice(_begin(task), names.plain(best.row), after, [best.row.command], helps=True)
    asked = [(question(tested, names.plain), task, tested) for task, tested in tasks]
    found = [(one, task, tested) for one, task, tested in asked if one]
    if found:
        one, task, tested = next((of for of in found if of[0].name), found[0])
        return _open(_begin(task), one, cheaper_choice(tested, names.plain))
    baseline = next((one.row for _, of in of_tasks for one in of if one.row.first.about.baseline), None)
    if tasks:
        baseline = next(one.baseline for _, tested in tasks for one in tested if one.baseline)
        before = "no method is better, and no question is open: run the baseline, "
    elif baseline:
        before = f"{NOTHING}; the baseline is "
    else:
        return Advice(f"{NOTHING}; all runs are of {join_first(methods, NAMED)}")
    return Advice(before, names.plain(baseline), "", [baseline.command])


def _begin(task: str) -> str:
    """What stands before the answer of one of several tasks."""
    return f"{task}: " if task else ""


def _open(begin: str, found: Question, cheaper: Question) -> Advice:
    """What to do about an open question. With too few seeds that is to run more."""
    commands = [*found.commands]
    if not (commands and found.few):
        commands += [command for command in cheaper.commands if len(commands) < 2]
    after = f"{found.after}. {capital(cheaper.text)}"
    return Advice(f"{begin}{found.before}", found.name, after, commands)


def by_problem(pages: Mapping[str, PageSummary]) -> dict[str, dict[str, PageSummary]]:
    """The pages with rows by what somebody has to whom they are of use, in the order of its words. Where records do not
    say it, it is what others of their protocol say, or else the name of the protocol.

    Args:
        pages: file name -> summary.
    """
    problems = {page.protocol: page.problem for page in pages.values() if page.problem}
    found: dict[str, dict[str, PageSummary]] = defaultdict(dict)
    for name, page in sorted(pages.items()):
        if page.tasks:
            problem = page.problem or problems.get(page.protocol, "")
            protocol = capital(page.protocol.partition("/")[0].replace("_", " "))
            found[f"I have {problem}" if problem else protocol][name] = page
    return dict(sorted(found.items()))


def cards(pages: Mapping[str, PageSummary]) -> list[str]:
    """The section of the cards, as markdown; none without pages.

    Args:
        pages: file name -> summary.
    """
    lines = [line for problem, of in by_problem(pages).items() for line in _card(problem, of)]
    return [f"## {TITLE}", "", *lines, ""] if lines else []


def _card(problem: str, pages: Mapping[str, PageSummary]) -> Iterator[str]:
    protocols = dict.fromkeys(page.protocol.partition("/")[0] for page in pages.values())
    shows = " and ".join(code(f"bench show {protocol}") for protocol in protocols)
    yield f"- **{plain(problem)}.** {shows} says what is measured."
    for name, page in pages.items():
        advice = page.advice
        text = plain(f"{advice.before}{advice.name}{advice.after}")
        commands = " and ".join(map(code, advice.commands))
        yield f"  - {link(plain(page.dataset), name)}: {text}.{f' {commands}' if commands else ''}"
