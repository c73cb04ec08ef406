"""How many of torch's threads a run on the CPU is computed with.

A thread pays where it has more to do in an operator than it takes to start it and to wait for the last one. Several
gain a small model little on a quiet machine. Where another process wants one of the cores, all wait in every operator
for the thread that is there: then a step takes many times as long as with one thread.
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
"""In the forward pass of a training batch. Measured on two quiet cores: of one thread's time, two take 0.8 to 1.2 below
twice that (0.7 for a hundred stacked logistic regressions), and 0.5 to 0.85 above. Beside a process that wants one of
the cores, two took more than 4 times as long as one on `digits`.
"""


@dataclass(frozen=True)
class Threads:
    """A number of threads, and what chose it.

    Attributes:
        count: of torch's threads on the CPU.
        chosen_by: the option, the variable or the rule that chose it, as a text for the record.
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

    It is what the user asks for, and else what OMP_NUM_THREADS says. If neither says anything, a rule decides on the
    CPU: one thread for each FLOPS_A_THREAD of the forward pass of a training batch, of all stacked runs; at least one,
    and no more than torch has. So it is the same for every method, and their times can be compared; and the rule
    measures nothing, so that the same command rounds in the same way again. On another device torch's own number stays.

    Args:
        experiment: what is run.
        runs: number of stacked runs.
        device: of the model.
        asked: the number that the user asks for; None for none.

    Returns:
        The number, and what chose it.
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
    except (Exception, SystemExit) as error:  # the training meets it again, and tells it
        return Threads(every, f"torch: the forward pass of a sample fails: {' '.join(str(error).split())}")
    count = max(1, min(every, batch_flops // FLOPS_A_THREAD))
    return Threads(
        count, f"rule: a batch's forward pass has {batch_flops / 1e6:.3g} MFLOP, {FLOPS_A_THREAD / 1e6:g} a thread"
    )


def _is_set() -> bool:
    """Whether OMP_NUM_THREADS says a number: OpenMP passes over anything else."""
    first = os.environ.get(VARIABLE, "").partition(",")[0].strip()
    return first.isdecimal() and int(first) > 0


def sample_flops(experiment: Experiment) -> int:
    """The FLOPs of the model's forward pass of one sample.

    The model is in evaluation mode, because BatchNorm cannot train on one sample.

    Args:
        experiment: whose model and data set it is.

    Returns:
        The number of FLOPs.
    """
    with experiment.running("data set") if experiment.dataset.fit else nullcontext():
        shape = experiment.dataset.shape
    x = torch.zeros((1, *shape))  # as batches are, whatever the data are kept as
    nothing = torch.zeros(1, dtype=torch.int64)
    build = model_builder(experiment, Split(x, nothing, nothing), RandomStreams((0,)), torch.device("cpu"))
    with experiment.running("model"), torch.no_grad():
        model = build().eval()
        return flops(lambda: model(x))
