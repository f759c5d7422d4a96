"""Values that JSON and addresses can carry and PostgreSQL cannot hold: refused by name, wherever they stand."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from console.operations import Operations
from shared.feed import Feed
from tests.console.api.conftest import Api
from tests.shared.store.stage import Stage

FEED = {
    "id": "eu1",
    "name": "EU",
    "base_url": "https://s2s.eu1.mparticle.com/v2",
    "api_key": "key",
    "api_secret": "env:WAREHOUSE_SYNC_SECRET_EU1",
}
KEY = "key-that-no-message-quotes"


def send(api: Api, method: str, path: str, body: Mapping[str, Any]) -> Any:
    """Send a body as Python writes it: with numbers and halves of pairs that httpx would not."""
    return api.send(method, path, content=json.dumps(body), headers={"Content-Type": "application/json"})


def is_refused(answer: Any) -> bool:
    return (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DeclarationInvalid")


@pytest.mark.parametrize("noun", ["connections", "feeds", "data-models", "field-transformations"])
def test_an_id_with_u0000_is_refused(viewer: Api, admin: Api, noun: str) -> None:
    assert is_refused(viewer.get(f"/{noun}/a%00b"))
    assert is_refused(admin.delete(f"/{noun}/a%00b"))


def test_so_is_a_pipelines(viewer: Api, operator: Api) -> None:
    assert is_refused(viewer.get("/pipelines/a%00b/backfills/window"))
    assert is_refused(viewer.get("/backfills", pipelineId="a\0b"))
    assert is_refused(operator.post("/pipelines/a%00b/review"))


@pytest.mark.parametrize(
    "odd",
    [
        {"name": "a\0b"},
        {"name": "a\ud800b"},
        {"api_key": "a\0b"},
        {"api_secret": "file:/\0"},
        {"batches_per_s": float("inf")},
    ],
)
def test_a_declaration_that_cannot_be_kept_is_refused_and_not_quoted(admin: Api, odd: Mapping[str, Any]) -> None:
    answer = send(admin, "POST", "/feeds", {**FEED, "api_key": KEY, **odd})
    assert is_refused(answer)
    assert KEY not in answer.text


def test_a_purge_of_what_no_row_can_hold_is_refused(stage: Stage, admin: Api) -> None:
    stage.declare("people")
    for odd in ("a\0b", "a\ud800b"):
        assert is_refused(send(admin, "POST", "/rejects/purge", {"pipeline_ids": [odd], "column": "c", "value": "v"}))


def test_a_name_that_is_no_unicode_is_told_where_it_stands(admin: Api) -> None:
    wrong = {"id": "p", "rename": {"a\ud800b": 5}}
    answer = send(admin, "POST", "/reviews", {"pipeline": wrong})
    assert answer.status_code == 400


@pytest.mark.parametrize("bound", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_a_bound_that_is_no_instant_in_utc_is_refused(stage: Stage, operator: Api, bound: str) -> None:
    stage.past_history()
    assert is_refused(operator.post("/pipelines/people/backfills", {"from": bound}))
    assert is_refused(operator.post("/pipelines/people/count", {"until": bound}))
    assert is_refused(operator.post("/probes", {"kind": "count", "pipeline_id": "people", "low": bound}))


def test_a_count_beyond_every_number_is_refused(stage: Stage, operator: Api) -> None:
    stage.past_history()
    assert is_refused(operator.post("/pipelines/people/backfills", {"expected_rows": 10**30}))


DECLARED: Mapping[str, Mapping[str, Any]] = {
    "feeds": FEED,
    "connections": {"id": "lake", "service_provider": "duckdb", "config": {"folder": "/lake"}},
    "data-models": {"id": "people", "sql_query": "SELECT 1"},
    "field-transformations": {"id": "visits", "mappings": [{"mapping_type": "ignore", "source": "note"}]},
    "pipelines": {
        "id": "people",
        "connection_id": "lake",
        "data_model_id": "people",
        "feed_id": "eu1",
        "sync_mode": {"type": "full"},
    },
    "tokens": {"role": "viewer"},
    "clients": {"role": "viewer"},
}


@pytest.mark.parametrize("noun", DECLARED)
def test_a_name_that_looks_like_another_or_like_none_is_refused(admin: Api, noun: str) -> None:
    for name in ("", "  ", " EU", "EU ", "E\nU", "E\x1bU"):
        answer = send(admin, "POST", f"/{noun}", {**DECLARED[noun], "name": name})
        assert is_refused(answer)
        assert "name" in answer.json()["errors"][0]["message"]


def test_a_name_that_was_stored_before_can_be_read_and_corrected(operations: Operations, admin: Api) -> None:
    operations.resources.create(Feed.model_validate({**FEED, "name": " EU\n"}))
    stored = admin.get("/feeds/eu1").json()
    assert stored["name"] == " EU\n"
    assert is_refused(admin.put("/feeds/eu1", stored))
    assert admin.put("/feeds/eu1", {**stored, "name": "EU"}).json()["name"] == "EU"
