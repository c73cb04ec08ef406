"""Makes a thousand command lines, right and wrong ones, gives them to `bench`, and tells which break a promise.

The promises: the exit code is 0, or 1 where a run has failed, or 2 with one line that says what was wrong. There is no
traceback. A refused command creates nothing. The command lines depend on the seed alone, so that what is found can be
found again: the program prints each command line that breaks a promise, ready to be given by hand.
"""

import argparse
import random
import shlex
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner

from bench.cli import main as bench
from bench.options import options_of, show
from bench.recipe import Recipe
from bench.registry import installed

COMMANDS = 1000
SMALL = ("digits", "moons", "separable")
"""Data sets that need no files and train in a moment."""
NAMES = (
    "",
    " ",
    "x",
    "é",
    "ＥＲＭ",
    "erm ",
    "ERM",
    "-1",
    "--",
    "a/b",
    "../x",
    "None",
    "\x1b[31mred",
    "\u202e",
    "0" * 300,
    "`|<b>",
)
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "1e-3",
    "1e20",
    "1e400",
    "nan",
    "inf",
    "-inf",
    "1_000",
    "٣",
    "３",
    "0x10",
    "9" * 400,
)
LISTS = ("1,2", "1,,2", ",", "0.3,0.6", "0.6,0.3", "[1]", "{}")
WORDS = (
    "accuracy",
    "ece",
    "tprd",
    "adam",
    "sgd",
    "steps",
    "cyclical",
    "shared",
    "paper",
    "true",
    "false",
    "none",
    "yes",
)
VALUES = (*NUMBERS, *LISTS, *WORDS, "", " ", "None", "a", "a=b", "é", "\x00", "\x1b[2J")
FOLDERS = ("o", "o/p", "file", "file/below", "", ".", "/proc/none", "é", "a b")


@dataclass(frozen=True)
class Outcome:
    """What became of one command line.

    Attributes:
        words: the command line, without `bench`.
        code: its exit code; None where an exception left the program.
        broken: the promises that it broke, in words.
        output: what it printed.
    """

    words: tuple[str, ...]
    code: int | None
    broken: tuple[str, ...]
    output: str


class Generator:
    """Makes command lines: mostly valid words, of which some are swapped for wrong ones.

    Args:
        seed: what all depends on.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._registry = installed()
        self._makers: list[Callable[[], list[str]]] = [self._run] * 6
        self._makers += [self._show, self._list, self._plot, self._leaderboard, self._new, self._data, self._throughput]

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        while True:
            yield tuple(self._damaged(self._random.choice(self._makers)()))

    def _one_of(self, values: Sequence[str]) -> str:
        return self._random.choice(values)

    def _known(self, kind: str) -> str:
        return self._one_of(sorted(self._registry.offers[kind]))

    def _sometimes(self, share: float, words: list[str]) -> list[str]:
        return words if self._random.random() < share else []

    def _damaged(self, words: list[str]) -> list[str]:
        """Three of ten command lines lose a word, say it twice, or have another one in its place."""
        if self._random.random() < 0.7 or not words:
            return words
        place = self._random.randrange(len(words))
        new = self._one_of(([], [words[place]] * 2, [self._one_of(NAMES)], [self._one_of(VALUES)]))  # type: ignore[arg-type]
        return words[:place] + list(new) + words[place + 1 :]

    def _run(self) -> list[str]:
        words = ["run", "--dataset", self._one_of(SMALL), "--epochs", "1", "--train-size", "40", "--out", "o"]
        methods = [self._known("methods") for _ in range(self._random.choice((1, 1, 1, 2)))]
        for method in methods:
            words += ["--method", method]
        words += self._sometimes(0.15, ["--model", self._one_of(("mlp", "logistic", self._known("models")))])
        words += self._sometimes(0.15, ["--protocol", self._known("protocols")])
        words += self._sometimes(0.2, ["--seeds", self._one_of(("1", "2", self._one_of(VALUES)))])
        words += self._sometimes(0.1, ["--seed", self._one_of(("0", "7", self._one_of(VALUES)))])
        for _ in range(self._random.choice((0, 0, 1, 1, 2))):
            words += ["-o", self._option(methods[0])]
        words += self._sometimes(0.1, ["--each", self._option(methods[0])])
        words += self._sometimes(0.1, ["--validation", self._one_of(("shared", "paper", self._one_of(VALUES)))])
        words += self._sometimes(0.15, [self._one_of(("--stack", "--eager", "--no-check", "--force", "--check"))])
        words += self._sometimes(0.1, ["--backend", self._one_of(("auto", "reverse", "replay", self._one_of(NAMES)))])
        words += self._sometimes(0.1, ["--device", self._one_of(("cpu", "auto", "cuda:99", self._one_of(NAMES)))])
        words += self._sometimes(0.05, ["--out", self._one_of(FOLDERS)])
        return words + self._sometimes(0.05, ["--data-dir", self._one_of(FOLDERS)])

    def _option(self, method: str) -> str:
        """NAME=VALUE of the recipe, of the method or of something that has no such option."""
        own = options_of(self._registry.offers["methods"][method].value)
        known = {f"recipe.{name}": option.default for name, option in options_of(Recipe).items()} | {
            name: option.default for name, option in own.items()
        }
        name = self._one_of(sorted(known))
        if self._random.random() < 0.4:
            return f"{name}={show(known[name])}"
        others = [
            "model.hidden",
            "protocol.factor",
            "protocol.ratio",
            "dataset.size",
            "recipe.",
            ".",
            f"{method}.x",
            "x",
        ]
        return f"{self._one_of((name, name, self._one_of(others)))}={self._one_of(VALUES)}"

    def _show(self) -> list[str]:
        kind = self._one_of(("methods", "protocols", "metrics", "workloads"))
        return ["show", self._one_of((self._known(kind), *SMALL, *NAMES))]

    def _list(self) -> list[str]:
        return ["list", *self._sometimes(0.8, [self._one_of(("methods", "plugins", "metrics", *NAMES))])]

    def _plot(self) -> list[str]:
        kinds = ("curves", "fraction", "gradients", "weight", "capacity", "counts", "histograms", "surfaces", "images")
        words = ["plot", self._one_of(kinds), "--records", self._one_of(("o/results", self._one_of(FOLDERS)))]
        words += self._sometimes(0.4, ["--dataset", self._one_of((*SMALL, self._one_of(NAMES)))])
        words += self._sometimes(0.3, ["--metric", self._one_of(("accuracy", "test/ece", *NAMES, *VALUES))])
        words += self._sometimes(0.2, ["--x", self._one_of(("model.hidden", *NAMES))])
        return [*words, "--out", self._one_of(("pictures", self._one_of(FOLDERS)))]

    def _leaderboard(self) -> list[str]:
        return [
            "leaderboard",
            "--out",
            self._one_of(("o", "o", self._one_of(FOLDERS))),
            *self._sometimes(0.3, ["--check"]),
        ]

    def _new(self) -> list[str]:
        kind = self._one_of(("method", "dataset", "model", "protocol", "metric", *NAMES))
        return [
            "new",
            kind,
            self._one_of(("my_thing", "erm", "class", "1x", *NAMES)),
            "--out",
            self._one_of(("n", self._one_of(FOLDERS))),
        ]

    def _data(self) -> list[str]:
        name = self._one_of((*SMALL, self._one_of(NAMES), "adult"))
        return [
            "data",
            self._one_of(("audit", "prepare", self._one_of(NAMES))),
            name,
            "--data-dir",
            self._one_of(FOLDERS),
        ]

    def _throughput(self) -> list[str]:
        words = [
            "throughput",
            "--model",
            self._one_of(("logistic", "logistic", self._one_of(NAMES))),
            "--shape",
            self._one_of(("3", self._one_of(VALUES))),
        ]
        words += [
            "--classes",
            self._one_of(("2", "2", self._one_of(VALUES))),
            "--rounds",
            "1",
            "--no-memory",
            "--no-rivals",
        ]
        return [
            *words,
            "--method",
            "erm",
            "--batch-size",
            self._one_of(("4", "4", self._one_of(VALUES))),
            "--out",
            self._one_of(("t", self._one_of(FOLDERS))),
        ]


def contents(folder: Path) -> set[str]:
    """What a folder holds, below it too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def outcome(words: Sequence[str], folder: Path) -> Outcome:
    """Give one command line in a folder, and see which promises it keeps."""
    before = contents(folder)
    result = CliRunner().invoke(bench, list(words), prog_name="bench")
    code = result.exit_code if isinstance(result.exception, SystemExit | None) else None
    broken = []
    if code is None:
        broken.append(f"{type(result.exception).__name__} left the program")
    elif code not in (0, 1, 2):
        broken.append(f"exit code {code}")
    if "Traceback (most recent call last)" in result.output:
        broken.append("a traceback")
    if code == 2:
        lines = result.stderr.strip().splitlines()
        if len(lines) != 1:
            broken.append(f"{len(lines)} lines for a refused command")
        if created := contents(folder) - before:
            broken.append(f"created {sorted(created)[0]!r}, though refused")
    return Outcome(tuple(words), code, tuple(broken), result.output)


def run_all(commands: int, seed: int, folder: Path) -> list[Outcome]:
    """Give so many command lines in a folder, one after the other; a refused one must not disturb the next."""
    (folder / "file").write_text("a file")
    outcomes = []
    with chdir(folder):
        for words, _ in zip(Generator(seed), range(commands), strict=False):
            outcomes.append(outcome(words, folder))
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--commands", type=int, default=COMMANDS, help=f"how many; the default is {COMMANDS:,}")
    parser.add_argument("--seed", type=int, default=0, help="of the command lines; the default is 0")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run_all(asked.commands, asked.seed, Path(folder))
    codes = Counter(str(one.code) for one in outcomes)
    print(f"{len(outcomes):,} command lines; exit codes: {', '.join(f'{n:,} x {c}' for c, n in sorted(codes.items()))}")
    broken = [one for one in outcomes if one.broken]
    for one in broken:
        print(f"{'; '.join(one.broken)}: {shlex.join(['bench', *one.words])}\n    {one.output[-600:]!r}")
    print(f"{len(broken)} break a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
