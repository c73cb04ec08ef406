"""The corruptions of the public package `imagecorruptions`, as they are with current versions of what they need.

The package (Michaelis et al. 2019) is the code of ImageNet-C for images of all sizes. Its source is read, never
imported, and changed where it does not run, where it departs from ImageNet-C's own code (hendrycks/robustness), and in
its constants: `public(constants)` are the functions with other ones. `authors(constants, side)` are those of the
authors' own package, `imagenet-c`, which show that these changes are right; it asks for versions of libraries that are
gone, so it is there only after `pip install --no-deps imagenet-c`.
"""

import ast
import functools
import importlib.util
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy.ndimage import map_coordinates

from bench.images.corruptions import CORRUPTIONS


class Modern(ast.NodeTransformer):
    """Names that NumPy, SciPy, scikit-image and setuptools have changed; the table of constants, by function."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        if node.module == "pkg_resources":
            return None
        if node.module == "scipy.ndimage.interpolation":
            node.module = "scipy.ndimage"
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return ast.keyword("channel_axis", ast.Constant(-1)) if node.arg == "multichannel" else self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        if node.attr == "float_":
            return ast.parse("float", mode="eval").body
        if node.attr == "NEAREST":  # ImageNet-C has the box filter in both directions
            node.attr = "BOX"
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        for line in node.body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "c":
                line.value = ast.parse(f"CONSTANTS[{node.name!r}][severity - 1]", mode="eval").body
        return self.generic_visit(node)


class OfSide(Modern):
    """Images of another side than 224, whose fog has the next power of two; without what needs ImageMagick."""

    def __init__(self, side: int) -> None:
        self.sides = {224: side, 256: 1 << (side - 1).bit_length()}

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = [part for part in node.body if "wand" not in ast.unparse(part).lower()]
        return self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant(self.sides.get(node.value, node.value) if isinstance(node.value, int) else node.value)


@functools.cache
def package(name: str = "imagecorruptions") -> Path:
    spec = importlib.util.find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def package_constants() -> dict[str, Any]:
    """The package's own, by function: the tables that `public` replaces."""
    tables = {}
    for function in ast.parse((package() / "corruptions.py").read_text()).body:
        if not isinstance(function, ast.FunctionDef):
            continue
        for line in function.body:
            if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "c":
                assert isinstance(line.value, ast.Subscript)
                tables[function.name] = eval(ast.unparse(line.value.value), {"np": np})
    return tables


def our_constants(size: int) -> dict[str, Any]:
    """Those of `bench.images.corruptions` for images of this nominal size, in the form of the public code."""
    constants: dict[str, Any] = {name: corruption.constants[size] for name, corruption in CORRUPTIONS.items()}
    constants["zoom_blur"] = [np.arange(1, stop, step) for stop, step in constants["zoom_blur"]]
    return constants


def public(constants: Mapping[str, Sequence[Any]]) -> types.SimpleNamespace:
    """The functions f(image of PIL, severity) -> array of 0 to 255, by name, with these constants by name."""
    names = functions("imagecorruptions", Modern(), constants)
    zoom = names["clipped_zoom"]
    names["clipped_zoom"] = lambda image, factor: middle(zoom(image, factor), image.shape)
    names["elastic_transform"] = functools.partial(elastic_transform, constants)
    return types.SimpleNamespace(**names)


def authors(constants: Mapping[str, Sequence[Any]], side: int) -> types.SimpleNamespace:
    """The same, of the authors' package, for square images; without motion_blur and snow, and frost's photographs."""
    return types.SimpleNamespace(**functions("imagenet_c", OfSide(side), constants))


def functions(name: str, changes: Modern, constants: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """What the module `corruptions` of a package defines, after these changes."""
    tree = changes.visit(ast.parse((package(name) / "corruptions.py").read_text()))
    names: dict[str, Any] = {
        "CONSTANTS": constants,
        "__name__": name,
        "resource_filename": lambda _, file: str(package(name) / file),
    }
    exec(compile(ast.fix_missing_locations(tree), name, "exec"), names)
    return names


def middle(image: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """As ImageNet-C has it; the package takes the upper left corner."""
    top, left = (image.shape[0] - shape[0]) // 2, (image.shape[1] - shape[1]) // 2
    return image[top : top + shape[0], left : left + shape[1]]


def elastic_transform(constants: Mapping[str, Sequence[Any]], image: Image.Image, severity: int) -> np.ndarray:
    """ImageNet-C's, which the package has replaced by another."""
    from skimage.filters import gaussian  # the package's; machines without it import this file too

    amount, sigma, corner = constants["elastic_transform"][severity - 1]
    x: Any = np.array(image, dtype=np.float32) / 255
    height, width = x.shape[:2]
    side, middle = min(height, width) // 3, np.array([height // 2, width // 2], np.float32)
    points = np.stack([middle + side, middle + np.array([side, -side]), middle - side]).astype(np.float32)
    moved = points + np.random.uniform(-corner, corner, size=(3, 2)).astype(np.float32)
    x = cv2.warpAffine(x, cv2.getAffineTransform(points, moved), (width, height), borderMode=cv2.BORDER_REFLECT_101)
    right, down = (
        amount * gaussian(np.random.uniform(-1, 1, size=(height, width)), sigma, mode="reflect", truncate=3)
        for _ in range(2)
    )
    at = np.mgrid[:height, :width, :3] + np.stack([down, right, np.zeros_like(down)])[..., None]
    distorted: np.ndarray = 255 * np.clip(map_coordinates(x, at, order=1, mode="reflect"), 0, 1)
    return distorted
