"""A YAML file either declares resources or is refused with the path of every mistake."""

import runpy
from pathlib import Path

import pytest
import yaml

from console import yaml_files
from console.declarations import read_declarations, read_document
from shared.catalog import Connection, DataModel, IteratorType
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


def test_a_secret_in_place_of_a_reference_is_named_by_its_path_and_never_repeated(tmp_path: Path) -> None:
    with pytest.raises(DeclarationInvalid, match=r"feeds\.0 \(main\)\.api_secret") as refused:
        read_declarations(_written(tmp_path, WHOLE.replace("env:WAREHOUSE_SYNC_SECRET_X", "hunter2")))
    assert "hunter2" not in f"{refused.value} {refused.value.__cause__}"


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


@pytest.mark.parametrize(
    "unquoted",
    [
        "!hunter2",
        "!hunter2 x",
        "!hunter2!x",
        "*hunter2",
        "@hunter2",
        "%hunter2",
        "`hunter2",
        '"hunter2',
        "a: hunter2",
        "[hunter2",
        "!!int hunter2",
        "!!bool hunter2",
        "!!timestamp hunter2",
        "!!hunter2",
    ],
)
@pytest.mark.parametrize("has_libyaml", [True, False])
def test_a_secret_that_lacks_its_quotes_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unquoted: str, has_libyaml: bool
) -> None:
    if not has_libyaml:
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    load_yaml = runpy.run_path(yaml_files.__file__)["load_yaml"]
    path = _written(tmp_path, WHOLE.replace("env:WAREHOUSE_SYNC_SECRET_X", unquoted))
    with pytest.raises(DeclarationInvalid, match="is not YAML") as refused:
        load_yaml(path)
    assert "hunter2" not in str(refused.value)


def test_yaml_that_cannot_be_read_is_told_by_its_line(tmp_path: Path) -> None:
    said = _refusal(tmp_path, "feeds:\n  - id: main\n    id: other\n")
    assert "line 3, column 5: 'id' stands there twice" in said


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


def _in_files(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        path = folder / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


ONE = "data_models: [{id: one, name: One, sql_query: SELECT 1}]"
TWO = "data_models: [{id: two, name: Two, sql_query: SELECT 1}]"


class TestSeveralFiles:
    def test_files_and_folders_are_one_document(self, tmp_path: Path) -> None:
        folder = _in_files(tmp_path, b__deep=TWO, a=ONE)
        (folder / "notes.txt").write_text("feeds: [")
        (folder / "c.yml").write_text("data_models: [{id: three, name: Three, sql_query: SELECT 1}]")
        for paths in ((folder,), (folder / "a.yaml", folder / "b", folder / "c.yml"), (folder / "a.yaml", folder)):
            assert [model.id for model in read_declarations(*paths).data_models] == ["one", "two", "three"]

    def test_what_stands_in_two_files_is_refused_with_both(self, tmp_path: Path) -> None:
        folder = _in_files(tmp_path, a=ONE, b=ONE)
        with pytest.raises(DeclarationInvalid) as refused:
            read_declarations(folder)
        assert f"{folder}/b.yaml declares something that cannot be:\n  data_models.0 (one).id: 'one'" in str(
            refused.value
        )
        assert f"first as {folder}/a.yaml: data_models.0 (one); keep one" in str(refused.value)

    def test_a_name_that_two_have_is_refused(self, tmp_path: Path) -> None:
        folder = _in_files(tmp_path, a=ONE, b=TWO.replace("Two", "One"))
        with pytest.raises(DeclarationInvalid, match=r"data_models\.0 \(two\)\.name: 'One' is the name of .*a\.yaml"):
            read_declarations(folder)

    def test_mistakes_of_all_files_are_told_at_once(self, tmp_path: Path) -> None:
        folder = _in_files(tmp_path, a=ONE.replace("sql_query", "sql"), b=TWO.replace("id: two", "id: t w o"))
        with pytest.raises(DeclarationInvalid) as refused:
            read_declarations(folder)
        for said in (
            "a.yaml declares",
            "data_models.0 (one).sql: no such field",
            "b.yaml declares",
            "(t w o).id: expected",
        ):
            assert said in str(refused.value)

    def test_a_folder_without_files_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(DeclarationInvalid, match=r"holds no \*\.yaml or \*\.yml file"):
            read_declarations(tmp_path)

    def test_a_data_plan_lies_beside_the_file_that_names_it(self, tmp_path: Path) -> None:
        folder = _in_files(tmp_path, deep__users=PLANNED)
        (folder / "deep" / "plans").mkdir()
        (folder / "deep" / "plans" / "users.json").write_text('{"data_points": []}')
        assert read_declarations(folder).pipelines[0].data_plan is not None


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("iterator_field: updated_at", "iterator_feld: updated_at", "(users).sync_mode.iterator_field: missing"),
        (
            "iterator_field: updated_at",
            "iterator_feld: a",
            "sync_mode.iterator_feld: no such field; did you mean iterator_f",
        ),
        ("timestamp_ltz", "timestmp", "sync_mode.iterator_data_type: expected 'timestamp', "),
        ("timestamp_ltz}", "timestamp, lookback: 31d}", "sync_mode.lookback: expected 30 days at most"),
        ("timestamp_ltz}", "date, track_from: 2026-01-01}", "track_from: expected an instant with its zone"),
        ("type: incremental", "type: increment", "sync_mode.type: expected one of 'incremental', 'full'"),
        ("type: incremental, ", "", "(users).sync_mode.type: expected one of 'incremental', 'full'"),
        ("environment: development", "environment: prod", "environment: expected 'development' or 'production'"),
        ("environment: development", "merge: maybe", "(users).merge: expected true or false"),
        ("environment: development", "schedule: {type: cron}", "schedule.expression: missing: minute, hour"),
        (
            "environment: development",
            "schedule: {type: cron, expression: '* *'}",
            "schedule.expression: expected five f",
        ),
        ("environment: development", "max_rejected_ratio: 2", "max_rejected_ratio: expected less than 1"),
        ("environment: development", "on_null: delet", "'delete' or 'null'; did you mean delete?"),
        ("environment: development", "state: deleted", "state: expected 'draft', 'active' or 'paused'"),
        ("environment: development", "rename: {1: a}", "rename.1: expected a text"),
        ("environment: development", "one_row_per: [a, '']", "one_row_per.1: expected a text that is not empty"),
        ("environment: development", "limits: {distinct_names: truncate}", "limits.distinct_names: a name beyond"),
        (
            "environment: development",
            "on_null: 'null'\n    limits: {user_attributes: truncate}",
            "limits.user_attributes: tru",
        ),
        (
            "name: Users, sql_query",
            "name: 2026-01-01, sql_query",
            "data_models.0 (users).name: expected a text; put it in",
        ),
        (
            "{folder: /data}",
            "{folder: /data, memory_limit_mib: 1}",
            "(lake).config.memory_limit_mib: expected 64 or more",
        ),
        ("{folder: /data}", "{}", "connections.0 (lake).config: database, folder: name one of them"),
        ("duckdb", "duckdbb", "connections.0 (lake).service_provider: expected 'duckdb', "),
        ("https://s2s.us1", "s2s.us1", "feeds.0 (main).base_url: expected something like https"),
        ("value: true", "value: [true]", "mappings.3.value: expected another type of value: of a static mapping"),
        ("source: note", "value: 1", "mappings.4: a mapping of the type ignore needs a source"),
        (
            "mapping_type: ignore",
            "mapping_type: ignored",
            "expected 'column', 'static' or 'ignore'; did you mean ignore?",
        ),
        ("sql_query: SELECT 1 AS customer_id", "sql_query: ''", "(users).sql_query: expected a text that is not empty"),
        ("us1-1", "1", "feeds.0 (main).api_key: expected a text; put it in quotes"),
    ],
)
def test_a_mistake_is_told_by_the_path_of_its_field(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in WHOLE
    found = _refusal(tmp_path, WHOLE.replace(before, after))
    assert said in found
    assert len(found.splitlines()) <= 3, "one mistake is told once"


def test_a_reference_to_what_nobody_declares_is_known(tmp_path: Path) -> None:
    document = read_declarations(_written(tmp_path, WHOLE.replace("connection_id: lake", "connection_id: lak")))
    ((pipeline_id, mistake),) = document.unknown_references()
    assert (pipeline_id, mistake.path) == ("users", "pipelines.0 (users).connection_id")
    assert mistake.reason == "there is no connection 'lak'; did you mean lake?"
    assert str(mistake.file).endswith("declared.yaml")
    assert list(document.unknown_references({Connection: ["lak"]})) == []


def test_the_same_document_may_come_as_json() -> None:
    document = {"data_models": [{"id": "one", "name": "One", "sql_query": "SELECT 1"}]}
    assert [model.id for model in read_document(document).data_models] == ["one"]
    plan = {"document_file": "/etc/passwd"}
    for wrong, said in (
        ({"data_models": [{"id": "one"}]}, "data_models.0 (one).name: missing"),
        (
            {"pipelines": [{"id": "p", "data_plan": plan}]},
            "(p).data_plan.document_file: no file is beside this document",
        ),
        ([], "file: expected a mapping"),
        ({}, "the document declares nothing"),
    ):
        with pytest.raises(DeclarationInvalid) as refused:
            read_document(wrong)
        assert said in str(refused.value)


@pytest.mark.parametrize(
    "name", ['"  "', '"Main "', '" Main"', '"Ma\\nin"', '"Main\\e[2J"', '"\\u200b"', '"Ma\\u2028in"']
)
def test_a_name_that_looks_like_another_or_like_none_is_refused(tmp_path: Path, name: str) -> None:
    said = "feeds.0 (main).name: expected a name that is seen, without blanks at its ends"
    assert said in _refusal(tmp_path, WHOLE.replace("name: Main", f"name: {name}"))


@pytest.mark.parametrize("name", ["Ma in", "Äpfel 🍏", "👩‍🔬", "山田　太郎", "x"])
def test_any_other_name_is_taken(tmp_path: Path, name: str) -> None:
    text = WHOLE.replace("name: Main", f"name: {name}")
    assert read_declarations(_written(tmp_path, text)).feeds[0].name == name


def test_a_name_that_was_stored_before_it_would_be_refused_can_be_read() -> None:
    stored = {"id": "one", "name": " One\n", "sql_query": "SELECT 1"}
    assert DataModel.model_validate(stored).name == " One\n"


def test_a_pipelines_state_is_a_wish_and_no_part_of_what_is_declared(tmp_path: Path) -> None:
    document = read_declarations(_written(tmp_path, WHOLE + "    state: paused\n"))
    assert document.states == {"users": "paused"}
    assert "state" not in document.in_order()[-1].model_dump() | document.pipelines[0].model_dump()
    assert "did you mean state?" in _refusal(tmp_path, WHOLE + "    stat: paused\n")


def test_a_secret_may_be_left_to_the_deployment(tmp_path: Path) -> None:
    document = read_declarations(_written(tmp_path, WHOLE.replace("env:WAREHOUSE_SYNC_SECRET_X", "stored")))
    assert document.kept_secrets(document.feeds[0]) == ("api_secret",)


@pytest.mark.parametrize(
    "text", ["a: 2026-13-45", "[" * 5000, "a: &a [*a]\nb: *c", "? [a]\n: b", "feeds: !!python/none x"]
)
def test_yaml_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    assert "declared.yaml" in _refusal(tmp_path, text)


def test_a_mapping_that_no_columns_could_mend_is_told_without_asking_anybody(tmp_path: Path) -> None:
    said = _refusal(
        tmp_path, WHOLE.replace("destination: user_identities.customer_id", "destination: user_identities.nobody")
    )
    assert "field_transformations.0 (visits): " in said
    assert "'user_identities.nobody' does not exist" in said
