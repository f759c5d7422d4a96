"""A YAML file either declares resources or is refused with the path of every mistake."""

from pathlib import Path

import pytest

from console.declarations import read_declarations
from shared.catalog import IteratorType
from shared.errors import DeclarationInvalid

WHOLE = """
feeds:
  - id: main
    name: Main
    base_url: https://s2s.us1.mparticle.com/v2
    api_key: us1-1
    api_secret: env:WAREHOUSE_SYNC_SECRET_X
connections:
  - {id: lake, name: Lake, service_provider: duckdb, config: {folder: /data}}
data_models:
  - {id: users, name: Users, sql_query: SELECT 1 AS customer_id}
field_transformations:
  - id: visits
    name: Visits
    destination_type: event_batch
    mappings:
      - {mapping_type: column, source: customer_id, destination: user_identities.customer_id, value: null}
      - {mapping_type: static, destination: events.event_type, value: session_start}
      - {mapping_type: static, destination: user_attributes.score, value: 1}
      - {mapping_type: static, destination: user_attributes.seen, value: true}
      - {mapping_type: ignore, source: note}
pipelines:
  - id: users
    name: Users
    connection_id: lake
    data_model_id: users
    feed_id: main
    environment: development
    sync_mode: {type: incremental, iterator_field: updated_at, iterator_data_type: timestamp_ltz}
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "declared.yaml"
    path.write_text(text)
    return path


def _refusal(folder: Path, text: str) -> str:
    with pytest.raises(DeclarationInvalid) as refused:
        read_declarations(_written(folder, text))
    return str(refused.value)


def test_a_whole_file_is_read_and_what_is_referred_to_comes_first(tmp_path: Path) -> None:
    declared = read_declarations(_written(tmp_path, WHOLE))
    assert [type(resource).__name__ for resource in declared.in_order()] == [
        "Feed",
        "Connection",
        "DataModel",
        "FieldTransformation",
        "Pipeline",
    ]
    assert [mapping.value for mapping in declared.field_transformations[0].mappings] == [
        None,
        "session_start",
        1,
        True,
        None,
    ]
    mode = declared.pipelines[0].sync_mode
    assert mode.type == "incremental"
    assert mode.iterator_data_type is IteratorType.TIMESTAMP_TZ


def test_an_unknown_field_is_refused_by_its_path(tmp_path: Path) -> None:
    said = _refusal(tmp_path, WHOLE.replace("environment: development", "environment: development\n    colour: red"))
    assert "pipelines.0 (users).colour: no such field" in said


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    said = _refusal(
        tmp_path, WHOLE.replace("env:WAREHOUSE_SYNC_SECRET_X", "hunter2").replace("id: lake,", "id: la ke,")
    )
    assert "feeds.0 (main).api_secret: expected a reference" in said
    assert "connections.0 (la ke).id: expected letters" in said


def test_a_secret_in_the_wrong_place_is_not_repeated(tmp_path: Path) -> None:
    assert "hunter2" not in _refusal(tmp_path, WHOLE.replace("env:WAREHOUSE_SYNC_SECRET_X", "hunter2"))


@pytest.mark.parametrize(("text", "expected"), [("feeds: [", "not YAML"), ("- 1", "declares something that cannot be")])
def test_what_is_no_declaration_is_said_to_be_none(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in _refusal(tmp_path, text)


def test_a_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    assert "'feeds' stands there twice" in _refusal(tmp_path, WHOLE + "feeds: []\n")


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "declared.yaml"
    path.write_bytes(b"feeds: \xff")
    with pytest.raises(DeclarationInvalid, match="not UTF-8"):
        read_declarations(path)


def test_a_file_that_is_absent_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeclarationInvalid, match=r"absent\.yaml cannot be read"):
        read_declarations(tmp_path / "absent.yaml")


PLANNED = WHOLE + "    data_plan: {document_file: plans/users.json, on_violation: reject}\n"


def test_a_data_plan_is_read_from_a_file_beside_the_declarations(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "users.json").write_text('{"version_document": {"data_points": []}}')
    (pipeline,) = read_declarations(_written(tmp_path, PLANNED)).pipelines
    assert pipeline.data_plan is not None
    assert pipeline.data_plan.document == {"version_document": {"data_points": []}}
    assert pipeline.data_plan.on_violation == "reject"


def test_a_data_plan_may_stand_in_the_declarations_themselves(tmp_path: Path) -> None:
    inline = PLANNED.replace("document_file: plans/users.json", "document: {data_points: []}")
    (pipeline,) = read_declarations(_written(tmp_path, inline)).pipelines
    assert pipeline.data_plan is not None
    assert pipeline.data_plan.points == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "users.json is no JSON"),
        (b"\xff", "users.json is no JSON"),
        (b"[" * 100_000, "users.json is nested too deeply"),
        (b"[]", "pipelines.0 (users).data_plan.document: expected a mapping"),
        (b'{"data_points": [{}]}', "pipelines.0 (users).data_plan.document: data_points.0.match: missing"),
    ],
)
def test_a_file_that_is_no_data_plan_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "users.json").write_bytes(content)
    assert said in _refusal(tmp_path, PLANNED)


def test_a_data_plan_that_is_absent_or_given_twice_is_named(tmp_path: Path) -> None:
    assert "pipelines.0 (users).data_plan.document_file" in _refusal(tmp_path, PLANNED)
    twice = PLANNED.replace("{document_file", "{document: {data_points: []}, document_file")
    assert "expected one of document and document_file" in _refusal(tmp_path, twice)


def test_an_id_that_stands_twice_is_refused(tmp_path: Path) -> None:
    one = "{id: a, name: A, sql_query: SELECT 1}"
    twice = f"data_models: [{one}, {one}]"
    assert "data_models.1 (a).id: 'a' stands there more than once" in _refusal(tmp_path, twice)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "declares nothing; expected some of feeds, connections"),
        ("pipelines: []", "declares nothing; expected some of feeds, connections"),
        ("hello", "file: expected a mapping"),
        ("pipeline: []", "pipeline: no such field; did you mean pipelines?"),
        ("feeds: {id: main}", "feeds: expected a list"),
        ("feeds: [main]", "feeds.0: expected a mapping"),
        ("connections: [{id: a, nam: A}]", "connections.0 (a).nam: no such field; did you mean name?"),
        ("field_transformations: [{id: t, name: T, mappings: []}]", "mappings: expected at least one entry"),
    ],
)
def test_what_is_no_declaration_is_said_in_the_words_of_yaml(tmp_path: Path, text: str, said: str) -> None:
    assert said in _refusal(tmp_path, text)
