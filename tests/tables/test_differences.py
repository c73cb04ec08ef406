"""The table of paired differences, by hand, and its means beside those of the pages."""

import statistics

from bench.columns.table import columns_of
from bench.tables.pages.exported import differences_of
from tests.tables.pages import render


def test_differences_are_those_of_the_pages(make_result):
    values = {"erm": [0.3, 0.5, 0.6], "b": [0.2, 0.1, 0.4]}
    results = [make_result(m, seed, test={"tprd": v}) for m, of in values.items() for seed, v in enumerate(of)]
    results.append(make_result("b", 7, test={"tprd": 0.9}))  # the baseline has no such seed
    results.append(make_result("b", 0, test={"tprd": 0.0}, recipe={"lr": 0.5}))  # off the recipe is no baseline
    found = differences_of(columns_of(results))
    found = found[found.metric == "tprd"]
    assert found[["row", "baseline", "seed", "value", "baseline_value"]].to_numpy().tolist() == [
        ["b", "erm", seed, values["b"][seed], values["erm"][seed]] for seed in range(3)
    ]
    keys = {(result.spec.method, result.spec.seed): result.spec.key for result in results[:6]}
    assert list(found.key) == [keys["b", seed] for seed in range(3)]
    assert list(found.baseline_key) == [keys["erm", seed] for seed in range(3)]
    mean = statistics.mean(b - a for a, b in zip(values["erm"], values["b"], strict=True))
    assert f"| {100 * mean:+.2f} [" in render(results)["class_fairness-v1-digits.md"]
    assert found.difference.mean() == statistics.mean(found.value - found.baseline_value)


def test_a_row_off_the_recipe_is_compared_as_on_the_pages(make_result):
    """It is trained as the baseline is, so that this is its baseline, though it stands in another table."""
    results = [make_result("erm", seed, test={"tprd": 0.5, "accuracy": 0.9}) for seed in range(2)]
    results += [
        make_result("b", seed, test={"tprd": 0.25, "accuracy": 0.9}, off_recipe=["protocol"]) for seed in (0, 1)
    ]
    found = differences_of(columns_of(results))
    found = found[found.metric == "tprd"]
    told = ["b (the recipe of another protocol)", "erm", -0.25]
    assert found[["row", "baseline", "difference"]].to_numpy().tolist() == [told, told]
    assert "| -25.00 | too few seeds |" in render(results)["class_fairness-v1-digits.md"]
