"""What of a source file changes its hash, and what does not."""

import pytest

from bench.sources.syntax import parse

SOURCE = """
from dataclasses import dataclass
import torch

@dataclass
class Trimmed(Base):
    share: float = 0.1
    name: ClassVar[str] = "trimmed"

    def weights(self, batch, losses):
        limit = losses.quantile(1 - self.share)
        return (losses <= limit).float()
"""
EQUAL = [
    ("class Trimmed(Base):\n", 'class Trimmed(Base):\n    """Leaves out the largest losses."""\n'),
    ("import torch\n", '"""Not the first statement."""\nimport torch  # a comment\n\n\n'),
    ("import torch\n", "from __future__ import annotations\nfrom typing import Any\nimport typing\nimport torch\n"),
    ("import torch\n", "from typing import TYPE_CHECKING\nimport torch\nif TYPE_CHECKING:\n    import acme.types\n"),
    ("import torch\n", "import torch\nif t.TYPE_CHECKING:\n    x = 1\n"),
    ("(self, batch, losses):\n", "(self, batch: Batch, losses: 'Tensor') -> Tensor:\n"),
    (
        "(self, batch, losses):\n",
        "(\n        self, batch,\n        losses,\n    ):\n        ...\n        pass\n",
    ),
    ("        limit = ", "        limit: Tensor = "),
    ("        limit = ", "        count: int\n        limit = "),
    ("    share: float = 0.1", "    share: 'float | None' = 0.10"),
    ('"trimmed"', "'trimmed'"),
    ("1 - self.share", "(1 - (self.share))"),
]
DIFFERENT = [
    ("0.1", "0.2"),
    ("<=", "<"),
    ("1 - self.share", "1.0 - self.share"),
    ("    share: float = 0.1\n", ""),
    ("    share: float = 0.1\n", "    share = 0.1\n"),  # no field of the dataclass any more
    ("    share: float = 0.1\n", "    share: ClassVar[float] = 0.1\n"),
    ("    share: float = 0.1\n", "    share: 'InitVar[float]' = 0.1\n"),
    ("    share: float = 0.1\n", "    share: float = 0.1\n    other: int = 3\n"),
    ("    share: float = 0.1\n", "    needed: float\n    share: float = 0.1\n"),
    ("(Base)", "(Other)"),
    ("@dataclass", "@dataclass(frozen=True)"),
    ("import torch", "import torch as t"),
    ("import torch\n", "import torch\nimport acme.patches\n"),
    ("import torch\n", "import torch\nif not TYPE_CHECKING:\n    torch = None\n"),
    ("batch, losses)", "batch, losses=None)"),
    ("batch, losses)", "losses, batch)"),
]


def meaning(source: str) -> str:
    return parse(source, "acme.plugin", False).meaning


@pytest.mark.parametrize(("old", "new"), EQUAL)
def test_wording_changes_nothing(old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new, 1)) == meaning(SOURCE)


@pytest.mark.parametrize(("old", "new"), DIFFERENT)
def test_what_may_change_a_number_changes_the_text(old, new):
    assert old in SOURCE
    assert meaning(SOURCE.replace(old, new, 1)) != meaning(SOURCE)


def test_annotations_stay_where_a_decorator_may_read_them():
    source = "@rate.register\ndef _(x: int):\n    return 1\n"
    assert meaning(source) != meaning(source.replace("int", "str"))
    plain = "@property\ndef rate(self) -> int:\n    return 1\n"
    assert meaning(plain) == meaning(plain.replace(" -> int", ""))


def test_what_cannot_be_parsed_is_known_by_its_text():
    assert meaning("print 1") == "print 1"
    assert meaning("x = '\0'") == "x = '\0'"
    deep = "x = " + "-" * 5000 + "1"
    assert meaning(deep) == deep


@pytest.mark.parametrize(
    ("source", "imports"),
    [
        ("import a.b, c as d", {"a.b", "c"}),
        ("from a.b import c, d", {"a.b", "a.b.c", "a.b.d"}),
        ("def f():\n    from a import b", {"a", "a.b"}),
        ("from . import near", {"acme.pack", "acme.pack.near"}),
        ("from .near import f", {"acme.pack.near", "acme.pack.near.f"}),
        ("from ..far import f", {"acme.far", "acme.far.f"}),
        ("import importlib\nimportlib.import_module('a.b')", {"importlib", "a.b"}),
        ("from importlib import import_module as i\nimport_module('.b', __package__)", {"acme.pack.b"}),
        ("try:\n    import a\nexcept ImportError:\n    import b", {"a", "b"}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", {"b"}),
        ("__import__('a.b')", {"a.b"}),
    ],
)
def test_imports_are_found_anywhere(source, imports):
    parsed = parse(source, "acme.pack.plugin", False)
    assert imports <= parsed.imports | {"importlib"} and not parsed.open_ended
    assert parsed.imports - imports <= {"importlib", "importlib.import_module"}


def test_a_relative_import_of_a_package_starts_from_itself():
    assert parse("from . import near", "acme.pack", True).imports == {"acme.pack", "acme.pack.near"}


@pytest.mark.parametrize(
    "source",
    [
        "importlib.import_module(name)",
        "importlib.import_module(f'.{name}', __package__)",
        "def __getattr__(name):\n    return 1",
        "for info in pkgutil.iter_modules(__path__):\n    f(info)",
        "exec(text)",
        "from acme.parts import *",
        "import lazy_loader as lazy",
        "from importlib import import_module as load\nload('acme.' + name)",
        "load = importlib.import_module\nload('acme.' + name)",
        "parts = list(map(importlib.import_module, names))",
    ],
)
def test_imports_that_are_not_written_out_are_known_as_such(source):
    assert parse(source, "acme.plugin", False).open_ended
