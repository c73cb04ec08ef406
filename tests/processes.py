"""Commands in processes of their own, which are ended by signals."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

HEARD = "import signal; [signal.signal(getattr(signal, name), signal.SIG_DFL) for name in ('SIGINT', 'SIGHUP')]"
"""A shell's jobs in the background ignore the one, and those of `nohup` the other."""


def ended_by(
    number: int, words: list[str], folder: Path, when: Callable[[], object], python: Path | str = sys.executable
) -> tuple[int, str]:
    """Start `bench` with these words, and send it a signal.

    Args:
        number: of the signal.
        words: of the command.
        folder: in which it runs, with one thread.
        when: whether it has come so far that the signal is sent.
        python: the interpreter, of whichever environment.

    Returns:
        Its exit code, and what it has written to its stderr.
    """
    process = subprocess.Popen(
        [str(python), "-c", f"{HEARD}; from bench.cli import main; main()", *words],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not when():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, error
