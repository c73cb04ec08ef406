"""The diabetes data that come with scikit-learn: nothing to download."""

import torch
from sklearn import datasets

from bench import Dataset, Recipe, Split, hookimpl


def load_diabetes(files):
    """Diabetes: does the disease progress beyond 140, about the median of 442 patients of two sexes?

    x [442, 10] float32: age, sex, body mass index, blood pressure, six serum values. The groups are the sexes.
    """
    source = datasets.load_diabetes(scaled=False)  # scaled=True would scale by statistics of the test samples too
    x = torch.tensor(source.data).float()
    progress = torch.tensor(source.target)
    return Dataset(
        name="diabetes",
        train=Split(x, y=(progress > 140).long(), group=(x[:, 1] > 1).long()),
        test=None,  # held out by seed, as the recipe says
        standardize=True,  # the model gets each feature with mean 0, variance 1 over the training samples of its run
        classes=("slower", "faster"),
        groups=("sex 1", "sex 2"),
        recipe=Recipe(model="logistic", protocol="group_fairness", val_size=90, test_size=110, source="ours, untuned"),
        reference="Efron, Hastie, Johnstone, Tibshirani 2004, Least Angle Regression; as in scikit-learn",
    )


@hookimpl
def bench_datasets():
    return {"diabetes": load_diabetes}
