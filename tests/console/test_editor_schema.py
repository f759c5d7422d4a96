"""Editors know what declarations are: the schema is current, knows our examples and refuses only what is refused."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from hypothesis import given, settings
from jsonschema import Draft202012Validator

from console.declarations import Resource, read_document
from console.editor_schema import editor_schema, schema_text
from console.exporting import document_of, to_yaml
from shared.errors import DeclarationInvalid
from tests.console.any_declarations import resources
from tests.console.test_declarations import WHOLE

ROOT = Path(__file__).resolve().parent.parent.parent
SCHEMA: Final = Draft202012Validator(editor_schema())
EXAMPLES: Final = [
    (str(page.relative_to(ROOT)), block)
    for page in sorted((ROOT / "README.md", *ROOT.glob("docs/**/*.md")))
    for block in re.findall(r"^ *```yaml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
]
PIPELINE: Final = {"name": "P", "connection_id": "c", "data_model_id": "m", "feed_id": "f", "id": "p"}


def _text(_: yaml.SafeLoader, node: yaml.Node) -> Any:
    return node.value


class _AsEditorsRead(yaml.SafeLoader):
    """To the YAML of today an instant without quotes is a text."""


_AsEditorsRead.add_constructor("tag:yaml.org,2002:timestamp", _text)


def _read(text: str) -> Any:
    return yaml.load(text, _AsEditorsRead)  # noqa: S506 - a safe loader


def test_the_schema_in_the_documents_is_current() -> None:
    assert (ROOT / "docs" / "schema" / "warehouse-sync.schema.json").read_text() == schema_text(), "run `make schema`"
    Draft202012Validator.check_schema(editor_schema())


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_every_example_is_valid_in_an_editor(page: str, block: str) -> None:
    content = _read(block)
    if {"schedule", "data_plan", "volume"} & content.keys():  # A part of a pipeline.
        content = {"pipelines": [{**PIPELINE, "sync_mode": {"type": "full"}, **content}]}
    if "jobs" in content:  # A workflow that applies declarations.
        return
    assert [error.message for error in SCHEMA.iter_errors(content)] == [], page


@settings(max_examples=40, deadline=None)
@given(resources())
def test_whatever_is_exported_is_valid_in_an_editor(found: list[Resource]) -> None:
    assert [error.message for error in SCHEMA.iter_errors(_read(to_yaml(document_of(found, {}))))] == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("timestamp_ltz", "TIMESTAMPTZ"),
        ("duckdb", "DuckDB"),
        ("env:WAREHOUSE_SYNC_SECRET_X", "stored"),
        ("environment: development", "state: paused"),
    ],
)
def test_what_may_be_written_in_other_ways_is_valid_in_an_editor(before: str, after: str) -> None:
    assert before in WHOLE
    content = _read(WHOLE.replace(before, after))
    assert list(SCHEMA.iter_errors(content)) == []
    assert read_document(content).in_order()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("feeds:", "feed:"),
        ("api_key:", "api_kee:"),
        ("    api_key: us1-1\n", ""),
        ("env:WAREHOUSE_SYNC_SECRET_X", "hunter2"),
        ("id: main", "id: two words"),
        ("duckdb", "oracle"),
        ("{folder: /data}", "{folder: /data, schema: x}"),
        ("{folder: /data}", "/data"),
        ("service_provider: duckdb", "service_provider: redshift"),
        ("mapping_type: ignore", "mapping_type: drop"),
        ("type: incremental, ", ""),
        ("type: incremental", "type: sometimes"),
        ("timestamp_ltz", "integer"),
        ("iterator_field: updated_at, ", ""),
        ("environment: development", "environment: staging"),
        ("environment: development", "state: deleted"),
        ("environment: development", "schedule: {type: interval, frequency: yearly, start: 2026-01-01T00:00:00Z}"),
        ("environment: development", "schedule: {type: on_demand, delay: soon}"),
        ("environment: development", "schedule: {type: on_demand, start: 2026-01-01T00:00:00Z}"),
        ("environment: development", "max_rejected_ratio: 1"),
        ("environment: development", "limits: {attribute_value: cut}"),
        ("environment: development", "limits: {attribute_values: warn}"),
        ("environment: development", "data_plan: {on_violation: warn}"),
        ("environment: development", "merge: [true]"),
        ("environment: development", "one_row_per: customer_id"),
        ("    mappings:\n", "    mappings: []\n    other:\n"),
    ],
)
def test_what_an_editor_refuses_is_refused(before: str, after: str) -> None:
    assert before in WHOLE
    content = _read(WHOLE.replace(before, after))
    assert list(SCHEMA.iter_errors(content)), "the schema lets it pass"
    with pytest.raises(DeclarationInvalid, match="declares something that cannot be"):
        read_document(content)
