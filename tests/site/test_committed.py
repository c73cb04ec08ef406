"""The site of the committed records."""

import re
from pathlib import Path

import pytest

from bench.columns.reading import read_columns
from bench.site.markdown import inline
from bench.site.page import SHOWN_ELSEWHERE, Source
from bench.site.render import render
from bench.tables.markdown import MARK
from bench.tables.pages import front, leaderboard
from bench.tables.pages.oracle import TITLE as ORACLE
from tests.site.read import read

RECORDS = Path(__file__).parents[2] / "leaderboards" / "results"


@pytest.fixture(scope="module")
def files():
    tasks, _ = read_columns(RECORDS, keep=False)
    pages = leaderboard.render(tasks)
    columns = {leaderboard.page_of(one): one for one in tasks}
    sources = [Source(name, page.text, page.summary, columns[name]) for name, page in pages.items()]
    summaries = {name: page.summary for name, page in pages.items()}
    return render(sources, front.front(summaries), {})


def test_it_is_small(files):
    assert sum(len(content.encode()) for content in files.values()) < 2_000_000


def test_every_page_is_whole_and_ours(files):
    assert all(content.startswith(MARK) for content in files.values())
    for name, content in files.items():
        if not name.endswith(".html"):
            continue
        page = read(content)
        assert len(list(page.all("h1"))) == 1, name
        ids = re.findall(r'\bid="([^"]*)"', content)
        assert len(ids) == len(set(ids)), name


def test_every_link_to_a_record_leads_to_its_file(files):
    addresses = {
        address for content in files.values() for address in re.findall(r'href="\.\./results/([^"]*)"', content)
    }
    assert len(addresses) > 900
    assert [address for address in addresses if not (RECORDS / address).is_file()] == []


def test_what_is_folded_on_the_markdown_pages_is_on_those_of_the_site(files):
    tasks, _ = read_columns(RECORDS, keep=False)
    oracles = 0
    for name, made in leaderboard.render(tasks).items():
        page = read(files[f"html/{name.removesuffix('.md')}.html"])
        shown = {one.text for one in page.all("summary")}
        for title in re.findall("<summary>(.*)</summary>", made.text):
            assert read(inline(title)).text in shown | set(SHOWN_ELSEWHERE), (name, title)
            oracles += title == ORACLE
    assert oracles > 10


def test_the_numbers_of_the_tables_are_those_of_the_markdown_pages(files):
    tasks, _ = read_columns(RECORDS, keep=False)
    seen = 0
    for name, made in leaderboard.render(tasks).items():
        page = read(files[f"html/{name.removesuffix('.md')}.html"])
        for family in page.all("details", kind="family"):
            for cell in [*family.one("tbody").all("td", kind="n"), *family.one("tbody").all("td", kind="i")]:
                assert cell.text.strip() in made.text, (name, cell.text)
                seen += "±" in cell.text
    assert seen > 1000
