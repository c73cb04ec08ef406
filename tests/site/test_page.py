"""Pages of hand-made records: cells, pictures and details against numbers that are right by construction."""

import math
import random
import re

import pytest

from bench.records.run import RunResult
from bench.site.intervals import CUT
from bench.site.labels import width_of
from bench.site.rows.curves import BOTTOM, TOP
from tests.site.read import Element, read, rows, site
from tests.store.made import predicted

BASE = [0.40, 0.42, 0.38, 0.41, 0.39, 0.43]
BETTER = [0.30, 0.31, 0.29, 0.30, 0.30, 0.32]
"""Values of tprd, of which less is better, by seed: differences of -10, -11, -9, -11, -9 and -11 points."""
DATA = {"revision": "r1", "sizes": {"train": 1000, "test": 10**8}, "tests": "0123456789ab"}
PAGE = "html/class_fairness-v1-digits.html"


@pytest.fixture
def results(make_result):
    """Three methods on one task, of which one is better, one is the baseline, and one trains as it does."""
    data = DATA | {"counts": {"train": [[700, 300]], "test": [[30, 20]]}}
    methods = (("erm", BASE, 0.9), ("learner", BETTER, 0.8), ("other", BASE, 0.9))
    return [
        make_result(method, seed, test={"tprd": value, "accuracy": accuracy + seed / 100}, data=data)
        for method, values, accuracy in methods
        for seed, value in enumerate(values)
    ]


def pages(results: list[RunResult]) -> dict[str, str]:
    """The site without its script."""
    return {name: content for name, content in site(results).items() if name.endswith(".html")}


def family_of(html: str, place: int = 0) -> Element:
    return list(read(html).all("details", kind="family"))[place]


def test_the_table_has_the_numbers_of_the_records(results):
    learner, erm, other, constant = rows(family_of(site(results)[PAGE]))
    mean, differences = sum(BETTER) / 6, [-10, -11, -9, -11, -9, -11]
    se = math.sqrt(sum((value - mean) ** 2 for value in BETTER) / 5 / 6)
    center = sum(differences) / 6
    half = 2.570582 * math.sqrt(sum((one - center) ** 2 for one in differences) / 5 / 6)
    assert learner["#"] == "1" and learner["Method"] == "learner" and learner["Seeds"] == "6"
    assert learner["tprd ↓"] == f"{100 * mean:.2f} ± {100 * se:.2f}"
    assert learner["Δ tprd"] == f"{center:+.2f} [{center - half:+.2f}, {center + half:+.2f}]"
    assert learner["p"] == "< 0.001" and learner["Verdict"] == "▲ better"
    assert (learner["accuracy ↑"], learner["Δ accuracy"]) == ("82.50 ± 0.76", "-10.00")
    assert (learner["Better in"], learner["Val"]) == ("100 %", "yes")
    assert (erm["Verdict"], erm["Δ tprd"], erm["p"]) == ("baseline", "", "")
    assert (other["Verdict"], other["Δ tprd"], other["Better in"]) == ("= identical to the baseline", "0", "")
    assert (constant["Method"], constant["accuracy ↑"], constant["Verdict"]) == (
        "always 'no'",
        "60.00 ± 0.00",
        "constant",
    )


def test_the_head_of_a_metric_says_what_it_is(results):
    family = family_of(site(results)[PAGE])
    heads = {head.text.split(" ↓")[0].split(" ↑")[0]: head.about.get("title", "") for head in family.all("th")}
    (delta,) = [told for head, told in heads.items() if head.startswith("Δ tprd")]
    assert heads["tprd"].startswith("True positive rate disparity: largest minus smallest")
    assert heads["accuracy"] == "Fraction of the samples that are predicted correctly."
    assert "95 % interval" in delta


def test_a_number_tells_its_seeds_and_does_not_break(results):
    line = next(family_of(site(results)[PAGE]).all("tr", data_verdict="better"))
    hints = {cell.text.split(" ")[0]: cell.about["title"] for cell in line.all("td") if "title" in cell.about}
    assert hints["30.33"] == "seeds 0 to 5: 30.00, 31.00, 29.00, 30.00, 30.00, 32.00"
    assert hints[""] == "seeds 0 to 5: -10.00, -11.00, -9.00, -11.00, -9.00, -11.00"
    of_samples, of_seeds = hints["-10.00"].split("\n")  # that of the test samples alone, as all seeds agree
    assert of_samples == "95 % interval: -10.01 to -9.99"
    assert of_seeds == f"seeds 0 to 5: {', '.join(['-10.00'] * 6)}"
    assert hints["82.50"] == "seeds 0 to 5: 80.00, 81.00, 82.00, 83.00, 84.00, 85.00"


def test_a_difference_in_accuracy_tells_its_interval_and_its_seeds(make_result):
    """Differences of 1, 2 and 6 points: a mean of 3, a standard error of the root of 7/3, and t = 4.302653."""
    more = {"erm": (0, 0, 0), "learner": (1, 2, 6)}
    results = [
        make_result(method, seed, test={"tprd": 0.1 + seed * points / 100, "accuracy": 0.8 + points / 100}, data=DATA)
        for method, of in more.items()
        for seed, points in enumerate(of)
    ]
    (line,) = (line for line in rows_of_family(site(results)[PAGE]) if "learner" in line.text)
    (hint,) = (cell.about["title"] for cell in line.all("td") if cell.text == "+3.00")
    half = 4.302653 * math.sqrt(7 / 3)
    assert hint == f"95 % interval: {3 - half:+.2f} to {3 + half:+.2f}\nseeds 0 to 2: +1.00, +2.00, +6.00"


def rows_of_family(html: str) -> list[Element]:
    return list(family_of(html).one("tbody").all("tr"))


def test_the_accuracy_of_the_constant_prediction_tells_its_seeds(results):
    line = family_of(site(results)[PAGE]).one("tr", kind="always")
    (hint,) = [cell.about["title"] for cell in line.all("td") if "title" in cell.about]
    assert hint == f"seeds 0 to 5: {', '.join(['60.00'] * 6)}"


def test_seeds_that_do_not_begin_at_zero_are_named(make_result):
    results = [make_result("erm", seed, test={"tprd": seed / 10, "accuracy": 0.9}) for seed in (3, 7)]
    line = next(family_of(site(results)[PAGE]).one("tbody").all("tr"))
    assert "seed 3: 30.00, seed 7: 70.00" in [cell.about.get("title") for cell in line.all("td")]


def test_the_answer_stands_first_and_is_that_of_the_markdown_page(results):
    main = read(site(results)[PAGE]).one("main")
    names = [part.name for part in main.inside if isinstance(part, Element)]
    assert names[:3] == ["h1", "div", "details"]
    begin = "Of 2 methods and controls, 1 lowers tprd (true positive rate disparity) against the"
    assert main.one("div", kind="answer").one("strong").text.startswith(begin)


def points(figure: Element) -> dict[str, tuple[float, float]]:
    """The middle of each point of a picture, by the name of its row: where the lines of its errors cross."""
    found = {}
    for point in figure.all("a"):
        (bar,) = [path.about["d"] for path in point.all("path") if path.about["class"] == "bar"]
        y, x = re.fullmatch(r"M\S+ (\S+)H\S+M(\S+) \S+V\S+", bar).groups()
        found[point.one("title").text.split(":")[0]] = float(x), float(y)
    return found


def test_the_picture_has_the_numbers_of_the_table(make_result):
    """x of 10, 20 and 40 points and y of 90, 80 and 60 %, so that distances are as one to two."""
    values = {"erm": (0.1, 0.9), "random": (0.2, 0.8), "learner": (0.4, 0.6)}
    tests = {method: {"tprd": tprd, "accuracy": right} for method, (tprd, right) in values.items()}
    results = [make_result(method, seed, test=test, data=DATA) for method, test in tests.items() for seed in (0, 1, 2)]
    found = points(family_of(site(results)[PAGE]).one("figure"))
    (x1, y1), (x2, y2), (x3, y3) = (found[name] for name in values)
    assert x1 < x2 < x3 and y1 < y2 < y3
    assert (x3 - x2) / (x2 - x1) == pytest.approx(2, rel=0.01)
    assert (y3 - y2) / (y2 - y1) == pytest.approx(2, rel=0.01)


def test_the_baseline_of_another_table_is_in_the_picture(make_result):
    values = {"erm": ({}, 0.4), "random": ({"a": 1}, 0.2), "learner": ({}, 0.3)}
    results = [
        make_result(method, seed, test={"tprd": value, "accuracy": 0.9 - value}, data=DATA, options=options)
        for method, (options, value) in values.items()
        for seed in (0, 1, 2)
    ]
    family = read(site(results)[PAGE]).one("details", data_family="other options of random", data_rule="last epoch")
    assert set(points(family.one("figure"))) == {"random[a=1]", "erm"}
    assert [line["Method"] for line in rows(family)] == ["random[a=1]"]


def test_a_constant_prediction_far_away_is_told_and_not_drawn(make_result):
    """Points at 90 and 92 % would be one beside a line at 60 %."""
    data = DATA | {"counts": {"train": [[700, 300]], "test": [[30, 20]]}}
    tests = {"erm": {"tprd": 0.1, "accuracy": 0.9}, "learner": {"tprd": 0.2, "accuracy": 0.92}}
    results = [make_result(method, seed, test=test, data=data) for method, test in tests.items() for seed in (0, 1)]
    figure = family_of(site(results)[PAGE]).one("figure")
    assert not list(figure.all("path", kind="always"))
    assert figure.one("text", kind="always").text == "always one class: 60.00 ↓"


def test_where_nothing_is_compared_that_is_the_answer(make_result):
    results = [make_result("random", 0, test={"tprd": 0.1, "accuracy": 0.9})]
    answer = read(site(results)[PAGE]).one("div", kind="answer")
    assert answer.one("strong").text == "No method is compared with a baseline here."


def test_the_constant_prediction_is_a_line_of_the_picture(results):
    figure = family_of(site(results)[PAGE]).one("figure")
    (line,) = figure.all("path", kind="always")
    height = float(re.fullmatch(r"M\S+ (\S+)H\S+", line.about["d"])[1])
    found = points(figure)
    (_, erm), (_, learner) = found["erm"], found["learner"]
    assert (height - learner) / (learner - erm) == pytest.approx((82.5 - 60) / 10, rel=0.02)
    assert figure.one("text", kind="always").text == "always one class"


def test_the_differences_share_one_scale_with_zero_on_it(make_result):
    """Differences of -10 and +20 points, each without a spread."""
    values = {"erm": 0.4, "random": 0.3, "learner": 0.6}
    results = [
        make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, data=DATA)
        for method, value in values.items()
        for seed in (0, 1, 2)
    ]
    found = {}
    for picture in family_of(site(results)[PAGE]).one("tbody").all("svg"):
        zero = float(re.match(r"M(\S+) 0V", picture.one("path", kind="zero").about["d"])[1])
        dot = [float(one) for one in re.findall(r"M(\S+) \S+a(\S+)", picture.one("path", kind="dot").about["d"])[0]]
        found[round(dot[0] + dot[1] - zero, 1)] = zero
    assert len(set(found.values())) == 1
    (low, high) = sorted(found)
    assert high / -low == pytest.approx(2, rel=0.02)


def test_a_row_leads_to_its_command_and_its_records(results):
    page = read(site(results)[PAGE])
    line = next(page.all("tr", data_verdict="better"))
    details = page.one("details", id=line.one("a", kind="to-row").about["href"].removeprefix("#"))
    assert details.one("code", kind="command").text == "bench run --method learner --dataset digits --seeds 6"
    table = details.one("table", kind="small")
    assert [head.text for head in table.all("th")] == ["", "last epoch", "Seed", "tprd", "accuracy"]
    lines = [[cell.text for cell in seed.all("td")] for seed in table.one("tbody").all("tr")]
    assert lines[1] == ["1", "31.00", "81.00"]
    path = next(one.path for one in results if one.spec.method == "learner" and one.spec.seed == 1)
    assert list(table.all("a"))[1].about["href"] == f"../results/{path}"


def test_changed_options_are_told(make_result):
    results = [make_result("erm", 0, test={"tprd": 0.1, "accuracy": 0.9})]
    results += [
        make_result("learner", 0, test={"tprd": 0.1, "accuracy": 0.9}, options={"lr": 0.5}, recipe={"steps": 9})
    ]
    details = [one for one in read(site(results)[PAGE]).all("details", kind="row") if "learner" in one.text]
    assert [part.text for part in details[0].all("p")][1] == "Changed options: recipe.steps=9, lr=0.5"


def test_rates_are_those_of_the_counts(make_result):
    """Of three samples of class 0 and one of class 1, after the last epoch all are predicted to be of class 0, and
    after the best one two and one are right.
    """
    page = read(site([predicted(make_result)])[PAGE])
    (table,) = [table for table in page.all("table", kind="small") if "Class" in table.text]
    assert [head.text for head in table.all("th")] == [
        *("", "last epoch", "best validation accuracy", "Class", "n", "predicted correctly", "predicted correctly")
    ]
    assert [[cell.text for cell in line.all("td")] for line in table.one("tbody").all("tr")] == [
        ["no", "3", "100.00", "66.67"],
        ["yes", "1", "0.00", "100.00"],
    ]


def test_rates_of_groups_are_told_with_their_numbers(make_result):
    """Two groups of 4 + 6 and 10 + 0 samples; right are 3 + 3 and 8 + 0."""
    from bench.records.selections import Counts, Selected, Selections

    counts = Counts([[3, 3], [8, 0]], [[6, 4], [8, 2]])
    selected = Selections.of({"last": Selected(3, {"test": {"tprd": 0.1, "accuracy": 0.7}}, {"test": counts})}, set())
    about = {"groups": ["a", "b"], "classes": ["no", "yes"]}
    data = {"sizes": {"train": 10, "test": 20}, "counts": {"test": [[4, 6], [10, 0]]}}
    page = read(site([make_result("erm", 0, selected=selected, about=about, data=data)])[PAGE])
    (table,) = [table for table in page.all("table", kind="small") if "Group" in table.text]
    assert [head.text for head in table.all("th")] == [
        *("", "last epoch", "Group", "n", "n: no", "n: yes"),
        *("accuracy", "false positive rate", "false negative rate"),
    ]
    assert [[cell.text for cell in line.all("td")] for line in table.one("tbody").all("tr")] == [
        ["a", "10", "4", "6", "60.00", "25.00", "50.00"],
        ["b", "10", "10", "0", "80.00", "20.00", "undefined"],
    ]
    told = [cell.about.get("title", "") for cell in table.one("tbody").all("td")]
    nothing = ["", "", "", ""]
    assert told == [
        *(*nothing, "seed 0: 60", "seed 0: 25", "seed 0: 50"),
        *(*nothing, "seed 0: 80", "seed 0: 20", "seed 0: undefined"),
    ]


def test_the_validation_curve_is_that_of_the_history(make_result):
    """Validation accuracies of 0.5, 0.8 and 0.7 after epochs 1, 2 and 3."""
    page = read(site([predicted(make_result)])[PAGE])
    path = page.one("figure", kind="history").one("path", kind="curve").about["d"]
    begin, steps = path[1:].split("l")  # the first point, and from there each from the one before
    x1, y1 = map(float, begin.split())
    dx2, dy2, dx3, dy3 = map(float, re.findall(r"-?\d+", steps))
    x2, y2, x3, y3 = x1 + dx2, y1 + dy2, x1 + dx2 + dx3, y1 + dy2 + dy3
    assert x2 - x1 == pytest.approx(x3 - x2, abs=1.1)
    assert TOP < y2 < y3 < y1 < BOTTOM
    assert (y3 - y2) / (y1 - y2) == pytest.approx(1 / 3, abs=0.01)


def test_other_families_and_rules_are_further_tables(make_result):
    results = [
        make_result(method, seed, test={"tprd": 0.1, "accuracy": 0.9}, best={"tprd": 0.2, "accuracy": 0.9}, **fields)
        for method, fields in (("erm", {}), ("random", {}), ("random", {"options": {"a": 1}}))
        for seed in (0, 1)
    ]
    found = list(read(site(results)[PAGE]).all("details", kind="family"))
    about = [(one.about["data-family"], one.about["data-rule"], "open" in one.about) for one in found]
    assert about == [
        ("methods", "last epoch", True),
        ("methods", "best validation accuracy", False),
        ("other options of random", "last epoch", False),
        ("other options of random", "best validation accuracy", False),
    ]


def test_a_model_that_predicts_one_class_is_marked(make_result):
    tests = ({"tprd": 0.1, "accuracy": 0.9, "fraction_positive": share} for share in (0.0, 0.5))
    results = [make_result("erm", seed, test=test) for seed, test in enumerate(tests)]
    assert family_of(site(results)[PAGE]).one("span", kind="badge").text == "one class: 1 of 2"


EVIL = "</script><img src=x onerror=alert(1)>\"'&amp;\u202e|`"
"""A name that would end a script, an attribute or a cell, or turn the direction of writing."""


def test_names_of_any_origin_are_shown_and_obeyed_nowhere(make_result):
    about = {"groups": [EVIL, "b"], "classes": [EVIL, "yes"], "dataset_reference": EVIL, "used": {EVIL: EVIL}}
    data = {"sizes": {"train": 10, "test": 4}, "counts": {"train": [[6, 4]], "test": [[3, 1]]}}
    fields = {"options": {"name": EVIL}, "protocol_options": {"of": EVIL}, "about": about, "data": data}
    results = [make_result(method, 0, test={"tprd": 0.1, "accuracy": 0.9}, **fields) for method in ("erm", "learner")]
    results.append(make_result("random", 0, status="diverged", error=EVIL, **fields))
    for name, html in pages(results).items():
        page = read(html)
        assert page.one("script").about == {"src": "site.js", "defer": ""} and not list(page.all("img")), name
        assert not [key for element in page.all("a") for key in element.about if key.startswith("on")]
        assert "\u202e" not in html
    page = read(site(results)[PAGE])
    shown = EVIL.replace("\u202e", r"\u202e")
    assert (
        f"learner[name={shown}]"
        in rows(next(page.all("details", kind="family")))[1]["Method"]
        + rows(next(page.all("details", kind="family")))[0]["Method"]
    )


def test_the_same_records_give_the_same_bytes_in_any_order(results):
    assert site(results) == site(results[::-1])


def test_a_page_needs_no_network_and_runs_its_own_script_alone(results):
    for html in pages(results).values():
        policy = read(html).one("meta", http_equiv="Content-Security-Policy").about["content"]
        assert policy.startswith("default-src 'none'") and policy.endswith("script-src 'self' file:")
        assert read(html).one("link").about == {"rel": "stylesheet", "href": "site.css"}
        assert [address for address in re.findall(r'(?:src|href)="([^"]*)"', html) if "//" in address] == []


def test_the_front_page_has_the_matrix_the_answers_and_the_cards(results):
    page = read(site(results, **{"throughput.md": "# Throughput\n"})["html/index.html"])
    assert page.one("p", kind="lead").text == (
        "On the one task that can be decided so far, a method, in its default configuration, beats the baseline by "
        "more than chance: learner on class fairness on digits (tprd -10.17, accuracy -10.00 points)."
    )
    learner, other = rows(page.one("details", kind="family"))
    assert (learner["Method"], other["Method"]) == ("learner", "other")
    table = page.one("table", kind="matrix")
    cell = table.one("td", kind="better")
    key = next(iter(read(site(results)[PAGE]).all("tr", data_verdict="better"))).about["data-row"]
    assert (cell.text, cell.one("a").about["href"]) == ("▲ -10.17", f"class_fairness-v1-digits.html#r{key}")
    card = page.one("section", kind="card")
    (link,) = page.one("p", kind="problems").all("a")
    assert link.about["href"] == f"#{card.about['id']}" and card.one("h3").text.endswith(link.text)
    assert card.one("code", kind="command").text == "bench run --method learner --dataset digits --seeds 6"
    assert "throughput.html" in [link.about["href"] for link in page.all("a")]


def test_of_very_many_rows_the_first_are_shown(make_result):
    tests = [{"tprd": place / 1000, "accuracy": 0.9} for place in range(105)]
    results = [make_result("random", 0, test=test, options={"place": place}) for place, test in enumerate(tests)]
    page = read(site(results)[PAGE])
    assert len(rows(page.one("details", kind="family"))) == 100
    assert "5 more rows" in page.text


COSTS = {"erm": 1.0, "learner": 10.0, "random": None}
"""Training times relative to the baseline's; that of the last one was measured on another machine."""


def costly(make_result, costs: dict[str, float | None]) -> Element:
    results = [
        make_result(
            method,
            seed,
            test={"tprd": (2 + place) / 10, "accuracy": (9 - place) / 10},
            data=DATA,
            seconds=3 * (cost or 1),
            device="CPU A" if cost else "CPU B",
        )
        for place, (method, cost) in enumerate(costs.items())
        for seed in (0, 1, 2)
    ]
    return family_of(site(results)[PAGE]).one("figure")


def widths(figure: Element) -> dict[str, float]:
    """The width of the mark of each row, in pixels: of its diamond, or twice the radius of its circle over 0.85."""
    found = {}
    for point in figure.all("a"):
        (dot,) = [path.about["d"] for path in point.all("path") if path.about["class"] == "dot"]
        if circle := re.search(r"a(\S+) ", dot):
            found[point.one("title").text.split(":")[0]] = 2 * float(circle[1]) / 0.85
        else:
            left, _, right = [float(one) for one in re.findall(r"[ML](\S+) ", dot)][:3]
            found[point.one("title").text.split(":")[0]] = right - left
    return found


def test_points_are_as_large_as_their_costs_and_open_where_these_are_not_known(make_result):
    figure = costly(make_result, COSTS)
    found = widths(figure)
    assert found["learner"] == pytest.approx(2 * found["erm"], rel=0.03)
    assert found["random"] == pytest.approx(found["erm"], rel=0.03)
    kinds = {one.one("title").text.split(":")[0]: "unpriced" in one.about["class"] for one in figure.all("a")}
    assert kinds == {"erm": False, "learner": False, "random": True}
    titles = [title.text for title in figure.all("title")]
    assert [title.endswith("cost 10.00 ×") for title in titles if title.startswith("learner")] == [True]


def test_the_legend_has_points_of_the_sizes_of_round_costs(make_result):
    caption = costly(make_result, COSTS).one("figcaption")
    assert (
        "size: training time relative to the baseline" in caption.text and "open: time not comparable" in caption.text
    )
    shown = [float(svg.about["width"]) - 2 for svg in caption.all("svg")]
    assert re.findall(r"([\d.]+)\xa0×", caption.text) == ["1", "10"]
    assert shown == [10, 20]
    assert "open" not in costly(make_result, {"erm": 1.0, "learner": 2.0}).one("figcaption").text


def test_points_are_of_one_size_where_no_cost_is_known(make_result):
    figure = costly(make_result, {"erm": 1.0, "learner": None})
    assert len(set(map(round, widths(figure).values()))) == 1
    assert "size" not in figure.one("figcaption").text and "unpriced" not in str(figure)


def test_very_large_and_very_small_costs_are_still_points(make_result):
    found = widths(costly(make_result, {"erm": 1.0, "learner": 10_000.0, "random": 0.0001}))
    assert found["learner"] < 30 and found["random"] > 4


def test_a_row_that_is_no_better_than_a_constant_is_a_square(make_result):
    data = DATA | {"counts": {"train": [[700, 300]], "test": [[30, 20]]}}
    tests = {"erm": 0.9, "learner": 0.6}
    results = [
        make_result(method, seed, test={"tprd": right - 0.01 * seed**2, "accuracy": right}, data=data)
        for method, right in tests.items()
        for seed in range(5)
    ]
    figure = family_of(site(results)[PAGE]).one("figure")
    (dot,) = [path.about["d"] for path in figure.one("a", kind="constant").all("path") if path.about["class"] == "dot"]
    assert re.fullmatch(r"M\S+ \S+h8v8h-8z", dot) and "■ ≈ constant" in figure.one("figcaption").text


def test_no_name_is_nearer_to_another_point_than_to_its_own(make_result):
    """Among points so close that not all names fit beside theirs; a name farther away has a line to its own."""
    drawn = random.Random(2)
    tests = [{"tprd": drawn.random() / 2, "accuracy": 0.5 + drawn.random() / 2} for _ in range(95)]
    results = [
        make_result("random", seed, test=test, options={"a": place})
        for place, test in enumerate(tests)
        for seed in (0, 1)
    ]
    figure = family_of(site(results)[PAGE]).one("figure")
    found = points(figure)
    names = list(figure.all("text", kind="name"))
    leaders = {leader.about["d"].partition("L")[0] for leader in figure.all("path", kind="leader")}
    for one in names:
        x, y = found[one.text]
        if f"M{x:.1f} {y:.1f}".replace(".0", "") in leaders:
            continue
        width, low = width_of(one.text), float(one.about["y"]) + 3
        left = float(one.about["x"]) - {"mid": width / 2, "end": width}.get(one.about["class"].split()[-1], 0)
        inside = [(left + width * part / 50, low - up) for part in range(51) for up in range(13)]
        distances = {name: min(math.dist(at, place) for place in inside) for name, at in found.items()}
        assert min(distances, key=distances.__getitem__) == one.text
    assert len(leaders) < len(names) < 95


def test_the_best_row_the_baseline_and_those_that_are_separated_are_named_first(make_result):
    """Forty other rows, of two seeds each, stand around them."""
    drawn = random.Random(1)
    others = {f"random{place}": (0.37 + drawn.random() / 20, 0.88 + drawn.random() / 20) for place in range(40)}
    tests = {"erm": (0.4, 0.905), "learner": (0.38, 0.89), "worse": (0.415, 0.906), "best": (0.368, 0.9)} | others
    results = [
        make_result(method, seed, test={"tprd": tprd + error * len(method) / 4, "accuracy": right}, data=DATA)
        for method, (tprd, right) in tests.items()
        for seed, error in enumerate((0, 0.001, 0.002, 0.001, 0)[: 2 if method in others else 5])
    ]
    figure = family_of(site(results)[PAGE]).one("figure")
    assert len(list(figure.all("a"))) == 44
    names = [one.text for one in figure.all("text", kind="name")]
    assert set(names[:4]) == {"best", "erm", "learner", "worse"} and len(names) < 44


def test_the_legend_names_what_each_circle_may_be(make_result):
    few = [
        make_result(method, seed, test={"tprd": 0.1 * seed + more, "accuracy": 0.9})
        for method, more in (("erm", 0.1), ("learner", 0.2))
        for seed in range(2)
    ]
    assert "● too few seeds · " in family_of(site(few)[PAGE]).one("figcaption").text
    more = [
        make_result(method, seed, test={"tprd": value, "accuracy": 0.9}, data=DATA)
        for method, values in (("erm", BASE), ("same", BASE), ("open", BASE[::-1]))
        for seed, value in enumerate(values)
    ]
    caption = family_of(site(more)[PAGE]).one("figcaption").text
    assert "● not separated or identical · " in caption


def test_an_interval_that_is_cut_says_what_its_arrow_is(make_result):
    """Three rows with short intervals, and one whose interval is hundreds of times as long."""
    noise = {"a": 0.001, "b": 0.001, "c": 0.001, "wild": 0.3}
    results = [
        make_result(
            method,
            seed,
            test={"tprd": 0.5 + (-1) ** seed * noise.get(method, 0) + 0.0001 * seed, "accuracy": 0.9},
            data=DATA,
        )
        for method in ("erm", *noise)
        for seed in range(6)
    ]
    lines = family_of(site(results)[PAGE]).one("tbody").all("tr")
    cells = {line.one("b").text: line.one("td", kind="i").about for line in lines if list(line.all("b"))}
    assert [name for name, about in cells.items() if CUT in about.get("title", "")] == ["wild"] and len(cells) == 5


def test_the_rows_of_tasks_with_options_alone_are_titled_by_their_tasks(make_result):
    """On one task the methods have no options, on the other one the only run is that of the baseline."""
    results = [
        make_result(method, seed, test={"tprd": 0.1 * seed + more, "accuracy": 0.9}, data=DATA)
        for method, more in (("erm", 0.1), ("learner", 0.2))
        for seed in range(5)
    ]
    results += [
        make_result("erm", seed, test={"tprd": 0.1, "accuracy": 0.9}, data=DATA, protocol_options={"factor": 1})
        for seed in range(5)
    ]
    first, other = read(site(results)[PAGE]).all("details", kind="family")
    assert first.one("h2").text == "Last epoch" and first.about["data-family"] == "methods"
    assert other.one("h2").text == "Methods with their options, factor=1: last epoch"
    assert other.about["data-family"] == "methods with their options, factor=1"
    assert "#" not in rows(other)[0]


def test_a_method_is_one_row_of_the_matrix_whatever_its_marks_on_a_page(make_result):
    """On one of the two pages its runs were made by two versions of the code, which marks it there."""
    results = [
        make_result(
            method, seed, dataset=dataset, test={"tprd": value + seed / 100, "accuracy": 0.9}, data=DATA, **fields
        )
        for dataset in ("digits", "other")
        for method, value in (("erm", 0.5), ("a", 0.4))
        for seed in range(5)
        for fields in [
            {"environment": {"versions": {"torch": f"2.{seed}"}}} if (dataset, method) == ("other", "a") else {}
        ]
    ]
    files = site(results)
    assert "§" in files["html/class_fairness-v1-other.html"]
    table = read(files["html/index.html"]).one("table", kind="matrix")
    assert [cell.text for cell in table.one("tbody").all("th")] == ["a"]
