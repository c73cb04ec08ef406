"""Small synthetic twins of Adult, COMPAS and Waterbirds in the official file formats, as in `tests.twins`."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from bench_plugins.datasets import adult as adult_plugin
from bench_plugins.datasets import compas as compas_plugin

WATERBIRDS = "waterbird_complete95_forest2water2"
CELLS = [(split, y, place) for split in range(3) for y in range(2) for place in range(2)]


def adult(root: Path, train: int = 400, test: int = 200) -> None:
    """adult/adult.{data,test}: ", " between cells, a blank last line; the test file opens with a comment, its labels
    end with a dot. Income depends on education. Every class in every group of each attribute.
    """
    folder = root / "adult"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count, first, end in (("adult.data", train, "", ""), ("adult.test", test, "|1x3 Cross validator\n", ".")):
        lines = [", ".join([*_person(rng, i), (">50K" if i % 2 else "<=50K") + end]) + "\n" for i in range(count)]
        (folder / name).write_text(first + "".join(lines) + "\n")


def _person(rng: np.random.Generator, i: int) -> list[str]:
    categories = {column: str(rng.choice(values)) for column, values in adult_plugin.CATEGORIES.items()}
    categories["race"] = adult_plugin.CATEGORIES["race"][i // 4 % 5]
    categories["sex"] = ("Female", "Male")[i // 2 % 2]
    numbers = {"age": rng.integers(17, 91), "fnlwgt": rng.integers(12285, 1490401), "hours-per-week": 40}
    numbers |= {"capital-gain": 0, "capital-loss": 0, "education-num": rng.integers(10, 17) if i % 2 else 9}
    return [str((categories | numbers)[column]) for column in adult_plugin.COLUMNS[:-1]]


def compas(root: Path, count: int = 400) -> None:
    """compas/compas-scores-two-years.csv: the columns that are read, one twice, and others, some of them quoted.

    The first ten rows have no screening day or one too far away. A new offence depends on the number of prior ones.
    """
    path = root / compas_plugin.FILE
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    names = ["id", "name", *compas_plugin.COLUMNS, "c_charge_desc", "priors_count"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for i in range(count):
            row = {column: str(rng.choice(values)) for column, values in compas_plugin.CATEGORIES.items()}
            row |= {"race": compas_plugin.CATEGORIES["race"][i // 2 % 6], "sex": ("Female", "Male")[i // 2 % 2]}
            row |= {"id": str(i), "name": "Doe, J", "c_charge_desc": 'Battery, "simple"', "two_year_recid": str(i % 2)}
            row |= {"age": str(rng.integers(18, 97)), "decile_score": str(rng.integers(1, 11))}
            row["priors_count"] = str(rng.integers(4, 20) if i % 2 else rng.integers(0, 4))
            row["days_b_screening_arrest"] = ("", "-31", "31")[i % 3] if i < 10 else str(rng.integers(-30, 31))
            writer.writerow([row[name] for name in names])


def waterbirds(root: Path, per_cell: int = 4) -> None:
    """waterbird_complete95_forest2water2/metadata.csv and JPEGs of several sizes; all 4 groups in all 3 splits.

    The place is the colour of the frame, green or blue, and the bird that of the centre, brown or white.
    """
    folder = root / WATERBIRDS
    (folder / "001.Gull").mkdir(parents=True)
    rows = ["img_id,img_filename,y,split,place,place_filename"]
    for i, (split, y, place) in enumerate(CELLS * per_cell):
        pixels = np.empty((60 + 4 * (i % 3), 80 + 8 * (i % 2), 3), np.uint8)
        pixels[:] = ((20, 120, 20), (20, 20, 120))[place]
        pixels[15:45, 20:60] = ((120, 80, 40), (230, 230, 230))[y]
        name = f"001.Gull/Gull_{i:04}.jpg"
        Image.fromarray(pixels).save(folder / name, quality=95)
        rows.append(f"{i + 1},{name},{y},{split},{place},/o/ocean/0000{i:04}.jpg")
    (folder / "metadata.csv").write_text("\n".join(rows) + "\n")
