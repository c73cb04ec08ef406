"""The site in a real browser, where one is installed."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cli import main
from tests.site.browser import Browser, installed_browser

LEADERBOARDS = Path(__file__).parents[2] / "leaderboards"
PAGE = "group_fairness-v1-communities.html"
WIDTHS = (1400, 800, 390)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(installed_browser() is None, reason="no Chromium is installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The site of all committed records, as the command writes it."""
    out = tmp_path_factory.mktemp("site") / "leaderboards"
    shutil.copytree(LEADERBOARDS, out)
    done = CliRunner().invoke(main, ["leaderboard", "--out", str(out), "--html"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return out / "html"


@pytest.fixture(scope="module")
def session():
    with Browser(installed_browser() or "") as found:
        yield found


@pytest.fixture
def browser(session):
    session.errors.clear()
    yield session
    assert session.errors == []


SHOWN_TABLE = "document.querySelector('details.family:not([hidden]) table')"
HEADS = f"[...{SHOWN_TABLE}.querySelectorAll('thead th')]"
ROWS = "[...document.querySelectorAll('details.family:not([hidden]) tbody tr[data-row]:not([hidden])')]"
NAMES = f"{ROWS}.map(row => row.querySelector('th b').textContent)"
TOP = "(() => { const table = [...document.querySelectorAll('table, tbody tr')].find(one => one.offsetHeight); "
TOP += "return table.getBoundingClientRect().top + scrollY; })()"


def column(head: str) -> str:
    """The texts of a column of the table that is shown."""
    place = f"{HEADS}.findIndex(one => one.textContent.startsWith('{head}'))"
    return f"{ROWS}.map(row => row.cells[{place}].textContent)"


def press(head: str) -> str:
    """The button of a head."""
    return f"{HEADS}.map(one => one.querySelector('button')).find(one => one.textContent.startsWith('{head}'))"


def type_in(text: str) -> str:
    """Type into the filter."""
    field = "document.getElementById('filter')"
    return f"(one => {{ one.value = '{text}'; one.dispatchEvent(new Event('input')); }})({field})"


def pages(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.html"))
    assert {"index.html", "throughput.html", "corruptions.html", PAGE} <= {path.name for path in found}
    return found


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_table_is_near_the_top_and_no_page_is_too_long(folder, browser, width):
    for path in pages(folder):
        browser.open(path.as_uri(), width)
        assert browser.value(TOP) <= 600, (path.name, width)
        assert browser.value("document.documentElement.scrollWidth") <= width, path.name
        if width == 1400:
            assert browser.value("document.documentElement.scrollHeight") <= 6000, path.name


BROKEN = """
[...document.querySelectorAll('td')].filter(cell => {
  if (!cell.offsetHeight || !/[±\\[×]/.test(cell.textContent)) return false;
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    if (!/\\d.*[±\\[×]/.test(texts.currentNode.data)) continue;
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    if (new Set([...range.getClientRects()].map(one => Math.round(one.top))).size > 1) return true;
  }
  return false;
}).map(cell => cell.textContent)
"""
"""Texts of cells in which a number stands apart from its error, its interval or its unit."""


@pytest.mark.parametrize("width", WIDTHS)
def test_no_cell_breaks_between_a_number_and_its_error(folder, browser, width):
    for path in pages(folder):
        browser.open(path.as_uri(), width)
        browser.value("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        assert browser.value(BROKEN) == [], (path.name, width)
        assert browser.value("document.documentElement.scrollWidth") <= width, path.name
    browser.value("document.querySelector('td').replaceChildren('1.00 ± 0.10')")
    browser.value("document.querySelector('td').style = 'white-space: normal; width: 1px; display: block'")
    assert browser.value(BROKEN) == ["1.00 ± 0.10"]


def test_every_mean_tells_its_seeds(folder, browser):
    """A cell with a number of two decimals in a column of a metric has the value of each seed as its hint."""
    for path in pages(folder):
        browser.open(path.as_uri())
        cells = "[...document.querySelectorAll('details.family table:not(.matrix) td')]"
        means = f"{cells}.filter(cell => cell.textContent.includes('±'))"
        assert browser.value(f"{means}.filter(cell => !/^seed/.test(cell.title)).map(cell => cell.textContent)") == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_text_is_cut_off_or_covered(folder, browser, width, dark):
    """No control or head is wider than what holds it; what is wider than the page can be scrolled to."""
    cut = """
    [...document.querySelectorAll('button, summary, h1, h2, h3, h4, p, li, figcaption, .badge, code')].filter(one =>
      one.offsetHeight && one.getBoundingClientRect().right > innerWidth + 1 && !one.closest('.wide, .verdicts')
    ).map(one => one.textContent.slice(0, 60))"""
    for path in pages(folder):
        browser.open(path.as_uri(), width, dark=dark)
        assert browser.value(cut) == [], (path.name, width)


OVERLAPPING = """
(boxes => boxes.flatMap((one, place) => boxes.slice(place + 1).filter(other => {
  const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
  const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
  return across > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
}).map(other => [one.textContent, other.textContent])))
"""
"""Of some elements, the texts of those that overlap."""


@pytest.mark.parametrize("width", WIDTHS)
def test_numbers_of_an_axis_do_not_lie_on_its_title(folder, browser, width):
    texts = "[...document.querySelectorAll('#picture text.axis, #picture text[text-anchor=end]:not(.always)')]"
    for path in pages(folder):
        browser.open(path.as_uri(), width)
        assert browser.value(f"{OVERLAPPING}({texts})") == [], path.name


COVERED = """
[...document.querySelectorAll('figure.scatter')].flatMap((figure, place) => {
  document.body.append(figure);
  const inside = (one) => {
    const box = one.getBoundingClientRect();
    return [box.left + 1, box.top + 2, box.right - 1, box.bottom - 2, one.textContent || 'a point'];
  };
  const hit = ([a, b, c, d], [e, f, g, h]) => a < g && e < c && b < h && f < d;
  const names = [...figure.querySelectorAll('text.name, text.always')].map(inside);
  const others = [...names, ...[...figure.querySelectorAll('.dot')].map(inside)];
  const found = names.flatMap((one) =>
    others.filter((other) => other !== one && hit(one, other)).map((other) => [one[4], other[4]]));
  figure.remove();
  return found;
})
"""
"""The names in all pictures of a page that lie on another name or on a point."""


def test_no_name_in_a_picture_lies_on_another_or_on_a_point(folder, browser):
    for path in pages(folder):
        browser.open(path.as_uri())
        assert browser.value(COVERED) == [], path.name


def test_the_texts_of_a_card_do_not_lie_on_each_other(folder, browser):
    parts = "[...row.cells].flatMap(cell => cell.firstElementChild ? [...cell.querySelectorAll('a, span')] : [cell])"
    wide = f"{ROWS}.flatMap(row => [...row.cells]).filter(cell => cell.scrollWidth > cell.clientWidth + 1)"
    for path in pages(folder):
        browser.open(path.as_uri(), 390)
        found = f"{ROWS}.flatMap(row => {OVERLAPPING}({parts}.filter(one => one.offsetHeight)))"
        assert browser.value(found) == [], path.name
        assert browser.value(f"{wide}.map(cell => cell.textContent)") == [], path.name


def test_cards_are_as_wide_as_the_page(folder, browser):
    wide = f"{ROWS}.filter(row => row.getBoundingClientRect().right > innerWidth || row.scrollWidth > row.clientWidth)"
    for path in pages(folder):
        browser.open(path.as_uri(), 390)
        assert browser.value(f"{wide}.map(row => row.textContent)") == [], path.name


def test_on_a_phone_the_front_page_tells_the_signs_first_and_the_cards_soon(folder, browser):
    browser.open((folder / "index.html").as_uri(), 390)
    top = "document.querySelector('{}').getBoundingClientRect().top + scrollY"
    assert browser.value(top.format(".legend")) < browser.value(top.format(".matrix")) < 600
    assert browser.value(top.format(".cards")) < 1600
    hidden = "[...document.querySelectorAll('main p')].filter(one => !one.offsetHeight && !one.closest('details'))"
    assert browser.value(f"{hidden}.map(one => one.textContent)") == []
    shown = f"{ROWS.replace('[data-row]', '')}.filter(row => row.offsetHeight).length"
    assert browser.value(shown) == 4
    browser.value("document.querySelector('.all').click()")
    assert browser.value(shown) > 10
    browser.open((folder / "index.html").as_uri(), 390)
    browser.value(type_in("resample"))
    assert browser.value(shown) == 1


def test_on_a_phone_what_the_other_methods_do_is_named_where_it_is_folded(folder, browser):
    browser.open((folder / PAGE).as_uri(), 390)
    assert browser.value("document.querySelector('.basis > summary').textContent").startswith("The other methods")
    assert browser.value("document.querySelector('.basis > .rest').textContent")


EACH_TABLE = """
[...document.getElementById('choose-table').options].flatMap((_, place) =>
  [...document.getElementById('choose-rule').options].map((_, rule) => {
    for (const [name, index] of [['table', place], ['rule', rule]]) {
      const one = document.getElementById(`choose-${name}`);
      one.selectedIndex = index;
      one.onchange();
    }
    return TOLD;
  }))
"""
"""Of each table of a page, with TOLD in the place of what is asked of the one that is shown."""


def test_each_table_fits_its_frame(folder, browser):
    """Further metrics are hidden where there is no room for them, and chosen columns are those that are shown."""
    frame = f"{SHOWN_TABLE}.parentElement"
    for path in pages(folder):
        browser.open(path.as_uri())
        if browser.value("!!document.getElementById('choose-table')"):
            wide = EACH_TABLE.replace("TOLD", f"{frame}.scrollWidth - {frame}.clientWidth")
            assert set(browser.value(wide)) == {0}, path.name
    browser.open((folder / "robustness-v1-digits.html").as_uri())
    shown = f"{HEADS}.filter(one => !one.hidden).map(one => one.dataset.head)"
    before = browser.value(shown)
    every = browser.value(f"{HEADS}.map(one => one.dataset.head)")
    assert f"Columns ({len(every) - len(before)} hidden)" == browser.value(
        "document.querySelector('.columns summary').textContent"
    )
    assert {"Verdict", "accuracy ↑"} & set(every) <= set(before)
    box = "[...document.querySelectorAll('.columns input')].find(one => !one.checked)"
    head = browser.value(f"{box}.value")
    browser.value(f"{box}.click()")
    assert browser.value(shown) == [one for one in every if one in {*before, head}]
    browser.open(browser.value("location.href"))
    assert browser.value(shown) == [one for one in every if one in {*before, head}]
    browser.open((folder / "robustness-v1-digits.html").as_uri() + "#hidden=")
    assert browser.value(shown) == every
    browser.value("document.getElementById('reset').click()")
    assert browser.value(shown) == before


def test_the_name_of_a_method_is_not_broken(folder, browser):
    high = f"{ROWS}.map(row => row.querySelector('th b')).filter(one => one.getClientRects().length > 1)"
    for path in pages(folder):
        browser.open(path.as_uri())
        assert browser.value(f"{high}.map(one => one.textContent)") == [], path.name


def test_pages_without_families_are_opened_in_print_and_folded_again(folder, browser):
    browser.open((folder / "throughput.html").as_uri())
    opened = "[...document.querySelectorAll('details')].filter(one => one.open).length"
    assert browser.value(opened) == 0
    browser.value("window.dispatchEvent(new Event('beforeprint'))")
    assert browser.value(opened) == browser.value("document.querySelectorAll('details').length") > 5
    browser.value("window.dispatchEvent(new Event('afterprint'))")
    assert browser.value(opened) == 0


def test_a_row_with_everything_open_fits_its_page(folder, browser):
    """Its weights, its samples and its curve are seen, on a screen and on a phone."""
    for width in (1400, 390):
        browser.open((folder / PAGE).as_uri(), width)
        row = f"{ROWS}.find(row => row.querySelector('th b').textContent === 'l2rw')"
        browser.value(f"{row}.querySelector('a.to-row').click()")
        assert browser.value("document.querySelector('tr.more path.bars').getBoundingClientRect().width") > 0
        assert browser.value("document.querySelectorAll('tr.more table.samples').length") == 2
        assert browser.value("document.documentElement.scrollWidth") <= width


def test_a_click_on_a_head_sorts_and_a_second_one_turns_round(folder, browser):
    browser.open((folder / PAGE).as_uri())
    before = browser.value(NAMES)
    for order, turned in (("ascending", False), ("descending", True)):
        browser.value(f"{press('accuracy')}.click()")
        values = [float(text.split(" ")[0]) for text in browser.value(column("accuracy"))]
        assert len(values) == len(before) and values == sorted(values, reverse=turned)
        assert browser.value(f"{press('accuracy')}.closest('th').ariaSort") == order
    browser.value(f"{press('accuracy')}.click()")
    assert browser.value(NAMES) == before


def test_a_head_sorts_by_keyboard(folder, browser):
    browser.open((folder / PAGE).as_uri())
    browser.value(f"{press('p')}.focus()")
    browser.key("Enter", 13, "\r")
    values = [float(text.replace("<", "")) for text in browser.value(column("p")) if text]
    assert values == sorted(values) and len(values) > 5


def test_a_row_opens_by_keyboard(folder, browser):
    browser.open((folder / PAGE).as_uri())
    for key in (("Enter", 13, "\r"), (" ", 32, " ")):
        browser.value(f"{ROWS}[0].querySelector('a.to-row').focus()")
        browser.key(*key)
        assert browser.value("document.querySelectorAll('tr.more').length") == (key[0] == "Enter")


def test_rows_are_filtered_by_text_and_by_verdict(folder, browser):
    browser.open((folder / PAGE).as_uri())
    browser.value(
        "(f => { f.value = 'RESAMPLE'; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))"
    )
    assert browser.value(NAMES) == ["resample"]
    browser.value("document.getElementById('reset').click()")
    browser.value("document.querySelector('.verdicts [data-verdict=worse]').click()")
    assert set(browser.value(f"{ROWS}.map(row => row.dataset.verdict)")) == {"worse"}
    assert "verdict=worse" in browser.value("location.hash")


def test_a_column_is_hidden(folder, browser):
    browser.open((folder / PAGE).as_uri())
    box = "[...document.querySelectorAll('.columns input')].find(one => one.value === 'Seeds')"
    browser.value(f"{box}.click()")
    assert not browser.value(f"{press('Seeds')}.offsetHeight")
    assert browser.value(
        f"{ROWS}.every(row => [...row.cells].find(one => one.dataset.h === 'Seeds').offsetHeight === 0)"
    )
    assert browser.value("location.hash") == "#hidden=Seeds"


def test_a_row_opens_and_closes(folder, browser):
    browser.open((folder / PAGE).as_uri())
    link = f"{ROWS}[1].querySelector('a.to-row')"
    browser.value(f"{link}.click()")
    assert browser.value("document.querySelector('tr.more code.command').offsetHeight") > 0
    assert browser.value(f"{link}.ariaExpanded") == "true"
    key = browser.value(f"{ROWS}[1].dataset.row")
    assert browser.value("location.hash") == f"#open={key}"
    browser.value(f"{link}.click()")
    assert browser.value("document.querySelectorAll('tr.more').length") == 0
    assert browser.value("location.hash") == ""


SHOWN = f"JSON.stringify([{NAMES}, document.querySelectorAll('tr.more').length, "
SHOWN += "[...document.querySelectorAll('details.family')].findIndex(one => !one.hidden), "
SHOWN += (
    "[...document.querySelectorAll('details.family:not([hidden]) thead th')].filter(one => one.offsetHeight).length])"
)


def test_the_address_shows_the_same_again(folder, browser):
    browser.open((folder / PAGE).as_uri())
    choose = "((id, place) => { const one = document.getElementById(id); one.selectedIndex = place; one.onchange(); })"
    browser.value(f"{choose}('choose-table', 1)")
    browser.value(f"{choose}('choose-rule', 1)")
    browser.value(f"{press('accuracy')}.click()")
    browser.value(
        "(f => { f.value = 'reverse'; f.dispatchEvent(new Event('input')); })(document.getElementById('filter'))"
    )
    browser.value("[...document.querySelectorAll('.columns input')].find(one => one.value === 'p').click()")
    browser.value(f"{ROWS}[0].querySelector('a.to-row').click()")
    shown, address = browser.value(SHOWN), browser.value("location.href")
    browser.open(address)
    assert browser.value(SHOWN) == shown
    assert browser.value("document.querySelectorAll('#picture figure').length") == 1
    assert browser.value("location.href") == address


def test_a_link_to_a_row_opens_it(folder, browser):
    browser.open((folder / "index.html").as_uri())
    address = browser.value("document.querySelector('.matrix td.worse a').href")
    browser.open(address)
    key = address.rpartition("#r")[2]
    assert browser.value(f"document.querySelector('tr.more details').id === 'r{key}'")


def test_light_and_dark(folder, browser):
    ground = "getComputedStyle(document.body).backgroundColor"
    address = (folder / PAGE).as_uri()
    browser.open(address, dark=True)
    dark = browser.value(ground)
    browser.value("document.getElementById('theme').click()")
    light = browser.value(ground)
    assert (dark, light) == ("rgb(20, 23, 26)", "rgb(255, 255, 255)")
    browser.open(address, dark=True)
    assert browser.value(ground) == light
    browser.value("localStorage.clear()")


def test_cards_take_the_place_of_the_table_where_it_is_narrow(folder, browser):
    browser.open((folder / PAGE).as_uri(), 390)
    assert browser.value(f"getComputedStyle({ROWS}[0]).display") == "grid"
    assert browser.value("document.querySelector('thead').offsetHeight") <= 1
    browser.value("(one => { one.value = '-accuracy ↑'; one.onchange(); })(document.getElementById('sort'))")
    values = [float(text.split(" ")[0]) for text in browser.value(column("accuracy"))]
    assert values == sorted(values, reverse=True)


def test_all_tables_and_the_open_rows_are_printed(folder, browser):
    browser.open((folder / PAGE).as_uri())
    browser.value(f"{ROWS}[1].querySelector('a.to-row').click()")
    browser.value("window.dispatchEvent(new Event('beforeprint'))")
    others = "[...document.querySelectorAll('details')].filter(one => !one.closest('#rows'))"
    assert browser.value(f"{others}.every(one => one.open && !one.hidden)")
    assert browser.value("[...document.querySelectorAll('table.rows')].every(one => one.offsetHeight > 0)")
    seen = "[...document.querySelectorAll('details.row code.command')].filter(one => one.offsetHeight > 0).length"
    assert browser.value(seen) == 1
    browser.value("window.dispatchEvent(new Event('afterprint'))")
    assert browser.value("[...document.querySelectorAll('details.family')].filter(one => !one.hidden).length") == 1
    assert browser.value(seen) == 1 and browser.value("document.querySelectorAll('#rows details.row').length") > 40


def test_without_a_script_the_table_is_plain_and_whole(folder, browser, tmp_path):
    (tmp_path / PAGE).write_text((folder / PAGE).read_text().replace('<script src="site.js" defer></script>', ""))
    shutil.copy(folder / "site.css", tmp_path)
    browser.open((tmp_path / PAGE).as_uri())
    assert browser.value("document.querySelector('details.family table').offsetHeight") > 300
    assert browser.value("document.querySelectorAll('button').length") == 0
    assert browser.value(TOP) <= 700
    assert browser.value("document.documentElement.scrollHeight") <= 6000
