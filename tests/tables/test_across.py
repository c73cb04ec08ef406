"""Methods across tasks: which are ranked together, what is said of them, and the pictures, from summaries by hand."""

import itertools
import json
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from bench.tables.conclusions import Verdict
from bench.tables.pages.across import PROFILE, RANKS, section, standings
from bench.tables.pages.common import MOST_SEEDS, common_set
from bench.tables.pages.rank_pictures import HIGH, LINE, TOP, profile_picture, rank_picture
from bench.tables.summary import PageSummary, RowSummary, TaskSummary

SEEDS = 6
BASE = [0.3, 0.5, 0.4, 0.5, 0.3, 0.4]
"""Of the baseline; the standard deviation is that of 1, -1, 0, -1, 1, 0 tenths: sqrt(0.04 / 5)."""
SCALE = math.sqrt(0.04 / 5)


def row(
    name: str, values: Sequence[float], verdict: Verdict = Verdict.OPEN, first: int = 0, against: str = "k-erm"
) -> RowSummary:
    """A row with a value for each seed from `first` on."""
    of_seeds = {str(first + seed): value for seed, value in enumerate(values)}
    baseline = "" if verdict is Verdict.BASELINE else against
    return RowSummary(name, name, verdict.value, 0.0, None, None, len(values), f"k-{name}", baseline, of_seeds)


def task(
    methods: Mapping[str, Sequence[float] | RowSummary],
    name: str = "",
    higher: bool | None = False,
    overlap: float = 0.0,
) -> TaskSummary:
    """A task with the baseline and some methods: what they differ by from it, seed by seed, or their rows."""
    rows = [row("erm", BASE, Verdict.BASELINE)]
    for method, given in methods.items():
        made = (
            given if isinstance(given, RowSummary) else row(method, [b + d for b, d in zip(BASE, given, strict=True)])
        )
        rows.append(made)
    return TaskSummary(name, True, "tprd", "%", higher, "last", "An answer.", rows, overlap)


def pages(tasks: Sequence[TaskSummary]) -> dict[str, PageSummary]:
    """A page for each task, on data sets d0, d1, ..."""
    return {
        f"p-v1-d{place}.md": PageSummary(f"P on d{place}", "p/1", f"d{place}", 9, 0, ["erm"], [one])
        for place, one in enumerate(tasks)
    }


def shift(difference: float) -> list[float]:
    return [difference] * SEEDS


def ladder(tasks: int = 9, higher: bool = False) -> list[TaskSummary]:
    """On each task a is ahead of the baseline, b is the baseline itself, and c behind it; less is better."""
    sign = 1 if higher else -1
    return [
        task({"a": shift(sign * 0.01 * (1 + t)), "b": shift(0.0), "c": shift(-sign * 0.02 * (1 + t))}, higher=higher)
        for t in range(tasks)
    ]


def cells(lines: Sequence[str]) -> dict[str, list[str]]:
    """Method -> the other cells of its line."""
    found = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return {name: rest for name, *rest in found[2:]}


@pytest.mark.parametrize("higher", [False, True])
def test_ranks_and_tests_in_closed_form(higher):
    """a is first, b and the baseline share 2 and 3, c is last, on 9 tasks: p = 2 / 2^9 for each of 5 pairs; that of b
    and the baseline has none. The smallest of 5 is multiplied by 5, as are all, which are equal.
    """
    found = standings(common_set(pages(ladder(higher=higher))))
    assert [(one.name, one.rank) for one in found.methods] == [("a", 1.0), ("b", 2.5), ("erm", 2.5), ("c", 4.0)]
    p = found.tests.pairs
    assert math.isnan(p["erm", "b"])
    assert {one for pair, one in p.items() if set(pair) != {"erm", "b"}} == {5 * 2 / 2**9}
    assert [one.verdict for one in found.methods] == [Verdict.BETTER, Verdict.OPEN, Verdict.BASELINE, Verdict.WORSE]
    assert [one.tally for one in found.methods] == [(9, 0, 0), (0, 9, 0), None, (0, 0, 9)]
    assert found.cliques == [["b", "erm"]]
    ranks = np.array([[1.0, 2.5, 2.5, 4.0]] * 9)
    assert found.tests.p == pytest.approx(stats.friedmanchisquare(*ranks.T).pvalue, abs=1e-9)


def test_ranks_and_wilcoxon_equal_independent_packages():
    """On normal differences; Wilcoxon's test of the means in the baseline's standard deviations."""
    posthocs = pytest.importorskip("scikit_posthocs")
    generator = np.random.default_rng(0)
    drawn = {
        name: generator.normal(shift_by, 0.05, (8, SEEDS))
        for name, shift_by in zip("abc", (-0.04, 0, 0.02), strict=True)
    }
    tasks = [task({name: [*of[t]] for name, of in drawn.items()}) for t in range(8)]
    found = standings(common_set(pages(tasks)))
    means = {"erm": np.zeros(8), **{name: -of.mean(axis=1) / SCALE for name, of in drawn.items()}}
    ranks = stats.rankdata([-one for one in means.values()], axis=0).mean(axis=1)
    assert {one.name: one.rank for one in found.methods} == pytest.approx(dict(zip(means, ranks, strict=True)))
    table = posthocs.posthoc_wilcoxon([*means.values()], p_adjust="holm").to_numpy()
    expected = [table[i, j] for i in range(4) for j in range(i + 1, 4)]
    assert [*found.tests.pairs.values()] == pytest.approx(expected, abs=1e-9)


def test_differences_are_in_standard_deviations_of_the_baseline_and_positive_for_better():
    found = standings(common_set(pages(ladder(5))))
    a = next(one for one in found.methods if one.name == "a")
    for t, scores in enumerate(a.scores):
        assert scores == pytest.approx([0.01 * (1 + t) / SCALE] * SEEDS, abs=1e-12)
    assert a.middle.value == pytest.approx(0.03 / SCALE)  # of five tasks the middle half lies about the third


def test_the_section_says_what_follows():
    lines, pictures = section(pages(ladder(9)))
    text = "\n".join(lines)
    assert "**Over 9 tasks, a is better and c is worse than erm by more than chance.**" in text
    assert (
        "Friedman's test of 3 methods and controls and the baseline: p < 0.001." in text and "too few tasks" not in text
    )
    found = cells(lines)
    assert found["a"][:2] == ["1.00", "9 · 0 · 0"] and found["a"][3] == ""
    assert found["b"] == ["2.50", "0 · 9 · 0", "+0.00 [+0.00, +0.00]", "a"] and found["erm"] == [
        "2.50",
        "baseline",
        "0",
        "a",
    ]
    assert set(pictures) == {RANKS, PROFILE} and section(pages(ladder(9)))[1] == pictures
    assert f"]({RANKS})" in text and "[p on d0](p-v1-d0.md): tprd, 6 seeds" in text


def test_with_few_tasks_it_is_said_that_nothing_could_be_separated():
    """Of 6 pairs on 5 tasks the smallest p is 6 * 2 / 2^5 = 0.375."""
    text = "\n".join(section(pages(ladder(5)))[0])
    told = "with 5 tasks and 6 pairs Wilcoxon's test cannot give less than p = 0.375"
    assert f"\n**There are too few tasks to separate any two methods:** {told}" in text
    assert "is separated from" not in text and "Friedman's test of 3 methods and controls and the baseline" in text


def test_tasks_that_share_a_data_set_are_told():
    """In the fixture each has its own."""
    made = pages(ladder(5))
    assert "share their data:" not in "\n".join(section(made)[0])
    names = ["digits", "digits", "adult", "adult", "moons"]
    of = zip(made.items(), names, strict=True)
    shared = {
        name: replace(page, protocol=f"q{place}/1", dataset=data) for place, ((name, page), data) in enumerate(of)
    }
    said = "Of the 5 tasks 2 on adult and 2 on digits share their data: they are not independent"
    assert said in "\n".join(section(shared)[0])


def test_where_all_methods_are_the_baseline_nothing_is_tested():
    text = "\n".join(section(pages([task({name: shift(0.0) for name in "abc"}) for _ in range(5)]))[0])
    assert (
        "Friedman's test of 3 methods and controls and the baseline: all ranks are equal." in text and "nan" not in text
    )


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (ladder(4), "and only 4 tasks can count at present."),
        ([task({"a": shift(0.1), "b": shift(0.1)}) for _ in range(6)], "and only 2 methods can count at present."),
        ([], "and no task can count at present."),
        (
            [*ladder(4), task({"a": shift(0.1), "b": shift(0.1)})],
            "and what is nearest to it lacks c (not run) on p on d4.",
        ),
    ],
)
def test_too_few_tasks_or_methods_are_one_sentence(tasks, said):
    made = pages(tasks) or {"x.md": PageSummary("x", "p/1", "d", 1, 0, [], [])}
    lines, pictures = section(made)
    begin = "Nothing is ranked across tasks: that takes 5 tasks with different protocols or data on which the same 3 "
    assert lines[:2] == ["## Across tasks", ""] and pictures == {}
    assert lines[2] == f"{begin}methods are compared with the baseline over 5 seeds or more, {said}" and lines[3:] == [
        ""
    ]
    assert section({}) == ([], {})


def test_a_method_that_most_tasks_lack_is_left_out_and_so_is_a_task_that_lacks_most_methods():
    tasks = ladder(6)
    tasks[0] = task({"a": shift(0.1), "b": shift(0.1), "c": shift(0.1), "rare": shift(0.1)})
    tasks[5] = task({"a": shift(0.1)})
    found = common_set(pages(tasks))
    assert (found.methods, [one.title for one in found.tasks]) == (["a", "b", "c"], [f"p on d{t}" for t in range(5)])
    assert found.left_out == {"rare": "not run on p on d1, p on d2, p on d3, p on d4", "p on d5": "not run: b, c"}


def test_what_is_left_out_can_come_back():
    """e lacks most tasks, d0 to d3, and goes first; then these lack c and d and go, as there are tasks enough; now e is
    whole.
    """
    some, full = {"a": shift(0.1), "b": shift(0.1)}, {name: shift(0.1) for name in "abcde"}
    found = common_set(pages([task(some)] * 6 + [task(full)] * 5))
    assert [one.title for one in found.tasks] == [f"p on d{place}" for place in (10, 6, 7, 8, 9)]
    assert found.methods == ["a", "b", "c", "d", "e"]


def test_nothing_is_called_lacking_that_is_there():
    """On random methods for each task, by a slow search for three methods with five tasks in common; and what is
    found is whole, and nothing could be added to it.
    """
    generator = np.random.default_rng(0)
    enough = 0
    for _ in range(60):
        names = "abcdef"[: generator.integers(3, 7)]
        chosen = [
            [name for name in names if generator.random() < 0.65] or ["a"] for _ in range(generator.integers(5, 11))
        ]
        found = common_set(pages([task({name: shift(0.1) for name in of}) for of in chosen]))
        most = max(sum(set(trio) <= set(of) for of in chosen) for trio in itertools.combinations(names, 3))
        assert bool(found.lacking) == (most < 5), chosen
        if not found.lacking:
            enough += 1
            methods, tasks = set(found.methods), [chosen[int(one.title.removeprefix("p on d"))] for one in found.tasks]
            assert len(methods) >= 3 and len(tasks) >= 5 and all(methods <= set(of) for of in tasks)
            assert set.intersection(*map(set, tasks)) == methods and sum(methods <= set(of) for of in chosen) == len(
                tasks
            )
    assert 10 < enough < 50


UNUSABLE = {
    "few": (row("c", [0.1] * 4), "fewer than 5 seeds"),
    "constant": (row("c", [0.1] * 6, Verdict.CONSTANT), "not shown to be more accurate than a constant prediction"),
    "undefined": (row("c", [0.1, math.nan, *[0.1] * 4], Verdict.UNDEFINED), "undefined values"),
    "infinite": (row("c", [0.1, math.inf, *[0.1] * 4]), "undefined values"),
    "other": (row("c", [0.1] * 6, against="k-other"), "compared with another baseline"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_method_that_is_not_comparable_on_a_task_takes_the_task_out_and_is_told(name):
    bad, why = UNUSABLE[name]
    tasks = [*ladder(5), task({"a": shift(0.1), "b": shift(0.1), "c": bad})]
    found = common_set(pages(tasks))
    assert len(found.tasks) == 5 and found.left_out == {"p on d5": f"{why}: c"} and not found.lacking


def test_only_seeds_that_all_methods_have_count():
    """c has the seeds 1 to 6, the others 0 to 5; of the values 0.3 + 0.1 it is ahead on the common ones."""
    c = row("c", [*BASE[1:], 0.9], first=1)
    tasks = [*ladder(4), task({"a": [9.0, 0, 0, 0, 0, 0], "b": shift(0.1), "c": c})]
    found = common_set(pages(tasks))
    assert found.tasks[4].seeds(found.methods) == ["1", "2", "3", "4", "5"]
    a = next(one for one in standings(found).methods if one.name == "a")
    assert a.scores[4] == [0.0] * 5  # what seed 0 says is not common


def test_a_task_whose_methods_have_few_seeds_in_common_is_left_out():
    tasks = [*ladder(5), task({"a": shift(0.1), "b": shift(0.1), "c": row("c", [0.1] * 5, first=1)})]
    assert not common_set(pages(tasks)).left_out
    tasks[5] = task({"a": row("a", [0.1] * 5), "b": shift(0.1), "c": row("c", [0.1] * 5, first=1)})
    assert common_set(pages(tasks)).left_out == {"p on d5": "fewer than 5 seeds that all methods have"}


def test_a_baseline_without_spread_gives_no_scale():
    flat = TaskSummary("", True, "tprd", "%", False, "last", "", [
        row("erm", [0.5] * 6, Verdict.BASELINE), *(row(name, [0.4] * 6) for name in "abc")
    ])  # fmt: skip
    found = common_set(pages([*ladder(5), flat]))
    assert found.left_out == {"p on d5": "all seeds of the baseline have the same value"}
    assert common_set(pages([*ladder(4), flat])).lacking == "and only 4 tasks can count at present"


def test_of_tasks_that_share_protocol_and_data_one_counts():
    """That with the most methods; of equal ones the default one."""
    made = pages(ladder(5))
    first = made["p-v1-d0.md"]
    more = task({name: shift(0.1) for name in "abcd"}, "k=2")
    made["p-v1-d0.md"] = PageSummary(
        first.title, "p/1", "d0", 9, 0, ["erm"], [*first.tasks, task({"a": shift(0.1)}, "k=1")]
    )
    found = common_set(made)
    assert found.tasks[0].title == "p on d0"
    assert found.left_out == {"p on d0, k=1": "it has the protocol and the data of p on d0"}
    made["p-v1-d0.md"] = PageSummary(first.title, "p/1", "d0", 9, 0, ["erm"], [*first.tasks, more])
    assert common_set(made).tasks[0].title == "p on d0, k=2"


def test_a_metric_without_a_direction_and_a_page_without_a_comparison_do_not_count():
    nothing = TaskSummary("", True, "tprd", "%", False, "last", "", [row("erm", BASE, Verdict.BASELINE)])
    neither = task({name: shift(0.1) for name in "abc"}, higher=None)
    assert common_set(pages([*ladder(5), nothing, neither])).left_out == {
        "p on d5": "no method in its default configuration is compared with a baseline",
        "p on d6": "neither more nor less tprd is better",
    }


def test_equal_means_tie_whatever_their_rounding():
    """0.1 + 0.2 is not 0.3 in floats; the difference is rounding alone."""
    tasks = [task({"a": shift(0.1 + 0.2), "b": shift(0.3), "c": shift(0.4)}) for _ in range(5)]
    ranks = {one.name: one.rank for one in standings(common_set(pages(tasks))).methods}
    assert ranks == {"erm": 1.0, "a": 2.5, "b": 2.5, "c": 4.0}


def test_many_seeds_are_cut():
    values = [0.1 * (seed % 7) for seed in range(200)]
    many = TaskSummary("", True, "tprd", "%", False, "last", "", [
        row("erm", values, Verdict.BASELINE), *(row(name, values) for name in "abc")
    ])  # fmt: skip
    found = common_set(pages([*ladder(4), many]))
    assert found.tasks[4].seeds(found.methods) == [str(seed) for seed in range(MOST_SEEDS)]


def test_overlapping_splits_widen_the_interval():
    generator = np.random.default_rng(1)
    given = [{name: [*generator.normal(0, 0.1, SEEDS)] for name in "abc"} for _ in range(6)]
    widths = []
    for overlap in (0.0, 0.5):
        found = standings(common_set(pages([task(one, overlap=overlap) for one in given])))
        a = next(one for one in found.methods if one.name == "a").middle
        widths.append(a.high - a.low)
    assert widths[1] > 1.5 * widths[0]


def test_the_section_is_the_same_after_json():
    made = pages([task({name: shift(0.01 * place) for place, name in enumerate("abc")}) for _ in range(6)])
    again = {name: PageSummary.of_values(json.loads(json.dumps(page.to_values()))) for name, page in made.items()}
    assert section(again) == section(made)


def elements(picture: str, name: str) -> list[ElementTree.Element]:
    return [one for one in ElementTree.fromstring(picture.split("\n", 1)[1]).iter() if one.tag.endswith(name)]


def test_ranks_are_drawn_where_they_are_with_a_bar_for_each_clique():
    methods = [
        ("a", 1.0, Verdict.BETTER),
        ("erm", 2.0, Verdict.BASELINE),
        ("b", 3.0, Verdict.OPEN),
        ("<c>", 4.0, Verdict.WORSE),
    ]
    picture = rank_picture(methods, [["a", "b"], ["erm", "b", "<c>"]], "A title & more")
    middle = {name: TOP + LINE * place + 10 for place, (name, *_) in enumerate(methods)}
    dots = [(float(one.get("cx")), float(one.get("cy")), one.get("r")) for one in elements(picture, "circle")]
    xs = [x for x, _, radius in dots if radius == "4"]
    assert [y for _, y, radius in dots if radius == "4"] == [*middle.values()]
    assert np.diff(xs) == pytest.approx([xs[1] - xs[0]] * 3, abs=0.11)
    bars = [
        (float(one.get("y1")), float(one.get("y2")))
        for one in elements(picture, "line")
        if one.get("stroke-width") == "3"
    ]
    assert bars == [(middle["a"], middle["b"]), (middle["erm"], middle["<c>"])]
    assert [y for _, y, radius in dots if radius == "3"] == [
        middle[name] for group in (["a", "b"], ["erm", "b", "<c>"]) for name in group
    ]
    texts = [one.text for one in elements(picture, "text")]
    assert "▲ a" in texts and "▼ <c>" in texts and texts[0] == "A title & more"


def test_a_profile_is_the_share_of_the_runs_above_each_level():
    """A third of the runs are at -2, at 0.5 and at 1.5 each, on a field from -2 to 1.5; nothing is above the last."""
    picture = profile_picture({"a": [[-2.0, 0.5, 1.5], [1.5, -2.0, 0.5]]}, "A title")
    points = [point.split(",") for point in elements(picture, "polyline")[0].get("points").split()]
    heights = [float(y) for _, y in points]
    assert heights == sorted(heights) and heights[-1] == TOP + HIGH
    assert sorted(set(heights)) == pytest.approx([TOP + HIGH * share for share in (1 / 3, 2 / 3, 1)], abs=0.1)
    zero = next(float(one.get("x1")) for one in elements(picture, "line") if one.get("stroke-width") == "1.2")
    assert heights[min(i for i, (x, _) in enumerate(points) if float(x) >= zero)] == pytest.approx(
        TOP + HIGH / 3, abs=0.1
    )
    assert len(elements(profile_picture({"a": [[0.0, 0.0]]}, "flat"), "polyline")) == 2  # and its sample
