"""Long lists in few words, against texts written out."""

import subprocess

import pytest

from bench.text import IN_ASCII, counts_by_name, cut, join_first, shell_line, visible


@pytest.mark.parametrize(
    ("names", "left_out", "expected"),
    [
        ([], 0, ""),
        (["a"], 0, "a"),
        (["a", "b"], 0, "a; b"),
        (["a", "b", "c"], 0, "a; b and 1 more"),
        (["a", "b"], 1200, "a; b and 1,200 more"),
        (["a", "b", "c"], 2, "a; b and 3 more"),
    ],
)
def test_the_first_are_named_and_the_others_counted(names, left_out, expected):
    assert join_first(names, 2, "; ", left_out) == expected


def test_counts_are_named_up_to_ten_and_are_a_range_beyond():
    assert counts_by_name(["no", "yes"], [3, 1204], "classes") == "no: 3, yes: 1,204"
    assert counts_by_name([str(i) for i in range(10)], [1] * 10, "classes").endswith(", 9: 1")
    assert (
        counts_by_name([str(i) for i in range(11)], [7, 1500, *[9] * 9], "groups") == "7 to 1,500 in each of 11 groups"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain ± text", "plain ± text"),
        ("two\nlines\r\n", "two lines  "),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("right\u202eto left", "right\\u202eto left"),
        ("\udcff.json", "\\udcff.json"),
        ("a\x85b\u2028c\xa0d", "a b c d"),
        ("\x9b0m\x00", "\\x9b0m\\x00"),
    ],
)
def test_what_a_terminal_obeys_is_made_visible(text, expected):
    assert visible(text) == expected
    assert visible(expected) == expected


def test_line_breaks_are_kept_where_they_are_meant():
    assert visible("a\n\x1b\tb", keep="\n\t") == "a\n\\x1b\tb"


def test_long_texts_are_cut():
    assert cut("a" * 100) == "a" * 100
    assert cut("a" * 1_000_000) == "a" * 100 + "... (1,000,000 characters)"


def test_a_shell_reads_the_words_again():
    words = ["a b", "c'd\n", "\x1b[0m", "é", "\u2028", "\U0001f600\x7f", "plain", ""]
    line = shell_line(words)
    assert line.isprintable()
    read = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, check=True).stdout
    assert read.decode().split("\0")[:-1] == words
    assert shell_line(["bench", "run", "-o", "a=1 2"]) == "bench run -o 'a=1 2'"
    assert shell_line(["\udcff"]) == "''$'\\xff'''"


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("ascii", "12.3 +/- 0.5 x - ... d u ^v +++$ \\xe9"),
        ("cp1252", "12.3 ± 0.5 × – … d µ ^v †‡§ é"),
        ("utf-8", "12.3 ± 0.5 × – … Δ µ ↑↓ †‡§ é"),
    ],
)
def test_signs_that_an_encoding_lacks_have_a_form_in_ascii(encoding, expected):
    assert "12.3 ± 0.5 × – … Δ µ ↑↓ †‡§ é".encode(encoding, IN_ASCII).decode(encoding) == expected
