"""ProPublica's COMPAS data (recidivism within two years), with the features of the Label Bias paper."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench import DataError, Dataset, Files, Recipe, Split, hookimpl
from bench.data.tables import Floats, Integers, Table, above, buckets, one_hot, read_table

FILE = "compas/compas-scores-two-years.csv"
URL = "https://raw.githubusercontent.com/propublica/compas-analysis/master/compas-scores-two-years.csv"
SHA256 = "c451db85908b2f7fef1d83203bedf6b71ecda0d5af468d82ae62178f91d0cc7d"  # not published; of many separate copies

DAYS = "days_b_screening_arrest"
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    "c_charge_degree": ("F", "M"),
    "race": ("African-American", "Asian", "Caucasian", "Hispanic", "Native American", "Other"),
    "score_text": ("High", "Low", "Medium"),
    "sex": ("Female", "Male"),
}
NUMBERS = {"age": (0, 120), "decile_score": (1, 10), "priors_count": (0, 1000)}  # least and greatest valid number
AGE, DECILE, PRIORS = (20, 40, 60, 80, 90), (20, 40, 60, 80, 90), (0, 50, 70, 80, 90)  # percentiles of the thresholds
TARGET = "two_year_recid"
COLUMNS = (*CATEGORIES, DAYS, "age", "decile_score", "priors_count", TARGET)

GROUPS = {
    "race": ("African-American", "Caucasian", "other"),
    "sex": CATEGORIES["sex"],
}
RACE = np.array([0, 2, 1, 2, 2, 2])  # the group of each race

RECIPE = Recipe(
    model="logistic",
    protocol="group_fairness",
    optimizer="adam",
    lr=1e-3,
    epochs=200,
    batch_size=100,
    val_size=800,
    test_size=2099,  # 34 %, as in the published code
    min_per_group=15,
    evaluate_every=5,
    source="ours; the Label Bias paper (Jiang and Nachum 2020) fits logistic regression with scikit-learn's defaults",
)


def load_compas(files: Files, *, group: Literal["race", "sex"] = "race") -> Dataset:
    """COMPAS: 6,172 people arrested in Broward County, 30 features; is there a new offence within two years, by race.

    x [6172, 17] float32, of which a run makes [N, 30] in 0..1. Class 1 is a new offence (45 %). There is no official
    split; the recipe draws one by seed. 2.5 MB, with the people's names, which are not read. ProPublica publishes the
    data with its analysis (Larson, Mattu, Kirchner, Angwin 2016) and names no licence.

    Source: rows and features are those of the published code of Jiang and Nachum 2020, Identifying and Correcting Label
    Bias in Machine Learning:

    - Rows. Of 7,214, those whose arrest is known to be at most 30 days before or after the screening, as ProPublica has
      it. Its other exclusions (no COMPAS case, ordinary traffic offences, no score) leave out none of these rows.
    - Features. Days between screening and arrest; one-hot of charge, race, score and sex (13); six buckets of the age;
      whether the decile of the score and the number of prior offences are above each of five numbers. The COMPAS score
      and the sensitive attributes are among them.
    - Thresholds are percentiles of a column: 20, 40, 60, 80 and 90, and of the priors 0, 50, 70, 80 and 90.

    Departures:

    - Thresholds are percentiles of the run's training rows. The published code takes those of all rows, so that test
      rows have a part in them.
    - The days are scaled to 0..1.
    - The code's 31st feature, the same for all, is left out.
    - The paper corrects for sex and race at once; here a run has one attribute.

    Args:
        files: where the file is; a missing one is downloaded.
        group: the sensitive attribute, `race` (the default: three groups, the two largest, and the other four together,
            the smallest of which are 11 people) or `sex`.

    Raises:
        DataError: for a file that is missing, damaged or not the official one.
    """
    path = files.require(FILE, f"sha256:{SHA256}", URL)
    table = read_table(path, COLUMNS).where(_near, DAYS)
    if not len(table):
        raise DataError(f"{path} is damaged: no row has {DAYS!r} in -30..30")
    x = _columns(table)
    y = table.codes(TARGET, ("0", "1"))
    members = _groups(table, group)
    return Dataset(
        name="compas",
        train=Split(torch.from_numpy(x).float(), torch.from_numpy(y), torch.from_numpy(members)),
        test=None,
        classes=("no new offence", "new offence"),
        groups=GROUPS[group],
        recipe=RECIPE,
        fit=_fit,
        reference="Angwin, Larson, Mattu, Kirchner 2016, Machine Bias, ProPublica",
        revision=f"{files.revision}-2",  # 2: thresholds of the training rows
        unofficial=dict(files.unofficial),
    )


def _near(days: str) -> bool:
    try:
        return days != "" and -30 <= int(days) <= 30
    except ValueError:
        return True  # the row stays, to be refused by its line when it is read


def _columns(table: Table) -> Floats:
    """[N, 17]: the days, the one-hot codes, and the numbers whose thresholds are fitted, in the order of NUMBERS."""
    days = (table.numbers(DAYS, -30, 30) + 30) / 60
    hot = [one_hot(table.codes(column, values), len(values)) for column, values in CATEGORIES.items()]
    numbers = [table.numbers(column, low, high)[:, None] for column, (low, high) in NUMBERS.items()]
    return np.concatenate([days[:, None], *hot, *numbers], axis=1)


def _fit(train: Split) -> Callable[[Tensor], Tensor]:
    """[N, 17] -> [N, 30], with thresholds at percentiles of the training rows."""
    numbers = train.x[:, -len(NUMBERS) :].double().numpy().T
    age, decile, priors = (np.percentile(*pair).tolist() for pair in zip(numbers, (AGE, DECILE, PRIORS), strict=True))

    def features(x: Tensor) -> Tensor:
        columns = x.double().numpy()
        ages, deciles, counts = columns[:, -len(NUMBERS) :].T
        cut = [buckets(ages, age), above(deciles, decile), above(counts, priors)]
        return torch.from_numpy(np.concatenate([columns[:, : -len(NUMBERS)], *cut], axis=1)).float()

    return features


def _groups(table: Table, group: str) -> Integers:
    codes = table.codes(group, CATEGORIES[group])
    return RACE[codes] if group == "race" else codes


@hookimpl
def bench_datasets() -> Mapping[str, Callable[..., Dataset]]:
    return {"compas": load_compas}
