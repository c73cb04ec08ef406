"""TFRecords: checksums against RFC 3720 and a loop over bits, records and messages against those of another writer."""

import io

import pytest

from bench import DataError
from bench.data.tfrecord import SHORT, crc32c, example, masked, records
from tests.twins.photographs import example as written
from tests.twins.photographs import record

# Written by the Python package tfrecord 1.14.6 (with protobuf 7.36 and crc32c 2.9):
# {"B1": b"\0\1\xff", "label": 3}, and {"B2": [b"ab", b""], "label": [-1, 2**40, 0], "f": [1.5]}
GOLDEN = bytes.fromhex(
    "2100000000000000" "017becf6" "0a1f0a0d0a02423112070a050a030001ff0a0e0a056c6162656c12051a030a0103" "4f201611"
    "4100000000000000" "00a9c2ab"
    "0a3f0a0e0a02423212080a060a0261620a000a1e0a056c6162656c12151a130a11ffffffffffffffffff01808080808020000a0d0a01661208"
    "12060a040000c03f" "52beaf05"
)  # fmt: skip
FIRST = 16 + 0x21  # bytes of the first record


def by_bits(data: bytes) -> int:
    """CRC-32C, a bit at a time."""
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc_is_that_of_the_standard(data: bytes, crc: int) -> None:
    assert crc32c(data) == by_bits(data) == crc


@pytest.mark.parametrize("size", [1, 3, 4, SHORT - 1, SHORT, SHORT + 1, 127, 128, 129, 1000, 4096, 4097])
def test_crc_of_any_length_is_that_of_a_loop(size: int) -> None:
    data = bytes(i * i % 251 for i in range(size))
    assert crc32c(data) == by_bits(data)


def test_another_writers_records_are_read() -> None:
    first, second = map(example, records(io.BytesIO(GOLDEN), "golden"))
    assert first == {"B1": [b"\0\1\xff"], "label": [3]}
    assert second == {"B2": [b"ab", b""], "label": [-1, 2**40, 0], "f": []}


def test_the_twins_writer_writes_what_the_other_writer_does() -> None:
    assert record(written({"B1": b"\0\1\xff", "label": 3})) == GOLDEN[:FIRST]


def test_the_mask_is_a_turn_and_a_constant() -> None:
    assert masked(0) == 0xA282EAD8
    assert masked(1 << 15) == 0xA282EAD9
    assert masked(0xFFFFFFFF) == 0xA282EAD7


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, "record 1, at byte 0, says its length is 32"),
        (9, "record 1, at byte 0, says its length is 33"),
        (12, "record 1, at byte 0, has the checksum"),
        (FIRST - 1, "record 1, at byte 0, has the checksum"),
        (FIRST + 7, f"record 2, at byte {FIRST}, says its length"),
        (FIRST + 30, f"record 2, at byte {FIRST}, has the checksum"),
    ],
)
def test_a_bit_that_changed_is_found_and_its_record_named(place: int, message: str) -> None:
    damaged = bytearray(GOLDEN)
    damaged[place] ^= 1
    with pytest.raises(DataError, match=f"^part-0 is damaged: {message}"):
        list(records(io.BytesIO(damaged), "part-0"))


@pytest.mark.parametrize("left", [1, 11, 12, 30, FIRST - 1, FIRST + 5, len(GOLDEN) - 1])
def test_a_file_that_is_cut_off_is_told_with_the_bytes(left: int) -> None:
    with pytest.raises(DataError, match=r"^part-0 is damaged: record [12], at byte \d+, is cut off after \d+"):
        list(records(io.BytesIO(GOLDEN[:left]), "part-0"))


def test_an_empty_file_has_no_records() -> None:
    assert list(records(io.BytesIO(), "part-0")) == []


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x0a\x05\x0a", "cut off"),
        (b"\x0a", "cut off"),
        (b"\x0d\0\0\0", "cut off"),
        (b"\xff" * 11, "more than ten bytes"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x02\x0a\x00", "a feature needs one name and one value"),
    ],
)
def test_what_is_no_example_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        example(data)
