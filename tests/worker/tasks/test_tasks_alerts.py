"""People are told once of each change, by real tasks, whatever is struck, repeated or lost."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from shared import catalog
from shared.alert_message import AlertMessage
from shared.alerts import AlertName, AlertPolicy, Change
from shared.errors import FeedRefused, StoreUnavailable
from shared.messages import Message, TaskName
from shared.probe import ProbeKind, Question
from shared.run import RunId
from shared.store import alerts as alert_rows
from shared.store import declared, moves, probes
from shared.store.alert_tables import alert_changes, alert_deliveries, alerts
from shared.store.tables import runs
from tests.worker.sinks import Sinks, sinks_running
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import Desk, Killed, Strike, When, fails_with
from tests.worker.tasks.test_tasks_struck import strikes
from worker.channels.base import conversation_s
from worker.channels.mail import Mail
from worker.tasks import alerting
from worker.tasks.boundary import deliver, recorded
from worker.tasks.upkeep import upkeep

PLANTED = "planted-in-channels-3f90"
BROKEN = StoreUnavailable("the connection broke")


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    with sinks_running() as running:
        yield running


@pytest.fixture
def limits(sinks: Sinks) -> dict[str, str]:
    return {
        **LIMITS,
        "ALERT_WEBHOOK_URL": f"http://127.0.0.1:{sinks.port}/hook/{PLANTED}",
        "ALERT_WEBHOOK_SECRET": PLANTED,
        "ALERT_SLACK_URL": f"http://127.0.0.1:{sinks.port}/slack/{PLANTED}",
        "ALERT_SMTP_URL": f"smtp://127.0.0.1:{sinks.mail_port}",
        "ALERT_EMAIL_FROM": "sync@example.com",
        "ALERT_EMAIL_TO": "ops@example.com",
        "ALERT_CALM_S": "0",
        "ALERT_TIMEOUT_S": "5",
    }


def failed_run(desk: Desk) -> RunId:
    run_id = desk.trigger(desk.pipeline(catalog.Full()))
    desk.lose_messages()
    with desk.database.transaction() as store:
        moves.fail(store, run_id, FeedRefused("mParticle refuses every batch"))
    return run_id


def look(desk: Desk) -> None:
    """Do upkeep's part about alerts."""
    with recorded():
        deliver(desk.process, alerting.look(desk.process))


def work(desk: Desk) -> None:
    """Look once, and do what messages ask for until there are none."""
    look(desk)
    while taken := desk.take():
        desk.do(*taken)


def later(desk: Desk, seconds: float = 3600) -> None:
    """Have every wait of a channel over, and every lease lapsed."""
    with desk.database.transaction() as store:
        clocks = ("lease_until", "not_before", "sent_at", "failed_at")
        table = alert_deliveries
        store.execute(sa.update(table).values({name: table.c[name] - timedelta(seconds=seconds) for name in clocks}))


def told(sinks: Sinks) -> list[AlertMessage]:
    return [AlertMessage.model_validate_json(post.body) for post in sinks.posted("/hook")]


def finished(desk: Desk) -> list[sa.RowMapping]:
    return desk.rows(sa.select(alert_deliveries).order_by(alert_deliveries.c.channel))


def test_each_channel_is_told_once_when_it_opens_and_once_when_it_is_over(desk: Desk, sinks: Sinks) -> None:
    run_id = failed_run(desk)
    upkeep()
    for _ in range(2):
        work(desk)
    (opened,) = told(sinks)
    assert (opened.name, opened.change, opened.error_kind) == (AlertName.RUN_FAILED, Change.OPENED, "FeedRefused")
    assert opened.run is not None
    assert opened.run.id == run_id
    assert [len(sinks.posts), len(sinks.mails)] == [2, 1]
    with desk.database.transaction() as store:
        moves.abandon(store, run_id)
    for _ in range(3):
        work(desk)
    assert [(one.change, one.sentence) for one in told(sinks)[1:]] == [(Change.RECOVERED, "the run was abandoned")]
    assert [len(sinks.posts), len(sinks.mails)] == [4, 2]
    slack = [json.loads(post.body)["text"] for post in sinks.posted("/slack")]
    ids = [str(one.id) for one in told(sinks)]
    assert [id_ in text for id_, text in zip(ids, slack, strict=True)] == [True, True]
    assert [mail["Message-ID"] for mail in sinks.mails] == [f"<{id_}@example.com>" for id_ in ids]
    assert all(row["delivered_at"] is not None and row["attempts"] == 1 for row in finished(desk))


def test_a_lease_outlasts_the_longest_conversation(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    def send(_channel: Mail, _message: AlertMessage) -> str:
        lasts = sa.func.extract("epoch", alert_deliveries.c.lease_until - sa.func.now())
        (row,) = desk.rows(sa.select(lasts.label("s")).where(alert_deliveries.c.channel == "email"))
        left.append(float(row["s"]))
        return "taken"

    monkeypatch.setattr(Mail, "send", send)
    failed_run(desk)
    work(desk)
    assert [lasts > 1.5 * conversation_s(desk.process.settings) for lasts in left] == [True]


def test_no_secret_and_no_row_is_in_what_is_told_kept_or_logged(
    desk: Desk, sinks: Sinks, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sinks.statuses["/slack"] = 500
    failed_run(desk)
    work(desk)
    kept = [str(desk.rows(sa.select(table))) for table in (alerts, alert_changes, alert_deliveries)]
    bodies = [post.body.decode() + str(post.headers) for post in sinks.posts] + [str(mail) for mail in sinks.mails]
    output = capfd.readouterr()
    for text in (*kept, *bodies, output.out, output.err, caplog.text):
        assert PLANTED not in text
        assert "Zoë" not in text


@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failure", [BROKEN, Killed()], ids=["broken", "killed"])
@pytest.mark.parametrize("task", [TaskName.UPKEEP, TaskName.ALERT])
def test_whatever_is_struck_everybody_is_told_and_repeats_have_the_same_id(
    desk: Desk, sinks: Sinks, task: TaskName, when: When, failure: BaseException
) -> None:
    def strike_at(nth: int) -> bool:
        sinks.posts.clear()
        sinks.mails.clear()
        with desk.database.transaction() as store:
            store.execute(sa.delete(alerts))
        run_id = failed_run(desk)
        strike = Strike(nth, when, fails_with(failure))
        if task is TaskName.UPKEEP:
            with desk.database.struck(strike):
                look(desk)
        else:
            look(desk)
            arguments = desk.take_until(TaskName.ALERT)
            with desk.database.struck(strike):
                desk.do(task, arguments)
        for _ in range(3):
            later(desk)
            work(desk)
        (change,) = [row for row in desk.rows(sa.select(alert_changes)) if row["message"]["run"]["id"] == str(run_id)]
        assert {one.id for one in told(sinks)} == {change["id"]}
        assert {mail["X-Warehouse-Sync-Id"] for mail in sinks.mails} == {str(change["id"])}
        assert len(sinks.posted("/slack")) in {1, 2}
        assert all(row["delivered_at"] is not None for row in finished(desk))
        with desk.database.transaction() as store:
            moves.abandon(store, run_id)
        return strike.fell

    assert strikes(strike_at) > 0


def test_messages_that_are_lost_or_come_twice_change_nothing(desk: Desk, sinks: Sinks) -> None:
    failed_run(desk)
    look(desk)
    desk.lose_messages()
    look(desk)
    assert desk.take() is None, "one may still arrive"
    later(desk)
    look(desk)
    while taken := desk.take():
        desk.do_at_once(*taken, times=2)
        desk.do(*taken)
    assert [len(sinks.posts), len(sinks.mails)] == [2, 1]


def test_any_number_of_looks_at_once_tell_it_once(desk: Desk, sinks: Sinks) -> None:
    for _ in range(3):
        failed_run(desk)
    desk.do_at_once(TaskName.UPKEEP, (), times=4)
    work(desk)
    assert len({one.alert_id for one in told(sinks)}) == len(told(sinks)) == 3
    assert len(desk.rows(sa.select(alerts))) == 3


def test_a_channel_that_cannot_be_told_is_said_once_and_recorded_until_it_can(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def ill() -> list[str]:
        with desk.database.transaction() as store:
            return list(alert_rows.ill_channels(store))

    right = desk.process.settings
    wrong = right.model_copy(update={"alert_webhook_url": SecretStr(f"http://example.com/{PLANTED}")})
    monkeypatch.setattr(desk.process, "settings", wrong)
    for _ in range(2):
        look(desk)
    assert ill() == ["webhook"]
    said = "".join([*capfd.readouterr(), caplog.text])
    assert said.count("alert_channel_refused") == 1
    assert PLANTED not in said
    monkeypatch.setattr(desk.process, "settings", right)
    look(desk)
    assert ill() == []


def test_what_recovered_has_the_counts_of_now(desk: Desk, sinks: Sinks) -> None:
    run_id = failed_run(desk)
    with desk.database.transaction() as store:
        store.execute(sa.update(runs).where(runs.c.id == run_id).values(extracted=7, unsent=7))
    work(desk)
    with desk.database.transaction() as store:
        store.execute(sa.update(runs).where(runs.c.id == run_id).values(unsent=0, accepted=7))
        moves.abandon(store, run_id)
    for _ in range(3):
        work(desk)
    assert [one.counts for one in told(sinks)] == [{"extracted": 7, "unsent": 7}, {"extracted": 7, "accepted": 7}]


def test_a_channel_that_fails_is_put_off_and_delays_no_other(desk: Desk, sinks: Sinks) -> None:
    sinks.statuses["/slack"] = 503
    for _ in range(2):
        failed_run(desk)
    work(desk)
    work(desk)
    assert [len(told(sinks)), len(sinks.mails)] == [2, 2]
    assert len(sinks.posted("/slack")) == 1, "its other message waits, too"
    (tried,) = [row for row in finished(desk) if row["attempts"] and row["channel"] == "slack"]
    assert tried["error"] == "AlertUnsent: 127.0.0.1 answered 503"
    later(desk, seconds=35)
    work(desk)
    later(desk, seconds=35)
    work(desk)
    assert len(sinks.posted("/slack")) == 3
    sinks.statuses.clear()
    later(desk)
    work(desk)
    waits = [row for row in finished(desk) if row["channel"] == "slack" and row["delivered_at"] is None]
    assert waits == []


def test_what_cannot_be_told_for_a_day_is_given_up_and_said(
    desk: Desk, sinks: Sinks, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    sinks.statuses["/hook"] = 500
    failed_run(desk)
    work(desk)
    later(desk)
    with desk.database.transaction() as store:
        store.execute(sa.update(alert_deliveries).values(queued_at=sa.func.now() - timedelta(days=2)))
    work(desk)
    (row,) = [row for row in finished(desk) if row["channel"] == "webhook"]
    assert row["given_up_at"] is not None
    # Where lines go depends on whether a test before has configured them.
    assert "alert_given_up" in "".join([*capfd.readouterr(), caplog.text])
    later(desk)
    work(desk)
    assert len(sinks.posted("/hook")) == 1


def test_a_pipeline_that_mutes_an_alert_tells_nobody(desk: Desk, sinks: Sinks) -> None:
    run_id = failed_run(desk)
    with desk.database.transaction() as store:
        pipeline = declared.get_pipeline(store, desk.run(run_id).pipeline_id).pipeline
        muted = pipeline.model_copy(update={"alerts": AlertPolicy(mute=(AlertName.RUN_FAILED,))})
        declared.put_pipeline(store, muted)
    work(desk)
    assert sinks.posts == []
    assert desk.rows(sa.select(alerts)) == []


def test_trying_the_channels_says_what_each_answered(desk: Desk, sinks: Sinks) -> None:
    sinks.statuses["/hook"] = 418
    with desk.database.transaction() as store:
        probe_id, message = probes.ask(store, Question(kind=ProbeKind.ALERTS))
    assert message == Message(TaskName.TRY_ALERTS, probe_id)
    for _ in range(2):
        desk.do(message.task, (message.payload(),))
    with desk.database.transaction() as store:
        found = probes.look(store, probe_id).answer
    assert found is not None
    assert [(one.channel, one.is_well, one.said) for one in found.channels] == [
        ("webhook", False, "AlertUnsent: 127.0.0.1 answered 418"),
        ("slack", True, "127.0.0.1 answered 200 ok"),
        ("email", True, "127.0.0.1 took it for 1 of 1 recipients"),
    ]
    assert all("test" in json.dumps(json.loads(post.body)) for post in sinks.posts)
    assert len(sinks.posts) == 2
