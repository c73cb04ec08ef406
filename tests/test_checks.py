"""Checks of options: what fits passes, and what does not is told by its name, its value and what is valid."""

from dataclasses import dataclass

import pytest

from bench import OptionError
from bench.checks import Checks


@dataclass
class Some:
    """Options of each kind."""

    count: int = 1
    rate: float | None = None
    shares: tuple[float, ...] = ()
    kind: str = "plain"


def test_the_bound_itself_is_in_at_least_and_not_in_above():
    Checks("some", Some(count=2)).at_least(2, "count")
    Checks("some", Some(count=2)).above(1, "count")
    with pytest.raises(OptionError, match=r"^some: count must be at least 3, not 2$"):
        Checks("some", Some(count=2)).at_least(3, "count")
    with pytest.raises(OptionError, match=r"^some: count must be above 2, not 2$"):
        Checks("some", Some(count=2)).above(2, "count")


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1]", (0.0, 0.5, 1.0), (-0.1, 1.1, float("nan"))),
        ("(0, 1]", (0.5, 1.0), (0.0, 1.1)),
        ("[0, 1)", (0.0, 0.5), (-0.1, 1.0)),
        ("(0, 1)", (0.5,), (0.0, 1.0)),
    ],
)
def test_square_brackets_have_their_bound_in_the_interval(interval, inside, outside):
    for rate in inside:
        Checks("some", Some(rate=rate)).within(interval, "rate")
    for rate in outside:
        with pytest.raises(OptionError, match=r"^some: rate must be in [\[(]0, 1[\])], not"):
            Checks("some", Some(rate=rate)).within(interval, "rate")


def test_of_several_options_the_wrong_one_is_named():
    with pytest.raises(OptionError, match=r"^some: rate must be at least 0, not -0\.001$"):
        Checks("some", Some(rate=-1e-3)).at_least(0, "count", "rate")


def test_every_entry_of_a_tuple_is_checked_and_nothing_fits():
    Checks("some", Some()).above(0, "rate", "shares")
    with pytest.raises(OptionError, match=r"^some: shares must be above 0, not -2$"):
        Checks("some", Some(shares=(1.0, -2.0))).above(0, "shares")


def test_proportions_are_not_negative_and_not_all_zero():
    for shares in ((), (0.0, 1.0), (3.0,)):
        Checks("some", Some(shares=shares)).proportions("shares")
    with pytest.raises(OptionError, match=r"^some: shares must have an entry above 0, not 0,0$"):
        Checks("some", Some(shares=(0.0, 0.0))).proportions("shares")
    with pytest.raises(OptionError, match=r"^some: shares must be at least 0, not -1$"):
        Checks("some", Some(shares=(2.0, -1.0))).proportions("shares")


def test_an_option_that_is_given_in_vain_is_told_with_the_cause():
    Checks("some", Some()).unused("rate", "kind")
    with pytest.raises(OptionError, match=r"^some: rate has no effect with kind=plain$"):
        Checks("some", Some(rate=0.0)).unused("rate", "kind")
