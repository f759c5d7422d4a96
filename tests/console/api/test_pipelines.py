"""Pipelines over HTTP: what v2's names mean here, and what a pipeline's answer says of how it stands."""

from typing import Any

import pytest
import sqlalchemy as sa

from shared.run import Window
from shared.store import declared
from tests.console.api.conftest import Api
from tests.shared.store.stage import FEED, INCREMENTAL, LAKE, T0, USERS, Stage

V2: dict[str, Any] = {
    "id": "example-pipeline",
    "name": "Example Pipeline",
    "connection_id": "lake",
    "data_model_id": "users",
    "field_transformation_id": None,
    "partner_feed_key": "us1-1234567",
    "sync_mode": {
        "type": "incremental",
        "iterator_field": "updated_at",
        "iterator_data_type": "timestamp",
        "track_from": "2022-07-01T16:00:00Z",
        "until": None,
    },
    "schedule": {
        "type": "interval",
        "frequency": "hourly",
        "delay": "5m",
        "start": "2022-07-01T16:15:00Z",
        "end": None,
    },
    "environment": "development",
}
"""A pipeline in v2's reconstructed shape, as somebody who moves over from mParticle has it."""


@pytest.fixture(autouse=True)
def around(stage: Stage) -> None:
    """Declare what pipelines are made of."""
    with stage.database.transaction() as connection:
        for resource in (FEED.model_copy(update={"api_key": "us1-1234567"}), LAKE, USERS):
            declared.put(connection, resource)


def messages(answer: Any) -> list[str]:
    return [one["message"] for one in answer.json()["errors"]]


def test_v2s_names_are_taken_and_given_back(admin: Api) -> None:
    created = admin.post("/pipelines", V2)
    assert created.status_code == 200, created.text
    shown = created.json()
    for name in ("id", "name", "connection_id", "data_model_id", "field_transformation_id", "environment", "schedule"):
        assert shown[name] == V2[name]
    assert shown["sync_mode"].items() >= V2["sync_mode"].items()
    assert (shown["feed_id"], shown["partner_feed_key"], shown["state"]) == ("us1", "us1-************", "draft")
    assert (shown["service_provider"], shown["schedule_in_words"]) == ("DuckDB", "every hour at :15 UTC")
    assert (shown["status"], shown["watermark"], shown["recent_runs"]) == ("idle", None, [])
    assert shown["created_by"] == "some admin"
    assert admin.get("/pipelines/example-pipeline").json() == shown
    assert admin.get("/pipelines").json() == [shown]


def test_creating_it_once_more_changes_nothing_and_another_is_refused(admin: Api) -> None:
    first = admin.post("/pipelines", V2)
    again = admin.post("/pipelines", V2)
    assert again.json() == first.json()
    other = admin.post("/pipelines", {**V2, "environment": "production"})
    assert other.status_code == 409
    assert other.json()["errors"][0]["code"] == "AlreadyDeclared"


def test_an_answer_that_is_put_back_changes_nothing(admin: Api) -> None:
    shown = admin.post("/pipelines", V2).json()
    answer = admin.put("/pipelines/example-pipeline", shown)
    assert answer.json() == shown
    assert answer.headers["ETag"] == '"1"'


def test_what_is_not_used_is_told(admin: Api) -> None:
    told = {"is_active": True, "is_draft": False, "schedule_interval": "hourly", "partner_feed_id": 7, "plan_id": "p"}
    shown = admin.post("/pipelines", {**V2, **told}).json()
    sentences = " ".join(one["message"] for one in shown["warnings"])
    assert all(name in sentences for name in told)


def test_so_is_what_could_be_no_plans_id(admin: Api) -> None:
    shown = admin.post("/pipelines", {**V2, "plan_id": {"of": "another shape"}, "plan_version": [1]})
    assert [one["message"].split(":")[0] for one in shown.json()["warnings"]] == ["plan_id", "plan_version"]


def test_a_feed_is_named_by_its_key_and_by_none_other(admin: Api) -> None:
    unknown = admin.post("/pipelines", {**V2, "partner_feed_key": "us1-7654321"})
    assert unknown.status_code == 400
    assert messages(unknown)[0].startswith("partner_feed_key: no feed")
    both = admin.post("/pipelines", {**V2, "feed_id": "us2"})
    assert "it is that of feed 'us1'" in messages(both)[0]
    none = admin.post("/pipelines", {name: value for name, value in V2.items() if name != "partner_feed_key"})
    assert messages(none) == ["feed_id: Field required"]
    masked = admin.post("/pipelines", {**V2, "partner_feed_key": "us1-************", "feed_id": "us1"})
    assert masked.status_code == 200


def test_a_start_time_is_taken_for_a_start(admin: Api) -> None:
    schedule = {"type": "interval", "frequency": "Daily", "start_time": "2022-07-01T16:00:00Z"}
    shown = admin.post("/pipelines", {**V2, "schedule": schedule}).json()
    assert (shown["schedule_in_words"], shown["warnings"]) == ("every day at 16:00 UTC", [])


def test_somebody_elses_change_is_not_overwritten(admin: Api) -> None:
    shown = admin.post("/pipelines", V2)
    read = {"If-Match": shown.headers["ETag"]}
    changed = admin.put("/pipelines/example-pipeline", {**V2, "name": "Mine"}, headers=read)
    assert (changed.status_code, changed.headers["ETag"], changed.json()["version"]) == (200, '"2"', 2)
    late = admin.put("/pipelines/example-pipeline", {**V2, "name": "Theirs"}, headers=read)
    assert (late.status_code, late.json()["errors"][0]["code"]) == (412, "ChangedMeanwhile")
    assert admin.delete("/pipelines/example-pipeline", headers=read).status_code == 412
    assert admin.put("/pipelines/nobody", V2 | {"id": "nobody"}).status_code == 404


def test_a_state_is_a_request_to_move_there(admin: Api) -> None:
    active = admin.post("/pipelines", {**V2, "state": "Active"}, unchecked=True)
    assert (active.status_code, active.json()["state"]) == (200, "active")
    assert active.json()["next_due_on"] is not None
    repeated = admin.post("/pipelines", {**V2, "state": "active"})
    assert repeated.json() == active.json()
    paused = admin.put("/pipelines/example-pipeline", {**V2, "state": "paused"})
    assert (paused.json()["state"], paused.json()["next_due_on"]) == ("paused", None)
    assert admin.put("/pipelines/example-pipeline", V2).json()["state"] == "paused"
    assert admin.put("/pipelines/example-pipeline", {**V2, "state": "active"}).json()["state"] == "active"
    back = admin.put("/pipelines/example-pipeline", {**V2, "state": "draft"})
    assert (back.status_code, back.json()["errors"][0]["code"]) == (400, "MoveNotAllowed")
    assert "expected draft, active, paused" in messages(admin.post("/pipelines", {**V2, "state": "deleted"}))[0]


def test_one_that_is_created_paused_never_runs_before_it_is_resumed(admin: Api) -> None:
    shown = admin.post("/pipelines", {**V2, "state": "paused"}, unchecked=True).json()
    assert (shown["state"], shown["next_due_on"]) == ("paused", None)


def test_without_a_worker_a_draft_is_not_activated_unless_unchecked(admin: Api, operator: Api) -> None:
    admin.post("/pipelines", V2)
    silent = operator.post("/pipelines/example-pipeline/activate")
    assert (silent.status_code, silent.json()["errors"][0]["code"]) == (503, "NoWorker")
    assert "Retry-After" in silent.headers
    assert admin.put("/pipelines/example-pipeline", {**V2, "state": "active"}).status_code == 503
    done = operator.post("/pipelines/example-pipeline/activate", unchecked=True)
    assert (done.status_code, done.json()["state"]) == (200, "active")
    again = operator.post("/pipelines/example-pipeline/activate")
    assert messages(again) == ["pipeline 'example-pipeline' is active; only a draft can be activated"]
    assert operator.post("/pipelines/example-pipeline/pause").json()["state"] == "paused"
    assert operator.post("/pipelines/example-pipeline/pause").status_code == 400
    assert operator.post("/pipelines/example-pipeline/resume").json()["state"] == "active"


def test_an_edit_that_asks_what_becomes_of_the_watermark_says_so(admin: Api, stage: Stage) -> None:
    stage.past_history()
    shown = admin.get("/pipelines/people").json()
    edited = {**shown, "sync_mode": {**shown["sync_mode"], "iterator_field": "seen_at"}}
    assert admin.put("/pipelines/people", edited).status_code == 400
    kept = admin.put("/pipelines/people", edited, headers={"Warehouse-Sync-Watermark": "keep"})
    assert kept.json()["watermark"] == "2024-05-01T00:00:00.000Z"


def test_what_is_deleted_is_gone(admin: Api) -> None:
    admin.post("/pipelines", V2)
    assert admin.delete("/pipelines/example-pipeline").status_code == 204
    gone = [
        admin.get("/pipelines/example-pipeline"),
        admin.put("/pipelines/example-pipeline", V2),
        admin.delete("/pipelines/example-pipeline"),
        admin.get("/pipelines/example-pipeline/status"),
        admin.get("/pipelines/example-pipeline/runs"),
        admin.get("/pipelines/example-pipeline/notices"),
    ]
    assert {answer.status_code for answer in gone} == {404}
    assert admin.get("/pipelines").json() == []
    assert "ids are not used again" in messages(admin.post("/pipelines", V2))[0]


def test_a_pipeline_tells_its_whole_story(viewer: Api, stage: Stage) -> None:
    stage.past_history()
    for _ in range(6):
        stage.complete(stage.started(), Window(T0, T0), ())
    failed = stage.started()
    stage.write("UPDATE runs SET state = 'failed', error_kind = 'FeedRefused', error = 'no' WHERE id = :id", id=failed)
    stage.write("UPDATE pipelines SET faulted_reason = 'no'")
    shown = viewer.get("/pipelines/people").json()
    assert (shown["status"], shown["faulted_reason"], shown["running_runs"]) == ("faulted", "no", [])
    assert [(one["id"], one["errors"]) for one in shown["held_by"]] == [
        (str(failed), [{"message": "no", "code": "FeedRefused"}])
    ]
    assert len(shown["recent_runs"]) == 5
    assert [one["number"] for one in shown["recent_runs"]] == sorted(
        (one["number"] for one in shown["recent_runs"]), reverse=True
    )
    assert (shown["watermark"], shown["lag_s"] > 0) == ("2024-05-01T00:00:00.000Z", True)
    assert shown["history"] == {
        "is_settled": True,
        "settled_to": "2024-05-01T00:00:00.000Z",
        "ends_at": "2024-05-01T00:00:00.000Z",
        "parts": 1,
        "settled_parts": 1,
        "ended_rows": 2,
        "expected_rows": None,
    }
    status = viewer.get("/pipelines/people/status").json()
    assert (status["status"], status["is_faulted"], status["is_active"]) == ("faulted", True, True)
    assert status["latest_pipeline_run"]["id"] == str(failed)
    assert status["latest_pipeline_run"]["pipeline_run_state"] == "failed"


def test_status_says_whose_fault_it_is(viewer: Api, stage: Stage) -> None:
    stage.declare()
    healthy = viewer.get("/pipelines/people/status").json()
    assert healthy == {
        "pipeline_id": "people",
        "status": "idle",
        "connection_status": "healthy",
        "data_model_status": "healthy",
        "is_active": True,
        "is_faulted": False,
        "is_connection_active": True,
        "is_connection_faulted": False,
        "latest_pipeline_run": None,
    }
    run_id = stage.started()
    assert viewer.get("/pipelines/people/status").json()["status"] == "running"
    for kind, whose in (("WarehouseUnreachable", "connection_status"), ("ColumnMissing", "data_model_status")):
        stage.write(
            "UPDATE runs SET state = 'failed', error_kind = :kind, error = 'e' WHERE id = :id", kind=kind, id=run_id
        )
        assert viewer.get("/pipelines/people/status").json()[whose] == "faulted"


def test_pipelines_are_found_by_their_provider(viewer: Api, stage: Stage) -> None:
    stage.declare()
    assert [one["id"] for one in viewer.get("/pipelines", serviceProvider="DUCKDB").json()] == ["people"]
    assert viewer.get("/pipelines", serviceProvider="Snowflake").json() == []
    assert messages(viewer.get("/pipelines", serviceProvider="oracle"))[0].startswith("serviceProvider: expected")


def test_two_hundred_pipelines_take_as_many_queries_as_one(viewer: Api, stage: Stage) -> None:
    def queries() -> int:
        asked: list[str] = []

        def note(_: object, __: object, statement: str, *___: object) -> None:
            asked.append(statement)

        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            answer = viewer.get("/pipelines")
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)
        assert len(answer.json()) == count
        return len(asked)

    count = 1
    stage.declare("p0", mode=INCREMENTAL)
    stage.started("p0")
    few = queries()
    count = 200
    for number in range(1, count):
        stage.declare(f"p{number}", mode=INCREMENTAL)
        stage.started(f"p{number}")
    assert queries() == few < 10


def test_a_trigger_answers_as_mparticle_does(operator: Api, stage: Stage) -> None:
    stage.declare()
    answer = operator.post("/pipelines/people/trigger").json()
    (reference,) = answer.pop("runs")
    assert answer == {"pipeline_run_id": reference["number"], "status": "trigger_requested"}
    busy = operator.post("/pipelines/people")
    assert busy.status_code == 400
    assert busy.json()["statusCode"] == 400
    assert busy.json()["errors"][0] == {"message": "Pipeline people is already in progress."}
    assert busy.json()["errors"][1]["code"] == "AlreadyInProgress"
    operator.post("/pipelines/people/pause")
    held = operator.post("/pipelines/people/trigger")
    assert messages(held)[0] == "Pipeline people is already in progress."
    assert "is paused with it; `warehouse-sync resume people` lets it go on" in messages(held)[1]
    (newest, *_) = operator.get("/pipelines/people/notices").json()
    assert newest["name"] == "request_refused"
    assert operator.post("/pipelines/nobody/trigger").status_code == 404


def test_v1s_address_triggers_as_well(operator: Api, stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    answer = operator.post("/pipelines/people")
    assert (answer.status_code, answer.json()["status"]) == (200, "trigger_requested")


def test_who_may_look_may_not_touch_and_who_may_run_may_not_declare(viewer: Api, operator: Api, stage: Stage) -> None:
    stage.declare()
    for path in ("", "/trigger", "/activate", "/pause", "/resume"):
        assert viewer.post(f"/pipelines/people{path}").status_code == 403
    assert operator.post("/pipelines", V2).status_code == 403
    assert operator.put("/pipelines/people", V2).status_code == 403
    assert operator.delete("/pipelines/people").status_code == 403
    assert viewer.get("/pipelines/people").status_code == 200
