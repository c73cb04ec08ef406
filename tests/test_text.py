"""Long lists in few words, against texts written out."""

import pytest

from bench.text import counts_by_name, join_first


@pytest.mark.parametrize(
    ("names", "left_out", "expected"),
    [
        ([], 0, ""),
        (["a"], 0, "a"),
        (["a", "b"], 0, "a; b"),
        (["a", "b", "c"], 0, "a; b and 1 more"),
        (["a", "b"], 1200, "a; b and 1,200 more"),
        (["a", "b", "c"], 2, "a; b and 3 more"),
    ],
)
def test_the_first_are_named_and_the_others_counted(names, left_out, expected):
    assert join_first(names, 2, "; ", left_out) == expected


def test_counts_are_named_up_to_ten_and_are_a_range_beyond():
    assert counts_by_name(["no", "yes"], [3, 1204], "classes") == "no: 3, yes: 1,204"
    assert counts_by_name([str(i) for i in range(10)], [1] * 10, "classes").endswith(", 9: 1")
    assert (
        counts_by_name([str(i) for i in range(11)], [7, 1500, *[9] * 9], "groups") == "7 to 1,500 in each of 11 groups"
    )
