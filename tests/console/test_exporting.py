"""What is exported reads as it was declared, and says nothing that it need not and nothing that is secret."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings

from console.declarations import Declarations, Resource, Source, declarations_of, read_declarations, read_document
from console.declaring import Declaring
from console.exporting import document_of, to_yaml
from console.planning import Action
from shared.catalog import Connection, DataModel
from shared.dataplan import DOCUMENT_MAX_BYTES
from shared.errors import DeclarationInvalid, NotFound
from shared.feed import Feed
from shared.run import PipelineState
from tests.console.any_declarations import in_order, resources
from tests.console.test_declaring import MODE, PEOPLE, documented, people
from tests.shared.store.stage import FEED, LAKE, USERS, VISITS, Stage

SEALED = f"sealed:{'0' * 16}:{'A' * 64}"


def reread(text: str) -> Declarations:
    return declarations_of([Source(yaml.safe_load(text))])


def dumped(found: Any) -> list[str]:
    return [json.dumps(one.model_dump(mode="json"), sort_keys=True) for one in found]


@settings(max_examples=60, deadline=None)
@given(resources())
def test_whatever_is_exported_reads_as_it_was(found: list[Resource]) -> None:
    document = document_of(found, {})
    assert dumped(reread(to_yaml(document)).in_order()) == dumped(in_order(found))
    assert dumped(read_document(json.loads(json.dumps(document))).in_order()) == dumped(in_order(found)), "as JSON, too"
    assert to_yaml(document_of(reversed(found), {})) == to_yaml(document), "in whatever order it was found"


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(resources())
def test_applying_twice_is_applying_once_and_an_export_changes_nothing(
    stage: Stage, declaring: Declaring, found: list[Resource]
) -> None:
    stage.clear()
    document = read_document(document_of(found, {}))
    shown = declaring.plan(document)
    assert declaring.apply(document, expected=shown.digest) == shown
    assert declaring.apply(document).count(Action.UNCHANGED) == len(found)
    exported = reread(to_yaml(declaring.export()))
    assert declaring.apply(exported, prune=True).is_empty


def test_people_find_it_as_they_would_have_written_it() -> None:
    model = USERS.model_copy(update={"sql_query": "SELECT customer_id\nFROM users\n"})
    schedule = {"type": "interval", "frequency": "hourly", "start": "2026-01-01T00:00:00Z", "delay": "PT15M"}
    mode = {**MODE, "track_from": "2026-01-01T00:00:00+02:00", "lookback": "PT90S"}
    (pipeline,) = read_document(people(schedule=schedule, sync_mode=mode)).pipelines
    text = to_yaml(document_of([FEED, model, pipeline.pipeline], {"people": PipelineState.ACTIVE}))
    assert text.splitlines() == [
        "feeds:",
        "- id: us1",
        "  name: US",
        "  base_url: https://s2s.mparticle.com/v2",
        "  api_key: key",
        "  api_secret: env:WAREHOUSE_SYNC_SECRET_US1",
        "data_models:",
        "- id: users",
        "  name: Users",
        "  sql_query: |",
        "    SELECT customer_id",
        "    FROM users",
        "pipelines:",
        "- id: people",
        "  name: people",
        "  connection_id: lake",
        "  data_model_id: users",
        "  feed_id: us1",
        "  environment: development",
        "  sync_mode:",
        "    type: incremental",
        "    iterator_field: changed_at",
        "    iterator_data_type: timestamp_tz",
        "    track_from: 2026-01-01T00:00:00+02:00",
        "    lookback: 90s",
        "  schedule:",
        "    type: interval",
        "    frequency: hourly",
        "    start: 2026-01-01T00:00:00Z",
        "    delay: 15m",
        "  state: active",
    ]
    assert yaml.safe_load(text)["pipelines"][0]["schedule"]["start"] == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_sealed_secret_is_exported_as_stored_and_kept_where_it_is(stage: Stage, declaring: Declaring) -> None:
    sealed = FEED.model_copy(update={"api_secret": SEALED})
    declaring.apply(read_document(documented(feeds=[sealed.model_dump(mode="json")])))
    exported = declaring.export()
    assert exported["feeds"][0]["api_secret"] == "stored"
    plan = declaring.apply(read_document(exported))
    assert plan.is_empty
    assert plan.changes[0].kept_secrets == ("api_secret",)
    exported["feeds"][0]["gzip"] = True
    declaring.apply(read_document(exported))
    (row,) = stage.rows("SELECT document FROM feeds")
    assert (row.document["api_secret"], row.document["gzip"]) == (SEALED, True)


def test_stored_where_nothing_is_stored_is_refused_with_the_cure(declaring: Declaring) -> None:
    document = read_document(documented(feeds=[{**FEED.model_dump(mode="json"), "api_secret": "stored"}]))
    with pytest.raises(
        DeclarationInvalid, match="feed 'us1': api_secret: nothing is stored to be kept; give the secret"
    ):
        declaring.apply(document)


def test_a_kept_secret_does_not_follow_to_another_host(declaring: Declaring) -> None:
    declaring.apply(read_document(documented()))
    moved = {**FEED.model_dump(mode="json"), "api_secret": "stored", "base_url": "https://s2s.us2.mparticle.com/v2"}
    with pytest.raises(DeclarationInvalid, match="was given to be shown to"):
        declaring.apply(read_document(documented(feeds=[moved])))


@pytest.mark.parametrize(
    "config",
    [
        {"account_identifier": "org-a", "warehouse": "W", "database": "D", "user": "U", "private_key": "stored"},
        {"account_identifier": "org-a", "warehouse": "W", "database": "D", "user": "U", "password": "stored"},
    ],
)
def test_a_secret_inside_a_config_is_kept_too(declaring: Declaring, config: dict[str, Any]) -> None:
    (secret,) = (name for name, value in config.items() if value == "stored")
    entry = {"id": "snow", "name": "Snow", "service_provider": "Snowflake", "config": config}
    given_once = {**entry, "config": {**config, secret: SEALED}}
    declaring.apply(read_document({"connections": [given_once]}))
    assert declaring.apply(read_document({"connections": [entry]})).is_empty
    assert declaring.export()["connections"][0]["config"][secret] == "stored"


def test_one_kind_or_one_pipeline_with_all_that_it_needs_is_exported(declaring: Declaring) -> None:
    idle = {"id": "idle", "name": "Idle", "sql_query": "SELECT 1"}
    events = {**PEOPLE, "id": "visits", "name": "Visits", "field_transformation_id": "visits", "state": "paused"}
    declaring.apply(
        read_document(
            documented(
                data_models=[USERS.model_dump(mode="json"), idle],
                field_transformations=[VISITS.model_dump(mode="json")],
                pipelines=[PEOPLE, events],
            )
        )
    )
    assert {name: [one["id"] for one in some] for name, some in declaring.export(pipeline_id="visits").items()} == {
        "feeds": ["us1"],
        "connections": ["lake"],
        "data_models": ["users"],
        "field_transformations": ["visits"],
        "pipelines": ["visits"],
    }
    assert declaring.export(pipeline_id="visits")["pipelines"][0]["state"] == "paused"
    assert list(declaring.export(DataModel)) == ["data_models"]
    assert [one["id"] for one in declaring.export(Feed)["feeds"]] == ["us1"]
    assert declaring.export(Connection)["connections"][0]["config"] == {"folder": str(LAKE.config.folder)}  # type: ignore[union-attr] # DuckDB's
    with pytest.raises(NotFound, match="no pipeline 'nobody'"):
        declaring.export(pipeline_id="nobody")


def test_the_largest_data_plan_is_exported_and_read_within_seconds(tmp_path: Path) -> None:
    point = {"match": {"type": "unknown"}, "validator": {"type": "json_schema", "definition": {"title": "x" * 400}}}
    plan = {"data_points": [point] * (DOCUMENT_MAX_BYTES // 600)}
    (pipeline,) = read_document(people(data_plan={"document": plan})).pipelines
    path = tmp_path / "exported.yaml"
    path.write_text(to_yaml(document_of([pipeline.pipeline], {})))
    assert read_declarations(path).in_order() == (pipeline.pipeline,)
