"""Each setting is changed as a plugin would, and has to be as it was; the new value is known from torch and Python."""

import os
import signal
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import bench.metrics
from bench.guards.code import Names
from bench.guards.process import LeftBehind, ProcessState


class Functions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Operators(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


INFERENCE, AUTOCAST = torch.inference_mode(), torch.autocast("cpu")
TOLD = {
    "the default dtype (torch.float64 in place of torch.float32)": lambda: torch.set_default_dtype(torch.float64),
    "inference mode": INFERENCE.__enter__,
    "grad mode (False in place of True)": lambda: torch.set_grad_enabled(False),
    "autocast": AUTOCAST.__enter__,
    "anomaly detection": lambda: torch.set_anomaly_enabled(True),
    "deterministic algorithms": lambda: torch.use_deterministic_algorithms(True),
    "precision of products (medium": lambda: torch.set_float32_matmul_precision("medium"),
    "flushing of denormal numbers": lambda: torch.set_flush_denormal(True),
    "the default device": lambda: torch.set_default_device("meta"),
    "a mode over torch's functions": Functions().__enter__,
    "or a mode over": Operators().__enter__,
    "torch.backends.cudnn.benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "torch.backends.mkldnn.enabled": lambda: setattr(torch.backends.mkldnn, "enabled", False),
    "global hooks of modules": lambda: nn.modules.module.register_module_forward_hook(lambda *_: None),
    "the current folder": lambda: os.chdir("/"),
    "handlers of signals": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "numpy's errors": lambda: np.seterr(all="raise"),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_could_change_other_runs_is_put_back_and_named(name):
    state = ProcessState(["bench"])
    TOLD[name]()
    left = state.put_back()
    assert left.code == []
    assert any(name in told for told in left.settings)
    assert state.put_back() == LeftBehind()
    x = torch.ones(2, requires_grad=True)
    assert (x.dtype, x.device.type, (x @ x).grad_fn is not None) == (torch.float32, "cpu", True)


QUIET = {
    "threads": (torch.get_num_threads, lambda: torch.set_num_threads(torch.get_num_threads() + 1)),
    "generator": (torch.initial_seed, lambda: torch.manual_seed(3)),
    "variables": (lambda: os.environ.get("OMP_NUM_THREADS"), lambda: os.environ.update(OMP_NUM_THREADS="17")),
    "warnings": (lambda: list(warnings.filters), lambda: warnings.simplefilter("ignore")),
}


@pytest.mark.parametrize("name", QUIET)
def test_what_a_run_may_set_is_put_back_without_a_word(name):
    read, change = QUIET[name]
    state, before = ProcessState(["bench"]), read()
    change()
    assert read() != before
    assert state.put_back() == LeftBehind()
    assert read() == before


REPLACED = {
    "torch.nn.functional.cross_entropy": lambda: setattr(nn.functional, "cross_entropy", print),
    "torch.Tensor.mean": lambda: setattr(torch.Tensor, "mean", lambda self: self),
    "torch.nn.modules.linear.Linear.__call__": lambda: setattr(nn.Linear, "__call__", lambda self, x: x),
    "torch.optim.sgd.SGD.step": lambda: setattr(torch.optim.SGD, "step", lambda self: None),
    "bench.metrics.METRICS['accuracy']": lambda: bench.metrics.METRICS.update(accuracy=None),
    "bench.metrics.evaluate": lambda: setattr(bench.metrics, "evaluate", print),
    "numpy.mean": lambda: setattr(np, "mean", print),
    "builtins.sum": lambda: (
        setattr(__builtins__, "sum", max) if not isinstance(__builtins__, dict) else __builtins__.update(sum=max)
    ),
}


@pytest.mark.parametrize("name", REPLACED)
def test_code_that_was_replaced_is_named_and_there_again(name):
    state = ProcessState(["bench"])
    REPLACED[name]()
    left = state.put_back()
    assert left.code == [name]
    assert state.put_back() == LeftBehind()
    assert sum([1, 2]) == 3
    assert nn.Linear(1, 1)(torch.ones(1, 1)).shape == (1, 1)


def test_an_evaluation_computes_as_before_the_run_and_the_method_goes_on_as_it_was():
    state = ProcessState(["bench"])
    mode = Functions()
    mode.__enter__()
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    with state.undisturbed():
        assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
        assert torch._C._len_torch_function_stack() == 0
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float64, False)
    assert torch._C._get_function_stack_at(0) is mode
    state.put_back()
    assert torch.is_grad_enabled()


def test_what_libraries_make_anew_when_they_are_imported_is_no_replaced_code():
    state = ProcessState({"bench"})
    time.tzset()  # as pandas and scikit-learn call it, so that loading `digits` was refused
    assert state.put_back().code == []


def test_what_torch_wraps_itself_is_not_replaced():
    """An optimiser that inherits its step gets a wrapper of it in its own class, when the first one is made."""

    class Base(torch.optim.Optimizer):
        def step(self, closure=None):
            return None

    class Inherits(Base):
        pass

    names = Names("acme.Inherits", Inherits, dict(vars(Inherits)))
    Inherits([torch.zeros(1)], {})
    assert "step" in vars(Inherits)  # as it is with AdamW, whose base is Adam
    assert names.replaced() == []
    Inherits.step = lambda self, closure=None: None
    assert names.replaced() == ["acme.Inherits.step"]
