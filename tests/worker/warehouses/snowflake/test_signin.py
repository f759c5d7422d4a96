import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)

from sandbox.ports import free_port
from shared.errors import CredentialsRefused, RightsMissing, SyncError, WarehouseBusy, WarehouseUnreachable
from worker.warehouses.snowflake import signin

SECRET = "a-secret-password"
LOGIN = "/session/v1/login-request"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def refused_with(code: str, message: str) -> dict[str, Any]:
    return {"data": {}, "code": code, "message": message, "success": False}


def pem(key: Any, encryption: KeySerializationEncryption, layout: PrivateFormat = PrivateFormat.PKCS8) -> str:
    text: str = key.private_bytes(Encoding.PEM, layout, encryption).decode()
    return text


def error_of(responder: Any, **changes: Any) -> SyncError:
    with pytest.raises(SyncError) as refused, responder.opened(**changes):
        pass
    assert "'subject'" in str(refused.value)
    assert SECRET not in str(refused.value)
    return refused.value


@pytest.mark.parametrize(
    ("code", "message", "kind", "told"),
    [
        ("390100", "Incorrect username or password was specified.", CredentialsRefused, "'READER' with its password"),
        ("390101", "User access disabled.", CredentialsRefused, "User access disabled"),
        ("390144", "JWT token is invalid.", CredentialsRefused, "JWT token is invalid"),
        ("390422", "Incoming request with IP/Token 1.2.3.4 is not allowed.", CredentialsRefused, "network policy"),
        ("390189", "Role 'X' specified in the connect string does not exist.", RightsMissing, "correct `role`"),
        ("390201", "The requested database does not exist.", WarehouseUnreachable, "'ANALYTICS'"),
    ],
)
def test_what_snowflake_refuses_is_told_with_the_cure(
    responder: Any, code: str, message: str, kind: type[SyncError], told: str
) -> None:
    responder.answers[LOGIN] = refused_with(code, message)
    error = error_of(responder)
    assert type(error) is kind
    assert told in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "told"),
    [
        ((403, b"<html>"), WarehouseUnreachable, "403; correct `account_identifier`"),
        ((404, b""), WarehouseUnreachable, "404"),
        ((429, b""), WarehouseBusy, "429"),
        ((503, b""), WarehouseBusy, "503"),
        ((200, b"<html>"), WarehouseBusy, "does not answer"),
        (None, WarehouseBusy, "does not answer"),
    ],
)
def test_what_is_not_snowflakes_answer_is_told_by_its_status(
    responder: Any, answer: Any, kind: type[SyncError], told: str
) -> None:
    responder.answers[LOGIN] = answer
    error = error_of(responder)
    assert type(error) is kind
    assert told in str(error)
    assert responder.count(LOGIN) <= signin._ATTEMPTS


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_where_nobody_listens_is_unreachable(responder: Any, scheme: str) -> None:
    error = error_of(responder, endpoint=f"{scheme}://127.0.0.1:{free_port()}")
    assert type(error) is WarehouseUnreachable
    assert "is not found at" in str(error)


def test_a_server_without_tls_is_unreachable_by_https(responder: Any) -> None:
    error = error_of(responder, endpoint=responder.url.replace("http:", "https:"))
    assert type(error) is WarehouseUnreachable


def test_a_host_that_says_nothing_is_given_up(responder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signin, "_LOGIN_S", 1)
    given_up = threading.Event()
    responder.answers[LOGIN] = lambda: (200 + given_up.wait(20), b"")
    assert type(error_of(responder)) is WarehouseBusy
    given_up.set()


@pytest.mark.parametrize(
    ("key", "phrase"),
    [
        (pem(RSA, NoEncryption()), None),
        (pem(RSA, NoEncryption(), PrivateFormat.TraditionalOpenSSL), None),
        (pem(RSA, BestAvailableEncryption(b"phrase")), "phrase"),
        (pem(RSA, BestAvailableEncryption(b"phrase"), PrivateFormat.TraditionalOpenSSL), "phrase"),
    ],
)
def test_a_key_is_read_plain_and_encrypted(key: str, phrase: str | None) -> None:
    der = signin._der(key, phrase, "subject")
    assert der == RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    ("key", "phrase", "told"),
    [
        (lambda: pem(RSA, BestAvailableEncryption(b"phrase")), None, "name its private_key_passphrase"),
        (lambda: pem(RSA, BestAvailableEncryption(b"phrase")), "other", "and its passphrase"),
        (lambda: pem(RSA, NoEncryption()), "phrase", "needs no passphrase"),
        (lambda: pem(RSA, NoEncryption())[:200], None, "with its line ends"),
        (lambda: pem(ec.generate_private_key(ec.SECP256R1()), NoEncryption()), None, "is no RSA key"),
        (lambda: "nonsense", None, "-----BEGIN PRIVATE KEY-----"),
    ],
)
def test_a_key_that_cannot_be_read_is_told_without_it(key: Callable[[], str], phrase: str | None, told: str) -> None:
    text = key()
    with pytest.raises(CredentialsRefused) as refused:
        signin._der(text, phrase, "subject")
    assert told in str(refused.value)
    assert text not in str(refused.value)
    assert refused.value.__cause__ is None
