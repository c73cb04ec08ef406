#!/usr/bin/env bash
# Makes records and logs of what only a GPU can show, within minutes and without network: see README.md beside this file.
set -u

usage() {
    cat <<'END'
usage: tools/gpu.sh wheels [DIR]
       tools/gpu.sh PART [OPTION]...

Makes records and logs of what only a GPU can show, within minutes and without network: see README.md beside this file.

wheels      where a package index is: fetch the packages that a GPU machine may lack, and build one of this project,
            into DIR (default: .whl in the source tree); for Python 3.12, or the version that WHEELS_FOR names

PART is one of
checks      the groups of GPU tests, each in a process of its own
throughput  training steps of ERM and the meta-methods beside other implementations
chunks      take the chunks of CIFAR-100 that are in .gpu/data, and unpack them when all are there
cifar100    ERM, FORML, L2RW and Meta-Weight-Net on CIFAR-100, seed by seed, as many as fit
all         checks, throughput and cifar100

--device cuda|cpu  where to compute (default: cuda)
--smoke            tiny sizes, to try this script itself: with --device cpu in three minutes for all parts
--out DIR          where the archive PART.tar.gz goes (default: .gpu/out in the source tree)
--work DIR         what is kept from one part to the next (default: .gpu/work in the source tree)
--limit SECONDS    for each part (default: 285)
--epochs N         of cifar100 (default: 5)
--jobs N           groups of tests at a time (default: 6, or the number of cores)

PYTHON names the interpreter (default: that of .venv in the source tree, else python3).
Exit code: 0; 1, something failed; 2, bad usage, or something that is needed is missing.
END
}

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
own_python=$tree/.venv/bin/python
python=${PYTHON:-$([ -x "$own_python" ] && echo "$own_python" || echo python3)}
wheels=$tree/.whl
wheels_for=${WHEELS_FOR:-3.12}
chunks=$tree/.gpu/data
out=$tree/.gpu/out
work=$tree/.gpu/work
device=cuda
smoke=
limit=285
epochs=5
cores=$(nproc)
jobs=$((cores < 6 ? cores : 6))
bench=("$python" -m bench.cli)
methods=(erm forml l2rw meta_weight_net)
readonly SPARE=10 # seconds that the table of CIFAR-100 needs

die() {
    echo "error: $*" >&2
    exit 2
}

say() { echo "== ${SECONDS}s $*"; }

# --- wheels: on a machine with a package index

# What a GPU machine may lack, with what these need beyond torch and the usual scientific packages.
packages=(platformdirs fairlearn narwhals imagecorruptions higher torchopt optree graphviz)

fetch_wheels() {
    local name total
    mkdir -p "$wheels" || die "cannot write to $wheels"
    rm -f "$wheels"/*.whl # two versions of a package cannot both be installed
    build_project || die "the wheel of the project could not be built"
    for name in "${packages[@]}"; do
        fetch_wheel "$name" || echo "without $name: neither a wheel for Python $wheels_for nor a pure one could be had"
    done
    git -C "$tree" describe --always --dirty --abbrev=40 >"$wheels/commit" 2>/dev/null || rm -f "$wheels/commit"
    total=$(du -csh "$wheels"/*.whl | tail -n 1 | cut -f 1)
    echo "$(find "$wheels" -type f -name '*.whl' | wc -l) wheels, $total, in $wheels"
}

# From a copy, so that nothing of an earlier build gets in.
build_project() {
    local copy status
    copy=$(mktemp -d) || return 1
    cp -r "$tree/bench" "$tree/plugins" "$tree/pyproject.toml" "$tree/README.md" "$tree/LICENSE" "$copy" &&
        "$python" -m pip wheel -q --no-deps -w "$wheels" "$copy"
    status=$?
    rm -rf "$copy"
    return $status
}

# A wheel from the index, or one that is built here and runs everywhere.
fetch_wheel() {
    local built platforms=() number
    for number in 2014 _2_17 _2_24 _2_27 _2_28; do
        platforms+=(--platform "manylinux${number}_x86_64")
    done
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "$wheels_for" --implementation cp \
        "${platforms[@]}" -c "$tree/constraints.txt" -d "$wheels" "$1" 2>/dev/null && return
    built=$(mktemp -d) || return 1
    "$python" -m pip wheel -q --no-deps -c "$tree/constraints.txt" -w "$built" "$1" 2>/dev/null &&
        mv "$built"/*-none-any.whl "$wheels" 2>/dev/null
    local status=$?
    rm -rf "$built"
    return $status
}

# --- what all parts share

# Steps of a part: each has a log, a limit, a line in steps.tsv, and ends with what there is being archived.
begin_part() {
    part=$1
    results=$work/${smoke:+smoke-}results # nobody is to take records of tiny sizes for others
    logs=$results/logs/$part
    records=$results/records
    rm -rf "$logs"
    mkdir -p "$logs" "$records" "$out" || die "cannot write to $work or $out"
    deadline=$((SECONDS + limit))
    take_chunks
    cp "$wheels/commit" "$logs/commit" 2>/dev/null # what git knows does not come along
}

# step NAME SECONDS COMMAND...
step() {
    local name=$1 seconds=$2 begin=$SECONDS status
    shift 2
    ((seconds <= deadline - SECONDS)) || seconds=$((deadline - SECONDS))
    if ((seconds < 1)); then
        note "$name" "no time left" 0
        return 1
    fi
    say "$name"
    timeout --signal "${signal:-TERM}" --kill-after 10 "$seconds" "$@" >"$logs/$name.log" 2>&1
    status=$?
    case $status in
        0) note "$name" ok $((SECONDS - begin)) ;;
        124 | 137) note "$name" "timed out" $((SECONDS - begin)) ;;
        *) note "$name" "failed, exit code $status" $((SECONDS - begin)) ;;
    esac
    ((status == 0)) || tail -n 8 "$logs/$name.log" | cut -c 1-300
    [ -n "${unpacked:-}" ] || pack
    return $status
}

note() { printf '%s\t%s\t%s\n' "$@" >>"$logs/steps.tsv"; }

# Records and logs as they are now; predictions and checkpoints stay here.
pack() {
    local new=$out/.$part.$BASHPID what=("logs/$part")
    [ "$part" = checks ] || what+=(records)
    tar czf "$new" -C "$results" --exclude checkpoints "${what[@]}" 2>/dev/null
    mv "$new" "$out/$part.tar.gz"
}

# in_turns NUMBER COMMAND...: so many at a time, in the background.
in_turns() {
    local number=$1
    shift
    while (($(jobs -rp | wc -l) >= number)); do
        wait -n
    done
    "$@" &
}

end_part() {
    wait
    pack
    say "logs and records: $out/$part.tar.gz"
    "$python" tools/gpu_report.py "$part" "$results" || cat "$logs/steps.tsv"
    [ -s "$logs/steps.tsv" ] && ! grep -qv $'\tok\t' "$logs/steps.tsv"
}

# The packages beside the source tree, whose code is used as it lies there: of its wheel only the metadata are.
prepare() {
    local site=$work/site stamp
    stamp=$(find "$wheels" -type f -name '*.whl' -printf '%f %s %T@\n' 2>/dev/null | sort | cksum)
    if [ "$stamp" != "$(cat "$work/site.stamp" 2>/dev/null)" ]; then
        rm -rf "$site"
        mkdir -p "$site"
        install_wheels "$site"
        rm -rf "$site/bench" "$site/bench_plugins"
        echo "$stamp" >"$work/site.stamp"
    fi
    mkdir -p "$site"
    ln -sfn "$tree/plugins" "$site/bench_plugins"
    export PYTHONPATH=$tree:$site${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
    export TEARDOWN_CUPTI=0 # the profiler, once taken down, is in the way of CUDA graphs
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$(threads)}
    # An earlier archive stays where this machine turns out to be of no use.
    unpacked=yes step versions 90 "$python" tools/gpu_report.py versions --device "$device"
    case $? in
        0) cat "$logs/versions.log" ;;
        1) ;; # something is wrong, as it has said, but not with all
        *) die "this machine cannot be used, see above" ;;
    esac
}

# The share of one of the jobs, at most 4.
threads() {
    local share=$((cores / jobs))
    ((share >= 1)) || share=1
    echo $((share <= 4 ? share : 4))
}

# All at once; if one of them cannot be installed, one by one, so that the others are.
install_wheels() {
    local wheel pip=(timeout 90 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir)
    compgen -G "$wheels/*.whl" >/dev/null || return 0
    "${pip[@]}" --target "$1" "$wheels"/*.whl >"$logs/wheels.log" 2>&1 && return
    for wheel in "$wheels"/*.whl; do
        "${pip[@]}" --target "$1" --upgrade "$wheel" >>"$logs/wheels.log" 2>&1 ||
            echo "without $(basename "$wheel"): it cannot be installed here"
    done
}

# --- checks

checks() {
    local group groups where=$device
    begin_part checks
    prepare
    [ -z "$smoke" ] || [ "$device" != cpu ] || where=pretended
    groups=$("$python" -m tests.gpu --list) || note groups "failed: there is no list of groups" 0
    for group in $groups; do
        in_turns "$jobs" step "group-$group" 200 "$python" -m tests.gpu "$group" --device "$where"
    done
    end_part
}

# --- throughput

throughput() {
    local precision name
    begin_part throughput
    prepare
    for precision in bf16 fp32; do # what is wanted most comes first
        for name in resnet18 vit mlp; do
            if [ -n "$smoke" ]; then
                in_turns "$jobs" measure "$name" "$precision"
            else
                measure "$name" "$precision"
            fi
        done
    done
    wait
    step page 60 "${bench[@]}" leaderboard --out "$records"
    end_part
}

# One workload; should it fail on a GPU, once more without captured updates, which may have been the reason.
measure() {
    local name=$1 precision=$2 how
    how=(throughput "$name" --device "$device" --precision "$precision" --out "$records" --method forml)
    [ "$precision" = fp32 ] || how+=(--channels-last)
    if [ -n "$smoke" ]; then
        how+=(--batch-size 8 --val-batch-size 10 --rounds 2 --no-memory)
        [ "$name-$precision" = mlp-fp32 ] || how+=(--no-rivals)
        [ "$name" != resnet18 ] || how+=(-o model.width=4)
        [ "$name" != mlp ] || how+=(-o model.hidden=16)
    else
        how+=(--method l2rw --method meta_weight_net --batch-size 128 --rounds 9)
    fi
    step "$name-$precision" 120 "${bench[@]}" "${how[@]}" && return
    [ "$device" = cpu ] || step "$name-$precision-eager" 60 "${bench[@]}" "${how[@]}" --eager --no-rivals
}

# --- CIFAR-100

names=(labels.bin meta train_1.zip train_2.zip train_3.zip train_4.zip train_5.zip test.zip)

# Keep what has come, wherever it lies in the folder: the next go may bring other chunks in its place.
take_chunks() {
    local name found
    mkdir -p "$work/packed/cifar100"
    for name in "${names[@]}" unpack.py; do
        found=$(find "$chunks" -type f -name "$name" 2>/dev/null | head -n 1)
        [ -n "$found" ] || continue
        [ "$name" = unpack.py ] && cp "$found" "$work/packed/" && continue
        cp "$found" "$work/packed/cifar100/"
    done
}

missing_chunks() {
    local name
    for name in "${names[@]}"; do
        [ -f "$work/packed/cifar100/$name" ] || printf '%s ' "$name"
    done
    [ -f "$work/packed/unpack.py" ] || printf 'unpack.py '
}

has_cifar100() { [ -f "$1/cifar-100-binary/train.bin" ] && [ -f "$1/cifar-100-binary/test.bin" ]; }

# Sets BENCH_DATA to a folder that holds CIFAR-100.
find_cifar100() {
    local missing
    [ -n "${BENCH_DATA:-}" ] && has_cifar100 "$BENCH_DATA" && return
    export BENCH_DATA=$work/data
    has_cifar100 "$BENCH_DATA" && return
    missing=$(missing_chunks)
    [ -z "$missing" ] || die "CIFAR-100 is not complete, missing: ${missing% }; bring them in .gpu/data"
    step unpack 120 "$python" "$work/packed/unpack.py" "$work/data" cifar100 ||
        die "the chunks of CIFAR-100 could not be unpacked, see above; bring those again that are named"
}

take_only() {
    begin_part chunks
    find_cifar100
    say "CIFAR-100 is complete in $BENCH_DATA"
}

cifar100() {
    local seed=0 begin longest=0
    begin_part cifar100
    [ -n "$smoke" ] || find_cifar100
    prepare
    [ -z "$smoke" ] || make_twin
    while ((seed < 10)); do
        begin=$SECONDS
        run_seed $seed
        ((SECONDS - begin <= longest)) || longest=$((SECONDS - begin))
        seed=$((seed + 1))
        [ -z "$smoke" ] || break
        ((SECONDS + longest * 11 / 10 + SPARE <= deadline)) || break # a seed that is begun is to be finished
    done
    step board 60 "${bench[@]}" leaderboard --out "$records"
    end_part
}

# A few images that can be learned, in the official format.
make_twin() {
    export BENCH_DATA=$work/twin
    rm -rf "$BENCH_DATA"
    step twin 60 "$python" -c "
import pathlib, sys
from tests import twins
twins.cifar100(pathlib.Path(sys.argv[1]), train=1000, test=100)" "$BENCH_DATA"
}

# All methods in one process; those that it could not finish each in a new one, without captured updates.
run_seed() {
    local seed=$1 method how asked=() signal=INT # interrupted, it leaves records and a checkpoint
    how=(run --dataset cifar100 --device "$device" --out "$records" --seed "$seed" -o recipe.precision=bf16)
    if [ -n "$smoke" ]; then
        how+=(--epochs 2 --train-size 250 --batch-size 60 -o recipe.val_size=700 -o model.width=4)
        how+=(--allow-unofficial-data)
    else
        how+=(--epochs "$epochs")
    fi
    for method in "${methods[@]}"; do
        asked+=(--method "$method")
    done
    step "seed-$seed" $((deadline - SECONDS - SPARE)) "${bench[@]}" "${how[@]}" "${asked[@]}" && return
    for method in "${methods[@]}"; do
        has_record "$method" "$seed" || ((deadline - SECONDS <= 2 * SPARE)) ||
            step "seed-$seed-$method-eager" $((deadline - SECONDS - SPARE)) "${bench[@]}" "${how[@]}" --method "$method" --eager
    done
}

has_record() { grep -qs '^"status": "ok"' "$records/results/"{,*/*/}"cifar100.$1.$2."*.json; }

# --- the command line

every_part() {
    local status worst=0 given
    given=(--device "$device" --out "$out" --work "$work" --limit "$limit" --epochs "$epochs" --jobs "$jobs")
    for part in checks throughput cifar100; do
        "$tree/tools/gpu.sh" "$part" "${given[@]}" ${smoke:+--smoke}
        status=$?
        ((status <= worst)) || worst=$status
    done
    return $worst
}

# A number of at least 1.
number() { [[ $2 =~ ^[1-9][0-9]*$ ]] || die "$1 $2: expected a number of at least 1"; }

# The folder, made if need be, by its whole name.
folder() {
    local probe
    [ -n "$2" ] || return 0
    mkdir -p -- "$2" 2>/dev/null || die "$1 $2: the folder cannot be made"
    probe=$(mktemp -p "$2" 2>/dev/null) || die "$1 $2: nothing can be written there"
    rm -f "$probe"
    (cd -- "$2" && pwd)
}

options() {
    local new_out='' new_work=''
    while (($#)); do
        [[ $1 =~ ^(-h|--help)$ ]] && usage && exit
        [[ $1 = --smoke || ($# -gt 1 && $2 != -*) ]] ||
            die "$1: a value is missing, or it is no option; see tools/gpu.sh --help"
        case $1 in
            --smoke) smoke=yes && shift && continue ;;
            --device) device=$2 ;;
            --out) new_out=$2 ;;
            --work) new_work=$2 ;;
            --limit) number "$1" "$2" && limit=$2 ;;
            --epochs) number "$1" "$2" && epochs=$2 ;;
            --jobs) number "$1" "$2" && jobs=$2 ;;
            *) die "unknown option $1; see tools/gpu.sh --help" ;;
        esac
        shift 2
    done
    [[ $device =~ ^(cuda|cpu)$ ]] || die "--device $device: expected cuda or cpu"
    new_out=$(folder --out "$new_out") && new_work=$(folder --work "$new_work") || exit 2
    out=${new_out:-$out}
    work=${new_work:-$work}
}

main() {
    local command=${1:-}
    case $command in
        -h | --help) usage && return ;;
        wheels)
            [[ ${2:-} =~ ^(-h|--help)$ ]] && usage && return
            [[ $# -le 2 && ${2:-} != -* ]] || die "wheels takes one folder; see tools/gpu.sh --help"
            wheels=$(folder wheels "${2:-$wheels}") || exit 2
            fetch_wheels
            return
            ;;
        checks | throughput | chunks | cifar100 | all) shift ;;
        '') die "give a part: wheels, checks, throughput, chunks, cifar100 or all; see tools/gpu.sh --help" ;;
        *) die "unknown part '$command'; known: wheels, checks, throughput, chunks, cifar100, all" ;;
    esac
    options "$@"
    cd "$tree" || exit 2
    case $command in
        chunks) take_only ;;
        all) every_part ;;
        *) "$command" ;;
    esac
}

main "$@"
