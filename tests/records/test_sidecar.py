"""What lies beside a record: it comes back to the bit, or a StoreError says why it does not."""

import json
import lzma
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from bench.errors import StoreError
from bench.records import sidecar
from bench.records.sidecar import FORMAT, Sidecar, digest_of

KINDS = ["<f2", "<f4", "<f8", ">f2", ">f8", "|b1", "|i1", "|u1", "<i2", "<u2", ">i4", "<u4", "<i8", "<u8", "<U3"]


@st.composite
def any_array(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    """An array of any bits, also of zero samples or without dimensions, and not in one piece."""
    dtype = np.dtype(draw(st.sampled_from(KINDS)))
    shape = draw(st.one_of(st.just(()), arrays_of.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)))
    if dtype.kind in "bU":
        array = draw(arrays_of.arrays(dtype, shape))
    else:  # of bits, so that there are NaN of all kinds
        bits = draw(arrays_of.arrays(f"{dtype.byteorder}u{dtype.itemsize}", shape))
        array = bits.view(dtype)
    return array[::2].T if array.ndim and draw(st.booleans()) else array


def same(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> bool:
    """Whether two arrays have the same shape, type up to the order of the bytes, and bits."""
    little = one.astype(one.dtype.newbyteorder("<")) if one.dtype.kind in "US" else one
    bits = little.byteswap().tobytes() if little.dtype.byteorder == ">" else little.tobytes()
    return (one.shape, one.dtype.kind, one.dtype.itemsize, bits) == (
        *(other.shape, other.dtype.kind, other.dtype.itemsize),
        other.tobytes(),
    )


def again(beside: Sidecar) -> Sidecar:
    return Sidecar.from_bytes(beside.to_bytes(), beside.digest)


NAMES = st.text(max_size=6) | st.sampled_from(["test/last", "test/best", "test/index", "tests", "a/b/c"])


@given(st.dictionaries(NAMES.filter(lambda name: not name.startswith("history/")), any_array(), max_size=5))
def test_arrays_come_back_to_the_bit(arrays):
    beside = Sidecar({}, arrays)
    read = again(beside)
    assert list(read.arrays) == list(arrays)
    assert all(same(array, read.arrays[name]) for name, array in arrays.items())
    assert read.digest == beside.digest
    assert read.to_bytes() == beside.to_bytes() == Sidecar({}, dict(arrays)).to_bytes()


@given(st.lists(st.floats(width=16) | st.sampled_from([-0.0, 6e-8, -6e-8, 65504.0]), max_size=12), st.booleans())
def test_predictions_come_back_to_the_bit(values, in_a_set):
    """Each of the second kind is stored after the first one."""
    first = np.array(values, np.float16)
    bits = first[::-1].view(np.uint16) ^ np.uint16(0x8001)  # other signs and last bits, NaN and infinity among them
    second = bits.view(np.float16)
    names = ("test/last", "test/best") if in_a_set else ("last", "best")
    read = again(Sidecar({}, dict(zip(names, (first, second), strict=True))))
    assert [read.arrays[name].tobytes() for name in names] == [first.tobytes(), second.tobytes()]


def test_the_history_comes_back_with_diagnostics_as_float32():
    history = {
        "epoch": [1, 2],
        "step": [4, 2**40],
        "val/tprd": [None, 1 / 3],
        "test/nats": [-1e300, math.nan],
        "train/loss": [1 / 3, 1e300],
        "train/late": [0.5],
        "val/ünicode\n": [1e-320, -0.0],
    }
    read = again(Sidecar(history)).history
    assert read == history | {
        "test/nats": [-1e300, None],
        "train/loss": [float(np.float32(1 / 3)), math.inf],
    }
    assert [type(value) for value in read["epoch"] + read["step"]] == [int] * 4
    assert math.copysign(1, read["val/ünicode\n"][1]) == -1
    assert again(Sidecar(read)).history == read


def test_nothing_has_no_digest_and_a_history_without_evaluations_has_one():
    assert Sidecar().digest == digest_of({}) == ""
    assert again(Sidecar({"epoch": []})) == Sidecar({"epoch": []})
    assert Sidecar({"epoch": []}).digest


ARRAYS = {"test/last": np.arange(6, dtype=np.float16).reshape(2, 3), "train/weight": np.ones(4)}


def test_the_digest_is_that_of_names_types_shapes_and_values_whatever_their_order():
    changed = [
        {**ARRAYS, "test/last": ARRAYS["test/last"] + 1},
        {**ARRAYS, "test/last": ARRAYS["test/last"].reshape(3, 2)},
        {**ARRAYS, "train/weight": np.ones(4).view(np.int64)},
        {"test/last": ARRAYS["test/last"]},
        {"test/first": ARRAYS["test/last"], "train/weight": ARRAYS["train/weight"]},
    ]
    assert len({digest_of(arrays) for arrays in [ARRAYS, *changed]}) == 6
    assert digest_of(dict(reversed(ARRAYS.items()))) == digest_of(ARRAYS) == Sidecar({}, ARRAYS).digest
    in_other_places = {"test/last": np.asfortranarray(ARRAYS["test/last"]), "train/weight": np.ones(4, ">f8")}
    assert Sidecar({}, in_other_places).digest == digest_of(ARRAYS)
    assert Sidecar({"epoch": [1]}, ARRAYS).digest != digest_of(ARRAYS)


BESIDE = Sidecar({"epoch": [1, 2], "val/accuracy": [0.5, None]}, ARRAYS | {"test/best": -ARRAYS["test/last"]})


def test_every_file_that_is_cut_off_is_refused():
    content = BESIDE.to_bytes()
    for length in range(len(content)):
        with pytest.raises(StoreError):
            Sidecar.from_bytes(content[:length], BESIDE.digest)
    with pytest.raises(StoreError, match="4 bytes follow its end"):
        Sidecar.from_bytes(content + b"more", BESIDE.digest)


@pytest.mark.parametrize("change", [1, 128, 255])
def test_every_file_with_a_changed_byte_is_refused(change):
    content = BESIDE.to_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= change
        with pytest.raises(StoreError):
            Sidecar.from_bytes(bytes(changed), BESIDE.digest)


@pytest.mark.parametrize("change", [1, 16, 128])
def test_every_changed_byte_under_a_right_checksum_is_refused(change):
    """Whoever pressed it anew made the checksums right."""
    plain = lzma.decompress(BESIDE.to_bytes())
    for place in range(len(plain)):
        changed = bytearray(plain)
        changed[place] ^= change
        with pytest.raises(StoreError):
            Sidecar.from_bytes(lzma.compress(bytes(changed), check=lzma.CHECK_NONE, preset=0), BESIDE.digest)


def pressed(arrays: Any, rest: bytes = b"", form: Any = FORMAT) -> bytes:
    return lzma.compress(json.dumps({"format": form, "arrays": arrays}).encode() + b"\n" + rest)


REFUSED = {
    "nothing": (b"", "it is no sidecar"),
    "no xz": (b"PK\3\4", "it is no sidecar"),
    "the older form of xz": (lzma.compress(b"{}\n", lzma.FORMAT_ALONE), "it is no sidecar"),
    "no JSON": (lzma.compress(b"{\n"), "it is no sidecar"),
    "no object": (lzma.compress(b"[]\n"), "it is no sidecar"),
    "a deep one": (lzma.compress(b"[" * 100_000 + b"\n"), "it is no sidecar"),
    "a newer format": (pressed([], form=FORMAT + 1), f"its format is {FORMAT + 1}, expected {FORMAT}: it was written"),
    "arrays that are none": (pressed(3), "it is damaged"),
    "half an entry": (pressed([["a", "<f8"]]), "it is damaged"),
    "objects": (pressed([["a", "|O", [1], "plain"]], bytes(8)), "it is damaged"),
    "an unknown type": (pressed([["a", "<q9", [1], "plain"]], bytes(8)), "it is damaged"),
    "a type that is no type": (pressed([["a", {"names": 1}, [1], "plain"]], bytes(8)), "it is damaged"),
    "an unknown form": (pressed([["a", "<f2", [1], "spiral"]], bytes(2)), "it is damaged"),
    "a form that is no text": (pressed([["a", "<f2", [1], 3]], bytes(2)), "it is damaged"),
    "after nothing": (pressed([["a", "<f2", [1], "after b"]], bytes(2)), "it is damaged"),
    "a name that is a list": (pressed([[["a"], "<f8", [1], "plain"]], bytes(8)), "it is damaged: the name of an array"),
    "a name that is a number": (
        pressed([["a", "<f8", [1], "plain"], [7, "<f8", [1], "plain"]], bytes(16)),
        "it is damaged: the name of an array is 7, expected a text",
    ),
    "no name": (
        pressed([[None, "<f8", [1], "plain"], ["a", "<f8", [1], "plain"]], bytes(16)),
        "it is damaged: the name of an array is None, expected a text",
    ),
    "a history that is one number": (
        pressed([["history/epoch", "<i8", [], "plain"]], bytes(8)),
        "it is damaged: history/epoch has 0 dimensions, expected 1",
    ),
    "a shape below 0": (pressed([["a", "<f8", [-1], "plain"]], bytes(8)), "it is damaged"),
    "a shape of parts": (pressed([["a", "<f8", [0.5], "plain"]], bytes(4)), "it is damaged"),
    "a shape that is not there": (pressed([["a", "<f8", [10**30], "plain"]], bytes(8)), "it is damaged: a is cut off"),
    "bytes too many": (pressed([["a", "<f8", [1], "plain"]], bytes(9)), "it is damaged: it has 1 bytes too many"),
    "other arrays": (Sidecar({}, {"a": np.zeros(2)}).to_bytes(), "it does not belong to its record: its digest is "),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_sidecar_of_the_record_is_refused_in_one_line(kind):
    content, reason = REFUSED[kind]
    with pytest.raises(StoreError) as refused:
        Sidecar.from_bytes(content, "0" * 12)
    assert str(refused.value).startswith(reason)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b'{"format":1,"arrays":[["a","|u1",[67108864],"plain"]]}\n', b"x"])
def test_a_small_file_of_much_does_not_fill_the_memory(monkeypatch, content):
    monkeypatch.setattr(sidecar, "USUAL", 2**20)
    monkeypatch.setattr(sidecar, "LARGEST_HEAD", 2**20)
    small = lzma.compress(content + bytes(2**26), preset=1)
    assert len(small) < 2**26 / 4000
    tracemalloc.start()
    try:
        with pytest.raises(StoreError, match=r"has more than [0-9,]+ bytes"):
            Sidecar.from_bytes(small, "")
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()


def test_a_file_that_asks_xz_for_much_memory_is_refused():
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**30}]
    small = b"".join(_in_parts(b'{"format":1,"arrays":[]}\n', filters))
    with pytest.raises(StoreError, match="it is no sidecar of a record: Memory usage limit exceeded"):
        Sidecar.from_bytes(small, "")


def _in_parts(content: bytes, filters: list[dict[str, int]]) -> list[bytes]:
    with_small = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=filters)
    return [with_small.compress(content), with_small.flush()]
