"""``/backfills``: begun once, listed in pages, paused, resumed and cancelled, by those who may."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from shared.run import RunId, Window
from tests.console.api.conftest import Api
from tests.shared.store.stage import INCREMENTAL, T0, Stage

DAY = timedelta(days=1)
FROM, UNTIL = "2024-04-28T00:00:00.000Z", "2024-04-30T00:00:00.000Z"
ASKED = {"from": FROM, "until": UNTIL, "parts": 2, "newest_first": True, "expected_rows": 10}


def begun(operator: Api, **asked: object) -> dict[str, Any]:
    answer = operator.post("/pipelines/people/backfills", {**ASKED, **asked})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_backfill_is_begun_and_a_repeat_gives_the_same(stage: Stage, operator: Api) -> None:
    stage.past_history()
    first = begun(operator)
    assert first["state"] == "running"
    assert (first["from"], first["until"], first["expected_rows"]) == (FROM, UNTIL, 10)
    assert begun(operator)["id"] == first["id"]
    other = operator.post("/pipelines/people/backfills", {**ASKED, "parts": 3})
    assert other.status_code == 400
    assert other.json()["errors"][-1]["code"] == "AlreadyInProgress"
    assert "history is being loaded" in other.text
    operator.post(f"/backfills/{first['id']}/cancel")
    assert operator.post("/pipelines/people/backfills", ASKED).status_code == 400, "it is not being read"


def test_a_repeat_without_an_end_is_known_although_the_watermark_moved(stage: Stage, operator: Api) -> None:
    stage.past_history()
    first = operator.post("/pipelines/people/backfills", {}).json()
    assert (first["from"], first["until"]) == (None, "2024-05-01T00:00:00.000Z")
    stage.write("UPDATE pipelines SET watermark = :at, generation = generation", at=T0 + DAY)
    assert operator.post("/pipelines/people/backfills", {}).json()["id"] == first["id"]


def test_a_bound_keeps_its_microseconds_and_one_without_a_zone_is_utc(stage: Stage, operator: Api) -> None:
    stage.past_history()
    found = begun(operator, **{"from": "2024-04-28T00:00:00.000001", "until": "2024-04-30T02:00:00+02:00"})
    assert (found["from"], found["until"]) == ("2024-04-28T00:00:00.000001Z", UNTIL)


def test_what_is_wrong_or_unknown_of_a_backfill_is_told(stage: Stage, operator: Api) -> None:
    stage.past_history()
    wrong = operator.post("/pipelines/people/backfills", {"from": "yesterday", "parts": 0})
    assert wrong.status_code == 400
    assert [one["message"].split(":")[0] for one in wrong.json()["errors"]] == ["from", "parts"]
    assert "lies beyond the watermark" in operator.post("/pipelines/people/backfills", {"until": "2030-01-01"}).text
    assert begun(operator, colour="red")["warnings"] == [{"message": "colour: no such field; it is ignored"}]
    assert operator.post("/pipelines/nobody/backfills", {}).status_code == 404


def test_the_window_of_a_backfill_is_told_before_it_is_begun(stage: Stage, viewer: Api) -> None:
    stage.past_history()
    told = viewer.get("/pipelines/people/backfills/window", **{"from": "2024-04-28"})
    assert told.json() == {"from": FROM, "until": "2024-05-01T00:00:00.000Z"}
    assert viewer.get("/pipelines/people/backfills/window", **{"from": "2030-01-01"}).status_code == 400


def test_backfills_are_listed_in_pages_the_newest_first(stage: Stage, viewer: Api, operator: Api) -> None:
    stage.past_history()
    cancelled = []
    for _ in range(2):
        one = begun(operator)["id"]
        operator.post(f"/backfills/{one}/cancel")
        stage.write("UPDATE runs SET state = 'abandoned' WHERE state = 'cancelled'")
        cancelled.append(one)
    listed: list[dict[str, Any]] = []
    query: dict[str, object] = {"limit": 2, "pipelineId": "people"}
    first = viewer.get("/backfills", **query)
    listed += first.json()
    second = viewer.send("GET", "/backfills", params=first.links["next"]["url"].removeprefix("?"))
    listed += second.json()
    assert "Link" not in second.headers
    assert [one["id"] for one in listed[:2]] == cancelled[::-1]
    assert [(one["kind"], one["state"]) for one in listed] == [
        ("backfill", "cancelled"),
        ("backfill", "cancelled"),
        ("initial", "done"),
    ]
    assert listed[-1]["ended_rows"] == 2
    assert viewer.get("/backfills", pipelineId="nobody").status_code == 404
    assert viewer.get("/backfills", after="WyJ4Il0").status_code == 400


def test_one_is_given_with_its_parts_by_the_beginning_of_its_id(stage: Stage, viewer: Api) -> None:
    stage.declare(mode=INCREMENTAL)
    run, token = stage.claim_plan(stage.started())
    stage.freeze(run, token, Window(None, T0 - DAY, includes_null=True), further_parts=[Window(T0 - DAY, T0)])
    (listed,) = viewer.get("/backfills").json()
    found = viewer.get(f"/backfills/{listed['id'][:8]}").json()
    assert {name: found[name] for name in listed} == listed
    assert [(part["part"], part["state"], part["from"], part["until"]) for part in found["runs"]] == [
        (0, "extracting", None, "2024-04-30T00:00:00.000Z"),
        (1, "waiting", "2024-04-30T00:00:00.000Z", "2024-05-01T00:00:00.000Z"),
    ]
    assert found["runs"][0]["run_number"] == run.number
    assert found["created_on"].endswith("Z")


def test_one_is_paused_resumed_and_cancelled_and_a_repeat_changes_nothing(stage: Stage, operator: Api) -> None:
    stage.past_history()
    path = f"/backfills/{begun(operator)['id']}"
    for move, state in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled"), ("resume", "running")):
        for _ in range(2):
            moved = operator.post(f"{path}/{move}")
            assert (moved.status_code, moved.json()["state"]) == (200, state), moved.text
    stage.write("UPDATE runs SET state = 'abandoned' WHERE state NOT IN ('settled', 'abandoned')")
    assert "is over" in operator.post(f"{path}/pause").text


def test_how_long_the_rest_takes_is_told_by_the_time_at_work_and_not_by_a_pause(stage: Stage, operator: Api) -> None:
    stage.past_history()
    path = f"/backfills/{begun(operator, parts=1)['id']}"
    (part,) = operator.get(path).json()["runs"]
    (slice_id,) = stage.plan(RunId(UUID(part["run_id"])), Window(T0 - 3 * DAY, T0 - DAY))
    assert operator.get(path).json()["seconds_left"] is None, "no row has ended"
    stage.upload(stage.extract(slice_id, [4, 6])[0])
    operator.post(f"{path}/pause")
    stage.write("UPDATE run_events SET happened_at = happened_at - interval '9 hours'")
    stage.write("UPDATE runs SET started_at = started_at - interval '9 hours'")
    operator.post(f"{path}/resume")
    assert 0 <= operator.get(path).json()["seconds_left"] < 3600


def test_viewers_look_and_only_operators_begin_or_move(stage: Stage, viewer: Api, operator: Api) -> None:
    stage.past_history()
    path = f"/backfills/{begun(operator)['id']}"
    assert viewer.get(path).status_code == 200
    for post in ("/pipelines/people/backfills", f"{path}/pause", f"{path}/resume", f"{path}/cancel"):
        assert viewer.post(post, {}).status_code == 403
