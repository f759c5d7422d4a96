"""Pipelines as code over HTTP: plan, apply what was planned, export it again."""

from typing import Any

import yaml

from console.declarations import Declarations, read_document
from tests.console.api.conftest import Api
from tests.shared.store.stage import FEED, LAKE, USERS, Stage

PIPELINE: dict[str, Any] = {
    "id": "people",
    "name": "People",
    "connection_id": "lake",
    "data_model_id": "users",
    "feed_id": "us1",
    "environment": "development",
    "sync_mode": {"type": "full"},
}
DOCUMENT: dict[str, Any] = {
    "feeds": [FEED.model_dump(mode="json")],
    "connections": [LAKE.model_dump(mode="json")],
    "data_models": [USERS.model_dump(mode="json")],
    "pipelines": [PIPELINE],
}
ORPHAN = {"pipelines": [{**PIPELINE, "feed_id": "nowhere"}]}


def actions(answer: Any) -> dict[str, str]:
    return {f"{change['kind']} {change['id']}": change["action"] for change in answer.json()["changes"]}


def test_a_plan_says_what_applying_does_and_changes_nothing(admin: Api, stage: Stage) -> None:
    planned = admin.post("/declarations/plan", DOCUMENT)
    assert set(actions(planned).values()) == {"create"}
    assert stage.rows("SELECT * FROM feeds") == []
    applied = admin.post("/declarations", DOCUMENT, expected=planned.json()["digest"])
    assert actions(applied) == actions(planned)
    again = admin.post("/declarations", DOCUMENT)
    assert (again.json()["is_empty"], set(actions(again).values())) == (True, {"unchanged"})


def test_what_is_not_as_planned_any_more_is_not_done(admin: Api) -> None:
    digest = admin.post("/declarations/plan", DOCUMENT).json()["digest"]
    admin.post("/feeds", {**DOCUMENT["feeds"][0], "name": "Meanwhile"})
    refused = admin.post("/declarations", DOCUMENT, expected=digest)
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (412, "ChangedMeanwhile")
    assert admin.get("/feeds/us1").json()["name"] == "Meanwhile"


def test_a_document_that_cannot_be_is_refused_whole(admin: Api) -> None:
    assert admin.post("/declarations", {**DOCUMENT, **ORPHAN}).status_code == 400
    assert admin.get("/connections").json() == []


def test_each_mistake_of_a_document_is_an_error_of_its_own(admin: Api) -> None:
    wrong = {**DOCUMENT, "pipelines": [{**PIPELINE, "environment": "moon", "feed_id": 3}]}
    told = [error["message"] for error in admin.post("/validations", wrong).json()["errors"]]
    paths = [message.split(":")[0] for message in told]
    assert paths == ["pipelines.0 (people).feed_id", "pipelines.0 (people).environment"]


def test_validation_tells_all_that_applying_would_refuse_and_keeps_nothing(admin: Api) -> None:
    fine = admin.post("/validations", DOCUMENT).json()
    assert (fine["is_valid"], fine["errors"], fine["plan"]["is_refused"]) == (True, [], False)
    orphan = admin.post("/validations", {**DOCUMENT, **ORPHAN}).json()
    assert (orphan["is_valid"], orphan["plan"]["is_refused"]) == (False, True)
    assert "nowhere" in orphan["errors"][0]["message"]
    unreadable = admin.post("/validations", {"feeds": [{"id": "us1"}], "pipelin": []}).json()
    assert (unreadable["is_valid"], unreadable["plan"]) == (False, None)
    assert admin.get("/feeds").json() == []


def test_a_document_takes_no_plain_secret_and_repeats_none(admin: Api) -> None:
    told = admin.post("/declarations", {"feeds": [{**DOCUMENT["feeds"][0], "api_secret": "hunter2"}]})
    assert told.status_code == 400
    assert "hunter2" not in told.text


def test_what_is_exported_declares_the_same(admin: Api) -> None:
    admin.post("/declarations", DOCUMENT)
    exported = admin.get("/declarations").json()
    assert admin.post("/declarations/plan", exported, prune=True).json()["is_empty"]
    written = admin.send("GET", "/declarations", headers={"Accept": "application/yaml"})
    assert written.headers["Content-Type"].startswith("application/yaml")
    assert admin.post("/declarations/plan", yaml.safe_load(written.text), prune=True).json()["is_empty"]


def test_one_kind_or_one_pipeline_can_be_exported(admin: Api) -> None:
    admin.post("/declarations", DOCUMENT)
    admin.post("/feeds", {**DOCUMENT["feeds"][0], "id": "us2", "name": "Other"})
    assert list(admin.get("/declarations", kind="feeds").json()) == ["feeds"]
    needed = admin.get("/declarations", pipeline="people").json()
    assert [feed["id"] for feed in needed["feeds"]] == ["us1"]
    assert admin.get("/declarations", pipeline="nobody").status_code == 404
    assert admin.get("/declarations", kind="tables").status_code == 400


def test_what_a_document_leaves_out_is_deleted_only_when_asked(admin: Api) -> None:
    admin.post("/declarations", DOCUMENT)
    rest = {name: entries for name, entries in DOCUMENT.items() if name != "pipelines"}
    assert admin.post("/declarations", rest).json()["is_empty"]
    assert actions(admin.post("/declarations", rest, prune=True))["pipeline people"] == "delete"


def test_a_document_survives_being_sent(admin: Api) -> None:
    said = {**DOCUMENT, "feeds": [{**DOCUMENT["feeds"][0], "api_secret": "stored"}]}
    said["pipelines"] = [{**PIPELINE, "state": "active", "schedule": {"type": "on_demand"}}]
    document = read_document(said)
    sent = document.as_document()
    assert sent["feeds"][0]["api_secret"] == "stored"
    assert read_document(sent) == document
    admin.post("/declarations", DOCUMENT)
    changed = admin.post("/declarations", sent).json()
    assert [change["fields"][0]["path"] for change in changed["changes"] if change["action"] == "change"] == ["state"]


def test_the_schema_knows_every_list(viewer: Api) -> None:
    schema = viewer.get("/declarations/schema").json()
    assert set(schema["properties"]) == set(Declarations.model_fields)
