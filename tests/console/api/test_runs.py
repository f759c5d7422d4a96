"""Runs over HTTP: pages of them, v1's shape to the letter, what happened to one, and its moves."""

from uuid import uuid4

import pytest

from shared.run import RunId, Window
from tests.console.api.conftest import WORKSPACE, Api
from tests.shared.store.stage import FEED, INCREMENTAL, T0, Stage

V1_FIELDS = {
    "pipeline_run_id",
    "id",
    "workspace_id",
    "logical_date",
    "start_date",
    "end_date",
    "data_interval_start",
    "data_interval_end",
    "pipeline_run_type",
    "pipeline_run_state",
    "is_externally_triggered",
    "records_extracted",
    "records_mapped",
    "event_batches_generated",
    "created_on",
    "created_by",
    "last_modified_on",
    "last_modified_by",
}
"""Source: mParticle, Warehouse Sync API v1, runs: every field of a run, and no other."""


@pytest.fixture
def settled(stage: Stage) -> RunId:
    stage.declare()
    run_id = stage.started()
    stage.complete(run_id, sizes=(3,))
    return run_id


def test_a_run_is_found_by_its_number_its_id_and_its_beginning(viewer: Api, settled: RunId) -> None:
    shown = viewer.get(f"/runs/{settled}").json()
    assert shown["id"] == str(settled)
    assert viewer.get(f"/runs/{shown['number']}").json() == shown
    assert viewer.get(f"/runs/{str(settled)[:13]}").json() == shown
    assert viewer.get(f"/pipelines/people/runs/{shown['number']}").json() == shown
    assert viewer.get("/pipelines/people/runs").json() == [shown]
    assert viewer.get("/runs").json() == [shown]


def test_a_run_says_what_became_of_every_row(viewer: Api, settled: RunId) -> None:
    shown = viewer.get(f"/runs/{settled}").json()
    assert shown["ledger"] == {
        "extracted": 3,
        "accepted": 3,
        "rejected": 0,
        "unchanged": 0,
        "superseded": 0,
        "unsent": 0,
        "balances": True,
    }
    assert (shown["status"], shown["state"], shown["type"], shown["kind"]) == ("success", "settled", "manual", "manual")
    assert (shown["successful_records"], shown["failed_records"], shown["errors"]) == (3, 0, [])
    assert (shown["chunks_total"], shown["chunks_done"]) == (1, 1)
    assert shown["rows_per_s"] == 3 / shown["worked_s"]


@pytest.mark.usefixtures("settled")
def test_v1_sees_a_run_as_it_documents_it(viewer: Api) -> None:
    (shown,) = viewer.get("/pipelines/people/status/runs").json()["items"]
    assert set(shown) == V1_FIELDS
    assert viewer.get(f"/pipelines/people/status/runs/{shown['pipeline_run_id']}").json() == shown
    assert (shown["id"], shown["workspace_id"]) == ("people", int(WORKSPACE.rpartition("/")[2]))
    assert (shown["pipeline_run_type"], shown["pipeline_run_state"]) == ("manual", "success")
    assert (shown["is_externally_triggered"], shown["records_extracted"]) == (True, 3)


def test_v1_says_who_asked_for_a_run(operator: Api, stage: Stage) -> None:
    stage.declare()
    number = operator.post("/pipelines/people/trigger").json()["pipeline_run_id"]
    shown = operator.get(f"/pipelines/people/status/runs/{number}").json()
    assert (shown["created_by"], shown["pipeline_run_state"], shown["records_extracted"]) == (
        "some operator",
        "triggered",
        None,
    )


def test_v1s_pages_and_dates_choose_runs(viewer: Api, stage: Stage, settled: RunId) -> None:
    for day in (1, 2, 3):
        stage.write(
            "INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, state, logical_at, snapshot)"
            " VALUES (:id, 'people', 1, 'manual', 'live', 'full', 'settled', :at, '{}')",
            id=uuid4(),
            at=T0.replace(day=day),
        )
    path = "/pipelines/people/status/runs"
    # v1 writes instants without a zone, and means UTC.
    chosen = viewer.get(path, startDate="2024-05-01T00:00:00.000", endDate="2024-05-03T00:00:00Z").json()["items"]
    assert [one["logical_date"][:10] for one in chosen] == ["2024-05-02", "2024-05-01"]
    pages = [viewer.get(path, currentPage=page, pageSize=3).json()["items"] for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [3, 1, 0]
    numbers = [one["pipeline_run_id"] for page in pages for one in page]
    assert viewer.get(f"/runs/{settled}").json()["number"] == min(numbers)
    assert viewer.get(path, currentPage=0).status_code == 400


def test_pages_of_runs_name_the_next_one(viewer: Api, stage: Stage) -> None:
    stage.declare()
    for _ in range(5):
        stage.complete(stage.started(), sizes=())
    numbers: list[int] = []
    following: str | None = "?limit=2"
    for size in (2, 2, 1):
        answer = viewer.get(f"/runs{following}")
        assert len(answer.json()) == size
        numbers += [one["number"] for one in answer.json()]
        following = answer.links.get("next", {}).get("url")
    assert following is None
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 5
    assert viewer.get("/runs?after=nonsense").status_code == 400
    assert viewer.get("/runs?limit=1001").status_code == 400


def test_runs_are_chosen_by_their_states(viewer: Api, stage: Stage, settled: RunId) -> None:
    open_run = stage.started()
    assert settled != open_run
    assert [one["id"] for one in viewer.get("/runs?state=created&state=failed").json()] == [str(open_run)]
    assert [one["id"] for one in viewer.get("/pipelines/people/runs?state=settled").json()] == [str(settled)]


def test_what_is_unknown_or_anothers_is_not_found(viewer: Api, operator: Api, stage: Stage, settled: RunId) -> None:
    stage.declare("others")
    paths = [
        "/runs/9999999",
        f"/runs/{uuid4()}",
        "/runs/zzz/events",
        "/pipelines/nobody/runs",
        f"/pipelines/nobody/runs/{settled}",
        f"/pipelines/others/runs/{settled}",
        f"/pipelines/others/status/runs/{settled}",
    ]
    assert {viewer.get(path).status_code for path in paths} == {404}
    assert {operator.post(f"/runs/zzz/{verb}").status_code for verb in ("cancel", "retry", "abandon")} == {404}


def test_what_happened_to_a_run_is_told_in_order(viewer: Api, operator: Api, settled: RunId) -> None:
    names = [one["name"] for one in viewer.get(f"/runs/{settled}/events").json()]
    assert (names[0], names[-1]) == ("created", "settled")
    first = viewer.get(f"/runs/{settled}/events?limit=1")
    rest = viewer.get(f"/runs/{settled}/events{first.links['next']['url'].replace('limit=1', 'limit=50')}").json()
    assert [one["name"] for one in first.json() + rest] == names
    asked = operator.post("/pipelines/people/trigger").json()["pipeline_run_id"]
    (created,) = viewer.get(f"/runs/{asked}/events").json()
    assert (created["actor"], created["errors"]) == ("some operator", [])


def test_chunks_are_listed_in_the_order_of_their_rows(viewer: Api, stage: Stage) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading((2, 3, 4))
    stage.upload(chunk_ids[0], rejected=1)
    first = viewer.get(f"/runs/{run_id}/chunks?limit=2")
    rest = viewer.get(f"/runs/{run_id}/chunks{first.links['next']['url']}")
    shown = first.json() + rest.json()
    assert [(one["id"], one["no"], one["rows"]) for one in shown] == [
        (str(chunk_id), no, no + 2) for no, chunk_id in enumerate(chunk_ids)
    ]
    assert (shown[0]["state"], shown[0]["accepted"], shown[0]["rejected"]) == ("done", 1, 1)
    assert min(shown[0]["queued_s"], shown[0]["worked_s"]) >= 0
    assert (shown[1]["queued_s"], shown[1]["worked_s"]) == (None, None), "nobody has claimed it"
    assert "next" not in rest.links


def test_a_run_that_is_put_off_says_why(viewer: Api, stage: Stage) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id)
    stage.write("UPDATE slices SET held_reason = 'no room' WHERE id = :id", id=slice_id)
    assert viewer.get(f"/runs/{run_id}").json()["waits_for"] == "no room"
    assert viewer.get("/runs").json()[0]["waits_for"] == "no room"
    (running,) = viewer.get("/pipelines/people").json()["running_runs"]
    assert (running["waits_for"], running["status"]) == ("no room", "running")


def test_a_run_is_cancelled_continued_and_given_up(operator: Api, viewer: Api, stage: Stage) -> None:
    stage.declare()
    run_id, chunk_ids = stage.uploading((2, 3))
    stage.upload(chunk_ids[0])
    assert viewer.post(f"/runs/{run_id}/cancel").status_code == 403
    cancelled = operator.post(f"/runs/{run_id}/cancel").json()
    assert (cancelled["state"], cancelled["status"], cancelled["ledger"]["unsent"]) == ("cancelled", "failed", 3)
    refused = operator.post(f"/runs/{run_id}/cancel")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "MoveNotAllowed")
    (held,) = viewer.get("/pipelines/people").json()["held_by"]
    assert held["id"] == str(run_id)
    again = operator.post(f"/runs/{run_id}/retry", {"accepts_rejects": True}).json()
    assert again == {"runs": [{"id": str(run_id), "number": cancelled["number"]}]}
    assert viewer.get(f"/runs/{run_id}").json()["accepts_rejects"]
    operator.post(f"/runs/{cancelled['number']}/cancel")
    abandoned = operator.post(f"/runs/{run_id}/abandon").json()
    assert (abandoned["state"], abandoned["rows_to_be_sent_again"]) == ("abandoned", 2)
    assert operator.post(f"/runs/{run_id}/abandon").status_code == 400
    assert operator.post(f"/runs/{run_id}/retry").status_code == 400
    actors = {one["actor"] for one in viewer.get(f"/runs/{run_id}/events").json() if one["name"] == "cancelled"}
    assert actors == {"some operator"}


def test_no_answer_shows_a_whole_key_or_a_snapshot(viewer: Api, settled: RunId) -> None:
    texts = [viewer.get(path).text for path in ("/pipelines", f"/runs/{settled}", "/runs")]
    assert not any(FEED.api_secret in text or "snapshot" in text for text in texts)


def test_a_window_is_told_with_all_its_digits(viewer: Api, stage: Stage) -> None:
    stage.declare(mode=INCREMENTAL)
    run_id = stage.started()
    stage.plan(run_id, Window(None, T0.replace(microsecond=123_456), includes_null=True))
    shown = viewer.get(f"/runs/{run_id}").json()
    assert (shown["range_start"], shown["range_end"]) == (None, "2024-05-01T00:00:00.123456Z")
    assert viewer.get("/pipelines/people").json()["watermark"] == "2024-05-01T00:00:00.123456Z"


def test_a_held_run_says_what_is_asked_and_goes_on_once_it_is_approved(
    viewer: Api, operator: Api, stage: Stage
) -> None:
    stage.declare()
    run_id = stage.started()
    (slice_id,) = stage.plan(run_id, snapshot={"max_volume_rows": 4})
    stage.publish(*stage.claim_slice(slice_id), [5])
    shown = viewer.get(f"/runs/{run_id}").json()
    assert (shown["state"], shown["status"], shown["held_for"]) == ("cancelled", "failed", "volume_unusual")
    assert "5 rows so far, and volume.max_rows allows 4" in shown["held_reason"]
    assert shown["held_on"] is not None
    (held_by,) = viewer.get("/pipelines/people").json()["held_by"]
    assert held_by == shown
    event = viewer.get(f"/runs/{run_id}/events").json()[-1]
    assert (event["name"], event["errors"][0]["code"]) == ("held", "volume_unusual")
    assert operator.post(f"/runs/{run_id}/approve").json()["runs"][0]["number"] == shown["number"]
    shown = viewer.get(f"/runs/{run_id}").json()
    assert (shown["state"], shown["held_on"], shown["accepts_volume"]) == ("uploading", None, True)
    refused = operator.post(f"/runs/{run_id}/approve")
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (400, "MoveNotAllowed")
