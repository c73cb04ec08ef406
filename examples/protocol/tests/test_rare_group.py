import torch
from bench_rare_group import RareGroup

from bench import Dataset, RandomStreams, Recipe, Split
from bench.testing import check_protocol


def test_it_keeps_the_contract_of_a_protocol():
    check_protocol(RareGroup)


def test_a_tenth_of_the_group_stays():
    group = torch.arange(200) % 2
    data = Split(torch.rand(200, 3), y=group, group=group)
    dataset = Dataset("toy", data, data, ("no", "yes"), Recipe(), groups=("a", "b"), val=data)
    train = RareGroup(keep=0.1).splits(dataset, dataset.recipe, RandomStreams((0,))).train
    assert train.group.bincount().tolist() == [10, 100]
