"""`tools/fuzz.py`: the command lines that it makes, and that it finds what breaks a promise."""

import itertools
from pathlib import Path

import click
import pytest

from tools import fuzz


def test_the_command_lines_depend_on_the_seed_alone():
    first, again, other = (list(itertools.islice(fuzz.Generator(seed), 50)) for seed in (3, 3, 4))
    assert first == again != other
    assert {words[0] for words in first if words} >= {"run", "show", "plot"}


def test_some_command_lines_keep_the_promises(tmp_path):
    outcomes = fuzz.run_all(25, 0, tmp_path)
    assert [one for one in outcomes if one.broken] == []
    assert {one.code for one in outcomes} >= {0, 2}


@click.command()
@click.argument("kind")
def program(kind: str) -> None:
    """Breaks the promise that it is asked to break."""
    if kind == "creates":
        Path("made").write_text("")
    if kind == "raises":
        raise ValueError
    if kind == "says much":
        click.echo("one\ntwo", err=True)
    elif kind != "keeps all":
        click.echo("one", err=True)
    if kind == "traces":
        click.echo("Traceback (most recent call last):")
    raise SystemExit({"keeps all": 0, "exits": 3}.get(kind, 2))


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        ("keeps all", ()),
        ("refuses", ()),
        ("creates", ("created 'made', though refused",)),
        ("raises", ("ValueError left the program",)),
        ("says much", ("2 lines for a refused command",)),
        ("traces", ("a traceback",)),
        ("exits", ("exit code 3",)),
    ],
)
def test_each_broken_promise_is_told(tmp_path, monkeypatch, kind, broken):
    monkeypatch.setattr(fuzz, "bench", program)
    monkeypatch.chdir(tmp_path)
    assert fuzz.outcome([kind], tmp_path).broken == broken
