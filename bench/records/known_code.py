"""What is known of the code that made a record, and which codes give the same numbers. Nothing here imports torch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from bench.records.sections import UNKNOWN, Code, Environment, Git

CORE = "core"
"""The use of the core, beside those of plugins."""
FILE = "equivalent.json"
"""Is made by `tools/equivalent.py` and comes with this package."""


@dataclass(frozen=True)
class Commit:
    """The hashes of a commit of this project.

    Attributes:
        core: of the core.
        plugins: plugin with its distribution and version, as records name it -> hash.
    """

    core: str
    plugins: Mapping[str, str]


@dataclass(frozen=True)
class KnownCode:
    """What was found out about hashes.

    Attributes:
        commits: by their hash, those that made records before records had hashes of the code.
        equivalent: pairs of hashes whose codes gave the same numbers to the bit, when records were run again.
    """

    commits: Mapping[str, Commit] = field(default_factory=dict)
    equivalent: Iterable[tuple[str, str]] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "KnownCode":
        """From what JSON gives."""
        commits = {name: Commit(**hashes) for name, hashes in values["commits"].items()}
        return cls(commits, [(entry["old"], entry["new"]) for entry in values["equivalent"]])

    def representatives(self) -> dict[str, str]:
        """Hash -> one hash for all that are equivalent to it, for those that have equivalent ones."""
        groups: dict[str, set[str]] = {}
        for pair in self.equivalent:
            together = set(pair).union(*(groups.get(one, ()) for one in pair))
            groups |= dict.fromkeys(together, together)
        return {one: min(group) for one, group in groups.items()}

    def of_commit(self, git: Git | None, plugins: Mapping[str, str]) -> dict[str, str]:
        """Use -> hash, of a record that names its commit and its plugins; nothing of a commit that is not known."""
        commit = self.commits.get(git.commit) if git and not git.dirty else None
        if commit is None:
            return {}
        return {CORE: commit.core} | {use: commit.plugins.get(plugin, UNKNOWN) for use, plugin in plugins.items()}


@cache
def known() -> KnownCode:
    """What this version knows."""
    return KnownCode.of(json.loads(files("bench.records").joinpath(FILE).read_text("utf-8")))


@cache
def _representatives() -> dict[str, str]:
    return known().representatives()


def code_by_use(code: Code, environment: Environment) -> dict[str, str]:
    """Use of a plugin, or CORE -> hash, equivalent ones as one; what is not known is left out.

    Args:
        code: The record's own hashes.
        environment: Of a record without hashes, its commit tells them, where it is known.
    """
    own = {CORE: code.core} | code.plugins
    hashes = own if code.core else known().of_commit(environment.git, environment.plugins)
    same = _representatives()
    return {use: same.get(one, one) for use, one in sorted(hashes.items()) if one != UNKNOWN}
