"""The entries of a record's file. What many records have in common is read once. Nothing here imports torch.

A file as it is written has a block of lines for each entry, which begins with `"NAME": `; no other line begins with a
quotation mark. So an equal block is an equal entry, and need not be read again. A file of another layout is read as any
JSON.
"""

import json
from collections.abc import Collection
from typing import Any

from bench.records.spec import canonical

IS_BESIDE = "it is a sidecar, what lies beside a record"
XZ = b"\xfd7zXZ"
"""What a sidecar begins with."""
START = '\n"'
"""What begins each entry, but for a file of another layout."""
END = "\n}\n"
MOST = 10_000
"""So many blocks are held at the most."""
_known: dict[str, tuple[Any, str]] = {}
"""Block -> the value of the entry, and its canonical text."""


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


KINDS: dict[type, str] = {
    **{list: "a list", str: "a text", int: "a number", float: "a number"},
    **{bool: "true or false", type(None): "null"},
}
"""What JSON that is no object is called."""
DECODER = json.JSONDecoder(parse_constant=_refuse)
"""Reads JSON without NaN and infinity, which are none. It is made once, as that takes longer than reading a record."""


def entries_of(text: str, shared: Collection[str]) -> tuple[Any, dict[str, str]]:
    """Read a file.

    Args:
        text: its content.
        shared: the names of entries that many records have in common. Nobody may change their values.

    Returns:
        What JSON gives of it, and the canonical texts of those entries whose blocks were known or were read now.

    Raises:
        ValueError: if it is no JSON.
    """
    try:
        return _of_blocks(text, shared)
    except ValueError:  # another layout, or no JSON
        return DECODER.decode(text), {}


def as_object(values: Any) -> dict[str, Any]:
    """What JSON gives of the file of a record.

    Args:
        values: what it gives of any file.

    Raises:
        ValueError: if that is no object, with what it is.
    """
    if not isinstance(values, dict):
        raise ValueError(f"not a record: it is {KINDS[type(values)]}")
    return values


def _of_blocks(text: str, shared: Collection[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Read a file as it is written. Raises ValueError for another layout, of which a block is no whole entry."""
    start, *blocks = text.removesuffix(END).split(START)
    if start != "{" or not text.endswith(END):
        raise ValueError("another layout")
    values, texts, comma = {}, {}, ","
    for place, block in enumerate(blocks, 1):
        name, _, value = block.partition('": ')
        if place < len(blocks):
            value, comma = value[:-1], value[-1:]
        if comma != "," or "\\" in name or '"' in name:
            raise ValueError("another layout")
        if name in shared:
            values[name], texts[name] = _read(value)
        else:
            values[name] = DECODER.decode(value)
    return values, texts


def _read(block: str) -> tuple[Any, str]:
    """The value of an entry, and its canonical text. Raises ValueError if it is no value."""
    if block not in _known:
        value = DECODER.decode(block)
        if len(_known) == MOST:
            _known.clear()
        _known[block] = value, canonical(value)
    return _known[block]


def why_no_record(error: ValueError) -> str:
    """Why the content of a file is no record, in words: those of parsers say where they gave up, not what is wrong.

    Args:
        error: of reading it.
    """
    match error:
        case UnicodeDecodeError() if error.object.startswith(XZ):
            return f"{IS_BESIDE}: name the record, the file that ends in .json"
        case UnicodeDecodeError():
            return "not a record: it is no text"
        case UnicodeEncodeError():
            return "not a record: it has half a character (a lone surrogate)"
        case json.JSONDecodeError() if not error.doc.strip():
            return "not a record: it is empty"
        case json.JSONDecodeError():
            return "not a record: it is cut off, or no JSON"
    return str(error)
