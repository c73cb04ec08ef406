"""Run specs and records."""

import dataclasses
import hashlib
import json
import math
import shlex
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.recipe import Recipe
from bench.records.blocks import entries_of
from bench.records.json_file import files_in
from bench.records.run import RunResult
from bench.records.spec import RunSpec, canonical, digest

SPEC = RunSpec("digits", "erm", "mlp", "class_fairness/1", 3, options={"beta": 0.5})


# RunSpec


def test_the_key_is_the_sha256_of_the_canonical_json():
    text = (
        '{"dataset":"digits","dataset_options":{},"method":"erm","model":"mlp","model_options":{},'
        '"options":{"beta":0.5},"protocol":"class_fairness/1","protocol_options":{},"recipe":{},"seed":3,"settings":"","validation":"shared"}'
    )
    assert SPEC.key == hashlib.sha256(text.encode()).hexdigest()[:12]


def test_every_field_changes_the_key():
    other = {"seed": 4, "options": {"beta": 0.6}, "model_options": {"a": 1}, "recipe": {"lr": 1.0}}
    names = [f.name for f in dataclasses.fields(RunSpec)]
    keys = {dataclasses.replace(SPEC, **{name: other.get(name, "other")}).key for name in names}
    assert len(keys | {SPEC.key}) == len(names) + 1


@given(st.permutations([("a", 1), ("b", (2.0, 3.0)), ("c", None)]))
def test_the_order_of_options_matters_to_neither_key_nor_command(items):
    def spec(found: dict[str, object]) -> RunSpec:
        return dataclasses.replace(SPEC, options=found, recipe=found, model_options=found)

    a, b = spec(dict(items)), spec(dict(sorted(items)))
    assert a.key == b.key
    assert a.command("mlp", "class_fairness") == b.command("mlp", "class_fairness")


def test_the_command_leaves_out_what_the_data_set_says():
    spec = dataclasses.replace(SPEC, options={})
    assert spec.command("mlp", "class_fairness") == "bench run --method erm --dataset digits --seed 3"
    assert spec.command("cnn", "other") == (
        "bench run --method erm --dataset digits --model mlp --protocol class_fairness --seed 3"
    )


def test_the_command_names_every_difference_as_the_shell_reads_it():
    spec = dataclasses.replace(
        SPEC,
        dataset="celeba[A|B]",
        options={"limit": None, "note": "a b"},
        model_options={"hidden": (64, 32)},
        recipe={"epochs": 5, "train_size": 10, "batch_size": 2, "lr": 0.1, "augment": False},
        validation="paper",
    )
    assert shlex.split(spec.command("mlp", "class_fairness")) == [
        *("bench", "run", "--method", "erm", "--dataset", "celeba[A|B]"),
        *("-o", "recipe.augment=false", "--batch-size", "2", "--epochs", "5", "-o", "recipe.lr=0.1"),
        *(
            "--train-size",
            "10",
            "-o",
            "model.hidden=64,32",
            "-o",
            "limit=none",
            "-o",
            "note=a b",
            "--validation",
            "paper",
            "--seed",
            "3",
        ),
    ]


# RunResult


def test_a_record_is_read_as_it_was_written(make_result):
    result = make_result(options={"beta": 0.5}, test={"tprd": 0.25, "accuracy": 1 / 3}, status="diverged", error="ä\n|")
    assert RunResult.from_json(result.to_json()) == result
    assert (result.ok, make_result().ok) == (False, True)


def test_a_record_names_its_format_and_key_and_has_one_line_for_each_field(make_result):
    text = make_result().to_json()
    values = json.loads(text)
    assert (values["format"], values["key"]) == (RunResult.FORMAT, make_result().spec.key)
    lines = text.splitlines()
    for section in ("spec", "about", "data", "costs", "environment"):
        start = lines.index(f'"{section}": {{')
        inside = lines[start + 1 : start + 1 + len(values[section])]
        assert [line.split('"')[1] for line in inside] == list(values[section])


def test_tuples_survive_as_lists_under_the_same_key(make_result):
    result = make_result(options={"target": (1.0, 3.0)}, recipe={"milestones": (0.5,)})
    read = RunResult.from_json(result.to_json())
    assert read.spec.key == result.spec.key
    assert read.to_json() == result.to_json()


def test_what_is_not_finite_becomes_null(make_result):
    result = make_result(test={"tprd": math.nan, "accuracy": 0.5, "nats": math.inf})
    text = result.to_json()
    assert "NaN" not in text
    assert "Infinity" not in text
    read = RunResult.from_json(text)
    assert read.selected["last"].metrics["test"] == {"tprd": None, "accuracy": 0.5, "nats": None}


def test_costs_and_environment_are_not_what_equal_seeds_give_again(make_result):
    a, b = make_result(seconds=1.0, device="A"), make_result(seconds=2.0, device="B")
    assert a != b
    assert a.reproducible() == b.reproducible() != make_result(test={"tprd": 0.1}).reproducible()


def test_of_no_gpu_there_is_no_entry(make_result):
    on_cpu, on_gpu = make_result(), make_result(environment={"gpu": {"driver": "1"}})
    assert "gpu" not in json.loads(on_cpu.to_json())["environment"]
    assert json.loads(on_gpu.to_json())["environment"]["gpu"] == {"driver": "1"}
    assert RunResult.from_json(on_gpu.to_json()) == on_gpu


@pytest.mark.parametrize(
    ("section", "entry", "instead"),
    [
        ("about", "sets", {}),
        ("resolved", "dataset_options", {}),
        ("resolved", "protocol_options", {}),
        ("data", "counts", {}),
        ("data", "content", ""),
        ("costs", "stages", []),
        ("costs", "captured", False),
        ("costs", "eager_because", ""),
        ("costs", "graph_memory_bytes", None),
        ("costs", "meta_step", []),
        ("costs", "threads_chosen_by", ""),
        ("costs", "load", None),
        ("environment", "numerics", {}),
    ],
)
def test_what_records_of_earlier_versions_lack_is_filled_in(make_result, section, entry, instead):
    values = json.loads(make_result().to_json())
    del values["digest"]
    values[section].pop(entry, None)
    values["digest"] = digest(values)
    assert getattr(getattr(RunResult.from_json(json.dumps(values)), section), entry) == instead


@pytest.mark.parametrize("entries", [{}, {"metrics": ["accuracy"], "unheard_of": 1}])
def test_a_section_without_an_entry_that_all_records_have_is_damaged(make_result, entries):
    values = json.loads(make_result().to_json())
    del values["digest"]
    values["about"] = entries
    values["digest"] = digest(values)
    with pytest.raises(ValueError, match="not a record: "):
        RunResult.from_json(json.dumps(values))


COMMITTED = files_in(Path(__file__).parents[2] / "leaderboards" / "results")


def test_committed_records_are_written_as_they_were_read():
    """Those of today to the byte."""
    for path in COMMITTED:
        text = path.read_text("utf-8")
        result = RunResult.from_json(text)
        assert path.name == result.file
        again = result.to_json()
        assert RunResult.from_json(again) == result
        if json.loads(text)["format"] == RunResult.FORMAT:
            assert again == text, path.name


def test_what_has_its_default_is_not_written(make_result):
    """A later field changes no file that was written before it."""
    values = json.loads(make_result().to_json())
    for name in ("error", "traceback", "notes", "completed", "code", "off_recipe"):
        assert name not in values
    assert values["spec"].keys() == {"dataset", "method", "model", "protocol", "seed"}
    values = json.loads(
        make_result(options={"beta": 1.0}, error="why", notes=["a"], off_recipe=["recipe.lr"]).to_json()
    )
    assert (values["spec"]["options"], values["error"], values["notes"]) == ({"beta": 1.0}, "why", ["a"])
    assert values["off_recipe"] == ["recipe.lr"]


def test_of_the_recipe_what_is_not_usual_is_written(make_result):
    recipe = {"model": "mlp", "lr": 0.5, "batch_size": Recipe().batch_size, "momentum": 0, "milestones": [1, 2]}
    result = make_result(resolved={"recipe": recipe})
    written = json.loads(result.to_json())["resolved"]["recipe"]
    assert written == {"model": "mlp", "lr": 0.5, "momentum": 0, "milestones": [1, 2]}
    read = RunResult.from_json(result.to_json()).resolved.recipe
    assert {name: read[name] for name in recipe} == recipe
    assert read.keys() == {field.name for field in dataclasses.fields(Recipe)}


DEFAULTS = {
    "model": "",
    "model_options": {},
    "protocol": "",
    "loss": "cross_entropy",
    "optimizer": "adam",
    "lr": 0.001,
    "momentum": 0.0,
    "nesterov": False,
    "weight_decay": 0.0,
    "schedule": "steps",
    "milestones": (),
    "gamma": 0.1,
    "max_lr": None,
    "cycle": 4.0,
    "average_from": None,
    "average_lr": None,
    "epochs": 50,
    "steps": None,
    "batch_size": 100,
    "eval_batch_size": 500,
    "train_size": None,
    "val_size": 0,
    "test_size": 0,
    "val_batch_size": 100,
    "min_per_group": 1,
    "augment": True,
    "dropout": "correct",
    "precision": "fp32",
    "evaluate_every": 1,
    "evaluate_at": (),
    "select": "",
    "metrics": (),
    "options": {},
    "source": "",
}


def test_the_defaults_of_recipes_never_change():
    """Records leave them out: another default would change what they say. Another usual value is a new field."""
    assert dataclasses.asdict(Recipe()) == DEFAULTS


# Blocks of lines that many records have in common


def test_a_file_of_another_layout_is_the_same_record(make_result):
    text = make_result().to_json()
    values = json.loads(text)
    for other in (json.dumps(values), json.dumps(values, indent=1), json.dumps(values, indent=0, sort_keys=True)):
        assert RunResult.from_json(other) == make_result()


def test_what_two_records_have_in_common_is_told_apart_from_what_differs(make_result):
    """Each is what plain JSON gives, whichever was read before."""
    several = [make_result(seed=seed, options={"beta": beta}) for seed in (0, 1) for beta in (0.5, 0.25)]
    several += [make_result(data={"sizes": {"train": 10, "test": size}}) for size in (5, 6)]
    for result in [*several, *reversed(several)]:
        text = result.to_json()
        values, texts = entries_of(text, RunResult.SHARED)
        assert values == json.loads(text)
        assert texts == {name: canonical(values[name]) for name in texts}
        assert {"about", "resolved", "data"} <= texts.keys()


@pytest.mark.parametrize(
    "text",
    [
        '{\n"about": {"a": 1},\n"about": {"a": 2}\n}\n',  # the last one counts, as in all JSON
        '{\n"about": {"a": 1},\n"b": {\n"about": 3,\n"c": 4\n}\n}\n',  # an entry of an entry
        '{\n"a": "x,\\n",\n"about": [\n"b",\n"c"\n]\n}\n',
        '{"about": {"a": 1}, "b": 2}',
        '{\n"about": {},\n"about": {},\n"b": 1\n}\n',
        "[]",
        '"about"',
        "3",
    ],
)
def test_any_json_is_read_as_json(text):
    assert entries_of(text, ("about",))[0] == json.loads(text)


@pytest.mark.parametrize("text", ['{\n"about": {"a": NaN},\n"b": 1\n}\n', '{\n"about": {"a": 1,\n"b": 1\n}\n', "", "{"])
def test_what_is_no_json_is_refused(text):
    with pytest.raises(ValueError, match=r"JSON|Expecting"):
        entries_of(text, ("about",))
