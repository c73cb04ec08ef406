"""What is known of the code that made a record, and which codes give the same numbers. Nothing here imports torch."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from bench.records.sections import UNKNOWN, Code, Environment

CORE = "core"
"""The key of the core's hash, beside the uses of plugins (`method`, `model` and so on)."""
FILE = "equivalent.json"
"""The file of what is known. `tools/equivalent.py` makes it, and it comes with this package."""


@dataclass(frozen=True)
class Commit:
    """The hashes of the code at one commit of this project.

    Attributes:
        core: of the core.
        plugins: plugin with its distribution and version, as records name it -> hash.
        protocols: name -> hash, of those protocols that were part of the core then.
    """

    core: str
    plugins: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownCode:
    """What was found out about hashes of code.

    Attributes:
        commits: by their git hash, the commits that made records before records had hashes of the code.
        equivalent: pairs of hashes whose codes gave the same numbers to the bit when records were run again.
    """

    commits: Mapping[str, Commit] = field(default_factory=dict)
    equivalent: Iterable[tuple[str, str]] = ()

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "KnownCode":
        """Read what is known.

        Args:
            values: what JSON gives of the file.
        """
        commits = {name: Commit(**hashes) for name, hashes in values["commits"].items()}
        return cls(commits, [(entry["old"], entry["new"]) for entry in values["equivalent"]])

    def representatives(self) -> dict[str, str]:
        """Hash -> one hash that stands for all that are equivalent to it. Hashes without an equivalent are left out."""
        groups: dict[str, set[str]] = {}
        for pair in self.equivalent:
            together = set(pair).union(*(groups.get(one, ()) for one in pair))
            groups |= dict.fromkeys(together, together)
        return {one: min(group) for one, group in groups.items()}

    def of_commit(self, environment: Environment, protocol: str) -> dict[str, str]:
        """The hashes of the code that made a record which has none of its own.

        Args:
            environment: that of the record, which names its commit and its plugins.
            protocol: the name of the record's protocol.

        Returns:
            Use of a plugin, or CORE -> hash, UNKNOWN where the commit does not tell it; empty if the commit is not
            known, or the checkout had changes.
        """
        git = environment.git
        commit = self.commits.get(git.commit) if git and not git.dirty else None
        if commit is None:
            return {}
        hashes = {CORE: commit.core, "protocol": commit.protocols.get(protocol, UNKNOWN)}
        return hashes | {use: commit.plugins.get(name, UNKNOWN) for use, name in environment.plugins.items()}


@cache
def known() -> KnownCode:
    """What this version of the project knows."""
    return KnownCode.of(json.loads(files("bench.records").joinpath(FILE).read_text("utf-8")))


@cache
def _representatives() -> dict[str, str]:
    return known().representatives()


def hashes_by_use(code: Code, environment: Environment, protocol: str) -> dict[str, str]:
    """The hashes of the code that made a record.

    Args:
        code: the record's own hashes.
        environment: that of the record. If the record has no hashes, its commit tells them, where it is known.
        protocol: the name of the record's protocol.

    Returns:
        Use of a plugin, or CORE -> hash. What is not known is left out.
    """
    hashes = {CORE: code.core} | code.plugins if code.core else known().of_commit(environment, protocol)
    return {use: one for use, one in sorted(hashes.items()) if one != UNKNOWN}


def as_one(hashes: Mapping[str, str]) -> dict[str, str]:
    """Put one hash in the place of all that are equivalent, so that codes which give the same numbers compare as equal.

    Args:
        hashes: use -> hash.
    """
    same = _representatives()
    return {use: same.get(one, one) for use, one in hashes.items()}
