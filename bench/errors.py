"""The errors that a user or the outside world can cause. Any other exception is a bug and keeps its traceback.

Each message is one line that says what was wrong, what is valid and what to do.
"""

import difflib
from collections.abc import Iterable
from typing import Self

from bench.text import cut, join_first


class BenchError(Exception):
    """The base of all expected errors: the command line prints the message and exits with code 2."""


class UnknownNameError(BenchError):
    """A name that no plugin offers.

    The message lists the known names. Of more than SHOWN names it lists those that are spelt most alike, then the first
    ones in alphabetical order.

    Args:
        kind: what was looked for, in the singular, such as `model`.
        name: the name that was asked for.
        known: all valid names.
        hint: text that is put at the end of the message.
        kinds: what else has this name, such as `a data set`; empty for nothing.
    """

    SHOWN = 12

    def __init__(self, kind: str, name: str, known: Iterable[str], hint: str = "", kinds: str = "") -> None:
        known = sorted(set(known))  # a name may be of two kinds
        name = cut(name)
        near = difflib.get_close_matches(name, known, n=self.SHOWN)
        question = f"did you mean {near[0]!r}? " if near else ""
        if kinds:
            question = f"{name!r} is {kinds}; {question}"
        if len(known) > self.SHOWN:
            known = near + [other for other in known if other not in near]
        super().__init__(f"unknown {kind} {name!r}: {question}known: {join_first(known, self.SHOWN) or 'none'}{hint}")


class OptionError(BenchError):
    """An option that does not exist, or a value that its option does not take."""


class DataError(BenchError):
    """A data file that is missing, damaged or not the official one, or data with too few samples for what is asked."""


class PluginError(BenchError):
    """A plugin that breaks the rules: a misspelt hook, a name that is offered twice, a wrong return value.

    Attributes:
        kind: of the part that breaks them, such as `model`, where the core knows it; empty where its code shows it.
    """

    kind = ""

    @classmethod
    def of(cls, kind: str, message: str) -> Self:
        """The error of a part of a known kind."""
        error = cls(message)
        error.kind = kind
        return error


class NamedError(PluginError):
    """A part of a plugin that did to the process or the data what none may. The message begins with the part."""


class PluginFailureError(PluginError):
    """Plugin code that raised something that it should not have: a failure, not bad input, so the exit code is 1."""


class ModelError(BenchError):
    """A model that breaks a rule of models (`bench.models.rules`), found before anything is trained."""


class ProtocolError(BenchError):
    """A data set that a protocol cannot use."""


class DeviceError(BenchError):
    """A device that this machine does not have, or that lacks what the run needs."""


class StoreError(BenchError):
    """A result folder that cannot be written."""


class NotApplicableError(BenchError):
    """A method that cannot use this data set, model or recipe.

    The run is recorded with the reason, so that the tables can state it.
    """


class MetaStepError(BenchError):
    """A look-ahead that is not possible.

    Reasons are an operator without the derivative that is needed, a model without trained parameters, and a backend
    that cannot take the model.
    """


class DivergedError(BenchError):
    """Training that reached a loss or a parameter that is not finite, or a model whose logits are not.

    The run is recorded as a failure, and the command exits with code 1.
    """


class TimedOutError(BaseException):
    """A run that has made no progress for as long as `--timeout` allows.

    It is no Exception, so that plugin code which handles all exceptions does not handle this one.
    """
