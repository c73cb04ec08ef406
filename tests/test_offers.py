"""What a plugin may offer: every other offer makes it a broken plugin with the reason, and the others go on."""

import random
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field, make_dataclass, replace
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Optional

import pytest

from bench import Dataset, Files, Method, Protocol
from bench.errors import PluginError
from bench.metrics import Metric, accuracy
from bench.offers import check_offer
from bench.options import options_of, parse, show
from bench.testing import check_dataset, check_method, check_metric, check_model, check_protocol, toy_dataset
from bench.throughput.workload import Workload
from tests.test_registry import EntryPoint, load, plugin

if TYPE_CHECKING:
    from decimal import Decimal


class Colour(Enum):
    RED = "red"


def method(annotation: Any, default: Any, name: str = "option") -> type[Method]:
    """A method with one option."""
    return make_dataclass("Mine", [(name, annotation, field(default=default))], bases=(Method,))


def with_factory(annotation: Any, factory: Callable[[], Any]) -> type[Method]:
    return make_dataclass("Mine", [("option", annotation, field(default_factory=factory))], bases=(Method,))


WORK = {
    "int": (int, 3, "4", 4),
    "float": (float, 0.5, "1e-3", 0.001),
    "a whole number for a float": (float, 1, "2", 2.0),
    "bool": (bool, False, "true", True),
    "text": (str, "a", "b c", "b c"),
    "empty text": (str, "", "b", "b"),
    "literal": (Literal["a", 2, None], "a", "2", 2),
    "tuple": (tuple[int, ...], (1, 2), "3", (3,)),
    "tuple of literals": (tuple[Literal["a", "b"], ...], (), "b,a", ("b", "a")),
    "optional": (Optional[float], None, "0.5", 0.5),  # noqa: UP045
    "tuple or none": (tuple[str, ...] | None, None, "a,b", ("a", "b")),
    "literal or none": (Literal["a"] | None, None, "a", "a"),
    "an annotation as text": ("tuple[float, ...]", (0.5,), "1,2", (1.0, 2.0)),
}


@pytest.mark.parametrize("case", WORK)
def test_an_option_of_these_types_works(case):
    annotation, default, text, value = WORK[case]
    mine = method(annotation, default)
    mine.__module__ = __name__
    check_offer("methods", "mine", mine)
    options = options_of(mine)
    assert options["option"].default == default
    assert parse(options, {"option": show(default)}, "it") == {"option": default}
    assert parse(options, {"option": text}, "it") == {"option": value}


def test_the_default_of_a_float_is_one_even_if_it_is_written_as_a_whole_number():
    """Else `-o option=1` would be another run than one without it."""
    assert show(options_of(method(float, 1))["option"].default) == "1"
    assert type(options_of(method(float, 1))["option"].default) is float


UNREADABLE = {
    "path": (Path, Path("a")),
    "union": (int | str, 1),
    "list": (list[int], None),
    "dict": (dict, None),
    "enum": (Colour, Colour.RED),
    "any": (Any, 1),
    "bytes": (bytes, b"a"),
    "complex": (complex, 1j),
    "object": (object, None),
    "nested tuple": (tuple[tuple[int, ...], ...], ()),
    "fixed tuple": (tuple[int, str], (1, "a")),
    "bare tuple": (tuple, ()),
    "optional path": (Path | None, None),
    "three": (int | str | None, None),
    "literal of equal texts": (Literal[1, "1"], 1),
    "literal of true and its text": (Literal[True, "true"], True),
    "literal of none and its text": (Literal[None, "none"], None),
    "literal none or none": (Literal["none"] | None, None),
    "literal of an enum": (Literal[Colour.RED], Colour.RED),
    "tuple of literals with a comma": (tuple[Literal["a,b"], ...], ()),
    "callable": (Callable[[], int], None),
    "a class of its own": (Method, None),
}
DEFAULTS = {
    "inf": (float, float("inf")),
    "nan": (float, float("nan")),
    "beyond 64 bits": (int, 2**70),
    "none": (float, None),
    "text for a number": (int, "3"),
    "a fraction for a whole number": (int, 0.5),
    "a whole number for a truth value": (bool, 1),
    "a truth value for a number": (float, True),
    "a number for a text": (str, 3),
    "none as a text": (str | None, "none"),
    "no member": (Literal["a", "b"], "c"),
    "entries with commas": (tuple[str, ...], ("a,b",)),
    "an empty entry": (tuple[str, ...], ("",)),
    "a number for a tuple": (tuple[int, ...], 3),
    "two lines": (str, "a\nb"),
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_an_option_of_another_type_is_refused(case):
    with pytest.raises(PluginError, match=r"option 'option' has the type .*, which no command can give: bool,"):
        check_offer("methods", "mine", method(*UNREADABLE[case]))


@pytest.mark.parametrize("case", DEFAULTS)
def test_a_default_that_could_not_be_given_is_refused(case):
    with pytest.raises(PluginError, match=r"option 'option' has the default .*, which is no value of its type"):
        check_offer("methods", "mine", method(*DEFAULTS[case]))


def test_a_default_is_made_by_a_factory_and_always_the_same():
    check_offer("methods", "mine", with_factory(tuple[int, ...], lambda: (1,)))
    with pytest.raises(PluginError, match=r"default \[1\], which is no value"):
        check_offer("methods", "mine", with_factory(tuple[int, ...], lambda: [1]))
    with pytest.raises(PluginError, match="option 'option' has another default each time"):
        check_offer("methods", "mine", with_factory(float, random.random))


NAMES = ["model", "task", "optimizer", "capture", "weights", "fit", "name", "uses_val", "uses_groups", "stackable"]


@pytest.mark.parametrize("name", [*NAMES, "seed", "dataset", "validation", "method", "recipe", "training_epochs"])
def test_an_option_with_a_name_that_means_something_else_is_refused(name):
    with pytest.raises(PluginError, match=f"option '{name}' has (the|a) name .*: choose another"):
        check_offer("methods", "mine", method(float, 0.5, name))


def test_an_option_with_the_name_of_a_method_of_its_own_class_is_refused():
    @dataclass
    class Mine(Method):
        scale: float = 1.0

        def scale(self) -> float:  # noqa: F811
            return 1.0

    with pytest.raises(PluginError, match="option 'scale' has the name of a method of class Mine"):
        check_offer("methods", "mine", Mine)


def test_an_option_that_begins_with_an_underscore_is_refused():
    with pytest.raises(PluginError, match="option '_state' begins with an underscore"):
        check_offer("methods", "mine", method(int, 0, "_state"))


def test_state_and_class_variables_are_no_options():
    @dataclass
    class Mine(Method):
        shared: ClassVar[dict[str, int]] = {}
        rate: float = 0.5
        _state: Any = field(default=None, init=False)
        table: dict[str, int] = field(default_factory=dict, init=False)

    check_offer("methods", "mine", Mine)
    assert list(options_of(Mine)) == ["rate"]


@dataclass
class Initial(Method):
    rate: InitVar[float] = 0.5


class Undecorated(Method):
    rate: float = 0.5


class OwnInit(Method):
    def __init__(self, rate: float = 0.5) -> None:
        self.rate = rate


@dataclass
class Variadic(Method):
    rate: float = 0.5

    def __init__(self, *args: Any, **more: Any) -> None:
        pass


@dataclass
class Imported(Method):
    rate: "Decimal" = None  # type: ignore[assignment]


@dataclass
class Needy(Method):
    rate: float


@dataclass(frozen=True)
class Abstract(Protocol):
    """Without groups."""

    name = "mine"
    version = 1
    metrics = ("accuracy",)
    reference = "ours"


def needs(shape: tuple[int, ...], classes: int, *, width: int) -> None: ...
def one(shape: tuple[int, ...]) -> None: ...
def three(shape: tuple[int, ...], classes: int, width: int) -> None:
    """Three parameters without defaults."""


def by_name(files: Files, *, where: Path = Path()) -> Dataset: ...  # type: ignore[empty-body]
def positional(shape: tuple[int, ...], classes: int, /, *rest: Any, width: int = 8, **more: Any) -> None: ...


METRIC = Metric(accuracy, True)
WORKLOAD = Workload("mlp", (2,), 2)
OFFERS = {
    "init variable": ("methods", "mine", Initial, "argument 'rate' is no option"),
    "no dataclass": ("methods", "mine", Undecorated, "option 'rate' needs @dataclass above class Undecorated"),
    "an __init__": ("methods", "mine", OwnInit, "argument 'rate' is no option"),
    "any arguments": ("methods", "mine", Variadic, "argument 'args' is no option"),
    "type checking": ("methods", "mine", Imported, "annotation that cannot be read when it runs .*Decimal"),
    "no default": ("methods", "mine", Needy, "option 'rate' needs a default"),
    "abstract": ("protocols", "mine", Abstract, "it has no groups"),
    "none": ("methods", "mine", None, "it is no class, but None"),
    "an instance": ("methods", "mine", Method(), "it is no class, but"),
    "a function": ("protocols", "mine", print, "it is no class, but"),
    "a rival": ("rivals", "mine", SimpleNamespace(rival_of="erm", update=print), "it is no class, but"),
    "no model": ("models", "mine", None, "it cannot be called"),
    "no data": ("datasets", "mine", 3, "it cannot be called"),
    "an option without default": ("models", "mine", needs, "it cannot be called with shape, classes and its options"),
    "too few parameters": ("models", "mine", one, "it cannot be called with shape, classes"),
    "too many parameters": ("models", "mine", three, "it cannot be called with shape, classes"),
    "a path": ("datasets", "mine", by_name, "option 'where' has the type Path"),
    "no metric": ("metrics", "mine", None, "it has no function, higher_is_better, unit"),
    "no function": ("metrics", "mine", Metric(None, True), "its function cannot be called"),  # type: ignore[arg-type]
    "a direction": ("metrics", "mine", Metric(accuracy, "up"), "higher_is_better must be True"),  # type: ignore[arg-type]
    "a number": ("metrics", "mine", Metric(accuracy, 1), "higher_is_better must be True"),  # type: ignore[arg-type]
    "a unit": ("metrics", "mine", Metric(accuracy, True, ""), "its unit must be %"),
    "no workload": ("workloads", "mine", None, "it has no model, shape"),
    "a shape": ("workloads", "mine", SimpleNamespace(model="mlp", shape="3"), "its shape must be a tuple"),
}


@pytest.mark.parametrize("case", OFFERS)
def test_an_offer_that_cannot_be_used_makes_the_plugin_a_broken_one(case):
    kind, name, value, why = OFFERS[case]
    with pytest.raises(PluginError, match=why):
        check_offer(kind, name, value)
    good = plugin(methods={"good": method(int, 1)}, models={"good": positional}, metrics={"good": METRIC})
    registry = load([EntryPoint("bad", plugin(**{kind: {name: value}})), EntryPoint("good", good)])
    assert [bad.name for bad in registry.broken] == ["bad"]
    assert registry.find("methods", "good") and list(options_of(registry.find("models", "good").value)) == ["width"]


@pytest.mark.parametrize(
    "name", [3, None, "", " ", "a b", "a\tb", "a\n", "a/b", "a/*", "../a", "-a", "a=b", "a,b", "*"]
)
def test_a_name_that_cannot_be_typed_is_refused(name):
    for kind, value in (("methods", method(int, 1)), ("metrics", METRIC), ("workloads", WORKLOAD)):
        with pytest.raises(PluginError, match="a name must be a text of letters, digits and"):
            check_offer(kind, name, value)


@pytest.mark.parametrize("name", ["a", "größe", "a_b-c.d+e", "2a"])
def test_a_name_that_can_be_typed_is_accepted(name):
    check_offer("methods", name, method(int, 1))


def test_the_checks_for_authors_have_the_same_rules():
    broken = method(Path, Path("a"))
    broken.__doc__ = "It cannot be given its option."
    with pytest.raises(AssertionError, match="option 'option' has the type Path"):
        check_method(broken)
    with pytest.raises(AssertionError, match="it has no groups"):
        check_protocol(Abstract)
    with pytest.raises(AssertionError, match="it cannot be called with shape, classes"):
        check_model(three, (3,))
    with pytest.raises(AssertionError, match="its unit must be %"):
        check_metric(Metric(accuracy, True, ""))


def test_the_recipes_of_a_data_set_are_checked():
    toy = toy_dataset()
    wrong = replace(toy, recipes={"imbalance": replace(toy.recipe, milestones=(0.6, 0.3))})
    with pytest.raises(AssertionError, match=r"recipe\.milestones must ascend"):
        check_dataset(wrong)
