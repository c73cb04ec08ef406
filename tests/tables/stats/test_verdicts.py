import math

import numpy as np
import pytest

from bench.tables.stats.verdicts import agreement, standard_error


def test_by_hand() -> None:
    found = agreement(0.5, 0.03, 0.4, 0.04)
    assert (found.difference, found.errors) == pytest.approx((0.1, 2.0))
    assert (found.low, found.high) == pytest.approx((0.0, 0.2))
    assert agreement(0.49, 0.03, 0.4, 0.04).word == "agrees"
    assert agreement(0.51, 0.03, 0.4, 0.04).word == agreement(0.3, 0.0, 0.4, 0.0).word == "differs"
    assert agreement(0.4, 0.0, 0.4, 0.0).word == "agrees"


@pytest.mark.parametrize("errors", [(None, 0.1), (0.1, None)])
def test_without_an_error_there_is_no_verdict(errors) -> None:
    found = agreement(0.5, errors[0], 0.4, errors[1])
    assert found.word == "no verdict" and found.difference == pytest.approx(0.1) and math.isnan(found.low)


def test_equal_means_agree_in_95_percent() -> None:
    generator = np.random.default_rng(0)
    drawn = generator.normal(0.4, [0.03, 0.04], (5000, 2))
    agree = [agreement(ours, 0.03, theirs, 0.04).word == "agrees" for ours, theirs in drawn]
    assert np.mean(agree) == pytest.approx(0.9545, abs=0.01)


def test_printed_errors_become_standard_errors() -> None:
    assert standard_error(0.4, "standard error", 5) == 0.4
    assert standard_error(0.4, "standard deviation", 4) == 0.2
    assert standard_error(1.96, "95 % interval", 5) == pytest.approx(1.0, rel=1e-4)
    assert standard_error(0.4, "unknown", 5) is None and standard_error(0.4, "standard deviation", 0) is None
