"""From the texts of a command to requests."""

from bench.registry import installed
from bench.runs.requests import RequestTexts, requests_of


def test_each_combination_of_values_is_a_request_of_each_method():
    asked = RequestTexts(
        datasets=["digits"],
        methods=["forml", "erm", "forml"],
        options=["forml.l1=1", "model.hidden=5"],
        each=["recipe.lr=1", "recipe.epochs=2", "recipe.lr=3"],
    )
    requests = requests_of(asked, installed())
    shared = {"model.hidden": "5", "recipe.epochs": "2"}
    assert [(request.method, dict(request.options)) for request in requests] == [
        ("forml", shared | {"recipe.lr": "1", "l1": "1"}),
        ("erm", shared | {"recipe.lr": "1"}),
        ("forml", shared | {"recipe.lr": "3", "l1": "1"}),
        ("erm", shared | {"recipe.lr": "3"}),
    ]


def test_every_combination_of_what_is_named_is_a_request_and_data_sets_change_last():
    asked = RequestTexts(
        datasets=["digits", "moons"],
        methods=["erm", "random"],
        models=["mlp", "logistic"],
        protocols=["class_fairness", "label_noise"],
        each=["recipe.lr=1", "recipe.lr=2"],
    )
    requests = requests_of(asked, installed())
    assert (
        len({(r.dataset, r.method, r.model, r.protocol, r.options["recipe.lr"]) for r in requests})
        == len(requests)
        == 32
    )
    assert [r.dataset for r in requests] == ["digits"] * 16 + ["moons"] * 16
    assert [(r.method, r.options["recipe.lr"]) for r in requests[:4]] == [
        ("erm", "1"),
        ("random", "1"),
        ("erm", "2"),
        ("random", "2"),
    ]
    assert {(r.model, r.protocol) for r in requests[:4]} == {("mlp", "class_fairness")}


def test_a_method_s_own_value_is_over_the_common_one():
    asked = RequestTexts(datasets=["digits"], methods=["forml"], options=["forml.l1=1", "method.l1=2", "l2=3"])
    (request,) = requests_of(asked, installed())
    assert request.options == {"l1": "1", "l2": "3"}
