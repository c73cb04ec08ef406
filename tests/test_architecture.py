"""The arrows of the design, read from the source without running it."""

import ast
import inspect
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from bench import hookspecs
from bench.registry import installed

ROOT = Path(__file__).parents[1]


def modules(folder: str, package: str) -> dict[str, ast.Module]:
    """Module name -> its syntax tree."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        parts = [package, *path.relative_to(ROOT / folder).with_suffix("").parts]
        found[".".join(parts).removesuffix(".__init__")] = ast.parse(path.read_text())
    return found


BENCH, PLUGINS = modules("bench", "bench"), modules("plugins", "bench_plugins")


def running(tree: ast.AST, in_functions: bool = True) -> Iterator[ast.AST]:
    """The nodes of what is run: without `if TYPE_CHECKING`, and where asked without the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef | ast.Lambda) and not in_functions:
            continue
        yield node
        yield from running(node, in_functions)


def imports(tree: ast.AST, in_functions: bool = True) -> set[str]:
    """Full names of what is imported: modules, and `module.name` for each name imported from one."""
    found = set()
    for node in running(tree, in_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def home(name: str) -> str:
    """The module of bench that an imported name is in, or the top package of anything else."""
    while name.startswith("bench.") and name not in BENCH:
        name = name.rpartition(".")[0]
    return name if name in BENCH else name.split(".")[0]


def command_line(name: str) -> bool:
    return f"{name}.".startswith("bench.cli.")


ARROWS = {name: {home(found) for found in imports(tree)} - {name} for name, tree in BENCH.items()}


def test_the_core_imports_no_plugin():
    assert [name for name, found in ARROWS.items() if "bench_plugins" in found] == []


TOP = {"__init__", "hookspecs", "protocol", "imbalanced", "audit", "testing"}
"""Modules of the root that may name any room."""
ROOMS = {name.split(".")[1] for name in BENCH if name.count(".") > 1}


def place(name: str) -> str:
    """The room of a module of bench, or the module itself where it stands in the root."""
    return [*name.split("."), "__init__"][1]


def everything(tree: ast.Module) -> set[str]:
    """Full names of what is imported, for types alone too."""
    plain = ast.parse(ast.unparse(tree).replace("if TYPE_CHECKING:", "if True:"))
    return imports(plain)


WAYS: dict[str, set[str]] = {}
"""Place -> the other places that it imports, for types too."""
for module_name, module_tree in BENCH.items():
    WAYS.setdefault(place(module_name), set()).update(
        place(home(found)) for found in everything(module_tree) if home(found) in BENCH
    )
for place_name, reached_places in WAYS.items():
    reached_places.discard(place_name)


def test_a_room_is_described_by_its_first_line_and_holds_few_modules():
    for room in ROOMS:
        assert ast.get_docstring(BENCH[f"bench.{room}"]), room
        modules_in = [name for name in BENCH if name.startswith(f"bench.{room}.")]
        assert len([name for name in modules_in if name.count(".") == 2]) <= 14, room
    assert len([name for name in BENCH if name.count(".") <= 1 and place(name) not in ROOMS]) <= 20


def test_arrows_between_rooms_run_one_way():
    """The order of the design, imports for types included: a circle, or an arrow back, is an error."""
    circles = {
        name: ways - {"__init__", "hookspecs"} for name, ways in WAYS.items() if name not in ("__init__", "hookspecs")
    }
    order = list(TopologicalSorter(circles).static_order())  # raises CycleError
    chain = ["data", "models", "training", "protocol", "runs", "cli"]
    assert [name for name in order if name in chain] == chain
    assert "runs" not in WAYS["tables"] | WAYS["plots"] | WAYS["records"] | WAYS["training"]
    assert not (WAYS["tables"] | WAYS["plots"]) & {"training", "models", "data", "meta"}


def test_modules_of_the_root_that_are_not_its_top_import_no_room():
    lower = {name: ways & ROOMS for name, ways in WAYS.items() if name not in ROOMS | TOP}
    assert {name: ways for name, ways in lower.items() if ways} == {}


def test_no_import_of_the_core_leads_back():
    chain = ["bench.data.split", "bench.training.method", "bench.runs.runner", "bench.cli"]
    order = TopologicalSorter(ARROWS).static_order()  # raises CycleError
    assert [name for name in order if name in chain] == chain


@pytest.mark.parametrize(
    "late", ["bench.cli", "bench.tables.pages.leaderboard", "bench.cli.progress", "bench.runs.runner"]
)
def test_what_comes_last_is_imported_by_the_command_line_alone(late):
    assert [name for name, found in ARROWS.items() if late in found and not command_line(name)] == []


@pytest.mark.parametrize(
    "name",
    [
        "errors",
        "options",
        "records.spec",
        "tables.stats",
        "store.results",
        "tables.pages.leaderboard",
        "registry",
        "cli",
    ],
)
def test_what_must_start_quickly_does_not_lead_to_torch(name):
    reached, ahead = set(), {f"bench.{name}"}
    while ahead:
        reached |= (now := ahead)
        at_start = {home(found) for module in now & BENCH.keys() for found in imports(BENCH[module], False)}
        ahead = at_start - reached
    assert f"bench.{name}" in reached
    assert not reached & {"torch", "torchvision", "timm", "numpy", "pandas", "scipy", "sklearn", "matplotlib"}


def docstrings(tree: ast.AST) -> set[int]:
    """Identities of all strings that stand alone as a statement."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def test_the_core_knows_no_plugin_by_name():
    offers = {kind: named for kind, named in installed().offers.items() if kind != "metrics"}  # the core's own
    known = {name for named in offers.values() for name, offer in named.items() if own(offer.plugin)}
    assert {"erm", "forml", "digits", "logistic"} <= known
    named = [
        f"{module}, line {node.lineno}: {node.value!r}"
        for module, tree in BENCH.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in known and id(node) not in docstrings(tree)
    ]
    assert named == []


def own(plugin: object) -> bool:
    return getattr(plugin, "distribution", "") == "reweight-bench"


def test_modules_and_functions_are_short():
    for name, tree in BENCH.items() | PLUGINS.items():
        assert len(ast.unparse(tree).splitlines()) <= 300, name
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and (body := code(node)):
                assert body <= 40, f"{name}, {node.name}: {body} lines"


def code(function: ast.FunctionDef) -> int:
    """Lines of a function without its docstring and its decorators."""
    first = function.body[bool(ast.get_docstring(function)) :] or function.body
    return (function.end_lineno or 0) - first[0].lineno + 1


def test_only_the_command_line_prints():
    printing = {
        name
        for name, tree in BENCH.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "click.echo", "sys.stdout.write")
    }
    assert [name for name in printing if not command_line(name)] == []
    assert [name for name, found in ARROWS.items() if "click" in found and not command_line(name)] == []


def test_no_plugin_imports_another_ones_file():
    """What plugins share is public in the core; for types alone too."""
    shared = {
        name: others
        for name, tree in PLUGINS.items()
        if (others := {i for i in everything(tree) if i.split(".")[0] == "bench_plugins"})
    }
    assert shared == {}


@pytest.mark.parametrize("name", [name for name, tree in PLUGINS.items() if tree.body])
def test_a_plugin_imports_public_names_alone(name):
    found = {i for i in imports(PLUGINS[name]) if i.split(".")[0] == "bench"}
    offers = any(isinstance(node, ast.FunctionDef) and node.name.startswith("bench_") for node in PLUGINS[name].body)
    assert found or not offers
    assert [i for i in found if any(part.startswith("_") for part in i.split("."))] == []
    assert [i for i in found if command_line(home(i))] == []


def test_every_hook_is_documented_for_those_who_write_plugins():
    guide = ROOT / "CONTRIBUTING.md"
    if not guide.exists():
        pytest.skip("there is no CONTRIBUTING.md yet")
    hooks = [name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("bench_")]
    assert len(hooks) >= 3
    assert [hook for hook in hooks if hook not in guide.read_text()] == []
