"""Each channel tells the same, to nobody whom it may not tell, and repeats no secret."""

import hmac
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from jsonschema import Draft202012Validator, FormatChecker
from pydantic import SecretStr

from shared.alert_message import AlertMessage, schema_text
from shared.alerts import EVENTS, AlertChange, AlertName, Change, Condition
from shared.errors import AlertRefused, AlertUnsent, SecretUnavailable
from shared.run import RunState
from shared.settings import Settings
from tests.standins.redshift import make_certificate
from tests.worker.sinks import Sinks, dripping, sinks_running
from worker.alert_text import message_of, trial
from worker.channels import base, mail
from worker.channels.mail import Mail, mail_of
from worker.channels.registry import channels_of
from worker.channels.slack import Slack, slack_body
from worker.channels.webhook import Webhook, headers_of

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)
ID, ALERT, RUN = UUID(int=1), UUID(int=2), UUID(int=3)
SECRET = "planted-in-a-channel-77aa"
CONDITION = Condition(
    AlertName.RUN_FAILED,
    str(RUN),
    "people",
    "People <&> more\r\nBcc: all@example.com",
    "mParticle refuses every batch",
    NOW,
    run_id=RUN,
    run_number=17,
    kind="FeedRefused",
    counts={"extracted": 1200, "rejected": 3},
)


@pytest.fixture
def sinks() -> Iterator[Sinks]:
    with sinks_running() as running:
        yield running


def told(change: Change = Change.OPENED, state: RunState | None = None, **more: Any) -> AlertMessage:
    ended = NOW if change is Change.RECOVERED else None
    return message_of(
        AlertChange(change, more.get("condition", CONDITION), ALERT, ended),
        id_=ID,
        alert_id=ALERT,
        run_state=state,
        run_counts={"accepted": 1200},
        link_base="https://sync.example.com/",
    )


def settings(**given: Any) -> Settings:
    mailed = {"alert_email_from": "sync@example.com", "alert_email_to": ("ops@example.com", "data@example.com")}
    return Settings.model_validate({**mailed, **given})


def test_a_message_says_what_where_since_when_and_how_to_mend_it() -> None:
    message = told()
    assert message.title.startswith("run 17 of pipeline People")
    assert message.title.endswith("failed: FeedRefused")
    assert (message.command, message.link) == ("warehouse-sync retry 17", "https://sync.example.com/runs/17")
    assert (message.error_kind, message.sentence, message.since) == ("FeedRefused", CONDITION.sentence, NOW)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (RunState.SETTLED, "the run settled"),
        (RunState.ABANDONED, "the run was abandoned"),
        (RunState.CANCELLED, "the run was cancelled"),
        (RunState.UPLOADING, "the run goes on"),
    ],
)
def test_what_is_over_says_how_and_asks_for_nothing(state: RunState, said: str) -> None:
    message = told(Change.RECOVERED, state)
    assert (message.sentence, message.cure, message.command) == (said, "", None)
    assert message.title.startswith("recovered: run 17 of pipeline People")
    assert message.title.endswith("is no longer failed")
    assert (message.counts, message.error_kind) == ({"accepted": 1200}, None), "those of now, not of when it opened"


@pytest.mark.parametrize("name", AlertName)
@pytest.mark.parametrize("change", Change)
def test_every_alert_has_words_for_every_change_and_fits_its_schema(name: AlertName, change: Change) -> None:
    condition = Condition(name, "s", "people", "People", "so it is", NOW, run_id=RUN, run_number=17, kind="K")
    message = told(change, condition=condition)
    schema = json.loads((ROOT / "docs" / "schema" / "alert.schema.json").read_text())
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(json.loads(message.model_dump_json()))
    assert "{" not in message.title + message.cure + (message.command or "")


@pytest.mark.parametrize("name", sorted(set(AlertName) - EVENTS))
def test_a_recovery_reads_as_one_in_one_line(name: AlertName) -> None:
    condition = Condition(name, "s", "people", "People", "so it is", NOW, run_id=RUN, run_number=17, kind="K")
    opened, over = (told(change, condition=condition).title for change in (Change.OPENED, Change.RECOVERED))
    assert over.startswith("recovered: ")
    assert "no longer" in over
    assert opened not in over
    assert "People" in over


def test_the_schema_of_a_webhook_is_that_of_the_message() -> None:
    assert (ROOT / "docs" / "schema" / "alert.schema.json").read_text() == schema_text(), "run `make schema`"


def test_a_webhook_is_signed_and_says_what_tells_a_repeat(sinks: Sinks) -> None:
    own = settings(alert_webhook_secret=SECRET)
    said = Webhook(own, SecretStr(f"http://127.0.0.1:{sinks.port}/hook")).send(told())
    (post,) = sinks.posts
    assert said == "127.0.0.1 answered 200"
    assert AlertMessage.model_validate_json(post.body) == told()
    signed = f"{post.headers['X-Warehouse-Sync-Timestamp']}.".encode() + post.body
    expected = hmac.new(SECRET.encode(), signed, sha256).hexdigest()
    assert post.headers["X-Warehouse-Sync-Signature"] == f"v1={expected}"
    assert post.headers["Idempotency-Key"] == post.headers["X-Warehouse-Sync-Id"] == str(ID)


def test_without_a_secret_nothing_is_signed() -> None:
    assert "X-Warehouse-Sync-Signature" not in headers_of(told(), b"{}", None, now_s=1)


def test_slack_is_told_with_its_three_characters_escaped(sinks: Sinks) -> None:
    said = Slack(settings(), SecretStr(f"http://127.0.0.1:{sinks.port}/services/{SECRET}")).send(told())
    body = json.loads(sinks.posts[0].body)
    assert said == "127.0.0.1 answered 200 ok"
    assert str(ID) in body["text"]
    whole = json.dumps(body)
    assert "People &lt;&amp;&gt; more" in whole
    assert "`" not in whole
    assert "warehouse-sync retry 17" in whole


def test_what_slack_would_refuse_as_too_long_is_cut() -> None:
    long = Condition(AlertName.PIPELINE_FAULTED, "people", "people", "P" * 256, "x" * 9000, NOW)
    assert all(len(block["text"]["text"]) < 3000 for block in slack_body(told(condition=long))["blocks"])


def test_a_mail_reaches_everybody_once_and_its_id_is_the_changes(sinks: Sinks) -> None:
    said = Mail(settings(), SecretStr(f"smtp://127.0.0.1:{sinks.mail_port}")).send(told())
    (received,) = sinks.mails
    assert said == "127.0.0.1 took it for 2 of 2 recipients"
    assert received["Message-ID"] == f"<{ID}@example.com>"
    assert received["To"] == "ops@example.com, data@example.com"
    assert received["Bcc"] is None
    assert "rows: 1,200 extracted, 3 rejected" in received.get_content()
    assert "command: warehouse-sync retry 17" in received.get_content()


def test_mails_of_one_alert_are_one_thread() -> None:
    opened, over = (mail_of(told(change), sender="a@b.example", to=("c@d.example",)) for change in list(Change)[::2])
    assert opened["References"] == over["References"]


@pytest.mark.parametrize("status", [404, 410, 429, 500, 503])
def test_an_answer_that_is_not_good_is_told_by_its_status_alone(sinks: Sinks, status: int) -> None:
    sinks.statuses["/hook"] = status
    with pytest.raises(AlertUnsent, match=f"^127.0.0.1 answered {status}$"):
        Webhook(settings(), SecretStr(f"http://127.0.0.1:{sinks.port}/hook/{SECRET}")).send(told())


def test_a_redirect_is_not_followed(sinks: Sinks) -> None:
    sinks.statuses["/hook"] = 307
    with pytest.raises(AlertUnsent, match="a redirect, which is not followed"):
        Webhook(settings(), SecretStr(f"http://127.0.0.1:{sinks.port}/hook")).send(told())
    assert len(sinks.posts) == 1


@pytest.mark.parametrize(
    "url",
    [
        f"http://hooks.example.com/{SECRET}",
        f"ftp://x/{SECRET}",
        SECRET,
        f"https://a:{SECRET}@x/",
        f"https://x:{SECRET}/",
    ],
)
@pytest.mark.parametrize("channel", [Webhook, Slack])
def test_an_address_that_may_not_be_told_is_refused_and_not_repeated(channel: type[Webhook | Slack], url: str) -> None:
    one = channel(settings(), SecretStr(url))
    for use in (one.check, lambda: one.send(told())):
        with pytest.raises(AlertRefused) as refused:
            use()
        assert SECRET not in str(refused.value)


def test_a_host_may_be_told_without_tls_where_the_settings_say_so() -> None:
    base.require_tls("relay.internal", settings(alert_hosts="relay.internal"), variable="V", wanted="https")
    base.require_tls("::1", settings(), variable="V", wanted="https")
    with pytest.raises(AlertRefused, match=r"relay\.internal"):
        base.require_tls("relay.internal", settings(), variable="V", wanted="https")


def test_nobody_who_listens_there_is_an_answer_too(sinks: Sinks) -> None:
    port = sinks.port
    for channel, url in ((Webhook, f"http://127.0.0.1:1/{SECRET}"), (Mail, f"smtp://u:{SECRET}@127.0.0.1:1")):
        with pytest.raises(AlertUnsent, match="cannot be reached") as refused:
            channel(settings(), SecretStr(url)).send(told())
        assert SECRET not in str(refused.value)
    with pytest.raises(AlertUnsent) as silent:
        Mail(settings(alert_timeout_s=0.2), SecretStr(f"smtp://127.0.0.1:{port}")).send(told())
    assert "or did not answer within 0.2 s" in str(silent.value)


def test_a_mail_server_that_refuses_is_told_by_its_code_alone(sinks: Sinks) -> None:
    sinks.mail_answer = f"554 no {SECRET}"
    with pytest.raises(AlertUnsent, match=r"127\.0\.0\.1 answered 554") as refused:
        Mail(settings(), SecretStr(f"smtp://127.0.0.1:{sinks.mail_port}")).send(told())
    assert SECRET not in str(refused.value)


def test_a_mail_server_that_drips_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chain, key = make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    trusting = ssl.create_default_context(cafile=str(chain))
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    for scheme, context in (("smtp", None), ("smtps", server)):
        with dripping(context) as port, pytest.raises(AlertUnsent, match=r"did not come to an end within 1\.2 s"):
            Mail(settings(alert_timeout_s=0.2), SecretStr(f"{scheme}://localhost:{port}")).send(told())


@pytest.mark.parametrize("farewell", ["421 not now", "500 what?", "nonsense"])
def test_a_mail_that_was_taken_is_sent_whatever_the_farewell(sinks: Sinks, farewell: str) -> None:
    sinks.farewell = farewell
    said = Mail(settings(), SecretStr(f"smtp://127.0.0.1:{sinks.mail_port}")).send(told())
    assert said == "127.0.0.1 took it for 2 of 2 recipients"
    assert len(sinks.mails) == 1


def test_a_conversation_may_take_as_long_whoever_the_mail_goes_to() -> None:
    many = settings(alert_timeout_s=3, alert_email_to=tuple(f"{n}@example.com" for n in range(99)))
    assert base.conversation_s(many) == base.conversation_s(settings(alert_timeout_s=3)) == 18


# aiosmtpd warns of itself, in its own thread.
@pytest.mark.filterwarnings("ignore:Session.login_data is deprecated")
def test_another_host_is_mailed_to_and_signed_in_to_by_tls_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chain, key = make_certificate(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    trusting, strict = ssl.create_default_context(cafile=str(chain)), ssl.create_default_context()
    for module in (base, mail):
        monkeypatch.setattr(module, "is_this_machine", lambda *_: False)
    monkeypatch.setattr(ssl, "create_default_context", lambda: trusting)
    with sinks_running(tls_context=server, require_starttls=True, auth_required=True) as sinks:
        sinks.user = ("ops@example.com", "p/ss:word")
        place = f"localhost:{sinks.mail_port}"
        Mail(settings(), SecretStr(f"smtp://ops%40example.com:p%2Fss%3Aword@{place}")).send(told())
        assert len(sinks.mails) == 1
        with pytest.raises(AlertUnsent, match="localhost answered 535") as refused:
            Mail(settings(), SecretStr(f"smtp://ops:{SECRET}@{place}")).send(told())
        assert SECRET not in str(refused.value)
        monkeypatch.setattr(ssl, "create_default_context", lambda: strict)
        with pytest.raises(AlertUnsent, match="certificate of localhost"):
            Mail(settings(), SecretStr(f"smtp://{place}")).send(told())
        # That it may be told without TLS is no wish to be.
        with pytest.raises(AlertUnsent, match="certificate of localhost"):
            Mail(settings(alert_hosts="localhost"), SecretStr(f"smtp://{place}")).send(told())
    with sinks_running() as sinks:
        Mail(settings(alert_hosts="localhost"), SecretStr(f"smtp://localhost:{sinks.mail_port}")).send(told())
        assert len(sinks.mails) == 1
    with sinks_running() as sinks, pytest.raises(AlertRefused, match="STARTTLS"):
        Mail(settings(), SecretStr(f"smtp://u:{SECRET}@localhost:{sinks.mail_port}")).send(told())


def test_checking_reaches_nobody_and_asks_for_every_secret(sinks: Sinks) -> None:
    url = SecretStr(f"http://127.0.0.1:{sinks.port}/hook")
    for one in (Webhook(settings(), url), Slack(settings(), url), Mail(settings(), SecretStr("smtp://mail.example"))):
        one.check()
    assert sinks.posts == []
    with pytest.raises(SecretUnavailable):
        Webhook(settings(alert_webhook_secret="env:WAREHOUSE_SYNC_SECRET_NOWHERE"), url).check()


@pytest.mark.parametrize(
    "url", [f"smtp://[{SECRET}", f"imap://{SECRET}", f"smtp://u:{SECRET}#x@mail:587", f"smtp://u:a{SECRET}", SECRET]
)
def test_an_address_of_mail_that_is_none_is_not_repeated(url: str) -> None:
    one = Mail(settings(), SecretStr(url))
    for use in (one.check, lambda: one.send(told())):
        with pytest.raises(AlertRefused) as refused:
            use()
        assert SECRET not in str(refused.value)


def test_an_address_may_be_a_reference(sinks: Sinks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_HOOK", f"http://127.0.0.1:{sinks.port}/by-name")
    Webhook(settings(), SecretStr("env:WAREHOUSE_SYNC_SECRET_HOOK")).send(told())
    assert sinks.posts[0].path == "/by-name"
    with pytest.raises(SecretUnavailable):
        Webhook(settings(), SecretStr("file:/nowhere")).send(told())


def test_the_channels_are_those_that_the_settings_name() -> None:
    assert channels_of(settings()) == {}
    named = settings(alert_webhook_url="https://x", alert_slack_url="https://y", alert_smtp_url="smtps://z")
    assert list(channels_of(named)) == ["webhook", "slack", "email"]
    assert SECRET not in repr(settings(alert_webhook_url=SECRET, alert_slack_url=SECRET, alert_smtp_url=SECRET))


def test_mail_needs_somebody_to_be_from_and_to() -> None:
    with pytest.raises(ValueError, match="WAREHOUSE_SYNC_ALERT_EMAIL_FROM"):
        Settings.model_validate({"alert_smtp_url": "smtp://x"})


def test_a_trial_says_that_it_is_one() -> None:
    assert trial(ID, NOW).is_test
    assert "nothing is the matter" in trial(ID, NOW).sentence
