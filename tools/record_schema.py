"""Makes docs/record.schema.json, the JSON Schema of the records of runs, from the types of `bench.records`.

Give it after a change of these types, and commit the file. A field without a default is required; a field that is left
out has its default. A record of an earlier format has other entries; `bench` reads it all the same.
"""

import argparse
import dataclasses
import inspect
import json
import re
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from bench.records.run import STATUSES, RunResult

FILE = Path(__file__).parents[1] / "docs/record.schema.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", types.NoneType: "null"}
DIGEST = {"type": "string", "pattern": "^[0-9a-f]{12}$"}
IN_MEMORY = ("beside",)
"""Fields that no file has."""
ATTRIBUTE = re.compile(r" {4}(\w[\w, ]*): (.*)")
"""The first line of what a docstring says of an attribute, or of several."""


def schema() -> dict[str, Any]:
    """The JSON Schema of a record."""
    definitions: dict[str, Any] = {}
    record = _fields(RunResult, definitions)
    record["properties"]["status"] |= {"enum": list(STATUSES)}
    key = DIGEST | {"description": "of the spec: 12 hex digits of the sha256 of its canonical JSON, with all fields."}
    digest = DIGEST | {"description": "of all other entries, as canonical JSON: shows what was changed by hand."}
    record["properties"] = {"format": {"const": RunResult.FORMAT}, "key": key, **record["properties"], "digest": digest}
    record["required"] = ["format", "key", *record["required"], "digest"]
    return {"$schema": DIALECT, "title": "Record of a run"} | record | {"$defs": definitions}


def _fields(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass. Those that its fields hold are added to the definitions."""
    hints, told = get_type_hints(kind), described(kind)
    properties, required = {}, []
    for field in dataclasses.fields(kind):
        if field.name in IN_MEMORY:
            continue
        properties[field.name] = _type(hints[field.name], definitions) | (
            {"description": told[field.name]} if field.name in told else {}
        )
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            required.append(field.name)
    about = inspect.getdoc(kind).partition("\n\n")[0].replace("\n", " ")  # type: ignore[union-attr]
    return {
        "type": "object",
        "description": about,
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def _type(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_type(argument, definitions) for argument in arguments]}
    if dataclasses.is_dataclass(kind):
        name = kind.__name__  # type: ignore[union-attr]
        if name not in definitions:
            definitions[name] = {}  # its place, before those of its fields
            definitions[name] = _fields(kind, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _type(arguments[1], definitions)}
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], definitions)}
    return {} if kind is Any else {"type": PLAIN[kind]}


def described(kind: Any) -> dict[str, str]:
    """What the docstring of a class says of its attributes: name -> text."""
    lines = inspect.getdoc(kind).partition("Attributes:\n")[2].splitlines()  # type: ignore[union-attr]
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in lines:
        if first := ATTRIBUTE.fullmatch(line):
            names = first[1].split(", ")
            texts |= dict.fromkeys(names, first[2])
        elif line.strip():
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts


def text() -> str:
    """The file."""
    return json.dumps(schema(), indent=1) + "\n"


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    FILE.write_text(text())


if __name__ == "__main__":
    main()
