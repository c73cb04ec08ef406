"""python -m tests.gpu [GROUP ...] [--device cuda|pretended|cpu]: a line for each check; 1 where one has failed."""

import argparse
import contextlib
import subprocess
import sys
from collections.abc import Sequence

import torch

from bench.registry import installed
from tests.gpu import GROUPS, checks, outcome
from tests.pretended import pretended

THREADS = 4  # several groups may run at once


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}; none: all of them")
    parser.add_argument("--device", choices=["cuda", "pretended", "cpu"], default="cuda")
    parser.add_argument("--list", action="store_true", help="the names of the groups")
    asked = parser.parse_args(words)
    if unknown := sorted({*asked.groups} - {*GROUPS}):
        parser.error(f"there is no group {', '.join(unknown)}; there are: {', '.join(GROUPS)}")
    if asked.list:
        print("\n".join(GROUPS))
        return 0
    if asked.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch finds no CUDA device")
    groups = asked.groups or GROUPS
    if len(groups) > 1:
        command = [sys.executable, "-m", "tests.gpu", "--device", asked.device]
        return max([subprocess.run([*command, group]).returncode for group in groups])
    return run(groups[0], asked.device)


def run(group: str, device: str) -> int:
    """In this process."""
    installed()  # imports what the checks use
    found, failed = checks(group), 0
    with pretended() if device == "pretended" else contextlib.nullcontext():
        for name, check in found.items():
            told = outcome(name, check, torch.device("cpu" if device == "cpu" else "cuda"))
            print(told, flush=True)
            print(told.trace, end="", file=sys.stderr, flush=True)
            failed += bool(told.trace)
    return int(failed > 0)


if __name__ == "__main__":
    torch.set_num_threads(min(torch.get_num_threads(), THREADS))
    sys.exit(main())
