"""HTML as an independent parser reads it: elements with their attributes, texts and elements within."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

from bench.columns.table import columns_of
from bench.records.run import RunResult
from bench.site.page import Source
from bench.site.render import render
from bench.site.rows.pictured import Pictures
from bench.tables.pages import front, leaderboard

VOID = {"meta", "img", "br", "wbr", "input", "link"}
CELLS = {"td", "th"}
ENDED_BY = {"td": CELLS, "th": CELLS, "tr": {*CELLS, "tr"}, "li": {"li"}}
"""Element -> those that are open and end where it begins, without an end tag (HTML, 13.1.2.4)."""
ENDED_WITH = {"thead": {*CELLS, "tr"}, "tbody": {*CELLS, "tr"}, "ul": {"li"}}
"""The same, where it ends."""


@dataclass
class Element:
    """An element; its text is that of the elements within it too."""

    name: str
    about: dict[str, str] = field(default_factory=dict)
    inside: list["Element | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(part if isinstance(part, str) else part.text for part in self.inside)

    def all(self, name: str, **about: str) -> Iterator["Element"]:
        """The elements of a name within it, with some attributes (`kind` is `class`, of which it is one word)."""
        for part in self.inside:
            if isinstance(part, Element):
                if part.name == name and all(part._has(key, value) for key, value in about.items()):
                    yield part
                yield from part.all(name, **about)

    def one(self, name: str, **about: str) -> "Element":
        (found,) = self.all(name, **about)
        return found

    def _has(self, key: str, value: str) -> bool:
        if key == "kind":
            return value in self.about.get("class", "").split()
        return self.about.get(key.replace("_", "-")) == value


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self._end(ENDED_BY.get(tag, set()))
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].inside.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def _end(self, names: set[str]) -> None:
        while self.open[-1].name in names:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        self._end(ENDED_WITH.get(tag, set()))
        assert self.open[-1].name == tag, f"</{tag}> closes <{self.open[-1].name}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].inside.append(data)


def read(html: str) -> Element:
    """The document; each element is closed where it was opened."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader.open) == 1, reader.open[-1].name
    return reader.open[0]


def site(results: Iterable[RunResult], pictures: Pictures | None = None, **others: str) -> dict[str, str]:
    """The files of the site of some records."""
    tasks = columns_of(results)
    pages = leaderboard.render(tasks)
    summaries = {name: page.summary for name, page in pages.items()}
    sources = [
        Source(name, page.text, page.summary, next(one for one in tasks if leaderboard.page_of(one) == name))
        for name, page in pages.items()
    ]
    return render(sources, front.front(summaries, [], list(others)), others, pictures=pictures)


def rows(family: Element) -> list[dict[str, str]]:
    """The cells of the table of a family, by the heads of their columns."""
    table = family.one("table", kind="rows")
    heads = [_first(head) for head in table.one("thead").all("th")]
    found = []
    for line in table.one("tbody").all("tr"):
        cells = [part for part in line.inside if isinstance(part, Element)]
        found.append(dict(zip(heads, (cell.text.strip() for cell in cells), strict=True)))
    return found


def _first(head: Element) -> str:
    """The text of a head, without the numbers of a scale below it."""
    return next((part for part in head.inside if isinstance(part, str)), head.text)
