"""The API's description: current in docs/openapi.json, complete, and its examples would be taken."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from console.api.app import describe
from console.api.describing import CONFIRMED, ORIGIN, OURS, RECONSTRUCTED, TAGS
from console.api.examples import DOCUMENT, EXAMPLES
from console.declarations import read_document

FILE = Path(__file__).parents[3] / "docs" / "openapi.json"


def operations() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method} {path}", operation)
        for path, methods in describe()["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_written_description_is_current() -> None:
    told = f"write it anew: warehouse-sync openapi > {FILE.relative_to(FILE.parents[1])}"
    assert json.loads(FILE.read_text()) == json.loads(json.dumps(describe())), told


@pytest.mark.parametrize(("name", "operation"), operations())
def test_every_operation_says_what_it_is(name: str, operation: dict[str, Any]) -> None:
    assert operation["summary"], name
    assert operation[ORIGIN] in {CONFIRMED, RECONSTRUCTED, OURS}
    assert [tag for tag in operation["tags"] if tag not in {one["name"] for one in TAGS}] == []
    assert "422" not in operation["responses"]
    is_open = name in {"get /healthz", "post /oauth/token"}
    assert ("security" in operation) != is_open
    if not is_open:
        assert {"400", "401", "403", "404", "413", "503"} <= set(operation["responses"])


@pytest.mark.parametrize("kind", EXAMPLES, ids=lambda kind: kind.__name__)
def test_examples_would_be_taken(kind: type[BaseModel]) -> None:
    kind.model_validate(EXAMPLES[kind])


def test_the_example_of_a_document_would_be_taken() -> None:
    assert read_document(DOCUMENT).in_order()


def bodies() -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, operation["requestBody"]["content"]["application/json"])
        for name, operation in operations()
        if "requestBody" in operation
    ]


def test_documented_bodies_take_their_examples_and_plain_secrets() -> None:
    components = describe()["components"]
    examples = [(name, content) for name, content in bodies() if "example" in content]
    assert len(examples) > 10
    for name, content in examples:
        example = content["example"]
        plain = {**example, "api_secret": "as it is"} if "api_secret" in example else example
        schema = Draft202012Validator({**content["schema"], "components": components})
        assert list(schema.iter_errors(plain)) == [], name
        assert not schema.is_valid([example]), name


def test_every_schema_has_one_place_and_is_referred_to() -> None:
    described = describe()
    schemas = described["components"]["schemas"]
    referred = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(described)))
    assert referred == set(schemas)
    assert "$defs" not in json.dumps(described)
    declared = {name: content["schema"] for name, content in bodies() if content["schema"].get("title") != "Document"}
    assert [name for name, schema in declared.items() if "properties" in schema] == []


def test_describing_once_more_gives_the_same() -> None:
    assert describe() == describe()
