"""Alerts are looked at by everybody, and tried out by admins, through a worker."""

from uuid import uuid4

import sqlalchemy as sa

from shared.alerts import AlertName, Change, Channel, Condition
from shared.store import alerts, markers
from shared.store.alert_tables import alert_deliveries
from tests.console.api.conftest import Api
from tests.shared.store.stage import T0, Stage
from tests.shared.store.test_alerts import recorded


def opened(stage: Stage, subject: str = "people", name: AlertName = AlertName.STALE) -> str:
    change = Change.HAPPENED if name is AlertName.BACKFILL_FINISHED else Change.OPENED
    condition = Condition(name, subject, "people", "People", "it has read nothing yet", T0, counts={"rejected": 3})
    (message,) = recorded(stage, condition, change=change)
    return str(message.alert_id)


def test_alerts_are_listed_with_their_words_and_cures(stage: Stage, viewer: Api) -> None:
    stage.declare()
    alert_id = opened(stage)
    event_id = opened(stage, "b", AlertName.BACKFILL_FINISHED)
    first, second = viewer.get("/alerts").json()
    assert (first["id"], first["state"], first["name"]) == (alert_id, "open", "stale")
    assert first["command"] == "warehouse-sync runs people"
    assert first["counts"] == {"rejected": 3}
    assert (second["id"], second["state"], second["recovered_on"]) == (event_id, "event", None)
    assert [one["id"] for one in viewer.get("/alerts", open="true").json()] == [alert_id]
    assert [one["id"] for one in viewer.get("/alerts", name="backfill_finished").json()] == [event_id]
    assert viewer.get("/alerts", pipelineId="other").json() == []


def test_alerts_come_page_by_page(stage: Stage, viewer: Api) -> None:
    stage.declare()
    ids = {opened(stage, str(no)) for no in range(3)}
    first = viewer.get("/alerts", limit=2)
    link = first.headers["Link"].removeprefix("<").partition(">")[0]
    rest = viewer.get(f"/alerts{link}")
    assert {one["id"] for one in [*first.json(), *rest.json()]} == ids
    assert viewer.get("/alerts", after="bm8").status_code == 400


def test_one_alert_says_who_was_told_of_each_change(stage: Stage, viewer: Api) -> None:
    stage.declare()
    alert_id = opened(stage)
    stage.write("UPDATE alert_deliveries SET delivered_at = now(), attempts = 1 WHERE channel = 'slack'")
    (change,) = viewer.get(f"/alerts/{alert_id}").json()["changes"]
    assert change["change"] == "opened"
    told = {one["channel"]: one["delivered_on"] is not None for one in change["deliveries"]}
    assert told == {"email": False, "slack": True, "webhook": False}
    assert viewer.get(f"/alerts/{uuid4()}").status_code == 404
    assert viewer.get("/alerts/17").status_code == 400


def test_trying_the_channels_is_a_question_to_control_workers(admin: Api, operator: Api) -> None:
    answer = admin.post("/alerts/test")
    assert answer.status_code == 503
    assert "none serves the queue `control`" in answer.json()["errors"][0]["message"]
    refused = operator.post("/probes", {"kind": "alerts"})
    assert refused.status_code == 400
    assert "POST /alerts/test" in refused.json()["errors"][0]["message"]


def test_the_doctor_says_whether_people_can_be_told(stage: Stage, operator: Api) -> None:
    def findings() -> list[tuple[str, str, bool]]:
        found = operator.get("/doctor").json()
        return [(one["subject"], one["found"], one["is_well"]) for one in found if one["subject"].startswith("alerts")]

    assert findings() == [("alerts", "no worker has looked yet whether anything is the matter", True)]
    stage.declare()
    opened(stage)
    with stage.database.transaction() as connection:
        markers.replace(connection, alerts.CHANNELS, "")
    assert "nobody is told" in findings()[0][1]
    with stage.database.transaction() as connection:
        markers.replace(connection, alerts.CHANNELS, "email,slack")
        failed = {"attempts": 3, "error": "AlertUnsent: x answered 404"}
        connection.execute(
            sa.update(alert_deliveries).where(alert_deliveries.c.channel == Channel.SLACK).values(failed)
        )
    well, ill = findings()
    assert well == ("alerts", "are told by email, slack", True)
    assert ill == (
        "alerts, slack",
        "the last message was not delivered in 3 attempts: AlertUnsent: x answered 404",
        False,
    )
    with stage.database.transaction() as connection:
        connection.execute(sa.update(alert_deliveries).values(attempts=1))
    assert "not delivered in 1 attempt: " in findings()[1][1]
    with stage.database.transaction() as connection:
        markers.replace(connection, alerts.ILL_CHANNELS, '{"slack": "AlertRefused: without TLS", "webhook": "gone"}')
    assert findings() == [
        ("alerts", "are told by email", True),
        ("alerts, slack", "cannot be told: AlertRefused: without TLS", False),
    ]
