"""For authors of data sets: reading TFRecord files and tf.train.Example messages without TensorFlow.

Sources: tensorflow.org, "TFRecord and tf.train.Example", for the files; RFC 3720, section 12.1, for CRC-32C; the
encoding of protocol buffers (protobuf.dev) and tensorflow/core/example/{example,feature}.proto for the messages.
"""

import struct
from collections.abc import Iterator
from functools import cache
from typing import IO

import numpy as np
from numpy.typing import NDArray

from bench.errors import DataError

Words = NDArray[np.uint32]

POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest bit first
SHORT = 64  # number of bytes below which a loop is faster


def records(file: IO[bytes], name: str) -> Iterator[bytes]:
    """The data of each record of a TFRecord file, one after the other.

    Args:
        file: open for reading in binary mode.
        name: of the file, for messages.

    Raises:
        DataError: with the record and its place, if the file is cut off or a checksum is wrong.
    """
    number = at = 0
    while head := file.read(12):
        number += 1
        where = f"{name} is damaged: record {number}, at byte {at},"
        if len(head) < 12:
            raise DataError(f"{where} is cut off after {len(head)} bytes")
        length, check = struct.unpack("<QI", head)
        if masked(crc32c(head[:8])) != check:
            raise DataError(f"{where} says its length is {length}, which does not have the checksum {check:08x}")
        data = file.read(length)
        tail = file.read(4)
        if len(data) + len(tail) < length + 4:
            raise DataError(f"{where} is cut off after {12 + len(data) + len(tail)} of {16 + length} bytes")
        (check,) = struct.unpack("<I", tail)
        actual = masked(crc32c(data))
        if actual != check:
            raise DataError(f"{where} has the checksum {actual:08x}, and {check:08x} is expected")
        yield data
        at += 16 + length


def masked(crc: int) -> int:
    """A CRC in the masked form in which a TFRecord stores it.

    Args:
        crc: 32 bits.

    Returns:
        32 bits.
    """
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def example(data: bytes) -> dict[str, list[bytes | int]]:
    """The features of a tf.train.Example by name.

    Args:
        data: the message, as `records` yields it.

    Returns:
        A list of bytes or of integers for each feature. Lists of floats are left empty.

    Raises:
        ValueError: if the data are no such message.
    """
    features: dict[str, list[bytes | int]] = {}
    try:
        for part in _messages(memoryview(data), 1):  # Example.features
            for entry in _messages(part, 1):  # Features.feature, a map
                name, feature = _messages(entry, 1), _messages(entry, 2)
                if len(name) != 1 or len(feature) != 1:
                    raise ValueError("a feature needs one name and one value")
                entries: list[bytes | int] = []
                for values in _messages(feature[0], 1):
                    entries += map(bytes, _messages(values, 1))
                for values in _messages(feature[0], 3):
                    entries += _integers(values)
                features[bytes(name[0]).decode()] = entries
    except IndexError as error:
        raise ValueError("it is cut off") from error
    return features


def _integers(values: memoryview) -> Iterator[int]:
    """The integers of an Int64List, which holds them one by one or packed."""
    for number, value in _fields(values):
        at = 0
        if number == 1 and isinstance(value, int):
            yield _signed(value)
        while number == 1 and isinstance(value, memoryview) and at < len(value):
            integer, at = _varint(value, at)
            yield _signed(integer)


def _signed(value: int) -> int:
    return value - (value >> 63 << 64)


def _messages(data: memoryview, wanted: int) -> list[memoryview]:
    """The values of all fields with this number that are stored with their length."""
    return [value for number, value in _fields(data) if number == wanted and isinstance(value, memoryview)]


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """The number and the value of each field of a message: an integer for a varint, the bytes for anything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind, size = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
        if kind == 0:
            integer, at = _varint(data, at)
            yield tag >> 3, integer
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif not size:
            raise ValueError(f"a field has the unknown wire type {kind}")
        if at + size > len(data):
            raise ValueError("it is cut off")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The integer that starts at `at`, with seven bits in each byte, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at + shift // 7]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at + shift // 7 + 1
    raise ValueError("an integer has more than ten bytes")


def crc32c(data: bytes) -> int:
    """The CRC-32C of some data.

    The register of a CRC is linear in the bytes. So the register after two blocks is the exclusive or of two registers:
    that of the second block, and that of the first block moved on by as many zero bytes as the second has. This joins
    all words of four bytes in pairs, then the pairs in pairs, and so on, with a table for each width. It reads 110 MB/s
    on one core, and a loop over bytes 10 MB/s.

    Args:
        data: any number of bytes.

    Returns:
        32 bits.
    """
    if len(data) < SHORT:
        register = 0xFFFFFFFF
        for byte in data:
            register = int(_table()[(register ^ byte) & 0xFF]) ^ register >> 8
        return register ^ 0xFFFFFFFF
    widths = ((len(data) - 1) // 4).bit_length()
    padded = np.zeros(4 << widths, np.uint8)  # zeros in front change nothing, because the register starts at zero here
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[len(padded) - len(data) :][:4] ^= 0xFF  # the ones that the register should start with go into the first word
    registers: Words = padded.view("<u4")
    for width in range(widths):
        registers = _moved(np.ascontiguousarray(registers[::2]), width) ^ registers[1::2]
    return int(_moved(registers, 0)[0]) ^ 0xFFFFFFFF


def _moved(registers: Words, width: int) -> Words:
    """Each register, moved on by 4 * 2**width zero bytes."""
    low, high = _move(width)
    halves = registers.view("<u2").reshape(-1, 2)
    return low.take(halves[:, 0]) ^ high.take(halves[:, 1])


@cache
def _move(width: int) -> tuple[Words, Words]:
    """What moving on makes of each lower half and of each upper half of a register: the tables of `_moved`."""
    low = np.arange(1 << 16, dtype=np.uint32)
    high = low << np.uint32(16)
    for _ in range(2 if width else 4):  # by half the width twice, or by a byte four times
        low, high = (_moved(r, width - 1) if width else _table()[r & 0xFF] ^ r >> np.uint32(8) for r in (low, high))
    return low, high


@cache
def _table() -> Words:
    """The register after each byte, if it was zero before."""
    registers = np.arange(256, dtype=np.uint32)
    one = np.uint32(1)
    for _ in range(8):
        registers = registers >> one ^ (registers & one) * np.uint32(POLYNOMIAL)
    return registers
