"""The state of the process before a run, which is put back after it; changes that matter are reported."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.errors import PluginError
from bench.guards.code import Code
from bench.guards.settings import SETTINGS

FOR_EVALUATIONS = [setting for setting in SETTINGS if setting.evaluations]


@dataclass(frozen=True)
class LeftBehind:
    """What a run had changed in the process and not put back. By now it has been put back.

    Attributes:
        code: full names of shared code that the run had replaced. The run and its evaluations computed with the
            replacement.
        settings: settings, in words, whose changed values could have changed the numbers of other runs, and full names
            of code of plugins that was replaced.
    """

    code: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)


class ProcessState:
    """The state of the process when the object was made. Making it and comparing with it take milliseconds.

    Args:
        packages: top packages of plugins and of the core, whose code is watched too.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._values_by_setting = {setting: setting.value() for setting in SETTINGS}
        self._code = Code(packages)

    def put_back(self) -> LeftBehind:
        """Put back everything that has changed since.

        Returns:
            The changes that the record of the run must name.
        """
        # The code is put back first, because settings are read and written by calling it.
        code, of_plugins = self._code.put_back()
        told = [(setting, setting.put(before)) for setting, before in self._values_by_setting.items()]
        return LeftBehind(code, of_plugins + [what for setting, what in told if what and setting.reported])

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Within this context, settings that evaluations depend on have their values from before the run.

        Afterwards they have the values that the method had set.
        """
        own = [(setting, setting.value()) for setting in FOR_EVALUATIONS]
        for setting in FOR_EVALUATIONS:
            setting.put(self._values_by_setting[setting])
        try:
            yield
        finally:
            for setting, value in reversed(own):
                setting.put(value)


@contextmanager
def leaving_nothing(whose: str, module: str) -> Iterator[None]:
    """A context for plugin code outside of runs, such as a loader of data. The state is put back after it.

    Args:
        whose: the part of the plugin that runs, in words.
        module: full name of its plugin's module.

    Raises:
        PluginError: if it has replaced code that other code computes with.
    """
    state = ProcessState({"bench", module.partition(".")[0]})
    try:
        yield
    finally:
        left = state.put_back()
    if left.code:
        raise PluginError(f"{whose} replaced {', '.join(left.code)}, with which other code computes too")
