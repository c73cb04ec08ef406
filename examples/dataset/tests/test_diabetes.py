from bench_diabetes import load_diabetes
from sklearn import datasets

from bench.testing import check_dataset


def test_it_keeps_the_contract_of_a_data_set():
    check_dataset(load_diabetes(files=None))


def test_classes_are_halves_and_groups_are_the_codes_of_the_source():
    train = load_diabetes(files=None).train
    assert train.y.sum() == 221
    assert (train.group + 1).tolist() == datasets.load_diabetes(scaled=False).data[:, 1].tolist()
