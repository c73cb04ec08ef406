"""Generated markdown as HTML: what was escaped comes out as it went in."""

from hypothesis import given
from hypothesis import strategies as st

from bench.site.markdown import blocks, inline, sections
from bench.tables.markdown import code, folded, link, plain, table
from bench.text import visible
from tests.site.read import read

PIECES = [*"ab_*`~\\|[](){}<>&;:!#-+=.1 '\"/", "\n", "é", "\u202e", "</script>", "**", "](", "&lt;"]
NAMES = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)
"""Texts of any origin, made of what markdown and HTML could obey."""


@given(NAMES)
def test_a_plain_text_comes_out_as_it_went_in(text):
    found = read(inline(plain(text)))
    assert found.text == visible(text)
    assert all(isinstance(part, str) for part in found.inside)


@given(NAMES.filter(str.strip))
def test_a_span_of_code_comes_out_as_it_went_in(text):
    found = read(inline(f"before {code(text)} after"))
    assert found.one("code").text == visible(text)
    assert found.text == f"before {visible(text)} after"


@given(NAMES, NAMES)
def test_cells_of_tables_come_out_as_they_went_in(one, other):
    lines = table([plain(one), "b"], [["x", plain(other)]])
    found = read(blocks(lines))
    assert [head.text for head in found.all("th")] == [visible(one).strip(), "b"]
    assert [cell.text for cell in found.all("td")] == ["x", visible(other).strip()]


@given(NAMES)
def test_a_link_has_its_text_and_its_address(text):
    found = read(inline(link(plain(text), "a b/c.md"), lambda address: f"../{address}")).one("a")
    assert found.text == visible(text)
    assert found.about == {"href": "../a%20b/c.md"}


def test_brackets_of_a_label_end_no_link():
    """Neither here nor elsewhere: CommonMark takes an escaped bracket for itself."""
    assert link("a]b", "c.md") == r"[a\]b](c.md)"
    assert link(r"a\]b \\[", "c.md") == r"[a\]b \\\[](c.md)"
    assert inline(link(plain("a]b [c"), "d.md")) == '<a href="d.md">a]b [c</a>'


def test_an_address_that_would_run_is_no_link():
    assert inline("[x](javascript:alert) [y](https://a.b/c)") == 'x <a href="https://a.b/c">y</a>'


def test_blocks():
    lines = ["<!-- mark -->", "# Title", "", "Two", "*lines* of **text**.", "", "- one", "  goes on", "- two", "  - in"]
    lines += ["  - it", "", *folded("More <b>", ["| a |", "| --- |", "| 1 |"])]
    found = read(blocks(lines))
    assert found.one("h1").text == "Title"
    assert [part.text for part in found.all("p")] == ["Two lines of text."]
    assert (found.one("em").text, found.one("strong").text) == ("lines", "text")
    outer, inner = found.all("ul")
    assert [item.text.split("\n")[0] for item in outer.all("li")] == ["one goes on", "two", "in", "it"]
    assert [item.text for item in inner.all("li")] == ["in", "it"]
    assert found.one("details").one("td").text == "1"


def test_a_folded_part_can_be_left_out():
    lines = [*folded("Gone", ["- a"]), *folded("Kept", ["- b"]), "end"]
    found = read(blocks(lines, without=["Gone"]))
    assert [part.text for part in found.all("summary")] == ["Kept"]
    assert found.one("li").text == "b" and found.one("p").text == "end"


def test_sections():
    assert sections("a\n## B c\nd\n## E") == [("", ["a"]), ("B c", ["## B c", "d"]), ("E", ["## E"])]
