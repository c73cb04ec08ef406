"""The JSON Schema of records, against the committed ones and a validator that is not ours."""

import json
from pathlib import Path

import jsonschema
import pytest

from tools import record_schema

RESULTS = Path(__file__).parents[2] / "leaderboards" / "results"


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(record_schema.FILE.read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_file_is_what_the_types_give():
    assert record_schema.FILE.read_text("utf-8") == record_schema.text()


def test_committed_records_are_of_the_schema(validator):
    paths = sorted(RESULTS.glob("*/*/*.json"))
    assert len(paths) > 900
    for path in paths[::10]:
        validator.validate(json.loads(path.read_text("utf-8")))


def test_a_record_that_has_just_been_made_is_of_the_schema(validator, make_result):
    validator.validate(json.loads(make_result().to_json()))


@pytest.mark.parametrize(
    "change",
    [{"format": 3}, {"status": "fine"}, {"history": {}}, {"costs": {"train_seconds": 1.0}}, {"sidecar": 7}],
    ids=str,
)
def test_what_is_no_record_is_not(validator, make_result, change):
    assert not validator.is_valid(json.loads(make_result().to_json()) | change)


def test_every_field_is_described():
    schema = record_schema.schema()
    kinds = {"Record": schema} | schema["$defs"]
    bare = [
        f"{kind}.{name}"
        for kind, of in kinds.items()
        for name, field in of["properties"].items()
        if "description" not in field
    ]
    assert bare == ["Record.format", *(name for name in bare if name.startswith("Resolved."))]
