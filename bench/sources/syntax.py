"""What a source file computes and what it imports, without its wording. Nothing here imports torch.

Comments, docstrings, annotations and imports for types only change no number, so they are left out. For an annotated
field of a class, the name, the position and the default are kept, because they make the class's constructor. The type
is left out: it only says how the text of an option becomes a value, and that value is part of a run's key.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

Function = TypeVar("Function", ast.FunctionDef, ast.AsyncFunctionDef)

FOR_TYPES_ALONE = {"typing", "typing_extensions", "collections.abc", "__future__"}
"""Modules that only names for annotations are imported from, which compute nothing."""
FIELD_KINDS = re.compile(r"\b(?:ClassVar|InitVar|KW_ONLY)\b")
"""Words of an annotation that change how a field enters the class's constructor: not at all, by keyword only, or
without being stored. They are therefore kept.
"""
READ_NO_TYPES = {"property", "staticmethod", "classmethod", "abstractmethod", "override", "hookimpl", "cached_property"}
"""Decorators that do not read annotations. Others may read them, as `singledispatch` and `torch.library.custom_op` do,
so the annotations of functions under other decorators are kept.
"""
DYNAMIC_IMPORTS = {
    *("import_module", "__import__", "iter_modules", "walk_packages", "exec_module", "spec_from_file_location"),
    *("run_path", "run_module", "exec", "__getattr__", "lazy_loader"),
}
"""Functions and modules that can import modules whose names do not stand in the source."""
IGNORED_FIELDS = {"ctx", "kind", "type_comment", "type_ignores", "type_params"}
"""Fields of syntax trees that follow from other fields, or that hold types."""


@dataclass(frozen=True)
class Parsed:
    """A source file, parsed.

    Attributes:
        meaning: the syntax tree as a text without the wording: equal texts compute the same numbers.
        imports: full names of everything that is imported anywhere in the file: modules, and `module.name` for a name
            that is imported from a module.
        open_ended: whether it may import modules that the source does not name, such as one whose name it computes.
    """

    meaning: str
    imports: frozenset[str] = frozenset()
    open_ended: bool = False


def parse(source: str, module: str, is_package: bool) -> Parsed:
    """Parse a source file.

    Args:
        source: the text of the file.
        module: the module's full name, from which relative imports start.
        is_package: whether it is the `__init__` of a package.

    Returns:
        Its meaning and its imports. The meaning of a text that this version of Python cannot parse is the text itself,
        without imports.
    """
    try:
        tree = _WithoutWording().visit(ast.parse(source))
        parts: list[str] = []
        _write(tree, parts)
    except (SyntaxError, ValueError, RecursionError):
        return Parsed(source)
    package = module if is_package else module.rpartition(".")[0]
    names: set[str] = set()
    open_ended = _passes_on(tree)
    for node in ast.walk(tree):
        found, is_open = _imported_by(node, package)
        names |= found
        open_ended |= is_open
    return Parsed("".join(parts), frozenset(names), open_ended)


class _WithoutWording(ast.NodeTransformer):
    """Removes from a syntax tree what computes nothing."""

    def __init__(self) -> None:
        self._in_class = False

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        """Remove `pass`: a body that held only a docstring is empty by now, and equals a body that holds `pass`."""

    def visit_TypeAlias(self, node: ast.AST) -> None:
        """Remove `type Name = ...`."""

    def visit_Import(self, node: ast.Import) -> ast.AST | None:
        return None if {alias.name for alias in node.names} <= FOR_TYPES_ALONE else node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | None:
        return None if not node.level and node.module in FOR_TYPES_ALONE else node

    def visit_If(self, node: ast.If) -> Any:
        test = node.test
        if (test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", "")) != "TYPE_CHECKING":
            return self.generic_visit(node)
        return [kept for statement in node.orelse for kept in _listed(self.visit(statement))]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node, in_class=True)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return self._inside(self._without_types(node), in_class=False)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(self._without_types(node), in_class=False)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self._in_class:
            kinds = sorted(FIELD_KINDS.findall(ast.unparse(node.annotation)))
            node.annotation = ast.Name(" ".join(["field", *kinds]))
            return self.generic_visit(node)
        if node.value is None:
            return None
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value))

    def _inside(self, node: ast.AST, in_class: bool) -> ast.AST:
        outside, self._in_class = self._in_class, in_class
        node = self.generic_visit(node)
        self._in_class = outside
        return node

    def _without_types(self, node: Function) -> Function:
        decorators = {ast.unparse(decorator).partition("(")[0].rpartition(".")[2] for decorator in node.decorator_list}
        if decorators <= READ_NO_TYPES:
            node.returns = None
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
        return node


def _listed(visited: Any) -> list[ast.AST]:
    """The result of a visit as a list, whether it is None, one node or a list of nodes."""
    if visited is None:
        return []
    return visited if isinstance(visited, list) else [visited]


def _write(value: Any, parts: list[str]) -> None:
    """Append the text of a syntax tree to `parts`. It is the same in every version of Python, unlike that of
    `ast.dump`, which names fields that only later versions have.
    """
    if isinstance(value, ast.AST):
        parts.append(f"({type(value).__name__}")
        for name in value._fields:
            part = getattr(value, name, None)
            if name not in IGNORED_FIELDS and part is not None and part != []:
                parts.append(f" {name}=")
                _write(part, parts)
        parts.append(")")
    elif isinstance(value, list):
        parts.append("[")
        for part in value:
            _write(part, parts)
        parts.append("]")
    else:
        parts.append(repr(value))


def _imported_by(node: ast.AST, package: str) -> tuple[set[str], bool]:
    """The full names that a node of a tree imports, and whether it may import others too."""
    if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
        return names, any(name.partition(".")[0] in DYNAMIC_IMPORTS for name in names)
    if isinstance(node, ast.ImportFrom):
        base = ".".join(filter(None, [_above(package, node.level), node.module])) if node.level else node.module or ""
        names = {f"{base}.{alias.name}" for alias in node.names if alias.name != "*"}
        return names | {base}, len(names) < len(node.names) or base.partition(".")[0] in DYNAMIC_IMPORTS
    if isinstance(node, ast.FunctionDef):
        return set(), node.name in DYNAMIC_IMPORTS
    if isinstance(node, ast.Call) and _called(node) in DYNAMIC_IMPORTS:
        return _by_text(node, package)
    return set(), False


def _passes_on(tree: ast.AST) -> bool:
    """Whether a function that imports modules gets another name or is passed on, as in `load = import_module`."""
    nodes = list(ast.walk(tree))
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    renamed = {node.asname for node in nodes if isinstance(node, ast.alias) and node.name in DYNAMIC_IMPORTS} - {None}
    return any(
        _name_of(node) in renamed or (_name_of(node) in DYNAMIC_IMPORTS and id(node) not in called) for node in nodes
    )


def _called(node: ast.Call) -> str:
    """The last name of the function that is called; empty if what is called has no name."""
    return _name_of(node.func)


def _name_of(node: ast.AST) -> str:
    """The last name of `a.b.name`; empty for a node that is no name."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _by_text(node: ast.Call, package: str) -> tuple[set[str], bool]:
    """The module that `import_module("...")` names, and whether it is another one, because no text stands there."""
    texts = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
    if _called(node) not in ("import_module", "__import__") or not texts or not isinstance(texts[0], str):
        return set(), True
    name = texts[0].lstrip(".")
    level = len(texts[0]) - len(name)
    return {".".join(filter(None, [_above(package, level), name])) if level else name}, False


def _above(package: str, level: int) -> str:
    """The package that a relative import with this number of dots starts from."""
    parts = package.split(".")
    return ".".join(parts[: len(parts) - level + 1])


def parents(module: str) -> Iterator[str]:
    """The packages that a module is in, the outermost first, and then the module itself.

    Importing the module runs the code of all of them.

    Args:
        module: its full name.

    Yields:
        Full names.
    """
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        yield ".".join(parts[:length])


def standard(modules: Iterable[str]) -> set[str]:
    """Which modules are part of Python itself.

    Args:
        modules: full names.

    Returns:
        Those of the names that belong to the standard library.
    """
    return {module for module in modules if module.partition(".")[0] in sys.stdlib_module_names}
