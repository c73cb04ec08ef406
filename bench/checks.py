"""Checks of a method's options, made when it is constructed, so that a wrong value is told before anything trains."""

from collections.abc import Callable
from typing import Any

from bench.errors import OptionError
from bench.options import show


class Checks:
    """Checks of the options of one method; each raises OptionError with the one that is wrong and what is valid.

        def __post_init__(self) -> None:
            check = Checks("my_method", self)
            check.at_least(0, "rate", "decay")

    None, which leaves the choice to the method, fits everywhere; of a tuple every entry has to fit.
    """

    def __init__(self, who: str, method: object) -> None:
        self._who, self._method = who, method

    def at_least(self, bound: float, *names: str) -> None:
        self._all(names, lambda v: v >= bound, f"at least {show(bound)}")

    def above(self, bound: float, *names: str) -> None:
        self._all(names, lambda v: v > bound, f"above {show(bound)}")

    def within(self, interval: str, *names: str) -> None:
        """`interval`: its bounds in brackets, round ones where the bound is not in it, such as [0, 1)."""
        low, high = map(float, interval[1:-1].split(","))
        ends = []
        if interval.startswith("["):
            ends.append(low)
        if interval.endswith("]"):
            ends.append(high)
        self._all(names, lambda v: low < v < high or v in ends, f"in {interval}")

    def proportions(self, *names: str) -> None:
        """Tuples that are empty, or have entries of at least 0 that are not all 0."""
        self.at_least(0, *names)
        for name in names:
            values = getattr(self._method, name)
            if values and not any(values):
                raise OptionError(f"{self._who}: {name} must have an entry above 0, not {show(values)}")

    def unused(self, name: str, cause: str) -> None:
        """Refuse an option that is given, that is not None: with option `cause` as it is, it would have no effect."""
        if getattr(self._method, name) is not None:
            value = show(getattr(self._method, cause))
            raise OptionError(f"{self._who}: {name} has no effect with {cause}={value}")

    def _all(self, names: tuple[str, ...], fits: Callable[[Any], bool], valid: str) -> None:
        for name in names:
            value = getattr(self._method, name)
            for entry in value if isinstance(value, tuple) else (value,):
                if entry is not None and not fits(entry):
                    raise OptionError(f"{self._who}: {name} must be {valid}, not {show(entry)}")
