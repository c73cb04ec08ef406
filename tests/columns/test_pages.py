"""Pages whose runs have not changed are not made again, and no other page is taken for one of these."""

import hashlib
import json

import pytest

from bench.cli.leaderboard import write_tables
from bench.columns import cache, pages, reading
from bench.store.results import ResultStore
from bench.tables.pages import leaderboard

DIGITS, OTHER = "class_fairness-v1-digits.md", "class_fairness-v1-other.md"


@pytest.fixture
def out(tmp_path, make_result, monkeypatch):
    """Of two tasks, whose columns are kept however few they are, and however new."""
    monkeypatch.setattr(reading, "WORTH_KEEPING", 1)
    monkeypatch.setattr(cache, "SETTLED", -(10**12))
    store = ResultStore(tmp_path / "results")
    for dataset in ("digits", "other"):
        for seed in (0, 1):
            store.put(make_result(dataset=dataset, seed=seed, test={"tprd": 0.1 * seed, "accuracy": 0.9}))
    return tmp_path


@pytest.fixture
def drawn(monkeypatch):
    """The pages that are made, one after the other."""
    names = []
    page = leaderboard._page

    def noted(protocol, dataset, columns):
        names.append(leaderboard.page_name(protocol, dataset))
        return page(protocol, dataset, columns)

    monkeypatch.setattr(leaderboard, "_page", noted)
    return names


def texts(out):
    return {path.name: path.read_text() for path in out.glob("*.md")}


def test_pages_are_made_once(out, drawn):
    write_tables(out)
    assert sorted(drawn) == [DIGITS, OTHER]
    first, drawn[:] = texts(out), []
    assert [path.name for path in write_tables(out).written if path.name != "README.md"] == [DIGITS, OTHER]
    assert (drawn, texts(out)) == ([], first)


def test_a_page_is_made_again_where_a_run_was_added(out, drawn, make_result):
    write_tables(out)
    drawn.clear()
    ResultStore(out / "results").put(make_result(dataset="other", seed=2, test={"tprd": 0.7, "accuracy": 0.9}))
    write_tables(out)
    assert drawn == [OTHER]
    anew = texts(out)
    (out / "results" / cache.FOLDER / pages.FILE).unlink()
    write_tables(out)
    assert texts(out) == anew and "3" in anew[OTHER]


def test_a_page_is_made_again_where_a_value_or_a_date_has_changed(out, drawn, make_result):
    """Also where the number of runs, their names and sizes are the same."""
    store = ResultStore(out / "results")
    write_tables(out)
    for changed in (
        {"test": {"tprd": 0.1, "accuracy": 0.8}},
        {"environment": {"created": "2027-01-01T00:00:00+00:00"}},
    ):
        drawn.clear()
        store.put(make_result(seed=1, **{"test": {"tprd": 0.1, "accuracy": 0.9}} | changed))
        write_tables(out)
        assert drawn == [DIGITS]


@pytest.mark.parametrize("text", ["", "mine\n", None])
def test_a_page_that_was_edited_or_is_gone_is_made_again(out, drawn, text):
    write_tables(out)
    first = texts(out)
    drawn.clear()
    page = out / DIGITS
    page.unlink() if text is None else page.write_text(first[DIGITS] + text if text else "")
    write_tables(out)
    assert (drawn, texts(out)) == ([DIGITS], first)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', json.dumps({DIGITS: ["0", "0"]})])
def test_what_is_known_of_pages_may_be_anything(out, drawn, content):
    write_tables(out)
    drawn.clear()
    (out / "results" / cache.FOLDER / pages.FILE).write_text(content)
    write_tables(out)
    assert sorted(drawn) == [DIGITS, OTHER]


def test_other_code_makes_all_pages_again(out, drawn, monkeypatch):
    write_tables(out)
    drawn.clear()
    monkeypatch.setattr(pages, "_code", lambda: hashlib.sha256(b"other"))
    write_tables(out)
    assert sorted(drawn) == [DIGITS, OTHER]
