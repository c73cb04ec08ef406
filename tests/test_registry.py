"""What plugins offer, with good and bad plugins behind faked entry points."""

import importlib.metadata
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import Method, UnknownNameError, hookimpl
from bench.options import options_of
from bench.protocol import Protocol
from bench.registry import DuplicateNameError, Plugin, Registry, installed, load


@dataclass
class EntryPoint:
    """The part of importlib.metadata.EntryPoint that is used."""

    name: str
    found: object
    distribution: str = "dist"
    module: str = "their.module"

    @property
    def dist(self) -> Any:
        return SimpleNamespace(name=self.distribution, version="1.2")

    def load(self) -> object:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def plugin(**hooks: Any) -> SimpleNamespace:
    """A module whose hook `bench_<kind>` returns (or, an exception, raises) what is given for the kind."""

    def hook(found: Any) -> Any:
        def implementation() -> Any:
            if isinstance(found, Exception):
                raise found
            return found

        return hookimpl(implementation)

    return SimpleNamespace(**{f"bench_{kind}": hook(found) for kind, found in hooks.items()})


class Mine(Method):
    """My method.

    More of it.
    """


METRIC = SimpleNamespace(function=print, higher_is_better=True, unit="%")
GOOD = EntryPoint("good", plugin(methods={"mine": Mine}), "good-dist")


def test_an_offer_has_its_value_its_first_line_and_its_provenance():
    registry = load([GOOD])
    offer = registry.find("methods", "mine")
    assert registry.find("methods", "mine").value is offer.value is Mine
    assert offer.summary == "My method."
    assert offer.plugin == Plugin("good", "good-dist", "1.2")
    assert str(offer.plugin) == "good (good-dist 1.2)"
    assert (registry.plugins, registry.broken) == ([offer.plugin], {})


def test_what_is_no_class_describes_itself():
    thing = SimpleNamespace(model="mlp", shape=(2,), description="A thing.\n\nAnd more of it.")
    registry = load([EntryPoint("a", plugin(workloads={"thing": thing}))])
    offer = registry.find("workloads", "thing")
    assert offer.description == "A thing.\n\nAnd more of it."
    assert offer.summary == "A thing."


def test_a_class_is_described_by_its_docstring_even_if_it_has_an_option_of_that_name():
    @dataclass
    class Described(Method):
        """What it does.

        How it does it.
        """

        description: str = "an option"

    registry = load([EntryPoint("a", plugin(methods={"described": Described}))])
    assert registry.find("methods", "described").description == "What it does.\n\nHow it does it."


def test_an_entry_point_without_a_distribution_is_loaded():
    bare = SimpleNamespace(name="bare", module="bare", dist=None, load=lambda: plugin(methods={"mine": Mine}))
    assert str(load([bare]).find("methods", "mine").plugin) == "bare (unknown ?)"


BROKEN = {
    "import": (ImportError("no module named cupy\nat all"), "ImportError: no module named cupy at all"),
    "raises": (plugin(datasets=ZeroDivisionError("oops")), "ZeroDivisionError: oops"),
    "misspelt": (plugin(metods={}), "unknown hook 'bench_metods'"),
    "no hook": (SimpleNamespace(methods={"mine": Mine}), "it implements no hook: mark its functions with @bench"),
    "no mapping": (plugin(methods=[Mine]), "bench_methods must return a mapping from names, not list"),
    "argument": (SimpleNamespace(bench_methods=hookimpl(lambda files: {})), "bench_methods"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_plugin_is_kept_apart_with_the_reason(case):
    module, reason = BROKEN[case]
    registry = load([EntryPoint("bad", module), GOOD])
    ((bad, why),) = registry.broken.items()
    assert str(bad) == "bad (dist 1.2)"
    assert reason in why
    assert "\n" not in why
    assert registry.plugins == [Plugin("good", "good-dist", "1.2")]
    assert registry.find("methods", "mine").value is Mine


def test_a_broken_plugin_offers_nothing():
    registry = load([EntryPoint("bad", plugin(datasets={"half": print}, methods=[Mine]))])
    assert registry.broken
    assert not any(registry.offers.values())


def test_an_unknown_name_tells_what_is_known_and_what_is_broken():
    registry = load([GOOD, EntryPoint("bad", RuntimeError("no GPU"))])
    with pytest.raises(UnknownNameError) as caught:
        registry.find("methods", "mime")
    assert str(caught.value) == (
        "unknown method 'mime': did you mean 'mine'? known: mine "
        "(plugin bad (dist 1.2) could not be loaded: RuntimeError: no GPU)"
    )
    with pytest.raises(UnknownNameError, match=r"^unknown dataset 'x': known: none$"):
        Registry().find("datasets", "x")


def test_a_name_offered_twice_names_both_plugins():
    other = EntryPoint("other", plugin(methods={"mine": Mine}), "other-dist")
    with pytest.raises(DuplicateNameError) as caught:
        load([other, GOOD])
    assert "'mine' in methods is offered twice, by good (good-dist 1.2) and by other (other-dist 1.2)" in str(
        caught.value
    )


def test_a_plugin_that_offers_a_name_again_can_be_loaded_as_a_broken_one():
    """So that `bench list` can show both. Nothing of the second plugin is offered, no other name either."""
    other = EntryPoint("other", plugin(datasets={"new": print}, methods={"own": Method, "mine": Method}), "other-dist")
    registry = load([other, GOOD], refuse_duplicates=False)
    assert registry.find("methods", "mine").value is Mine
    assert (list(registry.offers["methods"]), registry.offers["datasets"]) == (["mine"], {})
    (why,) = registry.broken.values()
    assert "'mine' in methods is offered twice, by good (good-dist 1.2) and by other (other-dist 1.2)" in why


def test_an_unknown_name_that_another_kind_has_says_of_which():
    registry = load([GOOD, EntryPoint("lib", plugin(models={"lib/*": family}, metrics={"mine": METRIC}))])
    with pytest.raises(
        UnknownNameError, match=r"^unknown dataset 'mine': 'mine' is a method and a metric; known: none"
    ):
        registry.find("datasets", "mine")
    with pytest.raises(UnknownNameError, match=r"^unknown method 'lib/x': 'lib/x' is a model; known: mine"):
        registry.find("methods", "lib/x")


def test_a_name_of_two_kinds_is_told_once():
    registry = load([GOOD, EntryPoint("other", plugin(models={"mine": print}))])
    with pytest.raises(UnknownNameError, match=r"^unknown name 'x': known: mine$"):
        registry.everything("x")


def test_one_name_may_be_of_two_kinds():
    registry = load([GOOD, EntryPoint("other", plugin(models={"mine": print}))])
    assert (registry.find("methods", "mine").value, registry.find("models", "mine").value) == (Mine, print)


def test_plugins_are_loaded_in_one_order():
    points = [EntryPoint(name, plugin(methods={}), dist) for name, dist in (("b", "x"), ("a", "y"), ("a", "x"))]
    expected = [("a", "x"), ("b", "x"), ("a", "y")]
    for order in (points, points[::-1]):
        assert [(p.name, p.distribution) for p in load(order).plugins] == expected


def family(shape: tuple[int, ...], classes: int, *, name: str, width: int = 4) -> tuple[Any, ...]:
    """Models of a library."""
    return shape, classes, name, width


def test_a_family_is_called_with_the_members_name():
    registry = load([EntryPoint("lib", plugin(models={"lib/*": family, "lib/own": print}))])
    build = registry.find("models", "lib/net/18").value
    assert build((2,), 3, width=8) == ((2,), 3, "net/18", 8)
    assert list(options_of(build)) == ["width"]
    assert registry.find("models", "lib/net").summary == "Models of a library."
    assert registry.find("models", "lib/own").value is print


@pytest.mark.parametrize("name", ["lib", "lib/", "other/net"])
def test_what_no_family_has_is_unknown(name):
    registry = load([EntryPoint("lib", plugin(models={"lib/*": family}))])
    with pytest.raises(UnknownNameError, match=r"known: lib/\*"):
        registry.find("models", name)


def test_every_package_is_installed():
    """Also where the installation is not editable: a package that is not listed is missing there."""
    root = Path(__file__).parents[1]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {
        ".".join([name, *path.parent.relative_to(root / folder).parts])
        for name, folder in listed["package-dir"].items()
        for path in (root / folder).rglob("__init__.py")
    }
    assert sorted(listed["packages"]) == sorted(found)


def test_every_plugin_of_this_distribution_is_installed_and_works():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    registry = installed()
    assert not registry.broken
    own = {p.name for p in registry.plugins if p.distribution == project["name"]}
    assert own == set(project["entry-points"]["bench"])
    version = importlib.metadata.version(project["name"])
    assert {p.version for p in registry.plugins if p.distribution == project["name"]} == {version}
    offered = {offer.plugin.name for offers in registry.offers.values() for offer in offers.values()}
    assert own <= offered


class Other(Protocol):
    """Under another name."""

    name = "other"
    version = 1
    metrics = ("accuracy",)
    default = True

    def groups(self, dataset: Any) -> tuple[str, ...]:
        return ()


@pytest.mark.parametrize(
    ("hooks", "why"),
    [
        ({"protocols": {"mine": Other}}, "bench_protocols offers 'mine', and its class has the name 'other'"),
        ({"metrics": {"mine": lambda p, counts: 0}}, "offers 'mine', .*: it has no function, higher_is_better, unit"),
        (
            {"protocols": {"mine": Mine}},
            "bench_protocols offers 'mine', .*: it has no version, metrics, default, splits",
        ),
        ({"datasets": {"mine": "a file"}}, "bench_datasets offers 'mine', .*: it cannot be called"),
    ],
)
def test_what_is_not_what_the_hook_asks_for_is_no_offer(hooks, why):
    registry = load([EntryPoint("bad", plugin(**hooks)), EntryPoint("good", plugin(methods={"good": Mine}))])
    assert registry.find("methods", "good") and not registry.offers["protocols"]
    assert re.search(why, registry.broken[Plugin("bad", "dist", "1.2")])


def test_two_default_protocols_are_an_error_that_names_both():
    """The keys of runs depend on which it is."""
    another = type("Another", (Other,), {"name": "another"})
    one = EntryPoint("one", plugin(protocols={"other": Other}))
    two = EntryPoint("two", plugin(protocols={"another": another}))
    assert load([one]).default_protocol == "other"
    with pytest.raises(
        DuplicateNameError, match=r"two protocols say that they are the default, 'other' of one .*'another' of two"
    ):
        load([one, two])
