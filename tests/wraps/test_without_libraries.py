"""The wraps that need no library, and what holds for the code of all of them."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench import Method
from bench.testing import check_method, find_out, toy_task, train
from tests.wraps.distribution.bench_wraps import WRAPS
from tests.wraps.distribution.bench_wraps.co_teaching import CoTeaching
from tests.wraps.distribution.bench_wraps.mixup import MixUp
from tests.wraps.distribution.bench_wraps.self_paced import SelfPaced

FOLDER = Path(__file__).parent / "distribution" / "bench_wraps"


def code_lines(text: str) -> int:
    """Without imports, docstrings, comments and blank lines."""
    tree, left_out = ast.parse(text), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or 0) + 1))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
            left_out |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in left_out for n, line in lines)


def private_names(text: str) -> Iterator[str]:
    """Names that begin with an underscore, but for `_`, `__`, `__init__` and the `_replace` of named tuples."""
    for node in ast.walk(ast.parse(text)):
        names = {
            ast.Attribute: lambda node: [node.attr],
            ast.Name: lambda node: [node.id],
            ast.ImportFrom: lambda node: [*node.module.split("."), *(alias.name for alias in node.names)],
            ast.Import: lambda node: [part for alias in node.names for part in alias.name.split(".")],
        }.get(type(node), lambda node: [])(node)
        private = (name for name in names if name.startswith("_") and name.strip("_") and not name.endswith("__"))
        yield from (name for name in private if name != "_replace")


@pytest.mark.parametrize("name", WRAPS)
def test_a_wrap_has_at_most_25_lines_and_touches_no_private_name(name):
    text = (FOLDER / f"{name}.py").read_text()
    assert code_lines(text) <= 25
    assert list(private_names(text)) == []


def test_a_private_name_is_found():
    assert sorted(private_names("import a._b\nfrom c import _d\ne._f = _g")) == ["_b", "_d", "_f", "_g"]


@pytest.mark.parametrize("method", [CoTeaching, MixUp, SelfPaced])
def test_a_wrap_keeps_the_contract_and_cannot_be_stacked(method):
    check_method(method)
    assert method.stackable is False
    assert find_out(method)["stackable"].startswith("stacked runs ")


def test_mixup_is_the_expected_loss_of_the_mixed_labels():
    task = toy_task(epochs=1)
    method = MixUp(alpha=0.4)
    method.begin(task)
    step = method.as_step(next(method.batches(0)))
    torch.manual_seed(3)
    losses = method.losses(step)
    torch.manual_seed(3)
    share, other = torch.distributions.Beta(0.4, 0.4).sample(), torch.randperm(16)
    logits = method.model(share * step.x + (1 - share) * step.x[other]).log_softmax(-1)
    for i in range(16):
        expected = -(share * logits[i, step.y[i]] + (1 - share) * logits[i, step.y[other[i]]])
        assert losses[i].item() == pytest.approx(expected.item(), rel=1e-5)


def test_self_paced_takes_the_easier_half_first_and_all_in_the_end():
    method = SelfPaced(first=0.5)
    method.begin(toy_task(epochs=3))
    step, losses = method.as_step(next(method.batches(0))), torch.arange(16.0)
    assert method.weights(step, losses).tolist() == [2.0] * 8 + [0.0] * 8
    step.epoch = 2
    assert method.weights(step, losses).tolist() == [1.0] * 16


def test_co_teaching_without_noise_is_plain_for_the_first_network():
    plain, method = Method(), CoTeaching(noise=0.0)
    task = toy_task(epochs=2)
    expected = train(plain, task).state_dict()
    torch.testing.assert_close(train(method, replace(task)).state_dict(), expected)
    assert not torch.equal(method.nets[1].state_dict()["0.weight"], expected["0.weight"])
