"""Whose code it is that leaves something behind in the process, or writes to the data: each part runs in a context."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from bench.errors import NamedError
from bench.guards.process import ProcessState
from bench.guards.tensors import Watched
from bench.parts import Part


class Guard:
    """Finds out which part of an experiment did what no part may.

    Args:
        packages: top packages of plugins, whose names are watched (`bench.guards.code`).
        watched: the tensors that no part may write to.
        parts: that run.

    Attributes:
        put_back: in words, what parts have set in the process, and whose they are. It was put back at once.
    """

    def __init__(self, packages: Iterable[str], watched: Watched, parts: Sequence[Part]) -> None:
        self._packages = {"bench", *packages}
        self._watched = watched
        self._parts = parts
        self.put_back: list[str] = []

    @contextmanager
    def running(self, kind: str) -> Iterator[None]:
        """Within, code of a part runs. Afterwards the process is as it was before.

        Args:
            kind: of the part, with its name where there are several.

        Raises:
            NamedError: where it has replaced what other code computes with, or has written to the data.
        """
        state = ProcessState(self._packages)
        whose = next((str(part) for part in self._parts if kind in (part.kind, f"{part.kind} {part.name}")), kind)
        failure: Exception | None = None
        try:
            yield
        except NamedError:
            raise
        except Exception as error:  # which may be there because of what the part did before
            failure = error
        finally:
            left = state.put_back()
            self.put_back += [f"{what} by {whose}" for what in left.settings]
        if left.code:
            raise NamedError(
                f"{whose}: replaced {', '.join(left.code)}, with which other code computes too"
            ) from failure
        if changed := self._watched.changed():
            raise NamedError(f"{whose}: wrote to data that it may only read: {', '.join(changed)}") from failure
        if failure:
            raise failure
