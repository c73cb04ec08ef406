"""The guide's examples of methods, run as they stand."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import Method, NotApplicableError
from bench.registry import installed
from bench.testing import check_method, toy_task, train

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def example(name: str) -> Any:
    """The class of that name in the guide."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (source,) = (block for block in blocks if f"class {name}" in block)
    names = {"__name__": "guide"}
    exec(compile(source, GUIDE.name, "exec", dont_inherit=True), names)
    return names[name]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_guides_l2rw_is_l2rw():
    l2rw = example("MyL2RW")
    check_method(l2rw)
    own, theirs = train(l2rw(), toy_task()), train(installed().find("methods", "l2rw").value(), toy_task())
    for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_the_guides_boosting_weighs_by_the_errors_of_the_models_before():
    """Each training is repeated alone, with the weights that its predecessors' errors give."""
    boosted, task = example("Boosted"), toy_task()
    check_method(boosted)

    @dataclass
    class Weighted(Method):
        def weights(self, batch, losses):
            return scale[batch.index]

    scale = torch.ones(70)
    for rounds in (1, 2, 3):
        model = train(Weighted(), task)
        assert same(train(boosted(rounds=rounds, factor=3.0), task), model)
        with torch.no_grad():
            wrong = model(task.train.x).argmax(-1) != task.train.y
        assert 0 < wrong.sum() < 70
        scale = scale * (1 + 2 * wrong)
        scale = scale / scale.mean()


def test_the_guides_boosting_says_where_it_cannot_be_used():
    task = replace(toy_task(), classes=("a", "b", "c"))
    with pytest.raises(NotApplicableError, match="boosted is made for two classes"):
        train(example("Boosted")(), task)
