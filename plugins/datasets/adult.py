"""UCI Adult (census income), with the features of the Label Bias paper."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bench import DataError, Dataset, Files, Recipe, Split, hookimpl
from bench.data.tables import Floats, Table, buckets, one_hot, read_table

URL = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
MD5 = {  # UCI publishes none; those that CatBoost and other packages check, and those of a separate copy
    "adult.data": "5d7c39d7b8804f071cdd1f2a7c460872",
    "adult.test": "35238206dfdf7f1fe215bbb874adecdc",
}
COLUMNS = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)

# Values in the order of adult.names; "?" is a missing one.
CATEGORIES: Mapping[str, tuple[str, ...]] = {
    column: tuple(values.split())
    for column, values in {
        "workclass": "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay Never-worked ?",
        "education": "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th 12th Masters "
        "1st-4th 10th Doctorate 5th-6th Preschool",
        "marital-status": "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent "
        "Married-AF-spouse",
        "occupation": "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty Handlers-cleaners "
        "Machine-op-inspct Adm-clerical Farming-fishing Transport-moving Priv-house-serv Protective-serv "
        "Armed-Forces ?",
        "relationship": "Wife Own-child Husband Not-in-family Other-relative Unmarried",
        "race": "White Asian-Pac-Islander Amer-Indian-Eskimo Other Black",
        "sex": "Female Male",
        "native-country": "United-States Cambodia England Puerto-Rico Canada Germany Outlying-US(Guam-USVI-etc) India "
        "Japan Greece South China Cuba Iran Honduras Philippines Italy Poland Jamaica Vietnam Mexico Portugal Ireland "
        "France Dominican-Republic Laos Ecuador Taiwan Haiti Columbia Hungary Guatemala Nicaragua Scotland Thailand "
        "Yugoslavia El-Salvador Trinadad&Tobago Peru Hong Holand-Netherlands ?",
    }.items()
}
QUARTILES = (25, 50, 75)  # percentiles of the age
EDGES: Mapping[str, tuple[float, ...]] = {
    "capital-gain": (1, 4000, 10_000),
    "capital-loss": (1, 1800, 1950),
    "hours-per-week": (39, 41, 50),
    "education-num": (8, 9, 11),
}
HOT = sum(map(len, CATEGORIES.values()))  # 102 features
LARGEST = 100_000  # of any number; capital gains are cut at 99,999

RECIPE = Recipe(
    model="logistic",
    protocol="group_fairness",
    optimizer="adam",
    lr=1e-3,
    epochs=50,
    batch_size=100,
    val_size=5000,
    min_per_group=15,
    source="ours; the Label Bias paper (Jiang and Nachum 2020) fits logistic regression with scikit-learn's defaults",
)


def load_adult(files: Files, *, group: Literal["sex", "race"] = "sex") -> Dataset:
    """Adult: 32,561 + 16,281 people of the 1994 US census, 122 binary features; is income above 50,000 $, by sex.

    x [N, 119] float32, of which a run makes [N, 122], 0 or 1. Class 1 is an income above 50K, which 24 % of the people
    have. The split is the official one. 6 MB. Licence: CC BY 4.0.

    Source: the features are those of the published code of Jiang and Nachum 2020, Identifying and Correcting Label Bias
    in Machine Learning. They are the one-hot codes of eight categorical columns (102 features, in the order of
    adult.names) and of four buckets of each of five numeric columns (20 features). fnlwgt, a weight of the survey, is
    left out. The sensitive columns are among the features.

    Departures, and what is decided here:

    - Missing values ("?", in 3,620 of the 48,842 rows) are a category of their own; no row is left out.
    - Buckets of the age end at the quartiles of the run's training rows. Those of the whole official training data are
      28, 37 and 48. In the published code the 17-year-olds are in no bucket; here they are in the first.
    - The paper corrects for sex and race (White, Black) at once; here a run has one attribute.

    Args:
        files: where the files are; missing ones are downloaded.
        group: the sensitive attribute, `sex` (two groups, the default) or `race` (five).

    Raises:
        DataError: for a file that is missing, damaged or not the official one.
    """
    return Dataset(
        name="adult",
        train=_split(files, "adult.data", ("<=50K", ">50K"), group),
        test=_split(files, "adult.test", ("<=50K.", ">50K."), group),
        classes=("income <= 50K", "income > 50K"),
        groups=CATEGORIES[group],
        recipe=RECIPE,
        fit=_fit,
        reference="Becker and Kohavi 1996, Adult, UCI; Kohavi 1996, Scaling Up the Accuracy of Naive-Bayes Classifiers",
        revision=f"{files.revision}-2",  # 2: quartiles of the training rows
        unofficial=dict(files.unofficial),
    )


def _split(files: Files, name: str, labels: tuple[str, str], group: str) -> Split:
    path = files.require(f"adult/{name}", f"md5:{MD5[name]}", f"{URL}/{name}")
    table = read_table(path, COLUMNS, names=COLUMNS)
    y = table.codes("income", labels)
    if len(np.unique(y)) < len(labels):
        raise DataError(f"{path} is damaged: all of its {len(y)} rows have the same income")
    return Split(
        torch.from_numpy(_columns(table)).float(),
        torch.from_numpy(y),
        torch.from_numpy(table.codes(group, CATEGORIES[group])),
    )


def _columns(table: Table) -> Floats:
    """[N, 119]: the one-hot codes, the age, and the buckets of the other numbers."""
    hot = [one_hot(table.codes(column, values), len(values)) for column, values in CATEGORIES.items()]
    age = table.numbers("age", 0, LARGEST)
    cut = [buckets(table.numbers(column, 0, LARGEST), edges) for column, edges in EDGES.items()]
    return np.concatenate([*hot, age[:, None], *cut], axis=1)


def _fit(train: Split) -> Callable[[Tensor], Tensor]:
    """[N, 119] -> [N, 122], with the age in buckets that end at the quartiles of the training rows."""
    edges = np.percentile(train.x[:, HOT].double().numpy(), QUARTILES).tolist()

    def features(x: Tensor) -> Tensor:
        ages = torch.from_numpy(buckets(x[:, HOT].double().numpy(), edges)).float()
        return torch.cat([x[:, :HOT], ages, x[:, HOT + 1 :]], 1)

    return features


@hookimpl
def bench_datasets() -> Mapping[str, Callable[..., Dataset]]:
    return {"adult": load_adult}
