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

TITLE = "Which method, and how to run it"


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


def words_of(advice: Advice) -> str:
    """Why a method is named.

    Args:
        advice: what names it.
    """
    if not advice.tested:
        return f"no method is compared with a baseline over {CONCLUSIVE} seeds or more"
    return "is better than the baseline" if advice.helps else "no method is better by more than chance"


def problem_of(page: PageSummary) -> str:
    """What somebody has to whom a page is of use: in the words of its protocol, or else its name.

    Args:
        page: the page.
    """
    return page.problem or f"the question of {page.protocol.partition('/')[0]}"


def by_problem(pages: Mapping[str, PageSummary]) -> dict[str, dict[str, PageSummary]]:
    """The pages with rows by the problem that they are about, in the order of its words.

    Args:
        pages: file name -> summary.
    """
    found: dict[str, dict[str, PageSummary]] = defaultdict(dict)
    for name, page in sorted(pages.items()):
        if page.tasks:
            found[problem_of(page)][name] = page
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
    yield f"- **I have {plain(problem)}.** {shows} says what is measured."
    for name, page in pages.items():
        advice = page.advice
        begin = f"  - {link(plain(page.dataset), name)}: "
        if not advice.name:
            yield f"{begin}{words_of(advice)}."
        elif advice.helps:
            yield f"{begin}{plain(advice.name)} {words_of(advice)}. {code(advice.command)}"
        else:
            yield f"{begin}{words_of(advice)}; the baseline is {plain(advice.name)}. {code(advice.command)}"
