"""What identifies a run: its settings, and the key that is made of them."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

from bench.options import show
from bench.text import shell_line

SHARED = "shared"
"""The choice of the training data under which every method trains on the same samples."""
PAPER = "paper"
"""The choice of the training data under which methods that need no validation data train on them too."""
SHORTHANDS = ("epochs", "train_size", "batch_size")
"""Fields of the recipe that have an option of their own in `bench run`."""


OPTION_FIELDS = {
    "recipe": "recipe",
    "dataset": "dataset_options",
    "protocol": "protocol_options",
    "model": "model_options",
    "method": "options",
}
"""What has options -> the field of a spec that holds them. `bench run -o` takes these names, with a dot, before the
name of an option; for methods the name may be left out.
"""


def option_name(owner: str, name: str) -> str:
    """The name of an option as `bench run -o` takes it.

    Args:
        owner: what has the option, one of OPTION_FIELDS.
        name: the option's own name.
    """
    return name if owner == "method" else f"{owner}.{name}"


@dataclass(frozen=True)
class RunSpec:
    """What identifies one run: its parts by name, the options that differ from the defaults, and a digest of all
    values.

    Attributes:
        dataset, method, model: the names that they are registered as.
        protocol: name/version.
        seed: of the run.
        options, model_options, dataset_options, protocol_options, recipe: option -> value, of the options of the
            method, the model, the data set, the protocol and the recipe that differ from the defaults.
        validation: the choice of the training data, SHARED or PAPER.
        settings: a digest of every resolved value and of the data, so that a changed default makes another run. Fields
            of the recipe that have the default of `Recipe` are left out of it, so that new fields do not.
    """

    dataset: str
    method: str
    model: str
    protocol: str
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    model_options: Mapping[str, Any] = field(default_factory=dict)
    dataset_options: Mapping[str, Any] = field(default_factory=dict)
    protocol_options: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    validation: str = SHARED
    settings: str = ""

    @cached_property
    def key(self) -> str:
        """12 hex digits of the sha256 of the spec's canonical JSON."""
        return digest({one.name: getattr(self, one.name) for one in fields(self)})

    @property
    def protocol_name(self) -> str:
        """The name of the protocol, without its version."""
        return self.protocol.partition("/")[0]

    @property
    def folder(self) -> str:
        """The subfolder of the records of this task, `PROTOCOL-vN/DATASET`."""
        names = self.protocol.replace("/", "-v"), self.dataset.replace("/", "~")
        return "/".join(file_name(name, [name], one_reading=True) for name in names)

    @property
    def path(self) -> str:
        """The file of the record, in the folder of records: in the subfolder of its task."""
        name = f"{self.dataset}.{self.method}.{self.seed}.{self.key}.json".replace("/", "-")
        return f"{self.folder}/{name}"

    @property
    def changed(self) -> dict[str, Any]:
        """All options that differ from the defaults -> their values, by the names that `bench run -o` takes, the
        recipe's first.
        """
        changed: dict[str, Any] = {}
        for owner, field_name in OPTION_FIELDS.items():
            options = getattr(self, field_name)
            changed |= {option_name(owner, name): options[name] for name in sorted(options)}
        return changed

    def label(self, hidden: Collection[str] = ()) -> str:
        """The method, with those of its options that differ from the defaults in brackets: `forml[weight_lr=10]`.

        Args:
            hidden: options that are left out, because they are shown elsewhere.
        """
        options = ",".join(
            f"{name}={show(value)}" for name, value in sorted(self.options.items()) if name not in hidden
        )
        return f"{self.method}[{options}]" if options else self.method

    def changes(self, hidden: Collection[str] = ()) -> list[str]:
        """What differs from the defaults of the model, the recipe and the choice of the training data, for a label.

        Args:
            hidden: settings that are left out, by the names that `bench run -o` takes.

        Returns:
            Texts such as `lr=0.01` and `model.width=64`.
        """
        parts = _shown("model.", self.model_options, hidden, "model.") + _shown("recipe.", self.recipe, hidden)
        if self.validation == PAPER and "validation" not in hidden:
            parts.append("trained on validation data too")
        return parts

    def variant(self, hidden: Collection[str] = ()) -> list[str]:
        """The options of the data set and of the protocol that differ from the defaults, and so make another task.

        Args:
            hidden: settings that are left out, by the names that `bench run -o` takes.

        Returns:
            Texts such as `factor=100` and `dataset.size=64`.
        """
        of_dataset = _shown("dataset.", self.dataset_options, hidden, "dataset.")
        return of_dataset + _shown("protocol.", self.protocol_options, hidden)

    def command(self, own_model: str, own_protocol: str, flags: Sequence[str] = ()) -> str:
        """The command that makes this run.

        Args:
            own_model: the model of the data set's recipe, which is not written out.
            own_protocol: the protocol of the data set's recipe, which is not written out.
            flags: further words of the command.
        """
        words = ["bench", "run", "--method", self.method, "--dataset", self.dataset]
        if self.model != own_model:
            words += ["--model", self.model]
        if (name := self.protocol_name) != own_protocol:
            words += ["--protocol", name]
        for option, value in self.changed.items():
            flag = _shorthand(option)
            words += [flag, show(value)] if flag else ["-o", f"{option}={show(value)}"]
        if self.validation != SHARED:
            words += ["--validation", self.validation]
        return shell_line([*words, *flags, "--seed", str(self.seed)])


def check_command(command: str, spec: RunSpec) -> None:
    """Check that a command is that of a run, as far as the spec says it: its beginning and its end.

    Args:
        command, spec: of the record.

    Raises:
        ValueError: for another method, data set or seed.
    """
    begin = shell_line(["bench", "run", "--method", spec.method, "--dataset", spec.dataset])
    if not (f"{command} ".startswith(f"{begin} ") and command.endswith(f" --seed {spec.seed}")):
        raise ValueError(f"its command is not that of {spec.method} on {spec.dataset} with seed {spec.seed}")


def _shown(prefix: str, options: Mapping[str, Any], hidden: Collection[str], shown_prefix: str = "") -> list[str]:
    """`name=value` of each option whose name, with its prefix, is not hidden; with the prefix that is shown."""
    return [
        f"{shown_prefix}{name}={show(value)}"
        for name, value in sorted(options.items())
        if f"{prefix}{name}" not in hidden
    ]


def _shorthand(option: str) -> str:
    """The flag of `bench run` that says the same as this option; empty where there is none."""
    prefix, _, name = option.rpartition(".")
    return f"--{name.replace('_', '-')}" if prefix == "recipe" and name in SHORTHANDS else ""


_as_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def canonical(value: Any) -> str:
    """A value as JSON, such that equal values have the same text.

    Args:
        value: anything that JSON can hold.
    """
    return _as_canonical(value)


def digest_of_texts(texts: Mapping[str, str]) -> str:
    """The digest of a mapping whose values are canonical texts already.

    Args:
        texts: name -> the value's canonical text.
    """
    entries = (f"{canonical(name)}:{texts[name]}" for name in sorted(texts))
    return hashlib.sha256(f"{{{','.join(entries)}}}".encode()).hexdigest()[:12]


def digest(value: Any) -> str:
    """12 hex digits of the sha256 of a value's canonical text.

    Args:
        value: anything that JSON can hold.
    """
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:12]


def file_name(readable: str, identity: Sequence[str], one_reading: bool) -> str:
    """The name of a file for something that other names identify, another one for each.

    Args:
        readable: the name for people, made of those; none of them has a `~` or an `@`.
        identity: the names that identify it.
        one_reading: whether these can be read off the name in one way alone.

    Returns:
        The readable name; with a digest where it has another reading, or where some file systems take it for another
        name, as they do with capitals and accents.
    """
    plain = one_reading and readable.isascii() and readable == readable.lower()
    return readable if plain else f"{readable}@{digest(list(identity))}"
