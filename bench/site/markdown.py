"""The markdown that this package generates -> HTML. Only what generated pages use is known: texts of any origin are
escaped there (`bench.tables.markdown.plain`), and come out as they went in. Nothing here imports torch.
"""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from html import escape, unescape

from bench.site.text import wide

INLINE = re.compile(
    r"\\(?P<escaped>[!-/:-@\[-`{-~])"
    r"|(?<!`)(?P<fence>`+)(?!`)(?P<code>.+?)(?<!`)(?P=fence)(?!`)"
    r"|(?P<strong>\*\*)|(?P<emphasis>\*)"
    r"|(?P<image>!?)\[(?P<label>(?:\\.|[^\[\]\\]|\[(?:\\.|[^\[\]\\])*\])*)\]\((?P<path>[^()\s]*)\)"
    r"|(?P<entity>&(?:lt|amp);)"
)
"""What is more than a character within a line."""
SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
"""How an address begins that is not relative."""
ITEM = re.compile(r"( *)- (.*)")
NUMBER = re.compile(r"[-+±]?\d")
"""How a cell begins that is a number, with its error or its interval."""
Resolve = Callable[[str], str]
"""The address of a link of a page -> the address that the same link has in the site."""


def inline(line: str, resolve: Resolve = str) -> str:
    """A line of markdown as HTML.

    Args:
        line: the line.
        resolve: gives the address of a link.
    """
    parts: list[str] = []
    opened: list[str] = []
    end = 0
    for match in INLINE.finditer(line):
        parts += [escape(line[end : match.start()]), _piece(match, opened, resolve)]
        end = match.end()
    return "".join([*parts, escape(line[end:]), *(f"</{name}>" for name in reversed(opened))])


def _piece(match: re.Match[str], opened: list[str], resolve: Resolve) -> str:
    """The HTML of what is more than a character. Elements that are open are kept in `opened`."""
    if (escaped := match["escaped"]) is not None:
        return escape(escaped)
    if match["entity"]:
        return escape(unescape(match["entity"]))
    if (code := match["code"]) is not None:
        return f"<code>{escape(_without_pads(code))}</code>"
    if match["path"] is not None:
        return _link(match, resolve)
    name = "strong" if match["strong"] else "em"
    if name in opened:
        opened.remove(name)
        return f"</{name}>"
    opened.append(name)
    return f"<{name}>"


def _without_pads(code: str) -> str:
    return code[1:-1] if code.startswith(" ") and code.endswith(" ") and code.strip() else code


def _link(match: re.Match[str], resolve: Resolve) -> str:
    label, path = match["label"], match["path"]
    if SCHEME.match(path) and not path.startswith(("https://", "http://")):
        return inline(label, resolve)
    address = escape(resolve(path))
    if match["image"]:
        return f'<img src="{address}" alt="{escape(label)}" loading="lazy">'
    return f'<a href="{address}">{inline(label, resolve)}</a>'


def sections(text: str) -> list[tuple[str, list[str]]]:
    """The parts of a page: the title of each section, and its lines with that title. What stands before the first
    section has an empty one.

    Args:
        text: of the page, as markdown.
    """
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in text.split("\n"):
        if line.startswith("## "):
            found.append((line.removeprefix("## "), []))
        found[-1][1].append(line)
    return found


def blocks(lines: Sequence[str], resolve: Resolve = str, without: Collection[str] = ()) -> str:
    """Lines of markdown as HTML.

    Args:
        lines: of a page, which may begin with its mark.
        resolve: gives the address of a link.
        without: titles of folded parts that are left out.
    """
    return "\n".join(_Blocks(lines, resolve).html(without))


class _Blocks:
    """Lines, which are taken from the front as they are read."""

    def __init__(self, lines: Sequence[str], resolve: Resolve) -> None:
        self._lines = list(reversed(lines))
        self._resolve = resolve

    def html(self, without: Collection[str]) -> Iterator[str]:
        """The elements."""
        while self._lines:
            line = self._lines.pop()
            if not line or line.startswith("<!--"):
                continue
            if line == "<details>" and self._lines and self._summary() in without:
                self._skip()
            elif line in ("<details>", "</details>"):
                yield line
            elif line.startswith("<summary>"):
                yield f"<summary>{self._inline(_between(line))}</summary>"
            elif line.startswith("#"):
                marks, _, words = line.partition(" ")
                yield f"<h{len(marks)}>{self._inline(words)}</h{len(marks)}>"
            elif line.startswith("```"):
                yield f"<pre>{escape(chr(10).join(self._take(lambda ahead: not ahead.startswith('```'))))}</pre>"
                self._lines = self._lines[:-1]
            elif line.startswith("|"):
                yield self._table([line, *self._take(lambda ahead: ahead.startswith("|"))])
            elif ITEM.fullmatch(line):
                yield self._list([line, *self._take(lambda ahead: ahead.startswith(("- ", "  ")))])
            else:
                more = self._take(lambda ahead: bool(ahead) and not ahead.startswith(("|", "- ", "<", "#", "```")))
                yield f"<p>{self._inline(' '.join([line, *more]))}</p>"

    def _take(self, wanted: Callable[[str], bool]) -> list[str]:
        """The next lines, as long as they are wanted."""
        taken = []
        while self._lines and wanted(self._lines[-1]):
            taken.append(self._lines.pop())
        return taken

    def _summary(self) -> str:
        return _between(self._lines[-1])

    def _skip(self) -> None:
        """Leave out what is folded."""
        self._take(lambda ahead: ahead != "</details>")
        self._lines = self._lines[:-1]

    def _inline(self, line: str) -> str:
        return inline(line, self._resolve)

    def _table(self, lines: Sequence[str]) -> str:
        heads, _, *rows = (_cells(line) for line in lines)
        head = "".join(f'<th scope="col">{self._inline(cell)}' for cell in heads)
        body = "\n".join(f"<tr>{''.join(map(self._cell, row))}" for row in rows)
        return wide(f'<table class="plain"><thead><tr>{head}</thead><tbody>\n{body}</tbody></table>')

    def _cell(self, cell: str) -> str:
        """A cell; one that begins with a number is not broken."""
        kind = ' class="n"' if NUMBER.match(cell) else ""
        return f"<td{kind}>{self._inline(cell)}"

    def _list(self, lines: Sequence[str]) -> str:
        """A list, whose items may have lists of their own."""
        items: list[tuple[str, list[str]]] = []
        for line in lines:
            item = ITEM.fullmatch(line)
            if item and not item[1]:
                items.append((item[2], []))
            elif item:
                items[-1][1].append(line.removeprefix("  "))
            elif items[-1][1]:
                items[-1][1][-1] += f" {line.strip()}"
            else:
                items[-1] = (f"{items[-1][0]} {line.strip()}", [])
        inner = [f"<li>{self._inline(words)}{self._list(below) if below else ''}</li>" for words, below in items]
        return "<ul>\n" + "\n".join(inner) + "\n</ul>"


def _between(line: str) -> str:
    return line.removeprefix("<summary>").removesuffix("</summary>")


def _cells(line: str) -> list[str]:
    """The cells of a line of a table."""
    cells = re.split(r"(?<!\\)\|", line)[1:-1]
    return [cell.strip().replace("\\|", "|") for cell in cells]
