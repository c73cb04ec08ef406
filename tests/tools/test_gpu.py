"""`tools/gpu.sh`: what it does where something is missing or fails, and all parts in small."""

import itertools
import os
import re
import resource
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import venv
from pathlib import Path

import pytest

from bench.records.json_file import load
from bench.store.results import ResultStore
from bench.throughput import ThroughputRecord

ROOT = Path(__file__).parents[2]
CHUNKS = ["labels.bin", "meta", *(f"train_{i}.zip" for i in range(1, 6)), "test.zip"]
UNPACK = """\
import sys
from pathlib import Path
chunks = sorted(path.name for path in Path(__file__).with_name("cifar100").iterdir())
folder = Path(sys.argv[1], "cifar-100-binary")
folder.mkdir(parents=True)
for name in ("train.bin", "test.bin"):
    (folder / name).write_text(" ".join(chunks))
"""
GROUPS = """\
import sys
import time
if "--list" in sys.argv:
    print("good\\nbad\\nslow" if {slow} else "good\\nbad")
elif sys.argv[1] == "slow":
    time.sleep(600)
else:
    print("ok  first 0.1", sys.argv[2:], flush=True)
    if sys.argv[1] == "bad":
        print("FAIL second 0.2 it is broken")
        sys.exit(1)
"""


# In place of Python, on a machine that seems to have a GPU: notes what it is asked for. `vit` and all seeds fail unless
# they are eager; of a seed, ERM has a record.
STAND_IN = """\
#!/usr/bin/env bash
echo "$*" >>"$(dirname "$0")/asked"
out=$(sed -n 's/.*--out \\([^ ]*\\).*/\\1/p' <<<"$*")
seed=$(sed -n 's/.*--seed \\([0-9]*\\).*/\\1/p' <<<"$*")
case "$*" in
    *--eager*) ;;
    *"throughput vit"*) exit 1 ;;
    *"bench.cli run"*)
        mkdir -p "$out/results"
        echo '"status": "ok",' >"$out/results/cifar100.erm.$seed.0123.json"
        echo '"status": "diverged",' >"$out/results/cifar100.forml.$seed.0123.json"
        sleep $SLEEP
        exit 1
        ;;
esac
"""


@pytest.fixture
def tree(tmp_path):
    """A source tree that has the tools alone."""
    folder = tmp_path / "tree"
    shutil.copytree(ROOT / "tools", folder / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def gpu(tree, *words, **more):
    """The finished command; environment variables as in `more`, None for none."""
    given = {"PYTHON": sys.executable, "BENCH_DATA": None, "PYTHONPATH": os.environ.get("PYTHONPATH")} | more
    env = {k: v for k, v in (os.environ | given).items() if v is not None and not k.startswith("PYTEST")}
    command = [tree / "tools" / "gpu.sh", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=tree.parent)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a part: wheels, checks, throughput, chunks, cifar100 or all"),
        (["chekcs"], "unknown part 'chekcs'; known: wheels, checks"),
        (["checks", "--fast", "1"], "unknown option --fast"),
        (["checks", "--limit"], "--limit: a value is missing"),
        (["throughput", "--limit", "0"], "--limit 0: expected a number of at least 1"),
        (["cifar100", "--epochs", "a few"], "--epochs a few: expected a number of at least 1"),
        (["all", "--device", "tpu"], "--device tpu: expected cuda or cpu"),
        (["checks", "--out", "/dev/null/here"], "--out /dev/null/here: the folder cannot be made"),
        (["checks", "--out", "/proc"], "--out /proc: nothing can be written there"),
        (["checks", "--out", "--smoke"], "--out: a value is missing"),
        (["checks", "--out", "new", "--device", "tpu"], "--device tpu: expected cuda or cpu"),
        (["wheels", "a", "b"], "wheels takes one folder"),
        (["wheels", "--fast"], "wheels takes one folder"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(tree, words, said):
    result = gpu(tree, *words)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {said}")
    assert [path.name for path in tree.parent.iterdir()] == ["tree"]
    assert not (tree / ".gpu").exists() and not (tree / ".whl").exists()


@pytest.mark.parametrize("words", [["--help"], ["checks", "-h"], ["checks", "--smoke", "--help"], ["wheels", "--help"]])
def test_help_is_given_wherever_it_is_asked_for(tree, words):
    result = gpu(tree, *words)
    assert (result.returncode, result.stderr) == (0, "") and result.stdout.startswith("usage: tools/gpu.sh wheels")


def test_help_names_every_part_and_option_and_so_does_the_guide(tree):
    text, guide = gpu(tree, "--help").stdout, (ROOT / "tools" / "README.md").read_text()
    script = (ROOT / "tools" / "gpu.sh").read_text()
    parts = re.search(r"known: (.*)\"", script)[1].split(", ")
    options = re.findall(r"^ +(--\w+)\) ", script, re.MULTILINE)
    assert len(parts) == 6 and len(options) == 7
    assert [name for name in parts + options if name not in text] == []
    assert [part for part in parts if f"tools/gpu.sh {part}" not in guide] == []


def carry(tree, *names):
    """A go: what was in the folder is gone."""
    folder = tree / ".gpu" / "data"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_text(UNPACK if name == "unpack.py" else name)


@pytest.mark.parametrize("part", ["chunks", "cifar100"])
def test_chunks_that_are_missing_are_named(tree, part):
    carry(tree, *CHUNKS[:4])
    result = gpu(tree, part)
    assert result.returncode == 2
    missing = "train_3.zip train_4.zip train_5.zip test.zip unpack.py"
    assert result.stderr == f"error: CIFAR-100 is not complete, missing: {missing}; bring them in .gpu/data\n"


def test_chunks_come_in_several_goes(tree):
    carry(tree, *CHUNKS[:4])
    assert gpu(tree, "chunks").returncode == 2
    carry(tree, *CHUNKS[4:7])
    second = gpu(tree, "chunks")
    assert second.stderr == "error: CIFAR-100 is not complete, missing: test.zip unpack.py; bring them in .gpu/data\n"
    carry(tree, *CHUNKS[7:], "unpack.py")
    third = gpu(tree, "chunks")
    assert third.returncode == 0, third.stderr
    carry(tree)
    last = gpu(tree, "chunks")
    assert last.stdout.endswith(f"CIFAR-100 is complete in {tree}/.gpu/work/data\n")
    unpacked = tree / ".gpu" / "work" / "data" / "cifar-100-binary"
    assert (unpacked / "test.bin").read_text().split() == sorted(CHUNKS)


def empty_cifar100(tree):
    """For BENCH_DATA."""
    folder = tree / "data" / "cifar-100-binary"
    folder.mkdir(parents=True)
    for name in ("train.bin", "test.bin"):
        (folder / name).touch()
    return str(tree / "data")


def test_cifar100_that_is_unpacked_elsewhere_needs_no_chunks(tree):
    result = gpu(tree, "chunks", BENCH_DATA=empty_cifar100(tree))
    assert (result.returncode, result.stderr) == (0, "")


def test_chunks_that_are_damaged_are_said_and_can_come_again(tree):
    carry(tree, *CHUNKS, "unpack.py")
    (tree / ".gpu" / "data" / "unpack.py").write_text("import sys\nsys.exit('damaged: train_2.zip')")
    result = gpu(tree, "chunks")
    assert result.returncode == 2
    assert "damaged: train_2.zip" in result.stdout
    assert "could not be unpacked" in result.stderr
    carry(tree, "unpack.py")
    assert gpu(tree, "chunks").returncode == 0


def with_groups(tree, slow):
    folder = tree / "tests" / "gpu"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "__main__.py").write_text(GROUPS.format(slow=slow))


def table_of(result, part):
    """The rows below the heads, as words."""
    lines = result.stdout.rstrip("\n").splitlines()
    return [re.split(r" {2,}", line.strip()) for line in lines[lines.index(part) + 2 :]]


def test_a_group_that_fails_costs_no_other_and_is_told(tree):
    with_groups(tree, slow=False)
    result = gpu(tree, "checks", "--smoke", "--device", "cpu", "--out", tree / "out")
    assert result.returncode == 1, result.stderr
    rows = {name: cells[:-1] for name, *cells in table_of(result, "checks")}
    assert rows == {"good": ["ok", "1", "0"], "bad": ["failed, exit code 1", "1", "1"]}
    assert "bad: FAIL second 0.2 it is broken\n" in result.stdout
    with tarfile.open(tree / "out" / "checks.tar.gz") as archive:
        log = archive.extractfile("logs/checks/group-good.log").read().decode()
    assert log == "ok  first 0.1 ['--device', 'pretended']\n"


@pytest.mark.slow
def test_a_group_that_hangs_ends_with_the_part(tree):
    with_groups(tree, slow=True)
    began = time.monotonic()
    result = gpu(tree, "checks", "--smoke", "--device", "cpu", "--limit", 40)
    assert result.returncode == 1
    assert time.monotonic() - began < 60
    assert {name: outcome for name, outcome, *_ in table_of(result, "checks")} == {
        "good": "ok",
        "bad": "failed, exit code 1",
        "slow": "timed out",
    }


def asked_of_a_stand_in(tree, part, *words, **more):
    """The words after `bench.cli` of each command that the part gives, with the common ones left out."""
    python = tree / "python"
    python.write_text(STAND_IN)
    python.chmod(0o755)
    result = gpu(tree, part, *words, PYTHON=str(python), **more)
    lines = (tree / "asked").read_text().splitlines()
    return result.returncode, [line.split()[2:] for line in lines if line.startswith("-m bench.cli")]


def test_a_workload_that_fails_on_a_gpu_is_timed_once_more_without_captured_updates(tree):
    code, asked = asked_of_a_stand_in(tree, "throughput")
    assert code == 1
    found = [(words[1], words[words.index("--precision") + 1], "--eager" in words) for words in asked[:-1]]
    assert found == [
        (name, precision, eager)
        for precision in ("bf16", "fp32")
        for name, eager in (("resnet18", False), ("vit", False), ("vit", True), ("mlp", False))
    ]
    assert all(("--channels-last" in words) == ("bf16" in words) for words in asked[:-1])
    assert asked[-1][0] == "leaderboard"


def cifar100(tree, *words, sleep):
    """The exit code, the commands, and of those that train seed, methods and whether they are eager."""
    data = empty_cifar100(tree)
    code, asked = asked_of_a_stand_in(tree, "cifar100", *words, BENCH_DATA=data, SLEEP=str(sleep))
    methods = [[b for a, b in itertools.pairwise(words) if a == "--method"] for words in asked[:-1]]
    seeds = [int(words[words.index("--seed") + 1]) for words in asked[:-1]]
    return code, asked, list(zip(seeds, methods, ["--eager" in words for words in asked[:-1]], strict=True))


def test_methods_of_a_seed_that_have_no_record_are_run_once_more_each_alone_before_the_next_seed(tree):
    code, asked, found = cifar100(tree, "--epochs", 7, sleep=0)
    assert code == 1
    assert found == [
        (seed, methods, eager)
        for seed in range(10)
        for methods, eager in (
            (["erm", "forml", "l2rw", "meta_weight_net"], False),
            (["forml"], True),
            (["l2rw"], True),
            (["meta_weight_net"], True),
        )
    ]
    assert all(words[words.index("--epochs") + 1] == "7" for words in asked[:-1])
    assert asked[-1][0] == "leaderboard"


def test_a_seed_that_would_not_end_in_time_is_not_begun(tree):
    code, asked, found = cifar100(tree, "--limit", 15, sleep=3)
    assert (code, found) == (1, [(0, ["erm", "forml", "l2rw", "meta_weight_net"], False)])
    assert asked[-1][0] == "leaderboard"  # for which there is time


def test_a_device_that_is_not_there_is_told(tree):
    earlier = tree / ".gpu" / "out" / "throughput.tar.gz"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("of a run that went well")
    result = gpu(tree, "throughput", CUDA_VISIBLE_DEVICES="")
    assert result.returncode == 2
    assert earlier.read_text() == "of a run that went well"
    assert "device 'cuda' cannot be used here; there is: cpu" in result.stdout
    assert result.stderr == "error: this machine cannot be used, see above\n"


def test_the_script_has_no_fault_that_shellcheck_knows():
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed")
    subprocess.run(["shellcheck", ROOT / "tools" / "gpu.sh"], check=True)


# --- all parts, from an unpacked archive, with a wheel and without network


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    """The committed source tree, with its wheels."""
    folder = tmp_path_factory.mktemp("unpacked")
    if subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode:
        pytest.skip("this is no checkout of git")
    packed = subprocess.run(
        ["git", "-C", ROOT, "archive", "HEAD", "--", ".", ":!leaderboards"], check=True, capture_output=True
    )
    subprocess.run(["tar", "x", "-C", folder], check=True, input=packed.stdout)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    made = gpu(folder, "wheels", WHEELS_FOR=version, PYTHONPATH=None)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory):
    """Of an environment that has the packages of this one, but not the project."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    ours = re.compile(r"(__editable__\w*\.)?(reweight.bench|bench$|bench_plugins$)")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not ours.match(path.name) and not (site / path.name).exists():
            (site / path.name).symlink_to(path)
    tried = subprocess.run([python, "-c", "import bench"], capture_output=True, text=True, env={}, cwd=folder)
    assert "No module named 'bench'" in tried.stderr
    return python


def without_network():
    """What to write before a command, and into its environment, so that it finds no network."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode == 0:
        return ["unshare", "-n"], {}
    closed = "http://127.0.0.1:9"
    return [], {"PIP_NO_INDEX": "1", "http_proxy": closed, "https_proxy": closed}


def processor_seconds():
    """Of all commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.slow
def test_all_parts_in_small_from_an_archive_and_a_wheel_without_network(unpacked, bare_python, tmp_path):
    shut, offline = without_network()
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [*shut, unpacked / "tools" / "gpu.sh", "all", "--smoke", "--device", "cpu", "--out", tmp_path]
    before = processor_seconds()
    result = subprocess.run(command, capture_output=True, text=True, env={**kept, **offline, "PYTHON": bare_python})
    assert result.returncode == 0, result.stdout + result.stderr
    assert processor_seconds() - before < 180  # of all cores, whatever else the machine does
    for part in ("checks", "throughput", "cifar100"):
        with tarfile.open(tmp_path / f"{part}.tar.gz") as archive:
            archive.extractall(tmp_path / part, filter="data")
    lines = result.stdout.splitlines()
    starts = [lines.index(part) for part in ("checks", "throughput", "cifar100")]
    assert starts == sorted(starts)
    records = load(tmp_path / "throughput" / "records" / "throughput", ThroughputRecord)[0]
    assert sorted((r.name, r.conditions.precision) for r in records) == [
        (name, precision) for name in ("mlp", "resnet18", "vit") for precision in ("bf16", "fp32")
    ]
    assert all(r.conditions.channels_last == (r.conditions.precision == "bf16") for r in records)
    runs = ResultStore(tmp_path / "cifar100" / "records" / "results").load()[0]
    assert {r.spec.method: r.status for r in runs} == dict.fromkeys(("erm", "forml", "l2rw", "meta_weight_net"), "ok")
    assert {r.environment.plugins["method"].split()[0] for r in runs} == {"erm", "forml", "l2rw", "meta_weight_net"}
    assert "| forml" in (tmp_path / "cifar100" / "records" / "class_fairness-v1-cifar100.md").read_text()
    assert list(tmp_path.rglob("*.xz"))
