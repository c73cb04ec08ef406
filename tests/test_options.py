"""Typed options from text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import OptionError
from bench.options import GREATEST, Option, convert, describe, named_values, options_of, parse, show


@dataclass
class Target:
    shared: ClassVar[int] = 0
    count: int = 3
    rate: float = 0.1
    flag: bool = False
    kind: Literal["mean", "max"] = "mean"
    widths: tuple[int, ...] = (64,)
    limit: float | None = None
    names: tuple[str, ...] = field(default_factory=tuple)
    state: int = field(default=0, init=False)


def build(shape: tuple[int, ...], classes: int = 2, *, width: int = 8, norm: bool = True, **rest: Any) -> None:
    """A factory: only keyword-only parameters with defaults are options."""


def parsed(text: Mapping[str, Any]) -> dict[str, Any]:
    return parse(options_of(Target), text, "method target")


def test_options_of_a_dataclass_are_its_init_fields():
    found = {name: str(option) for name, option in options_of(Target).items()}
    assert found == {
        "count": "int (default 3)",
        "rate": "float (default 0.1)",
        "flag": "true|false (default false)",
        "kind": "mean|max (default mean)",
        "widths": "int,... (default 64)",
        "limit": "float or none (default none)",
        "names": "text,... (default empty)",
    }


def test_options_of_a_function_are_its_keyword_only_parameters():
    assert options_of(build) == {"width": Option(int, 8), "norm": Option(bool, True)}


def test_a_field_without_default_is_refused():
    @dataclass
    class Needy:
        rate: float

    with pytest.raises(OptionError, match="option 'rate' needs a default"):
        options_of(Needy)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("count", "12", 12),
        ("count", "-1", -1),
        ("rate", "1e-3", 0.001),
        ("rate", "2", 2.0),
        ("rate", 2, 2.0),
        ("flag", "true", True),
        ("flag", "False", False),
        ("flag", True, True),
        ("kind", "max", "max"),
        ("widths", "64,32", (64, 32)),
        ("widths", "64", (64,)),
        ("widths", "", ()),
        ("widths", [64, 32], (64, 32)),
        ("limit", "none", None),
        ("limit", None, None),
        ("limit", "0.5", 0.5),
        ("names", "a,b c", ("a", "b c")),
    ],
)
def test_text_becomes_a_value_of_the_annotated_type(name, text, value):
    (found,) = parsed({name: text}).values()
    assert found == value
    assert type(found) is type(value)


BAD_NUMBERS = ["1_000", "٣", "３", " 3 ", "3\n", "0x10", "True", "", "--3", "."]
NO_WHOLE_NUMBERS = [*BAD_NUMBERS, "1e20", "1e2", str(10**20), str(-(2**63)), 2**63]
NO_NUMBERS = [*BAD_NUMBERS, "1_0.5", "٠.٥", "０.５", "0x1p3", "1e999", "-inf", "infinity", "e5", True]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("count", "1.5", "expected int (default 3)"),
        ("count", 1.5, "expected int (default 3)"),
        ("count", True, "expected int (default 3)"),
        ("count", "none", "expected int (default 3)"),
        ("rate", "fast", "expected float (default 0.1)"),
        ("rate", "nan", "expected float (default 0.1)"),
        ("rate", float("inf"), "expected float (default 0.1)"),
        ("flag", "1", "expected true|false (default false)"),
        ("flag", "yes", "expected true|false (default false)"),
        ("kind", "Mean", "expected mean|max (default mean)"),
        ("widths", "64,x", "expected int,... (default 64)"),
        ("widths", 64, "expected int,... (default 64)"),
        ("limit", "soon", "expected float or none (default none)"),
        *[("count", text, "expected int (default 3)") for text in NO_WHOLE_NUMBERS],
        *[("rate", text, "expected float (default 0.1)") for text in NO_NUMBERS],
        *[("widths", text, "expected int,... (default 64)") for text in ("64,,32", "64,", ",64", ",", " ", "64, 32")],
        *[("names", text, "expected text,... (default empty)") for text in ("a,,b", "a,", ",a", "a\nb", ["a", ""])],
        ("flag", "TRUE", "expected true|false (default false)"),
        ("flag", 1, "expected true|false (default false)"),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_what_does(name, text, expected):
    with pytest.raises(OptionError) as caught:
        parsed({name: text})
    assert str(caught.value) == f"option {name}={show(text)} of method target: {expected}"


def test_a_number_that_is_too_large_is_refused_in_a_short_line():
    with pytest.raises(OptionError) as caught:
        parsed({"rate": 10**400})
    message = str(caught.value)
    assert message.startswith("option rate=1000") and len(message) < 200
    assert message.endswith("... (401 characters) of method target: expected float (default 0.1)")


def test_an_unknown_option_is_refused_with_all_that_are_valid():
    with pytest.raises(OptionError, match=r"no option 'rte'; valid: count: int \(default 3\); rate: float"):
        parsed({"rte": "1"})
    with pytest.raises(OptionError, match=r"has no options \(got 'x'\)$"):
        parse({}, {"x": 1}, "method plain")


def test_zero_has_one_form():
    assert str(parsed({"rate": "-0"})["rate"]) == "0.0"


def test_an_unsupported_annotation_takes_nothing():
    with pytest.raises(OptionError, match="expected <class 'dict'>"):
        parse({"table": Option(dict, {})}, {"table": "a"}, "it")


def test_what_types_are_called():
    kinds = {int: "int", str: "text", int | None: "int or none", Literal[1, 2]: "1|2", tuple[float, ...]: "float,..."}
    assert {kind: describe(kind) for kind in kinds} == kinds


WORDS = st.text("ab0 =.-|ä", min_size=1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
WHOLE = st.integers(-GREATEST, GREATEST)
VALUES = {
    int: WHOLE,
    float: FLOATS,
    bool: st.booleans(),
    str: WORDS,
    Literal["a", 2, True, None]: st.sampled_from(["a", 2, True, None]),
    tuple[int, ...]: st.lists(WHOLE).map(tuple),
    tuple[float, ...]: st.lists(FLOATS).map(tuple),
    tuple[str, ...]: st.lists(WORDS).map(tuple),
    float | None: st.none() | FLOATS,
    tuple[int, ...] | None: st.none() | st.lists(WHOLE).map(tuple),
}


@given(st.sampled_from(list(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])))
def test_what_is_shown_is_read_again(case):
    kind, value = case
    assert convert(kind, show(value)) == value
    assert convert(kind, value) == value


def test_named_values_are_texts_by_their_full_names():
    texts = ["lr=1e-3", "model.width=16", "protocol.prior=1,2", "model.note=a=b", "empty="]
    assert named_values(texts) == {
        "lr": "1e-3",
        "model.width": "16",
        "protocol.prior": "1,2",
        "model.note": "a=b",
        "empty": "",
    }
    assert named_values(["model.width=16"], ["model", "dataset"]) == {"model.width": "16"}


@pytest.mark.parametrize(
    ("texts", "prefixes", "message"),
    [
        (["lr"], [], "option 'lr': expected NAME=VALUE, such as a=1"),
        (["=1"], [], "option '=1': expected NAME=VALUE, such as a=1"),
        (["model.=1"], ["model"], "option 'model.=1': expected model.NAME=VALUE, such as a=1"),
        (["lr=1"], ["model", "recipe"], "expected model.NAME=VALUE or recipe.NAME=VALUE, such as a=1"),
        (["lr=1", "lr=2"], [], "option lr is given twice"),
    ],
)
def test_texts_of_another_form_are_refused(texts, prefixes, message):
    with pytest.raises(OptionError) as raised:
        named_values(texts, prefixes, "a=1")
    assert message in str(raised.value)
