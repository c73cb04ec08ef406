"""The state of the process around a run: what the run left behind is put back, and named."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.errors import PluginError
from bench.guards.code import Code
from bench.guards.settings import SETTINGS

FOR_EVALUATIONS = [setting for setting in SETTINGS if setting.evaluations]


@dataclass(frozen=True)
class LeftBehind:
    """What a run left behind in the process. By now it has been put back.

    Attributes:
        code: names that stood for something else. The run and its evaluations computed with it.
        settings: in words, settings that had other values and could change the numbers of other runs; names of plugins
            too.
    """

    code: list[str] = field(default_factory=list)
    settings: list[str] = field(default_factory=list)


class ProcessState:
    """The state of the process at one time. Taking stock and comparing take milliseconds.

    Args:
        packages: top packages of plugins and of the core, whose names are watched too.
    """

    def __init__(self, packages: Iterable[str]) -> None:
        self._values_by_setting = {setting: setting.value() for setting in SETTINGS}
        self._code = Code(packages)

    def put_back(self) -> LeftBehind:
        """Put back everything that is not as it was.

        Returns:
            What was put back and has to be told.
        """
        # Before all else, as what is read and put below goes through these names.
        code, of_plugins = self._code.put_back()
        told = [(setting, setting.put(before)) for setting, before in self._values_by_setting.items()]
        return LeftBehind(code, of_plugins + [what for setting, what in told if what and setting.told])

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Within this context an evaluation computes as before the run. Afterwards everything is again as the method
        has set it.
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
    """Within, plugin code runs that is part of no run, such as one that loads data: the state is put back after it.

    Args:
        whose: what is running, in words.
        module: of its plugin.

    Raises:
        PluginError: where it has replaced what other code computes with.
    """
    state = ProcessState({"bench", module.partition(".")[0]})
    try:
        yield
    finally:
        left = state.put_back()
    if left.code:
        raise PluginError(f"{whose} replaced {', '.join(left.code)}, with which other code computes too")
