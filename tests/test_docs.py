"""The documents: their examples run as they stand, and what they say of the source is so."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
import torch

from bench import Method, NotApplicableError
from bench.cli import main
from bench.registry import installed
from bench.testing import check_method, toy_task, train
from tests.test_architecture import ROOMS, WAYS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [README, GUIDE, ROOT / "CHANGELOG.md", ROOT / "tools" / "README.md"]


def example(name: str, document: Path = GUIDE) -> Any:
    """The class of that name in a document."""
    blocks = re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)
    (source,) = (block for block in blocks if f"class {name}" in block)
    names = {"__name__": "guide"}
    exec(compile(source, document.name, "exec", dont_inherit=True), names)
    return names[name]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_guides_l2rw_is_l2rw():
    l2rw = example("MyL2RW")
    check_method(l2rw)
    own, theirs = train(l2rw(), toy_task()), train(installed().find("methods", "l2rw").value(), toy_task())
    for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_the_guides_boosting_weighs_by_the_errors_of_the_models_before():
    """Each training is repeated alone, with the weights that its predecessors' errors give."""
    boosted, task = example("Boosted"), toy_task()
    check_method(boosted)

    @dataclass
    class Weighted(Method):
        def weights(self, batch, losses):
            return scale[batch.index]

    scale = torch.ones(70)
    for rounds in (1, 2, 3):
        model = train(Weighted(), task)
        assert same(train(boosted(rounds=rounds, factor=3.0), task), model)
        with torch.no_grad():
            wrong = model(task.train.x).argmax(-1) != task.train.y
        assert 0 < wrong.sum() < 70
        scale = scale * (1 + 2 * wrong)
        scale = scale / scale.mean()


def test_the_guides_boosting_says_where_it_cannot_be_used():
    task = replace(toy_task(), classes=("a", "b", "c"))
    with pytest.raises(NotApplicableError, match="boosted is made for two classes"):
        train(example("Boosted")(), task)


def test_the_readmes_method_keeps_the_contract_and_weighs_in_proportion_to_the_losses():
    method = example("MyMethod", README)
    check_method(method)
    assert method().weights(None, torch.tensor([1.0, 3.0])).tolist() == [0.5, 1.5]


def headings(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = document.parent / name if name else document
        assert path.exists(), target
        assert not anchor or anchor in headings(path), target


def commands(document: Path) -> Iterator[list[str]]:
    """The words of every command `bench ...` in a document, in blocks without a language and between backquotes."""
    text = document.read_text()
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    given = [line.rpartition("&& ")[2].partition("   ")[0] for line in lines]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    given += [" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", prose)]
    for command in given:
        words = shlex.split(command.removeprefix(".venv/bin/")) if "bench " in command else []
        if words[:1] == ["bench"]:
            yield words[1:]


@pytest.mark.parametrize("document", [README, GUIDE], ids=lambda path: path.name)
def test_commands_are_taken_by_the_command_line(document):
    given = list(commands(document))
    assert len(given) >= 5
    for words in given:
        parsed(main, words)


def parsed(command: click.Command, words: list[str]) -> None:
    """Let the command line read the words, without doing what they ask for. Raises UsageError for an unknown option."""
    if isinstance(command, click.Group) and not words[0].startswith("-"):
        chosen = command.get_command(click.Context(command), words[0])
        assert chosen, words
        parsed(chosen, words[1:])
    else:
        command.make_parser(click.Context(command)).parse_args(list(words))


def rows(document: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, its head left out."""
    section = document.read_text().split(f"# {heading}\n", 1)[1]
    (table, *_) = re.findall(r"(?:^\|.*\|$\n)+", section, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def test_the_floor_plan_names_every_room_with_all_that_it_imports():
    plan = {room.strip("`/"): may for room, _, may in rows(GUIDE, "Floor plan")}
    assert plan.keys() - {"modules of the root"} == ROOMS
    named = {room: set(re.findall(r"`(\w+)`", may)) for room, may in plan.items()}
    reach = {room: ROOMS - names if "any" in plan[room] else names for room, names in named.items()}
    assert [room for room in ROOMS if (WAYS[room] & ROOMS) - reach[room]] == []


def test_things_happen_where_the_guide_says():
    for what, where, who in rows(GUIDE, "Where things happen"):
        files = re.findall(r"`(bench/[\w/]+\.py)`", where + who)
        source = "\n".join((ROOT / file).read_text() for file in files)
        names = re.findall(r"`(\w+)`", who)
        assert files and names, what
        assert [name for name in names if not re.search(rf"(def|class) {name}\b", source)] == [], what


def test_the_glossary_has_a_dozen_words_and_stands_once():
    words = [word for word, _ in rows(README, "Glossary")]
    assert len(words) == 12
    assert GUIDE.read_text().count("README.md#glossary") == 1


@pytest.mark.parametrize("kind", ["datasets", "models", "methods", "protocols", "metrics"])
def test_the_readme_names_all_that_is_built_in(kind):
    offers = installed().offers[kind].items()
    names = [name for name, offer in offers if offer.plugin.distribution == "reweight-bench"]
    assert len(names) >= 5
    assert [name for name in names if f"`{name.replace('/*', '/resnet50')}`" not in README.read_text()] == []


def test_every_promise_names_tests_that_exist():
    """`docs/guarantees.md`: files of tests, tests by their names, and programs."""
    named = re.findall(r"`((?:tests|tools)/[^`]+)`", (ROOT / "docs" / "guarantees.md").read_text())
    assert len(named) > 15
    for name in named:
        file, _, test = name.partition("::")
        source = (ROOT / file).read_text()
        assert not test or f"def {test}(" in source, name
