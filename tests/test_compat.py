"""Importing a package whose operators were never declared, on packages made for the test and on torchvision itself."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench.compat import MOST, import_declaring, torchvision

COUNT = "with open(__file__ + '.runs', 'a') as file: file.write('.')\n"
NEEDS = """
import torch
for op in {ops}:
    if not hasattr(torch.ops.{name}, op):
        raise RuntimeError(f"operator {name}::{{op}} does not exist")
"""


@pytest.fixture
def package(tmp_path, monkeypatch, request):
    """Writes a package of that name whose code counts its executions; returns what counts them."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, code: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "part.py").write_text("")
        (folder / "__init__.py").write_text(COUNT + f"import {name}.part\n" + code)
        request.addfinalizer(lambda: [sys.modules.pop(m) for m in list(sys.modules) if m.split(".")[0] == name])
        return folder / "__init__.py.runs"

    return write


def test_what_the_error_names_is_declared(package):
    runs = package("visionlike", NEEDS.format(name="visionlike", ops=("spin", "flip")))
    module = import_declaring("visionlike")
    assert module is sys.modules["visionlike"]
    assert module.part is sys.modules["visionlike.part"]
    assert runs.read_text() == "..."  # once for each missing operator, and once in full
    with pytest.raises(NotImplementedError):
        torch.ops.visionlike.spin()


def test_nothing_is_done_where_nothing_is_missing(package):
    runs = package("visionfine", "")
    assert import_declaring("visionfine").part
    assert runs.read_text() == "."


@pytest.mark.parametrize(
    "error", [RuntimeError("operator other::spin does not exist"), RuntimeError("no"), ImportError("no")], ids=repr
)
def test_another_error_passes_unchanged(package, error):
    name = f"visionbroken{abs(hash(repr(error)))}"
    runs = package(name, f"raise {error!r}")
    with pytest.raises(type(error), match=f"^{error}$"):
        import_declaring(name)
    assert runs.read_text() == "."


def test_an_endless_list_of_missing_operators_ends(package):
    runs = package(
        "visionendless", "import time; raise RuntimeError(f'operator visionendless::o{time.time_ns()} does not exist')"
    )
    with pytest.raises(RuntimeError, match="visionendless::o"):
        import_declaring("visionendless")
    assert len(runs.read_text()) == MOST + 1


def test_torchvision_and_timm_work_in_a_fresh_process():
    code = (
        "from bench.compat import torchvision; import timm, torch, torchvision as direct; assert direct is torchvision;"
        "assert torchvision.models.squeezenet1_1()(torch.zeros(1, 3, 32, 32)).shape == (1, 1000)"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_operator_without_its_code_says_so():
    if torchvision.extension._has_ops():
        pytest.skip("the operators of this torchvision work")
    with pytest.raises(RuntimeError, match="Couldn't load custom C"):
        torchvision.ops.nms(torch.rand(2, 4), torch.rand(2), 0.5)
