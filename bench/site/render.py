"""The files of the site, a pure function of what the markdown pages are made from. Nothing here imports torch."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from urllib.parse import unquote

from bench.site.assets import SCRIPT, STYLE, document, script, style
from bench.site.front import front
from bench.site.markdown import SCHEME, Resolve, blocks
from bench.site.page import Source, file_of, page
from bench.site.rows.pictured import Pictures
from bench.site.text import place

FOLDER = "html"
"""The folder of the site, beside the markdown pages."""
INDEX = "index.html"
README = "README.md"
"""The front page of the markdown pages."""


def render(
    sources: Sequence[Source],
    markdown: str,
    others: Mapping[str, str],
    drawn: Mapping[str, str] | None = None,
    pictures: Pictures | None = None,
) -> dict[str, str]:
    """The files of the site.

    Args:
        sources: what the pages of runs are made from.
        markdown: the front page as markdown.
        others: file name -> text of further markdown pages, such as that of the throughput.
        drawn: file name -> SVG of the pictures that stand within the front page, not in files of their own.
        pictures: finds the images of samples, from the data; None: no images are shown, and no data are read.

    Returns:
        File name, with that of the folder -> content. The same records give the same bytes.
    """
    ordered = sorted(sources, key=lambda source: source.name)
    resolve = _resolver([*(source.name for source in ordered), *others])
    files = {INDEX: front(markdown, ordered, _with_pictures(resolve, drawn or {}))}
    files |= {source.file: page(source, resolve, pictures) for source in ordered}
    for name, text in sorted(others.items()):
        files[file_of(name)] = _other(text, name, resolve)
    files |= {SCRIPT: script(), STYLE: style()}
    return {f"{FOLDER}/{name}": content for name, content in files.items()}


def _other(text: str, name: str, resolve: Resolve) -> str:
    """A page of other records."""
    inner = blocks(text.split("\n"), resolve)
    return document(_title(text, name), f'<div class="measured">{inner}</div>')


def _title(text: str, name: str) -> str:
    return next((line[2:] for line in text.split("\n") if line.startswith("# ")), name)


def _with_pictures(resolve: Resolve, pictures: Mapping[str, str]) -> Resolve:
    """The same addresses, but for pictures, whose addresses hold them: styles of the page do not reach them there."""

    def address_of(address: str) -> str:
        picture = pictures.get(unquote(address))
        if picture is None:
            return resolve(address)
        return f"data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}"

    return address_of


def _resolver(pages: Sequence[str]) -> Resolve:
    """The address that a link of a markdown page has in the site: other pages are beside it, all else is above."""
    known = {name: file_of(name) for name in pages} | {README: INDEX}

    def resolve(address: str) -> str:
        if SCHEME.match(address) or address.startswith("#"):
            return address
        name, mark, part = address.partition("#")
        found = known.get(unquote(name))
        return f"{place(found)}{mark}{part}" if found else f"../{address}"

    return resolve
