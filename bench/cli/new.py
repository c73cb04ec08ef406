"""`bench new`: a distribution for a plugin of one's own, ready to install."""

import importlib.util
import json
import keyword
import re
import shlex
from importlib.resources import files
from pathlib import Path
from string import Template

import click

from bench.cli.common import installed, say
from bench.errors import BenchError, UnknownNameError

FIRST_RUN: dict[str, str] = json.loads((files("bench") / "templates" / "first_run.json").read_text("utf-8"))
"""The kinds of plugins that can be begun, each with a first command that uses the new one."""


@click.command()
@click.argument("kind", metavar=f"{{{'|'.join(FIRST_RUN)}}}")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="The folder to write. It must not exist yet.  [default: bench-NAME]",
)
def new(kind: str, name: str, out: Path | None) -> None:
    """Write a distribution with a new plugin, ready to install.

    The plugin, which is called NAME, works as written, and so does its test: install it, run the test, and then change
    both, step by step, into what you have in mind.
    """
    folder = out or Path(f"bench-{name}")
    _check(kind, name, folder)
    texts = _texts(kind, name)
    try:
        (folder / "tests").mkdir(parents=True)
        for path, text in texts.items():
            (folder / path).write_text(text)
    except OSError as error:
        raise BenchError(f"{folder} cannot be written: {error.strerror}") from error
    for path in texts:
        say(f"wrote {folder / path}")
    first_run = Template(FIRST_RUN[kind]).substitute(name=name)
    where = shlex.quote(str(folder))
    say(f"\nGo on with:\n\npip install -e {where}\npython -m pytest {where}\n{first_run}")


def _check(kind: str, name: str, folder: Path) -> None:
    """Raises BenchError, before anything is written, for what cannot become a plugin."""
    if kind not in FIRST_RUN:
        raise UnknownNameError("kind", kind, FIRST_RUN)
    if not _is_name(name):
        raise BenchError(
            f"the name {name!r} is not a Python name of the letters a to z, digits and underscores between them: "
            f"did you mean {_suggestion(kind, name)!r}?"
        )
    if folder.exists():
        raise BenchError(f"{folder} exists already: choose another folder with --out, or move it away")
    if offer := installed().offers[f"{kind}s"].get(name):
        raise BenchError(f"the {kind} {name!r} exists already, offered by plugin {offer.plugin}: choose another name")
    if importlib.util.find_spec(f"bench_{name}"):
        raise BenchError(f"a module bench_{name} is installed already: choose another name")


def _is_name(name: str) -> bool:
    """Whether it can be part of the names of a module, of a class and of a distribution."""
    return bool(re.fullmatch(r"[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?", name)) and not keyword.iskeyword(name)


def _suggestion(kind: str, name: str) -> str:
    """A valid name that is near to this one."""
    words = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_").lower()
    return words if _is_name(words) else f"{kind}_{words}".strip("_")


def _texts(kind: str, name: str) -> dict[str, str]:
    """The text of each file of the distribution, by its path in the distribution's folder."""
    sources = {
        "pyproject.toml": "pyproject.toml",
        f"bench_{name}.py": f"{kind}.py",
        f"tests/test_{name}.py": f"test_{kind}.py",
    }
    class_name = "".join(word[:1].upper() + word[1:] for word in name.split("_"))
    folder = files("bench") / "templates"
    templates = {path: Template((folder / f"{source}.template").read_text()) for path, source in sources.items()}
    return {path: template.substitute(name=name, class_name=class_name) for path, template in templates.items()}
