"""`bench leaderboard --html` and `bench view` on folders of records."""

from base64 import b64encode
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from bench.cli import main
from bench.store.results import ResultStore
from bench.tables.markdown import MARK
from tests.site.read import read
from tests.store.made import predicted

PAGE, INDEX, STYLE, SCRIPT = "class_fairness-v1-digits.html", "index.html", "site.css", "site.js"


def bench(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, list(words), catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def html(make_result, tmp_path, monkeypatch) -> Path:
    """The folder of the site, beside the records of two methods; nothing is written there yet."""
    monkeypatch.chdir(tmp_path)
    store = ResultStore(Path("bench-results/results"))
    for method in ("erm", "learner"):
        for seed in (0, 1, 2):
            store.put(predicted(make_result, method=method, seed=seed))
    return Path("bench-results/html")


def test_the_site_is_written_with_the_pages(html):
    code, out, err = bench("leaderboard", "--html")
    assert (code, err) == (0, "")
    assert {path.name for path in html.iterdir()} == {INDEX, PAGE, STYLE, SCRIPT}
    assert out.splitlines()[-5:-1] == [str(html / name) for name in (INDEX, PAGE, SCRIPT, STYLE)]
    assert all(path.read_text().startswith(MARK) for path in html.iterdir())


def test_without_html_no_site_is_written_or_checked(html):
    assert bench("leaderboard")[0] == 0 and not html.exists()
    html.mkdir()
    (html / "old.html").write_text(MARK)
    assert bench("leaderboard", "--check")[0] == 0
    assert bench("leaderboard")[0] == 0 and (html / "old.html").exists()


def test_without_html_an_old_site_is_named_with_the_command_that_renews_it(html):
    bench("leaderboard", "--html")
    before = (html / INDEX).read_bytes()
    again = "run `bench leaderboard --out bench-results --html`\n"
    code, _, err = bench("leaderboard")
    assert (code, err) == (0, f"note: the site in {html} stays as it is, and may be older than the pages; {again}")
    assert (html / INDEX).read_bytes() == before
    code, _, err = bench("leaderboard", "--check")
    again = "run `bench leaderboard --out bench-results --check --html`\n"
    assert (code, err) == (0, f"note: the site in {html} is not checked; {again}")
    (html / INDEX).write_text("mine")
    assert bench("leaderboard")[2] == ""


def test_every_link_leads_to_a_file_and_every_mark_to_an_element(html):
    bench("leaderboard", "--html")
    pages = {path.name: read(path.read_text()) for path in html.glob("*.html")}
    seen = 0
    for page in pages.values():
        for link in page.all("a"):
            name, _, mark = link.about["href"].partition("#")
            assert not name or (html / name).is_file(), name
            of = pages.get(name, page)
            assert not mark or [*of.all("details", id=mark), *of.all("section", id=mark)], mark
            seen += name.startswith("../results/")
    assert seen == 6


def test_rates_and_curves_are_read_from_the_files(html):
    bench("leaderboard", "--html")
    page = read((html / PAGE).read_text())
    assert len(list(page.all("figure", kind="history"))) == 2
    assert "Rates on the test set" in page.text


def test_what_lies_beside_a_record_may_be_missing(html):
    for sidecar in Path("bench-results").rglob("*.xz"):
        sidecar.unlink()
    assert bench("leaderboard", "--html")[0] == 0
    assert not list(read((html / PAGE).read_text()).all("figure", kind="history"))


def test_check_names_what_is_stale(html):
    bench("leaderboard", "--html")
    assert bench("leaderboard", "--html", "--check")[0] == 0
    (html / PAGE).write_text(MARK)
    code, _, err = bench("leaderboard", "--html", "--check")
    assert code == 1
    assert err == f"stale in bench-results: html/{PAGE}; run `bench leaderboard --out bench-results --html`\n"
    assert (html / PAGE).read_text() == MARK
    assert bench("leaderboard", "--check")[0] == 0


def test_our_stale_files_are_removed_and_others_stay(html):
    html.mkdir(parents=True)
    (html / "gone-v1-toy.html").write_text(f"{MARK}<!doctype html>")
    (html / "mine.html").write_text("<p>mine</p>")
    (html / "note.txt").write_text(MARK)
    assert bench("leaderboard", "--html", "--check")[0] == 1
    assert bench("leaderboard", "--html")[0] == 0
    assert {path.name for path in html.iterdir()} == {INDEX, PAGE, STYLE, SCRIPT, "mine.html", "note.txt"}


def test_a_file_of_another_origin_is_not_replaced(html):
    html.mkdir(parents=True)
    for name in (PAGE, STYLE, SCRIPT):
        (html / name).write_text("mine")
    code, _, err = bench("leaderboard", "--html")
    assert code == 0 and all((html / name).read_text() == "mine" for name in (PAGE, SCRIPT))
    assert err.splitlines() == [
        f"warning: left {html / name} as it is: it was not made by `bench leaderboard`"
        for name in (PAGE, SCRIPT, STYLE)
    ]


def test_view_writes_the_site_and_opens_it(html, monkeypatch):
    opened = []
    monkeypatch.setattr(click, "launch", lambda address: opened.append(address) or 0)
    code, out, err = bench("view")
    assert (code, out, err) == (0, f"{html / INDEX}\n", "")
    assert opened == [(html / INDEX).absolute().as_uri()]


def test_view_may_open_nothing(html, monkeypatch):
    monkeypatch.setattr(click, "launch", lambda address: pytest.fail("opened"))
    code, out, _ = bench("view", "--no-open")
    assert (code, out) == (0, f"{html / INDEX}\n")
    assert (html / INDEX).exists()


def test_view_says_that_no_browser_could_be_opened(html, monkeypatch):
    monkeypatch.setattr(click, "launch", lambda address: 1)
    code, _, err = bench("view")
    assert code == 0 and err.startswith("warning: no browser could be opened")


@pytest.mark.parametrize("words", [("view",), ("view", "--no-open"), ("leaderboard", "--html")])
def test_a_folder_without_records_is_one_clear_line(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = bench(*words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1 and "name the folder with --out" in err
    assert list(tmp_path.iterdir()) == []


def test_view_says_whose_front_page_it_is(html, monkeypatch):
    monkeypatch.setattr(click, "launch", lambda address: pytest.fail("opened"))
    html.mkdir(parents=True)
    (html / INDEX).write_text("<p>mine</p>")
    code, _, err = bench("view")
    assert code == 2 and "move it away" in err.splitlines()[-1]
    assert (html / INDEX).read_text() == "<p>mine</p>"


def test_a_file_in_the_place_of_the_folder_is_one_clear_line(html):
    html.write_text("mine")
    code, _, err = bench("leaderboard", "--html")
    assert code == 2 and len(err.splitlines()) == 1 and str(html) in err
    assert html.read_text() == "mine"


def test_methods_across_tasks_stand_on_both_front_pages_with_the_same_pictures(html, make_result):
    """Three methods on five data sets more; the pictures go when the records do."""
    out = html.parent
    store = ResultStore(out / "results")
    for dataset in range(5):
        for seed in range(5):
            for place, method in enumerate(("erm", "a", "b", "c")):
                test = {"tprd": 0.4 + 0.01 * (seed + dataset) - 0.02 * place, "accuracy": 0.9}
                store.put(make_result(method, seed, test=test, dataset=f"d{dataset}"))
    assert bench("leaderboard", "--html")[0] == bench("leaderboard", "--html", "--check")[0] == 0
    readme, index = (out / "README.md").read_text(), (html / INDEX).read_text()
    for text in (readme, index):
        assert "There are too few tasks to separate any two methods:" in text
    shown = [one.about["src"] for one in read(index).all("img")]
    for name in ("across/ranks.svg", "across/profile.svg"):
        assert f"]({name})" in readme
        picture = b64encode((out / name).read_bytes()).decode()
        assert f"data:image/svg+xml;base64,{picture}" in shown
    for path in [*(out / "results").rglob("d4.*")]:
        path.unlink()
    assert bench("leaderboard", "--html")[0] == 0
    assert "Nothing is ranked across tasks" in (out / "README.md").read_text() and not [*(out / "across").glob("*")]
    assert "Nothing is ranked across tasks" in (html / INDEX).read_text()
