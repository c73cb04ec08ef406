"""Which modules the hash of a plugin is made of, each tried by an edit; and what makes the core's."""

import functools
import importlib
import shutil
import subprocess
import sys
import zipfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from bench.sources import installed
from bench.sources.closure import CORE, NOT_OF_A_RUN, core_hash, hash_of
from bench.sources.installed import INSTALLED, Installed, modules_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """`site(files)`: a folder of modules on the path, from file name to text; a fresh process would find them."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def write(files: dict[str, str]) -> Path:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        importlib.invalidate_caches()
        return folder

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("acme_")]:
        del sys.modules[name]


def hashed(*roots: str) -> str:
    """As a process that begins now has it."""
    return hash_of(roots, Installed())


PACKAGE = {
    "acme_a/__init__.py": "",
    "acme_a/plugin.py": "from . import near\nfrom acme_a.pack.deep import f\n",
    "acme_a/near.py": "def g():\n    import acme_b.lazy\n    import acme_a.plain.folders.far\n",
    "acme_a/pack/__init__.py": "x = 1\n",
    "acme_a/pack/deep.py": "def f(): return 1\n",
    "acme_a/plain/folders/far.py": "x = 1\n",  # two packages without `__init__` in one that has it
    "acme_a/unused.py": "x = 1\n",
    "acme_b/lazy.py": "import acme_single\n",  # a package without `__init__`
    "acme_single.py": "x = 1\n",
}


@pytest.mark.parametrize("name", [name for name in PACKAGE if name != "acme_a/unused.py"])
def test_every_module_that_is_imported_by_any_way_is_in_the_hash(site, name):
    site(PACKAGE)
    before = hashed("acme_a.plugin")
    site({name: PACKAGE[name] + "# a comment\n"})
    assert hashed("acme_a.plugin") == before
    site({name: PACKAGE[name] + "y = 2\n"})
    assert hashed("acme_a.plugin") != before
    assert not [module for module in sys.modules if module.startswith("acme_")]  # nothing was run


def test_a_module_that_is_not_imported_is_not_in_the_hash(site):
    site(PACKAGE)
    before = hashed("acme_a.plugin")
    site({"acme_a/unused.py": "x = 2\n"})
    assert hashed("acme_a.plugin") == before


@pytest.mark.parametrize(
    "open_ended", ["importlib.import_module(f'acme_a.{name}')", "exec(open(name).read())", "from acme_a.near import *"]
)
def test_all_of_a_package_is_in_the_hash_where_its_imports_are_not_written_out(site, open_ended):
    site(PACKAGE | {"acme_a/near.py": open_ended + "\n"})
    before = hashed("acme_a.plugin")
    site({"acme_a/unused.py": "x = 2\n"})
    assert hashed("acme_a.plugin") != before


def test_circles_end(site):
    site({"acme_a.py": "import acme_b\n", "acme_b.py": "import acme_a\n"})
    assert hashed("acme_a") and hashed("acme_a") == hashed("acme_b")


def test_modules_of_a_zip_archive_have_a_source(site, tmp_path, monkeypatch):
    archive = tmp_path / "acme.zip"
    hashes = set()
    for value in (1, 2):
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("acme_zipped.py", f"x = {value}\n")
        sys.path_importer_cache.pop(str(archive), None)
        monkeypatch.syspath_prepend(archive)
        importlib.invalidate_caches()
        hashes.add(hashed("acme_zipped"))
    assert len(hashes) == 2 and "" not in hashes


def test_a_compiled_extension_is_known_by_its_content(site):
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    folder = site({"acme_a.py": "import acme_fast\n"})
    hashes = []
    for content in (b"one", b"two", b"one"):
        (folder / f"acme_fast{suffix}").write_bytes(content)
        importlib.invalidate_caches()
        hashes.append(hashed("acme_a"))
    assert hashes[0] == hashes[2] != hashes[1]


@pytest.mark.parametrize("spec", [None, ModuleSpec("acme_typed", None)])
def test_a_module_without_a_source_makes_the_hash_unknown(site, monkeypatch, spec):
    """As one that was typed into a notebook."""
    site({"acme_a.py": "import acme_typed\n"})
    module = ModuleType("acme_typed")
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, "acme_typed", module)
    assert hashed("acme_typed") == hashed("acme_a") == ""
    assert hashed() == hashed("acme_nowhere") == ""


def test_a_script_is_known_by_its_file(site, tmp_path):
    site({})
    script = tmp_path / "script.py"
    code = "from bench.sources.closure import hash_of\nfrom bench.sources.installed import Installed\n"
    hashes = []
    for value in (1, 2):
        script.write_text(f"{code}x = {value}\nprint(hash_of(['__main__'], Installed()))\n")
        hashes.append(subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout)
    assert hashes[0] != hashes[1] and all(map(str.strip, hashes))


def test_a_process_knows_the_code_that_it_has_loaded(site):
    """An edit after the import is not what runs; a module that is loaded again is."""
    site({"acme_a.py": "x = 1\n"})
    module = importlib.import_module("acme_a")
    finder = Installed()
    before = hash_of(["acme_a"], finder)
    site({"acme_a.py": "x = 22\n"})
    assert hash_of(["acme_a"], finder) == before
    importlib.reload(module)
    assert hash_of(["acme_a"], finder) != before


def test_an_edit_between_reading_and_a_late_import_is_not_taken_for_what_was_read(site):
    """The record then has a hash that no later process has, so that the run is repeated."""
    site({"acme_a.py": "x = 1\n"})
    finder = Installed()
    before = hash_of(["acme_a"], finder)
    site({"acme_a.py": "x = 22\n"})
    importlib.import_module("acme_a")
    assert hash_of(["acme_a"], finder) == before != hashed("acme_a")


def test_libraries_are_not_followed_and_distributions_of_plugins_are():
    assert not any(map(INSTALLED.follows, ["torch", "numpy", "json", "sklearn"]))
    assert INSTALLED.follows("bench_plugins") and INSTALLED.follows("acme_unheard_of")


def test_what_is_installed_in_place_is_followed(site, monkeypatch):
    said = {"acme-tools": '{"url": "file:///x", "dir_info": {"editable": true}}', "acme-fixed": None}

    class Distribution:
        def __init__(self, name):
            self.name = name

        def read_text(self, file):
            return said.get(self.name)

    claimed = {"acme_tools": ["acme-tools"], "acme_fixed": ["acme-fixed"]}
    monkeypatch.setattr(installed, "_distributions", lambda: claimed)
    monkeypatch.setattr(installed.importlib.metadata, "distribution", Distribution)
    installed._changing.cache_clear()
    try:
        assert INSTALLED.follows("acme_tools") and not INSTALLED.follows("acme_fixed")
    finally:
        installed._changing.cache_clear()


def test_the_modules_of_a_class_are_those_of_its_bases_too(site):
    site({"acme_base.py": "class Base: pass\n", "acme_a.py": "import acme_base\nclass A(acme_base.Base): pass\n"})
    module = importlib.import_module("acme_a")
    assert modules_of(module.A) == ["acme_a", "acme_base"]
    assert modules_of(functools.partial(functools.wraps(module.A)(lambda: 1))) == ["acme_a", "acme_base"]
    assert modules_of(len) == modules_of(dict) == []


# The core


def core_of(folder: Path) -> str:
    """Of a copy of the core, in a process of its own."""
    words = "from bench.sources.closure import core_hash; from bench.sources.installed import Installed"
    command = [sys.executable, "-c", f"{words}; print(core_hash(Installed()))"]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder).stdout


def test_the_core_is_what_training_runs_through(tmp_path):
    copy = shutil.copytree(ROOT / "bench", tmp_path / "bench")
    before = core_of(tmp_path)
    assert before.strip() == core_hash(INSTALLED)

    def edited(name: str) -> bool:
        path = copy / name
        text = path.read_text()
        path.write_text(text + "\nADDED = 1\n")
        after = core_of(tmp_path)
        path.write_text(text)
        return after != before

    assert [edited(n) for n in ("training/method.py", "meta/tape.py", "metrics.py")] == [True] * 3
    assert [edited(n) for n in ("cli/run.py", "tables/rows.py", "runs/requests.py")] == [False] * 3


def test_what_is_left_out_of_the_core_exists():
    for place in NOT_OF_A_RUN:
        path = ROOT / CORE / place.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").exists(), place
