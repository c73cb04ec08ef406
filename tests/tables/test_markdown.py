"""Every text on a page stands for itself, as markdown's own reader says."""

import json
import re
import shlex
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from bench.tables.markdown import MARK, code, plain, table
from tests.tables.pages import render

READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(text):
    """All of them, those within lines too."""
    for token in READER.parse(text):
        yield token
        yield from token.children or []


def shown(text):
    """What a reader sees of a line of text, if it is text alone."""
    kinds = [token for token in tokens(text) if token.type in ("text", "text_special")]
    assert {token.type for token in tokens(text)} <= {
        "paragraph_open",
        "inline",
        "paragraph_close",
        "text",
        "text_special",
    }
    return "".join(token.content for token in kinds)


TEXTS = [
    *("a_b", "_a_", "*a*", "~~a~~", "`a`", "a\\*b", "<b>x</b>", "a < b <= c", "&lt; & &#35; R&D", "# a", "> a", "- a"),
    *("1. a", "12) a", "1.25", "[a](http://b)", "[a][b]", "[a]: http://b", "![a](b)", "+ a", "---", "===", "a|b", "\\"),
    *("<!-- a", "<http://a>", "forml[weight_lr=10] (mlp)", "__init__", "a__b", "<script>alert(1)</script>"),
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_shown_as_it_is(text):
    assert shown(plain(text)) == text
    assert shown(f"a {plain(text)}") == f"a {text}"


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1))
def test_any_text_is_shown_as_it_is(text):
    assert shown(plain(text)) == text


def test_texts_without_a_meaning_are_not_touched():
    for text in ("crime <= 0.28", "tprd_max", "a-b (c), d: 5 %", "R & D", "2.13.0+cpu", "forml[weight_lr=10]"):
        assert plain(text) == text


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1).filter(str.strip))
def test_a_code_span_holds_any_text(text):
    (span,) = [token for token in tokens(f"a {code(text)} b") if token.type == "code_inline"]
    assert span.content == text


def test_bars_make_no_cells():
    lines = table(["a|b", "c"], [[plain("x|y\\|z"), code("p|q")]])
    cells = [t.children for t in READER.parse("\n".join(lines)) if t.type == "inline"]
    assert ["".join(c.content for c in children) for children in cells] == ["a|b", "c", "x|y\\|z", "p|q"]


EVIL = "<img src=x> [l](u) `c` | *e* _e_ &lt;\n# h\x1b[31m\u202e"


def test_nothing_of_a_record_means_more_than_its_characters_on_a_page(make_result):
    """Whatever a plugin or a file puts into it."""
    about = {
        **{"classes": [f"no{EVIL}", f"yes{EVIL}"], "groups": [f"g{EVIL}", "h"], "sets": {f"s{EVIL}": EVIL}},
        **{"protocol_reference": EVIL, "dataset_reference": EVIL, "described": {EVIL: EVIL}, "units": {EVIL: EVIL}},
        **{"metrics": ["tprd", EVIL], "higher_is_better": {"tprd": False, EVIL: True}, "select": EVIL},
    }
    fields = {
        **{"about": about, "unofficial": {EVIL: EVIL}, "protocol_options": {EVIL: EVIL}},
        **{"environment": {"versions": {"torch": EVIL, EVIL: "1"}}, "dataset": f"d{EVIL}", "model": EVIL},
        **{"model_options": {EVIL: EVIL}, "recipe": {EVIL: EVIL}, "protocol": f"p{EVIL}/1"},
        "data": {"counts": {"train": [[1, 2], [3, 4]], "test": [[1, 2], [3, 4]]}},
    }
    results = [
        make_result(
            method, seed, test={"tprd": seed / 10, EVIL: 0.5}, best={"tprd": 0.1, EVIL: 0.5}, options=options, **fields
        )
        for method, options in (("erm", {}), (f"m{EVIL}", {EVIL: EVIL}))
        for seed in (0, 1)
    ]
    results += [make_result(f"m{EVIL}", 3, status=s, error=EVIL, **fields) for s in ("diverged", "not applicable")]
    (page,) = render(results).values()
    assert page.startswith(MARK)
    text = page.removeprefix(MARK)
    assert "\x1b" not in text and "\u202e" not in text
    found = list(tokens(text))
    kinds = {token.type.removesuffix("_open").removesuffix("_close") for token in found}
    assert not kinds & {"html_inline", "s", "code_block", "fence", "blockquote"}
    assert kinds >= {"table", "code_inline", "heading"}
    for block in (token.content for token in found if token.type == "html_block"):  # the page's own, and nothing else
        assert re.fullmatch(r"<details>\n<summary>[^<]*</summary>\n|</details>\n?", block), block
    addresses = [token.attrs.get("href", token.attrs.get("src")) for token in found]
    assert {address.partition("/")[0] for address in addresses if address} == {"results", "forests"}
    emphasised = [after.content for token, after in pairwise(found) if token.type == "em_open"]
    assert emphasised and all(content.startswith(("always", "groups alike")) for content in emphasised)


def test_a_command_with_a_line_break_is_one_line_that_a_shell_reads_the_same(make_result):
    value = "a\nb\t'c' \x1b | `d` é\u2028"
    command = make_result(options={"note": value}).command
    assert command.isprintable()
    out = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True, timeout=10
    ).stdout
    assert f"note={value}" in out.decode().split("\0")
    assert shlex.split(command)[0] == "bench"
    assert json.dumps(command)
