"""What is known of the code that made a record, and which codes give the same numbers. Nothing here imports torch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from bench.records.sections import UNKNOWN, Code, Environment

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
        protocols: name -> hash, of those that were part of the core then.
    """

    core: str
    plugins: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)


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

    def of_commit(self, environment: Environment, protocol: str) -> dict[str, str]:
        """Use -> hash, of a record that names its commit and its plugins; nothing of a commit that is not known."""
        git = environment.git
        commit = self.commits.get(git.commit) if git and not git.dirty else None
        if commit is None:
            return {}
        hashes = {CORE: commit.core, "protocol": commit.protocols.get(protocol, UNKNOWN)}
        return hashes | {use: commit.plugins.get(name, UNKNOWN) for use, name in environment.plugins.items()}


@cache
def known() -> KnownCode:
    """What this version knows."""
    return KnownCode.of(json.loads(files("bench.records").joinpath(FILE).read_text("utf-8")))


@cache
def _representatives() -> dict[str, str]:
    return known().representatives()


def hashes_by_use(code: Code, environment: Environment, protocol: str) -> dict[str, str]:
    """Use of a plugin, or CORE -> hash; what is not known is left out.

    Args:
        code: The record's own hashes.
        environment: Of a record without hashes, its commit tells them, where it is known.
        protocol: The name of the record's protocol.
    """
    hashes = {CORE: code.core} | code.plugins if code.core else known().of_commit(environment, protocol)
    return {use: one for use, one in sorted(hashes.items()) if one != UNKNOWN}


def as_one(hashes: Mapping[str, str]) -> dict[str, str]:
    """The same with one hash for all that are equivalent."""
    same = _representatives()
    return {use: same.get(one, one) for use, one in hashes.items()}
