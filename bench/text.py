"""Texts as they are shown: long ones cut, long lists in few words, and what a terminal would obey made visible."""

import codecs
import re
import shlex
from collections.abc import Iterable, Sequence

NAMED = 10
"""Classes or groups up to which each is named."""
LONG = 100
"""Characters of what a user wrote up to which a message repeats it whole."""
SIGNS = {
    "±": "+/-",
    "×": "x",
    "–": "-",
    "…": "...",
    "Δ": "d",
    "µ": "u",
    "↑": "^",
    "↓": "v",
    "†": "+",
    "‡": "++",
    "§": "$",
}
"""What stands for the signs of tables where the output has ASCII alone."""


def visible(text: str, keep: str = "") -> str:
    """The text in one line, without anything that a terminal obeys or that cannot be written.

    Spaces of any kind are spaces; other characters that are not printable, such as escape, marks that turn the
    direction of writing and halves of characters, are shown as `\\x1b`.

    Args:
        text: of any origin.
        keep: characters that are left as they are, such as line breaks.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _shown(c) for c in text)


def _shown(character: str) -> str:
    return " " if character.isspace() else character.encode("unicode_escape").decode()


def cut(text: str, most: int = LONG) -> str:
    """The text, or its beginning and how long it is."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def shell_line(words: Iterable[str]) -> str:
    """Words as a POSIX shell reads them, in one line: what is not printable is written as `$'\\n'`."""
    line = shlex.join(words)  # which puts all such characters between single quotes
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else f"'$'{_in_shell(ord(c))}''" for c in line)


def _in_shell(code: int) -> str:
    """A character between `$'` and `'`; a byte of an argument that is no text is half a character in Python."""
    if code < 0x80 or 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code & 0xFF:02x}"
    return f"\\U{code:08x}"


def in_ascii(error: UnicodeError) -> tuple[str, int]:
    """What is written for characters that the output's encoding lacks: an error handler for codecs."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return part.translate({ord(sign): form for sign, form in SIGNS.items()}).encode(
        "ascii", "backslashreplace"
    ).decode(), error.end


IN_ASCII = "bench.in_ascii"
"""The name of that handler."""
codecs.register_error(IN_ASCII, in_ascii)


def join_first(names: Sequence[str], most: int, separator: str = ", ", left_out: int = 0) -> str:
    """The first names, and how many more there are.

    Args:
        names: of which those beyond the first `most` are counted, not named.
        separator: text between two names.
        left_out: how many more there are that `names` lacks.

    Returns:
        Such as `a, b and 3 more`.
    """
    more = left_out + max(0, len(names) - most)
    first = separator.join(names[:most])
    return f"{first} and {more:,} more" if more else first


def without_numbers(text: str) -> str:
    """The text with every number as 0, by which messages are known that say the same of several values."""
    return re.sub(r"\d[\d.,]*(e[+-]?\d+)?", "0", text)


def counted(number: int, what: str, several: str = "") -> str:
    """A number of things in words.

    Args:
        number: of them.
        what: what one of them is called.
        several: what several are called, where that is not `what` with an s.

    Returns:
        Such as `1 record` or `1,204 records`.
    """
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def counts_by_name(names: Sequence[str], counts: Sequence[int], what: str) -> str:
    """How many samples each class or group has; of more than NAMED, the least and the most.

    Args:
        names: of the classes or groups, and `counts` of their samples, in the same order.
        what: what they are, in the plural.

    Returns:
        Such as `no: 3, yes: 1,204`, or `5 to 500 in each of 100 classes`.
    """
    if len(names) > NAMED:
        return f"{min(counts):,} to {max(counts):,} in each of {len(names)} {what}"
    return ", ".join(f"{name}: {count:,}" for name, count in zip(names, counts, strict=True))
