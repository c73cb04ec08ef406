"""The documents: their examples run as they stand, and what they say of the source is so."""

import math
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from bench import Meter, Method, NotApplicableError, Split, Step
from bench.cli import main
from bench.registry import installed
from bench.testing import check_method, find_out, toy_task, train
from bench.training.history import NoEvaluations
from bench.training.stages import run_training
from tests.test_architecture import ROOMS, WAYS

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
GUIDE = ROOT / "CONTRIBUTING.md"
METHODS = ROOT / "docs" / "methods.md"
DOCUMENTS = [
    README,
    GUIDE,
    METHODS,
    ROOT / "docs" / "guarantees.md",
    ROOT / "CHANGELOG.md",
    ROOT / "tools" / "README.md",
]


def blocks(document: Path) -> list[str]:
    """The code that stands in a document."""
    return re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL)


def example(name: str, document: Path = GUIDE) -> Any:
    """The class of that name in a document."""
    (source,) = (block for block in blocks(document) if f"class {name}" in block)
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


# Methods that bring their own


def code_lines(name: str) -> list[str]:
    """The lines of code of an example of `docs/methods.md`, imports left out."""
    (source,) = (block for block in blocks(METHODS) if f"class {name}(" in block)
    return [line for line in source.splitlines() if line.strip() and not re.match(r"from|import", line)]


def with_parts(name: str, **names: Any) -> type[Method]:
    """A method with the parts that stand alone in the block of `docs/methods.md` in which a function has that name."""
    (source,) = (block for block in blocks(METHODS) if re.search(rf"^def {name}\(", block, re.MULTILINE))
    parts = {"torch": torch, **names}
    exec(compile(source, METHODS.name, "exec", dont_inherit=True), parts)
    own = {key: value for key, value in parts.items() if f"def {key}(" in source}
    return dataclass(type("Composed", (Method,), own | {"__doc__": "Composed of parts."}))


def trained(method: Method, meter: Meter | None = None, **recipe: Any) -> Meter:
    meter = meter or Meter(NoEvaluations())
    run_training(method, toy_task(**recipe), meter)
    return meter


@pytest.mark.parametrize(
    ("name", "options"), [("WarmRestarts", {"period": 2}), ("CoTeaching", {"ramp": 2}), ("TreeBoosting", {"trees": 2})]
)
def test_the_examples_keep_the_contract_and_are_short(name, options):
    method = example(name, METHODS)
    check_method(method, options)
    assert len(code_lines(name)) <= 25
    assert find_out(method, options).keys() == {"stackable", "capturable"}  # also where states hold more than tensors


def test_the_example_with_a_schedule_follows_it():
    method, rates = example("WarmRestarts", METHODS)(rate=0.5, period=4), []
    method.begin_epoch = lambda epoch: rates.append(method.optimizer.param_groups[0]["lr"])
    about = trained(method, epochs=6).about
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * (epoch % 4) / 4)) for epoch in range(6)])
    assert about == {"optimizer": "SGD (lr 0.5, momentum 0.9)", "schedule": "cosine, restarted every 4 epochs"}
    assert find_out(type(method))["stackable"] == ""


def test_the_example_with_two_networks_trains_each_on_the_choice_of_the_other():
    coteaching, task = example("CoTeaching", METHODS), toy_task(epochs=2)
    assert same(train(coteaching(keep=1.0), task), train(Method(), task))
    method = coteaching(keep=0.5, ramp=1)
    method.begin(task)
    batch = next(method.batches(1))
    step, before = (
        Step.of(batch, lambda x: (method.forward(x), None), epoch=1),
        [[*net.parameters()] for net in method.nets],
    )
    assert sorted(before[0][0].flatten().tolist()) == sorted(before[1][0].flatten().tolist())
    assert not same(*method.nets)
    losses = [torch.nn.functional.cross_entropy(net(batch.x), batch.y, reduction="none") for net in method.nets]
    _, weights = method.update(step)
    smaller = losses[1].argsort()[: len(batch.y) // 2]
    assert sorted(weights.nonzero().squeeze(1).tolist()) == sorted(smaller.tolist())
    assert weights[smaller].tolist() == [2.0] * len(smaller)
    assert find_out(coteaching)["stackable"].startswith("stacked runs fail with RuntimeError: ")


def test_the_example_without_a_loop_is_scikit_learns():
    method, seen = example("TreeBoosting", METHODS)(trees=7), []

    class Evaluated(NoEvaluations):
        def __call__(self, model, epoch):
            seen.append(model(task.val.x))
            return {}

    meter, task = Meter(Evaluated()), toy_task(epochs=2)
    run_training(method, task, meter)
    assert (meter.steps, meter.about) == (0, {"optimizer": "scikit-learn's gradient boosting", "epochs": "7"})
    theirs = HistGradientBoostingClassifier(max_iter=7).fit(task.train.x.numpy(), task.train.y.numpy())
    probabilities = theirs.predict_proba(task.val.x.numpy())
    assert len(seen) == 7
    torch.testing.assert_close(seen[-1].exp().double(), torch.tensor(probabilities), rtol=1e-6, atol=1e-6)


class Trainer:
    """A loop that calls back, as a library would have it."""

    def __init__(self, model, optimizer, loss, end_of_step, end_of_epoch):
        self.model, self.optimizer, self.loss = model, optimizer, loss
        self.end_of_step, self.end_of_epoch = end_of_step, end_of_epoch

    def fit(self, epochs):
        for batches in epochs:
            for batch in batches:
                losses = self.loss(self.model(batch.x), batch.y)
                self.optimizer.zero_grad()
                losses.mean().backward()
                self.optimizer.step()
                self.end_of_step(batch, losses)
            self.end_of_epoch()


def test_a_library_with_a_loop_of_its_own_trains_the_same(monkeypatch):
    monkeypatch.setitem(sys.modules, "a_library", SimpleNamespace(Trainer=Trainer))
    inverted, task = example("Inverted", METHODS), toy_task(epochs=3)
    check_method(inverted)
    method, meter = inverted(), Meter(NoEvaluations())
    run_training(method, task, meter)
    assert same(method.model, train(Method(), task))
    assert (meter.steps, [row["epoch"] for row in meter.history]) == (15, [1, 2, 3])


def test_an_interrupt_passes_through_a_loop_of_a_library(monkeypatch):
    class Stopped(Trainer):
        def fit(self, epochs):
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "a_library", SimpleNamespace(Trainer=Stopped))
    with pytest.raises(KeyboardInterrupt):
        trained(example("Inverted", METHODS)())


def test_the_parts_of_the_page_do_what_it_says():
    averaged = with_parts("evaluated", AveragedModel=AveragedModel, get_ema_multi_avg_fn=get_ema_multi_avg_fn)
    check_method(averaged)
    method = averaged()
    trained(method, epochs=1)
    assert method.evaluated() is method.average and same(method.average.module, method.model)  # the first of its values

    method = with_parts("training_data", replace=replace, Split=Split)()
    about = trained(method, epochs=1).about
    rare = int(toy_task().train.y.sum())
    assert about == {"training samples": f"{70 + rare}, of which {rare} were made"}
    assert method.task.train.y[70:].tolist() == [1] * rare

    stepping = with_parts("objective")
    stepping.uses_features = True
    check_method(stepping)
