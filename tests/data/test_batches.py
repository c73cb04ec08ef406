"""Random streams, splits, batches and validation streams, counted by loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench import BalancedBatches, Batch, DataError, Dataset, RandomStreams, Recipe, Split
from bench.data.batches import training_batches
from bench.streams import derive


def one(seed: int) -> RandomStreams:
    return RandomStreams((seed,))


def three() -> RandomStreams:
    return RandomStreams((4, 5, 6), stacked=True)


def positions(batches: list[Batch]) -> list[int]:
    return torch.cat([b.index for b in batches]).tolist()


def take(stream: BalancedBatches, n: int) -> list[Tensor]:
    return [next(stream).index for _ in range(n)]


# RandomStreams


def test_derived_seeds_fit_torch_and_differ_by_seed_and_purpose():
    purposes = [(seed, name, epoch) for seed in range(5) for name in ("order", "split") for epoch in range(5)]
    seeds = [derive(*purpose) for purpose in purposes]
    assert len(set(seeds)) == 50
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_derived_seeds_are_the_same_for_ever():
    """The first 63 bits of what `printf 0/init | sha256sum` prints."""
    assert derive(0, "init") == 0x2A29A3E290B9715C >> 1


def test_stacked_draws_are_the_single_ones():
    def sample(g: torch.Generator) -> Tensor:
        return torch.rand(3, generator=g)

    stacked = three().draw(sample, "order", 2)
    assert stacked.shape == (3, 3)
    assert torch.equal(stacked, torch.stack([one(s).draw(sample, "order", 2) for s in (4, 5, 6)]))
    assert torch.equal(stacked, three().draw(sample, "order", 2))
    assert not torch.equal(stacked, three().draw(sample, "order", 3))


def test_the_global_seed_of_stacked_runs_is_the_first_runs():
    assert three().seed("train", 1) == one(4).seed("train", 1) == derive(4, "train", 1)


def test_several_seeds_need_stacking():
    with pytest.raises(AssertionError):
        RandomStreams((1, 2))


# Split


def images(n: int) -> Split:
    x = (torch.arange(n * 4) % 256).to(torch.uint8).view(n, 1, 2, 2)
    return Split(x, torch.arange(n) % 3, torch.arange(n) % 2)


def test_images_are_scaled_to_0_1_and_features_are_not(make_split):
    split = Split(torch.tensor([[0], [51], [255]], dtype=torch.uint8), torch.arange(3), torch.arange(3))
    batch = split.batch(torch.tensor([2, 1, 0]))
    assert batch.x.flatten().tolist() == pytest.approx([1.0, 0.2, 0.0])
    assert (batch.y.tolist(), batch.index.tolist()) == ([2, 1, 0], [2, 1, 0])
    assert split.x.tolist() == [[0], [51], [255]]  # scaling is not in place
    assert make_split([5]).batch(torch.tensor([4, 2])).x.flatten().tolist() == [4, 2]


def test_stacked_batches_are_the_single_ones():
    splits = [images(6), images(6).select(torch.tensor([5, 4, 3, 2, 1, 0]))]
    index = torch.tensor([[0, 3], [1, 1]])
    stacked = Split.stack(splits).batch(index)
    for run, split in enumerate(splits):
        for found, expected in zip(stacked, split.batch(index[run]), strict=True):
            assert torch.equal(found[run], expected)


def test_select_and_cat_of_plain_and_stacked_splits(make_split):
    split = make_split([2, 3])
    chosen = split.select(torch.tensor([4, 0]))
    assert (chosen.x.flatten().tolist(), chosen.y.tolist(), chosen.group.tolist()) == ([4, 0], [0, 0], [1, 0])
    joined = Split.cat([chosen, split])
    assert joined.x.flatten().tolist() == [4, 0, 0, 1, 2, 3, 4]
    stacked = Split.cat([Split.stack([chosen, chosen]), Split.stack([split, split])])
    assert all(torch.equal(getattr(stacked, name)[1], getattr(joined, name)) for name in ("x", "y", "group"))
    assert (len(stacked), stacked.x.shape) == (7, (2, 7, 1))


@pytest.mark.parametrize("size", [1, 3, 7, 10])
def test_in_order_gives_every_sample_once(make_split, size):
    split = make_split([7])
    assert positions(list(split.in_order(size))) == list(range(7))
    stacked = Split.stack([split, split]).in_order(size)
    assert torch.cat([batch.index for batch in stacked], -1).tolist() == [list(range(7))] * 2


@given(st.integers(1, 40), st.integers(1, 45))
def test_an_epoch_is_a_permutation_less_a_tail_of_one(n, size):
    split = Split(torch.zeros(n, 1), torch.zeros(n).long(), torch.zeros(n).long())
    batches = list(training_batches(split, size, one(0), 0))
    tail_of_one = n % size == 1 and size > 1 and n > 1
    assert len(set(positions(batches))) == len(positions(batches)) == n - tail_of_one
    assert [len(b.y) for b in batches[:-1]] == [size] * (len(batches) - 1)
    assert split.steps(size) == len(batches)


def test_orders_differ_by_epoch_and_seed_and_repeat(make_split):
    def order(seed: int, epoch: int) -> list[int]:
        return positions(list(training_batches(make_split([50]), 8, one(seed), epoch)))

    assert order(0, 0) == order(0, 0)
    assert len({tuple(order(seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


def test_a_stacked_epoch_equals_the_single_ones_augmented_too():
    def augment(x: Tensor, g: torch.Generator) -> Tensor:
        return x + torch.rand(len(x), 1, 1, 1, generator=g)

    split = images(10)
    stacked = list(training_batches(Split.stack([split] * 3), 4, three(), 1, augment))
    for run, seed in enumerate(three().seeds):
        single = list(training_batches(split, 4, one(seed), 1, augment))
        for a, b in zip(stacked, single, strict=True):
            assert all(torch.equal(x[run], y) for x, y in zip(a, b, strict=True))
    plain = next(training_batches(split, 4, one(4), 1))
    assert not torch.equal(stacked[0].x[0], plain.x)


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize(
    ("augment", "got"),
    [
        (lambda x, g: x[1:], r"torch\.float32 of \[3, 1, 2, 2\]"),
        (lambda x, g: x[:1], r"torch\.float32 of \[1, 1, 2, 2\]"),
        (lambda x, g: x.flatten(1), r"torch\.float32 of \[4, 4\]"),
        (lambda x, g: x.half(), r"torch\.float16 of \[4, 1, 2, 2\]"),
        (lambda x, g: None, "a NoneType"),
    ],
)
def test_an_augmentation_gives_inputs_like_those_that_it_gets(augment, got, stacked):
    split = Split(torch.rand(8, 1, 2, 2), torch.zeros(8).long(), torch.zeros(8).long())
    streams = three() if stacked else one(0)
    with pytest.raises(DataError, match=rf"must return torch\.float32 of \[4, 1, 2, 2\], as it gets, not {got}"):
        next(training_batches(Split.stack([split] * 3) if stacked else split, 4, streams, 0, augment))


def test_wrong_parts_are_told():
    y = torch.zeros(3).long()
    assert Split(torch.zeros(4, 2), y, y).flaw == (
        "needs as many classes and groups as inputs: x [4, 2], y [3], group [3]"
    )
    assert "torch.float64" in Split(torch.zeros(3, 2).double(), y, y).flaw
    assert Split(torch.zeros(3, 2), y, y).flaw == ""


# BalancedBatches

GROUPS = ("a", "b", "c")


def counts(split: Split, index: Tensor) -> list[int]:
    return [sum(int(split.group[i]) == g for i in index.tolist()) for g in range(3)]


@given(st.lists(st.integers(4, 60), min_size=3, max_size=3), st.integers(1, 20), st.integers(0, 4))
def test_every_batch_has_its_share_of_every_group(sizes, batch_size, least):
    group = torch.repeat_interleave(torch.arange(3), torch.tensor(sizes))
    split = Split(torch.zeros(len(group), 1), group, group)
    rest = max(batch_size - 3 * least, 0)
    if any(least + -(-rest * size // sum(sizes)) > size for size in sizes):
        return  # a group may be too small: see below
    batches = take(BalancedBatches(split, batch_size, one(0), GROUPS, least), 5)
    for index in batches:
        assert len(index) == len(set(index.tolist())) == max(batch_size, 3 * least)
        assert counts(split, index) == counts(split, batches[0])
        for found, size in zip(counts(split, index), sizes, strict=True):
            assert abs(found - least - rest * size / sum(sizes)) < 1  # largest remainders keep within one


def test_shares_by_hand(make_split):
    """18 places less 3 * 2 leave 12, in proportion 60 : 30 : 10: 7.2, 3.6 and 1.2; the largest remainder is b's."""
    split = make_split([60, 30, 10])
    assert counts(split, next(BalancedBatches(split, 18, one(0), GROUPS, 2)).index) == [9, 6, 3]


def test_every_sample_of_a_group_comes_before_one_comes_again(make_split):
    split = make_split([12, 12, 12])
    batches = take(BalancedBatches(split, 9, one(0), GROUPS), 4)
    assert sorted(torch.cat(batches).tolist()) == list(range(36))


def test_too_few_samples_are_told_with_the_numbers(make_split):
    with pytest.raises(DataError, match=r"at least 5 of each group need 5 samples of group 'c', and .* hold 4"):
        BalancedBatches(make_split([9, 9, 4]), 15, one(0), GROUPS, 5)
    with pytest.raises(DataError, match="need 1 samples of group 'd', and the validation data hold 0"):
        BalancedBatches(make_split([9, 9, 4]), 9, one(0), (*GROUPS, "d"), 1)


def test_where_leaves_samples_out(make_split):
    split = make_split([10, 10, 10])
    stream = BalancedBatches(split, 9, one(0), GROUPS, 3, where=split.y == 1)
    assert {i for index in take(stream, 20) for i in index.tolist()} == set(range(1, 30, 2))


def test_where_that_leaves_none_is_told(make_split):
    with pytest.raises(DataError, match="hold 0"):
        BalancedBatches(make_split([3, 3, 3]), 9, one(0), GROUPS, where=torch.zeros(9, dtype=torch.bool))


@pytest.mark.parametrize("done", [0, 1, 63, 64, 65, 130])
def test_a_loaded_stream_goes_on_as_the_saved_one(make_split, done):
    split = make_split([20, 15, 10])
    saved, loaded = (BalancedBatches(split, 9, one(3), GROUPS, 2) for _ in range(2))
    take(saved, done)
    loaded.load_state_dict(saved.state_dict())
    for a, b in zip(take(saved, 70), take(loaded, 70), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("done", [0, 1, 64, 65, 128])
def test_plans_that_are_made_ahead_are_those_that_are_made_when_needed(make_split, monkeypatch, done):
    """As on a GPU, whose steps do not wait for them."""
    expected = take(BalancedBatches(make_split([20, 15, 10]), 9, one(3), GROUPS, 2), done + 200)
    monkeypatch.setattr(Split, "device", torch.device("cuda"))
    monkeypatch.setattr("bench.data.batches.to_device", lambda index, device: index)
    stream = BalancedBatches(make_split([20, 15, 10]), 9, one(3), GROUPS, 2)
    made = take(stream, done)
    assert list(stream._ahead) == ([(done - 1) // 64 + 1] if done else [])
    stream.load_state_dict({"position": done})  # as an interrupted run does
    for a, b in zip(expected, made + take(stream, 200), strict=True):
        assert torch.equal(a, b)


def test_batches_differ_along_the_stream(make_split):
    batches = take(BalancedBatches(make_split([20, 15, 10]), 9, one(3), GROUPS, 2), 200)
    assert len({tuple(index.tolist()) for index in batches}) == 200


def test_stacked_streams_equal_the_single_ones(make_split):
    splits = [make_split(sizes) for sizes in ([20, 15, 10], [15, 15, 15], [10, 15, 20])]
    where = torch.stack([split.y == 1 for split in splits])
    stacked = BalancedBatches(Split.stack(splits), 9, three(), GROUPS, 2, where)
    single = [
        BalancedBatches(s, 9, one(seed), GROUPS, 2, s.y == 1) for s, seed in zip(splits, three().seeds, strict=True)
    ]
    for _ in range(70):
        batch = next(stacked)
        for run, stream in enumerate(single):
            assert all(torch.equal(a[run], b) for a, b in zip(batch, next(stream), strict=True))


def test_a_dataset_knows_the_shape_of_its_inputs(make_split):
    def dataset(split: Split) -> Dataset:
        return Dataset("toy", split, None, ("no", "yes"), Recipe())

    assert dataset(images(5)).shape == (1, 2, 2)
    assert dataset(make_split([3])).shape == (1,)


def test_splits_of_other_sizes_are_not_stacked(make_split):
    with pytest.raises(DataError, match="by the seed the runs have 3 or 4 samples, which cannot be stacked: leave"):
        Split.stack([make_split([2, 2]), make_split([2, 1])])
