"""What a metric of disparity is for a model that treats all groups alike: its noise floor."""

from collections.abc import Sequence


def expected_gap(sizes: Sequence[int], rate: float) -> float:
    """The expected difference between the largest and the smallest of the rates that are observed in groups, where the
    true rate is the same in all of them.

    The observed rate of a group is that of independent draws. The expectation of the largest one is the integral of the
    probability that it is above x, which is constant between the values that a rate can have; so it is exact.

    Args:
        sizes: the number of samples of each group; groups without samples have no rate and are left out.
        rate: the true rate.
    """
    import numpy as np
    from scipy.special import bdtr

    sizes = [size for size in sizes if size]
    if len(sizes) < 2:
        return 0.0
    rates = np.unique(np.concatenate([np.arange(size + 1) / size for size in sizes]))
    begins = (rates[:-1] + rates[1:]) / 2  # any point between two values has the probability of the whole stretch
    below = np.array([bdtr(np.floor(begins * size), size, rate) for size in sizes])
    largest, smallest = below.prod(axis=0), 1 - (1 - below).prod(axis=0)
    return float((np.diff(rates) * (smallest - largest)).sum())
