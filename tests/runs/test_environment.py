"""What a record says of the machine that it comes from."""

import ast
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import scipy
import sklearn
import torch

from bench.registry import Plugin
from bench.runs import environment as module
from bench.runs.environment import environment


@pytest.fixture
def card(monkeypatch, tmp_path):
    """A made-up GPU with a driver that a made-up nvidia-smi tells."""
    properties = SimpleNamespace(name="Card X", major=9, minor=0, total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: properties.name)
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 580.65.06\necho 580.65.06\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    module.driver.cache_clear()
    yield torch.device("cuda")
    module.driver.cache_clear()


def test_on_a_gpu_it_names_card_driver_versions_and_precision(card):
    found = environment({}, card)
    assert found.device == "Card X"
    assert found.gpu == {
        "name": "Card X",
        "capability": "9.0",
        "memory_bytes": 80 * 2**30,
        "driver": "580.65.06",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "float32_matmul": "none",  # torch's default
        "float32_convolution": "tf32",
        "cudnn_deterministic": False,
        "cudnn_benchmark": False,
    }


@pytest.fixture
def other_precision():
    """Set otherwise for a test."""
    matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = torch.get_float32_matmul_precision(), matmul.fp32_precision, convolution.fp32_precision
    torch.set_float32_matmul_precision("high")
    convolution.fp32_precision = "ieee"
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision(before[0])
    matmul.fp32_precision, convolution.fp32_precision = before[1:]


@pytest.mark.usefixtures("other_precision")
def test_settings_of_the_moment_are_told(card):
    found = environment({}, card)
    assert found.numerics == {"float32_matmul_precision": "high", "deterministic_algorithms": True}
    assert (found.gpu["float32_matmul"], found.gpu["float32_convolution"]) == ("tf32", "ieee")


def test_without_the_tool_of_the_driver_its_version_is_unknown(card, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment({}, card).gpu["driver"] is None


def test_on_a_cpu_there_is_no_gpu():
    found = environment({}, torch.device("cpu"))
    assert found.gpu == {} and found.numerics["float32_matmul_precision"] == "highest"


def test_what_torch_cannot_tell_is_unknown(monkeypatch):
    """It was set by the newer names."""

    def mixed() -> str:
        raise RuntimeError("a mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", mixed)
    assert environment({}, torch.device("cpu")).numerics["float32_matmul_precision"] is None


def test_the_versions_of_what_a_plugin_imports_are_told_too(tmp_path, monkeypatch):
    (tmp_path / "third_party.py").write_text("import scipy.stats\n\n\ndef f():\n    from sklearn.svm import SVC\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = environment({"method": Plugin("mine", "mine", "1", "third_party")}, torch.device("cpu")).versions
    assert found.keys() - environment({}, torch.device("cpu")).versions.keys() == {"scipy", "scikit-learn"}
    assert found["scipy"] == scipy.__version__ and found["scikit-learn"] == sklearn.__version__


def test_changes_in_the_package_of_a_plugin_are_changes():
    """The package stands in another folder than the core does, and its module deeper in it."""
    plugins = Path(module.__file__).parents[2] / "plugins"
    assert module._package("bench_plugins.models.mlp") == plugins
    assert module._package("bench") == plugins.with_name("bench")
    assert module._package("ast") == Path(ast.__file__)
