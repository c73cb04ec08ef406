"""Cards that begin with "I have ...": from a problem to a protocol, a method and its command. Nothing here imports
torch.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from bench.tables.comparisons import CONCLUSIVE
from bench.tables.conclusions import Compared, Verdict
from bench.tables.markdown import code, link, plain
from bench.tables.names import Names
from bench.tables.summary import Advice, PageSummary
from bench.tables.wording import capital
from bench.text import join_first

TITLE = "Which method, and how to run it"
NONE_HELPS = "no method is better by more than chance"
NAMED = 6
"""So many methods are named of those that were run."""


def advice_of(compared: Sequence[Compared], names: Names) -> Advice:
    """What to run: the best of the methods that are better than the baseline, or else the baseline itself.

    Args:
        compared: the rows that the answer of a page is about, of all of its tasks.
        names: of the rows.
    """
    better = [one.row for one in compared if one.verdict is Verdict.BETTER]
    baselines = [one.row for one in compared if one.row.first.about.baseline]
    row = next(iter([*better, *baselines]), None)
    tested = any(one.difference is not None and one.difference.n >= CONCLUSIVE for one in compared)
    if row is None:
        return Advice("", "", False, tested)
    return Advice(names.plain(row), row.command, bool(better), tested)


def words_of(page: PageSummary) -> str:
    """Why a method is named, or none.

    Args:
        page: what names it.
    """
    if page.advice.tested:
        return "is better than the baseline" if page.advice.helps else NONE_HELPS
    if any(row.baseline for task in page.tasks for row in task.rows):
        return "too few seeds to tell"
    alone = "" if page.advice.name else f"; all runs are of {join_first(page.methods, NAMED)}"
    return f"no method is compared with a baseline{alone}"


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
        begin = f"  - {link(plain(page.dataset), name)}: "
        words = words_of(page)
        if not advice.name:
            yield f"{begin}{plain(words)}."
        elif advice.helps:
            yield f"{begin}{plain(advice.name)} {words}. {code(advice.command)}"
        else:
            yield f"{begin}{words}{between(words)}{plain(advice.name)}. {code(advice.command)}"


def between(words: str) -> str:
    """What stands between why no method is named and the name of the baseline.

    Args:
        words: why.
    """
    return ": run the baseline, " if words == NONE_HELPS else "; the baseline is "
