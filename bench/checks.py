"""Checks of options, made before anything is trained."""

import itertools
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, Literal, Self

from bench.errors import OptionError
from bench.options import show
from bench.text import NAMED, join_first

Closed = Literal["both", "left", "right", "neither"]
INTERVALS = {"both": "[{}, {}]", "left": "[{}, {})", "right": "({}, {}]", "neither": "({}, {})"}


class Checks:
    """Checks of the options of a method, a protocol or a recipe; with `of`, of those of a model or a data set.

        def __post_init__(self) -> None:
            check = Checks(self)
            check.at_least(0, "rate", "decay")
            check.within(0, 1, "share", closed="right")

    Each check raises OptionError. The message names the option as the user types it, what is valid, and what was given.
    An option that is None is left to the method, so it passes every check. If an option is a tuple, every entry has to
    pass.

    Args:
        options: the object whose attributes are the options. If it has a `name`, as a method does, messages begin with
            the name.
        section: what stands before an option's name on the command line: `protocol.`, `recipe.`, `model.`, `dataset.`,
            or nothing for the options of a method.
    """

    def __init__(self, options: object, section: str = "") -> None:
        self._options = options
        self._section = section
        name = getattr(options, "name", "") or type(options).__name__
        self._whose = "" if section else f"{name}: "

    @classmethod
    def of(cls, section: str, **options: Any) -> Self:
        """Checks of the options of a function, as models and data sets are.

            def tiny(shape: tuple[int, ...], classes: int, *, width: int = 8) -> nn.Module:
                Checks.of("model.", width=width).at_least(1, "width")

        Args:
            section: `model.` or `dataset.`.
            options: those to be checked, by name.
        """
        return cls(SimpleNamespace(**options), section)

    def at_least(self, bound: float, *names: str) -> None:
        """Each of these options is `bound` or more."""
        self._every(names, lambda value: value >= bound, f"at least {show(bound)}")

    def above(self, bound: float, *names: str) -> None:
        """Each of these options is more than `bound`."""
        self._every(names, lambda value: value > bound, f"above {show(bound)}")

    def within(self, low: float, high: float, *names: str, closed: Closed = "both") -> None:
        """Each of these options lies between `low` and `high`.

        Args:
            low, high: the bounds.
            names: of the options.
            closed: which of the two bounds is itself valid: `both`, the `left` one, the `right` one or `neither`.
        """

        def inside(value: float) -> bool:
            above_low = value >= low if closed in ("both", "left") else value > low
            below_high = value <= high if closed in ("both", "right") else value < high
            return above_low and below_high

        self._every(names, inside, f"in {INTERVALS[closed].format(show(low), show(high))}")

    def one_of(self, valid: Collection[Any], *names: str) -> None:
        """Each of these options is one of the valid values."""
        self._every(names, lambda value: value in valid, f"one of {', '.join(map(show, valid))}")

    def not_empty(self, *names: str) -> None:
        """Each of these tuples has at least one entry."""
        for name in names:
            if not getattr(self._options, name):
                raise OptionError(f"{self._named(name)} must have an entry, and none is given")

    def ascending(self, *names: str) -> None:
        """The entries of each of these tuples ascend, so that none is there twice."""
        for name in names:
            values = getattr(self._options, name)
            if any(a >= b for a, b in itertools.pairwise(values)):
                raise OptionError(f"{self._named(name)} must ascend, each entry once, not {show(values)}")

    def distinct(self, *names: str) -> None:
        """Each of these tuples has no entry twice."""
        for name in names:
            values = getattr(self._options, name)
            if len(set(values)) < len(values):
                raise OptionError(f"{self._named(name)} must have no entry twice, and is {show(values)}")

    def proportions(self, *names: str) -> None:
        """Each of these tuples is empty, or has entries of at least 0 that are not all 0."""
        self.at_least(0, *names)
        for name in names:
            values = getattr(self._options, name)
            if values and not any(values):
                raise OptionError(f"{self._named(name)} must have an entry above 0, not {show(values)}")

    def one_for_each(self, labels: Sequence[str], *names: str, by: str = "class") -> None:
        """Each of these tuples is empty, or has one entry for each label.

        Args:
            labels: names of the classes or groups.
            names: of the options.
            by: what the labels are, `class` or `group`, for the message.
        """
        known = join_first(labels, NAMED)
        for name in names:
            values = getattr(self._options, name)
            if len(values) not in (0, len(labels)):
                raise OptionError(
                    f"{self._named(name)} needs {len(labels)} numbers, one for each {by} ({known}), not {show(values)}"
                )

    def unused(self, name: str, cause: str, given: bool | None = None) -> None:
        """Refuse an option that has no effect with the value that another option has.

        Args:
            name: the option without effect.
            cause: the option that decides so.
            given: whether the user gave `name`; None: that is so if its value is not the default.
        """
        if given is None:
            given = getattr(self._options, name) != getattr(type(self._options), name)
        if given:
            value = show(getattr(self._options, cause)) or "(empty)"
            raise OptionError(f"{self._named(name)} has no effect with {self._section}{cause}={value}")

    def _named(self, name: str) -> str:
        return f"{self._whose}{self._section}{name}"

    def _every(self, names: tuple[str, ...], fits: Callable[[Any], bool], valid: str) -> None:
        for name in names:
            value = getattr(self._options, name)
            entries = value if isinstance(value, tuple) else (value,)
            for entry in entries:
                if entry is not None and not fits(entry):
                    raise OptionError(f"{self._named(name)} must be {valid}, not {show(entry)}")
