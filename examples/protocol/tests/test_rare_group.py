from bench_rare_group import RareGroup

from bench.testing import check_protocol, toy_dataset


def test_it_keeps_the_contract_of_a_protocol():
    check_protocol(RareGroup)


def test_a_tenth_of_the_first_group_stays():
    before = toy_dataset().train.group.bincount().tolist()
    after = RareGroup(keep=0.1).view(toy_dataset()).train.group.bincount().tolist()
    assert after == [before[0] // 10, before[1]]
