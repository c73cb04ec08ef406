"""torchvision, also where its compiled operators do not load: import it from here, before timm too.

    from bench.compat import torchvision

A torchvision wheel built for CUDA does not load its operators beside a CPU-only torch, and then fails to import
because its Python half describes operators that nobody declared ("operator torchvision::nms does not exist",
pytorch/vision#9077, #9085). This project calls none of them. So each operator that the error names is declared here,
and the import tried again; calling such an operator still fails. With a working build nothing is declared.
"""

import re
import sys
from importlib import import_module
from types import ModuleType

import torch

MOST = 20  # declared operators; torchvision 0.28 needs two
_keep: list[torch.library.Library] = []  # a declaration lives as long as its library object


def import_declaring(name: str) -> ModuleType:
    """The package `name`, imported with the operators declared whose absence alone stops it.

    Raises whatever the import raises for another reason.
    """
    for _ in range(MOST):
        try:
            return import_module(name)
        except RuntimeError as error:
            missing = re.fullmatch(rf"operator {re.escape(name)}::(\w+) does not exist", str(error))
            if not missing:
                raise
            library = torch.library.Library(name, "FRAGMENT")
            library.define(f"{missing[1]}() -> ()")  # any schema serves: only the name is looked up
            _keep.append(library)
            _forget(name)
    return import_module(name)


def _forget(name: str) -> None:
    """Drop what a failed import left half done, so that the next one starts from the beginning."""
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]


torchvision = import_declaring("torchvision")
