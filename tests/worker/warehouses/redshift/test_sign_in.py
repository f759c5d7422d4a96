"""Signing in, in every way that it can fail."""

import os
import socket
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redshift_connector

from sandbox.ports import free_port
from shared.errors import CredentialsRefused, SecretUnavailable, SyncError, WarehouseBusy, WarehouseUnreachable
from shared.key_file import add_key
from shared.providers.redshift import RedshiftConfig
from shared.sealing import seal
from shared.secret_fields import purpose
from tests.standins.redshift import PASSWORD, RedshiftStandin
from tests.standins.redshift_wire import Wire
from worker.warehouses.base import Label
from worker.warehouses.redshift import warehouse as redshift_warehouse
from worker.warehouses.redshift.errors import sign_in_failed

NO_PROTOCOL_NAMED = pytest.mark.filterwarnings("ignore:ssl:DeprecationWarning")
"""The client makes its TLS context the old way."""


def refusal(opened: Callable[..., Any], kind: type[SyncError], **declared: Any) -> str:
    with pytest.raises(kind) as refused, opened(**declared):
        pass
    return str(refused.value)


def test_a_wrong_password_is_told_without_showing_it(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PASSWORD, "a-wrong-secret")
    with pytest.raises(CredentialsRefused, match=r"'subject'.*'warehouse_sync'") as refused, opened():
        pass
    assert "a-wrong-secret" not in "".join(traceback.format_exception(refused.value))
    assert "run 7" in str(refused.value)


def test_a_sealed_password_signs_in_where_it_was_sealed_for_and_nowhere_else(
    opened: Callable[..., Any], redshift: RedshiftStandin, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "private-keys"
    monkeypatch.setenv("WAREHOUSE_SYNC_PRIVATE_KEYS", str(keys))
    sealed = seal(os.environ[PASSWORD], purpose(redshift.connection()), add_key(keys).public)
    with opened(password=sealed) as warehouse:
        assert warehouse.session()["user"]
    said = refusal(opened, SecretUnavailable, password=sealed, port=redshift.tls_port)
    assert "to be shown at another address" in said
    assert sealed not in said


def test_an_unknown_user_is_refused_like_a_wrong_password(opened: Callable[..., Any]) -> None:
    assert "'nobody'" in refusal(opened, CredentialsRefused, user="nobody")


def test_an_unknown_database_is_named(opened: Callable[..., Any]) -> None:
    assert 'database "no_such_database"' in refusal(opened, WarehouseUnreachable, database="no_such_database")


def test_a_closed_port_may_open_again(opened: Callable[..., Any]) -> None:
    port = free_port()
    assert f"127.0.0.1:{port} does not answer (ConnectionRefusedError" in refusal(opened, WarehouseBusy, port=port)


def test_a_silent_server_is_given_up(opened: Callable[..., Any], wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redshift_warehouse, "_SIGN_IN_TIMEOUT_S", 1)
    wire.faults.is_silent = True
    assert "does not answer (TimeoutError" in refusal(opened, WarehouseBusy, port=wire.port)


@pytest.mark.parametrize(
    ("state", "words", "kind"),
    [
        ("53300", "too many connections", WarehouseBusy),
        ("57P03", "the database system is starting up", WarehouseBusy),
        ("28000", 'password authentication failed for user "warehouse_sync"', CredentialsRefused),
        ("28000", "no pg_hba.conf entry for host", CredentialsRefused),
    ],
)
def test_the_servers_own_words_say_why_nobody_gets_in(
    opened: Callable[..., Any], wire: Wire, state: str, words: str, kind: type[SyncError]
) -> None:
    wire.faults.sign_in = {"C": state, "M": words}
    assert words in refusal(opened, kind, port=wire.port)


@pytest.mark.parametrize(
    ("number", "kind"), [(socket.EAI_NONAME, WarehouseUnreachable), (socket.EAI_AGAIN, WarehouseBusy)]
)
def test_an_unknown_host_is_unreachable_and_a_dumb_name_server_is_busy(number: int, kind: type[SyncError]) -> None:
    error = redshift_connector.InterfaceError("communication error", socket.gaierror(number, "whatever"))
    config = RedshiftConfig(host="no.such.host", database="d", user="u", password="env:P")
    failure = sign_in_failed(error, label=Label("run 7"), connection_id="c", config=config)
    assert isinstance(failure, kind)
    assert "no.such.host" in str(failure)


@NO_PROTOCOL_NAMED
@pytest.mark.parametrize("tls", ["verify-full", "verify-ca"])
def test_rows_are_read_through_tls(
    redshift: RedshiftStandin,
    opened: Callable[..., Any],
    rows: Callable[..., Any],
    tls: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", redshift.trusted["SSL_CERT_FILE"])
    with opened(host="localhost", tls=tls) as warehouse:
        assert len(rows(warehouse, redshift.numbers(3000))) == 3000


@NO_PROTOCOL_NAMED
@pytest.mark.parametrize("tls", ["verify-full", "verify-ca"])
def test_a_certificate_of_an_unknown_issuer_is_refused(opened: Callable[..., Any], tls: str) -> None:
    told = refusal(opened, WarehouseUnreachable, host="localhost", tls=tls)
    assert "not trusted: self-signed certificate" in told
    assert "SSL_CERT_FILE" in told


@NO_PROTOCOL_NAMED
def test_a_certificate_for_another_host_is_refused_where_the_host_is_verified(
    redshift: RedshiftStandin, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", redshift.trusted["SSL_CERT_FILE"])
    assert "mismatch" in refusal(opened, WarehouseUnreachable, host="127.0.0.1", tls="verify-full")
    with opened(host="127.0.0.1", tls="verify-ca") as warehouse:
        assert warehouse.session()["database"] == "mp"


@NO_PROTOCOL_NAMED
def test_tls_is_never_given_up_silently(redshift: RedshiftStandin, opened: Callable[..., Any]) -> None:
    assert "offers no TLS" in refusal(opened, WarehouseUnreachable, tls="verify-full", port=redshift.port)
