"""Checks of options: what fits passes, and what does not is told by its name, its value and what is valid."""

from dataclasses import dataclass

import pytest

from bench import Checks, OptionError
from bench.options import show


@dataclass
class Some:
    """Options of each kind."""

    name = "some"

    count: int = 1
    rate: float | None = None
    shares: tuple[float, ...] = ()
    kind: str = "plain"


def test_the_bound_itself_is_in_at_least_and_not_in_above():
    Checks(Some(count=2)).at_least(2, "count")
    Checks(Some(count=2)).above(1, "count")
    with pytest.raises(OptionError, match=r"^some: count must be at least 3, not 2$"):
        Checks(Some(count=2)).at_least(3, "count")
    with pytest.raises(OptionError, match=r"^some: count must be above 2, not 2$"):
        Checks(Some(count=2)).above(2, "count")


@pytest.mark.parametrize(
    ("closed", "interval", "inside", "outside"),
    [
        ("both", "[0, 1]", (0.0, 0.5, 1.0), (-0.1, 1.1, float("nan"))),
        ("right", "(0, 1]", (0.5, 1.0), (0.0, 1.1, float("nan"))),
        ("left", "[0, 1)", (0.0, 0.5), (-0.1, 1.0, float("nan"))),
        ("neither", "(0, 1)", (0.5,), (0.0, 1.0, float("nan"))),
    ],
)
def test_a_closed_end_has_its_bound_in_the_interval(closed, interval, inside, outside):
    for rate in inside:
        Checks(Some(rate=rate)).within(0, 1, "rate", closed=closed)
    for rate in outside:
        with pytest.raises(OptionError) as error:
            Checks(Some(rate=rate)).within(0, 1, "rate", closed=closed)
        assert str(error.value) == f"some: rate must be in {interval}, not {show(rate)}"


def test_without_a_closed_end_named_both_bounds_are_valid():
    Checks(Some(rate=1.0)).within(0, 1, "rate")


def test_of_several_options_the_wrong_one_is_named():
    with pytest.raises(OptionError, match=r"^some: rate must be at least 0, not -0\.001$"):
        Checks(Some(rate=-1e-3)).at_least(0, "count", "rate")


def test_every_entry_of_a_tuple_is_checked_and_nothing_fits():
    Checks(Some()).above(0, "rate", "shares")
    with pytest.raises(OptionError, match=r"^some: shares must be above 0, not -2$"):
        Checks(Some(shares=(1.0, -2.0))).above(0, "shares")


def test_proportions_are_not_negative_and_not_all_zero():
    for shares in ((), (0.0, 1.0), (3.0,)):
        Checks(Some(shares=shares)).proportions("shares")
    with pytest.raises(OptionError, match=r"^some: shares must have an entry above 0, not 0,0$"):
        Checks(Some(shares=(0.0, 0.0))).proportions("shares")
    with pytest.raises(OptionError, match=r"^some: shares must be at least 0, not -1$"):
        Checks(Some(shares=(2.0, -1.0))).proportions("shares")


def test_an_option_that_is_given_in_vain_is_told_with_the_cause():
    Checks(Some()).unused("rate", "kind")
    with pytest.raises(OptionError, match=r"^some: rate has no effect with kind=plain$"):
        Checks(Some(rate=0.0)).unused("rate", "kind")


def test_an_option_at_its_default_is_not_given_unless_that_is_said():
    Checks(Some(kind="other")).unused("count", "kind")
    with pytest.raises(OptionError, match=r"^some: count has no effect with kind=plain$"):
        Checks(Some(count=2)).unused("count", "kind")
    with pytest.raises(OptionError, match=r"^some: count has no effect with kind=plain$"):
        Checks(Some()).unused("count", "kind", given=True)
    Checks(Some(count=2)).unused("count", "kind", given=False)


def test_a_section_stands_before_every_option_and_the_name_does_not():
    check = Checks(Some(count=0), "recipe.")
    with pytest.raises(OptionError, match=r"^recipe\.count must be at least 1, not 0$"):
        check.at_least(1, "count")
    with pytest.raises(OptionError, match=r"^recipe\.count has no effect with recipe\.kind=plain$"):
        check.unused("count", "kind")


def test_options_of_a_function_are_given_by_name():
    Checks.of("model.", width=1, shares=None).at_least(1, "width", "shares")
    with pytest.raises(OptionError, match=r"^model\.width must be at least 1, not 0$"):
        Checks.of("model.", width=0).at_least(1, "width")


def test_distinct_entries_are_all_different():
    Checks.of("dataset.", bands=("a", "b"), none=()).distinct("bands", "none")
    with pytest.raises(OptionError, match=r"^dataset\.bands must have no entry twice, and is a,b,a$"):
        Checks.of("dataset.", bands=("a", "b", "a")).distinct("bands")


def test_options_of_a_class_without_a_name_are_known_by_the_class():
    @dataclass
    class Nameless:
        rate: float = -1.0

    with pytest.raises(OptionError, match=r"^Nameless: rate must be above 0, not -1$"):
        Checks(Nameless()).above(0, "rate")


def test_only_listed_values_are_one_of_them():
    Checks(Some()).one_of((1, 2), "count", "rate", "shares")
    with pytest.raises(OptionError, match=r"^some: count must be one of 1, 2, not 3$"):
        Checks(Some(count=3)).one_of((1, 2), "count")
    with pytest.raises(OptionError, match=r"^some: shares must be one of 0\.5, 1, not 2$"):
        Checks(Some(shares=(1.0, 2.0))).one_of((0.5, 1.0), "shares")


def test_an_empty_tuple_is_refused_where_an_entry_is_needed():
    Checks(Some(shares=(0.0,))).not_empty("shares")
    with pytest.raises(OptionError, match=r"^some: shares must have an entry, and none is given$"):
        Checks(Some()).not_empty("shares")


def test_there_is_one_number_for_each_label_or_none():
    for shares in ((), (1.0, 2.0)):
        Checks(Some(shares=shares)).one_for_each(("cat", "dog"), "shares")
    with pytest.raises(OptionError, match=r"^some: shares needs 2 numbers, one for each class \(cat, dog\), not 1$"):
        Checks(Some(shares=(1.0,))).one_for_each(("cat", "dog"), "shares")
    with pytest.raises(OptionError) as error:
        Checks(Some(shares=(1.0,))).one_for_each("abcdefghijk", "shares", by="group")
    known = "a, b, c, d, e, f, g, h, i, j and 1 more"
    assert str(error.value) == f"some: shares needs 11 numbers, one for each group ({known}), not 1"
