"""torchvision, even if its compiled operators cannot be loaded. Import it from here, also before importing timm:

    from bench.compat import torchvision

A torchvision wheel that was built for CUDA does not load its operators beside a CPU-only torch. Its import then fails,
because its Python code describes operators that were not declared ("operator torchvision::nms does not exist",
pytorch/vision#9077, #9085). This project calls none of these operators. So this module declares each operator that the
error names and tries the import again. Calling such an operator still fails. With a working build nothing is declared.
"""

import re
import sys
from importlib import import_module
from types import ModuleType

import torch

MOST = 20  # operators that are declared at most; torchvision 0.28 needs two
_libraries: list[torch.library.Library] = []  # a declaration lives only as long as its library object


def import_declaring(name: str) -> ModuleType:
    """Import a package, declaring its operators that are missing.

    Args:
        name: of the package, which is also the namespace of its operators.

    Raises:
        Exception: whatever the import raises for another reason than a missing operator.
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
            _libraries.append(library)
            _forget(name)
    return import_module(name)


def _forget(name: str) -> None:
    """Remove the modules that a failed import left behind, so that the next import starts from the beginning."""
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]


torchvision = import_declaring("torchvision")
