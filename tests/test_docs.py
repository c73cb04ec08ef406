"""The guide's example of a method, run as it stands."""

import re
from pathlib import Path

import torch

from bench.registry import installed
from bench.testing import check_method, toy_task, train

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


def test_the_guides_l2rw_is_l2rw(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (source,) = (block for block in blocks if "class MyL2RW" in block)
    names = {"__name__": "guide"}
    exec(compile(source, GUIDE.name, "exec", dont_inherit=True), names)
    check_method(names["MyL2RW"])
    own, theirs = train(names["MyL2RW"](), toy_task()), train(installed().find("methods", "l2rw").value(), toy_task())
    for mine, other in zip(own.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)
