"""The page around what is shown, with the style and the script beside it. Nothing here imports torch."""

import re
from functools import cache
from importlib.resources import files

from bench.site.text import text
from bench.tables.markdown import MARK


@cache
def asset(name: str) -> str:
    """The text of a file of this package, without what stands in it for its readers alone: indents, whole lines of
    comments, and in a style the spaces around punctuation.

    Args:
        name: of the file, in the folder `assets`.
    """
    lines = files("bench.site").joinpath("assets", name).read_text(encoding="utf-8").splitlines()
    kept = [line.strip() for line in lines if not line.lstrip().startswith("//")]
    content = "\n".join(filter(None, kept)) + "\n"
    return re.sub(r"(?<=[:,;{}])\s+|\s+(?=[{}])|;\s*(?=})", "", content) if name.endswith(".css") else content


SCRIPT, STYLE = "site.js", "site.css"
"""The files of the script and of the style, beside the pages: together they would be a third of most of them."""
POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'self' file:; script-src 'self' file:"
"""What a page may load and run: the style, the script and pictures beside it. Nothing of a name runs."""


def script() -> str:
    """The content of the file of the script, which begins with the mark of generated files."""
    return MARK + asset(SCRIPT)


def style() -> str:
    """The content of the file of the style, which begins with the mark of generated files. To a browser that mark is
    the selector of an empty rule, which it drops.
    """
    return f"{MARK}{{}}\n{asset(STYLE)}"


def document(title: str, body: str, home: str = "index.html") -> str:
    """A page.

    Args:
        title: of any origin.
        body: HTML.
        home: the address of the front page.

    Returns:
        The content of its file, which begins with the mark of generated files.
    """
    return f"""{MARK}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<title>{text(title)}</title>
<link rel="stylesheet" href="{STYLE}">
<script src="{SCRIPT}" defer></script>
</head>
<body>
<nav><a href="{home}">All leaderboards</a></nav>
<main>
{body}
</main>
</body>
</html>
"""
