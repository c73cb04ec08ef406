"""Small synthetic twins of the sets of images that are prepared into a memory map, in the official file formats.

They are read by the code that reads the real files: `load(Files(root, allow_unofficial=True, download=False))`.
Pixels depend on the class, so there is something to learn.
"""

import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from bench.data.tfrecord import crc32c, masked
from tests.twins.arrays import Bytes, images

ATTRIBUTE_NAMES = (
    "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair Blond_Hair "
    "Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male "
    "Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
    "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace "
    "Wearing_Necktie Young"
)
ATTRIBUTES = ATTRIBUTE_NAMES.split()


def celeba(root: Path, train: int = 80, val: int = 60, test: int = 40, unpacked: bool = False) -> None:
    """celeba/{list_attr_celeba.txt,list_eval_partition.txt} and the images, packed or not.

    Every class in every group, in every part; the brightness of an image tells whether it is Attractive.
    """
    folder = root / "celeba"
    folder.mkdir(parents=True)
    count = train + val + test
    names = [f"{number:06d}.jpg" for number in range(1, count + 1)]
    has = np.random.default_rng(0).random((count, len(ATTRIBUTES))) < 0.5
    has[:, ATTRIBUTES.index("Attractive")] = np.arange(count) % 2
    has[:, ATTRIBUTES.index("Male")] = np.arange(count) // 2 % 2
    rows = (
        " ".join([name, *(f"{1 if cell else -1:2d}" for cell in row)]) for name, row in zip(names, has, strict=True)
    )
    (folder / "list_attr_celeba.txt").write_text(
        f"{count}\n{' '.join(ATTRIBUTES)} \n" + "".join(f"{r}\n" for r in rows)
    )
    parts = [0] * train + [1] * val + [2] * test
    (folder / "list_eval_partition.txt").write_text("".join(f"{n} {p}\n" for n, p in zip(names, parts, strict=True)))
    faces = (_jpeg(face, number) for number, face in enumerate(has[:, ATTRIBUTES.index("Attractive")]))
    contents = {f"img_align_celeba/{name}": face for name, face in zip(names, faces, strict=True)}
    write(folder, contents) if unpacked else pack(folder / "img_align_celeba.zip", contents)


def _jpeg(attractive: bool, seed: int) -> bytes:
    """178x218, coarse noise about a grey level."""
    noise = np.random.default_rng(seed).integers(0, 64, (5, 4, 3)) + (160 if attractive else 32)
    file = io.BytesIO()
    Image.fromarray(noise.astype(np.uint8)).resize((178, 218)).save(file, "JPEG", quality=90)
    return file.getvalue()


def droughtwatch(root: Path, train: int = 120, val: int = 60, unpacked: bool = False) -> None:
    """droughtwatch/: the archive, or its folder, with two files for training and one for validation."""
    folder = root / "droughtwatch"
    folder.mkdir(parents=True)
    parts = [drought_records(size, seed) for seed, size in enumerate([train - train // 2, train // 2, val])]
    names = ("train/part-r-00000", "train/part-r-00001", "val/part-r-00000")
    contents = {f"droughtwatch_data/{name}": b"".join(part) for name, part in zip(names, parts, strict=True)}
    write(folder, contents) if unpacked else pack(folder / "dw_train_86K_val_10K.zip", contents)


def drought_images(count: int, seed: int) -> tuple[Bytes, Bytes]:
    """(x [count, 11, 65, 65], y [count])"""
    return images(count, 4, (11, 65, 65), seed)


def drought_records(count: int, seed: int) -> list[bytes]:
    """TFRecords of bands B1 to B11 and the label; each band has one byte more than it needs."""
    return [
        record(example({f"B{band}": bands.tobytes() + b"\0" for band, bands in enumerate(x, 1)} | {"label": int(y)}))
        for x, y in zip(*drought_images(count, seed), strict=True)
    ]


def record(data: bytes) -> bytes:
    """A record of a TFRecord file. Its checksums are those of the reader, which has tests of its own."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, _crc(length), data, _crc(data)])


def _crc(data: bytes) -> bytes:
    return struct.pack("<I", masked(crc32c(data)))


def example(features: Mapping[str, bytes | int]) -> bytes:
    """A serialised tf.train.Example with one value for each feature."""
    entries = []
    for name, value in features.items():
        values = _field(1, _field(1, value)) if isinstance(value, bytes) else _field(3, _field(1, _varint(value)))
        entries.append(_field(1, _field(1, name.encode()) + _field(2, values)))
    return _field(1, b"".join(entries))


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    *more, last = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(part | 0x80 for part in more), last])


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def pack(path: Path, contents: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
