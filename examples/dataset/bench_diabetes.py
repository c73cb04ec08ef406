"""The diabetes data that come with scikit-learn: nothing to download."""

import torch
from sklearn import datasets

from bench import Dataset, Recipe, Split, hookimpl


def load_diabetes(files):
    """Diabetes: does the disease progress more than in the median of 442 patients of two sexes?

    x [442, 10] float32: age, sex, body mass index, blood pressure, six serum values; each with mean 0, variance 1 over
    all samples, test samples included. The groups are the two sexes; which code means which is not published.
    """
    source = datasets.load_diabetes()  # each column of `source.data` has mean 0 and sum of squares 1
    x = torch.tensor(source.data * len(source.data) ** 0.5).float()
    progress = torch.tensor(source.target)
    return Dataset(
        name="diabetes",
        train=Split(x, y=(progress > progress.median()).long(), group=(x[:, 1] > 0).long()),
        test=None,  # held out by seed, as the recipe says
        classes=("slower", "faster"),
        groups=("sex 1", "sex 2"),
        recipe=Recipe(model="logistic", protocol="group_fairness", val_size=90, test_size=110, source="ours, untuned"),
        reference="Efron, Hastie, Johnstone, Tibshirani 2004, Least Angle Regression; as in scikit-learn",
    )


@hookimpl
def bench_datasets():
    return {"diabetes": load_diabetes}
