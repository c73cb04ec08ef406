"""The number of threads that torch computes a run on the CPU with.

A further thread pays off if its share of an operator takes longer than starting it and waiting for the slowest thread.
A small model gains little from several threads, even on a quiet machine. If another process uses one of the cores, all
threads wait in every operator for the one on that core, and a step takes many times as long as with one thread.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch

from bench.data.split import Split
from bench.errors import NamedError
from bench.models.operators import flops
from bench.runs.build import model_builder
from bench.runs.experiment import Experiment
from bench.streams import RandomStreams

VARIABLE = "OMP_NUM_THREADS"
FLOPS_A_THREAD = 10_000_000
"""FLOPs of the forward pass of a training batch for which the rule takes one more thread. Measured on two quiet cores:
two threads take 0.8 to 1.2 of the time of one thread below twice this number (0.7 for a hundred stacked logistic
regressions), and 0.5 to 0.85 of it above. Beside a process that uses one of the cores, two threads took more than 4
times as long as one thread on `digits`.
"""


@dataclass(frozen=True)
class Threads:
    """The number of torch's threads on the CPU, and what chose it.

    Attributes:
        count: the number of threads.
        chosen_by: the option, the environment variable or the rule that chose the number, as a text for the record.
    """

    count: int
    chosen_by: str

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within this context, torch computes with `count` threads; afterwards with as many as before."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.count)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def choose_threads(experiment: Experiment, runs: int, device: torch.device, asked: int | None) -> Threads:
    """Choose the number of torch's threads on the CPU.

    The user's own number comes first, then the one in OMP_NUM_THREADS. Without either, a rule decides for models on the
    CPU: one thread for each FLOPS_A_THREAD of the forward pass of a training batch, all stacked runs together; at least
    one, and at most as many as torch has. The number is then the same for every method, so that their times can be
    compared. The rule measures no time, so that the same command rounds in the same way when it is repeated. For models
    on another device, torch keeps its own number.

    Args:
        experiment: the experiment whose model and batch size count.
        runs: number of stacked runs; 1 for a single run.
        device: the device of the model.
        asked: the number that the user gave; None: the user gave none.

    Returns:
        The number of threads, and what chose it.
    """
    every = torch.get_num_threads()
    if asked:
        return Threads(asked, "--threads")
    if _is_set():
        return Threads(every, VARIABLE)
    if device.type != "cpu":
        return Threads(every, f"torch: the model is on {device.type}")
    try:
        batch_flops = runs * experiment.recipe.batch_size * sample_flops(experiment)
    except NamedError:
        raise
    except (Exception, SystemExit) as error:  # the training fails in the same way, and reports it
        return Threads(every, f"torch: the forward pass of a sample fails: {' '.join(str(error).split())}")
    count = max(1, min(every, batch_flops // FLOPS_A_THREAD))
    return Threads(
        count, f"rule: a batch's forward pass has {batch_flops / 1e6:.3g} MFLOP, {FLOPS_A_THREAD / 1e6:g} a thread"
    )


def _is_set() -> bool:
    """Whether OMP_NUM_THREADS holds a number of threads: OpenMP ignores anything else."""
    first = os.environ.get(VARIABLE, "").partition(",")[0].strip()
    return first.isdecimal() and int(first) > 0


def sample_flops(experiment: Experiment) -> int:
    """Count the FLOPs of the model's forward pass for one sample.

    The model is in evaluation mode, because BatchNorm cannot train on one sample.

    Args:
        experiment: the experiment with the model and the shape of the data.

    Returns:
        The number of FLOPs.
    """
    with experiment.running("data set") if experiment.dataset.fit else nullcontext():
        shape = experiment.dataset.shape
    x = torch.zeros((1, *shape))  # batches are float32, in whatever type the data are kept
    nothing = torch.zeros(1, dtype=torch.int64)
    build = model_builder(experiment, Split(x, nothing, nothing), RandomStreams((0,)), torch.device("cpu"))
    with experiment.running("model"), torch.no_grad():
        model = build().eval()
        return flops(lambda: model(x))
