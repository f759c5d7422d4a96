"""Signing in: with the declared account's key, at Google, and with nothing else."""

import json
import logging
import traceback
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from shared.errors import CredentialsRefused, DeclarationInvalid, SyncError, WarehouseBusy, WarehouseUnreachable
from shared.sql import columns_query
from tests.standins.bigquery import key_of
from tests.worker.warehouses.bigquery.conftest import Opened
from tests.worker.warehouses.bigquery.google import Google

QUERY = columns_query("SELECT 1 AS id", "bigquery")


def failure(opened: Opened, **changed: Any) -> SyncError:
    with pytest.raises(SyncError) as failed, opened(**changed):
        pass
    shown = "".join(traceback.format_exception(failed.value))
    assert "PRIVATE KEY" not in shown
    assert "'warehouse'" in str(failed.value)
    return failed.value


def test_one_assertion_is_exchanged_for_one_token(google: Google, opened: Opened) -> None:
    with opened() as warehouse:
        warehouse.describe(QUERY)
        warehouse.describe(QUERY)
    assert len(google.bodies("token")) == 1


@pytest.mark.parametrize("words", ["Invalid JWT Signature.", "Invalid grant: account not found"])
def test_a_key_that_google_refuses_is_the_operators_to_replace(google: Google, opened: Opened, words: str) -> None:
    google.answers["token"] = [(400, {"error": "invalid_grant", "error_description": words})]
    found = failure(opened)
    assert isinstance(found, CredentialsRefused)
    assert words.rstrip(".") in str(found)


def test_a_google_that_is_down_is_tried_again(google: Google, opened: Opened) -> None:
    google.answers["token"] = [None]
    assert isinstance(failure(opened), WarehouseBusy)


def test_an_account_that_was_disabled_meanwhile_is_told(google: Google, opened: Opened) -> None:
    with opened() as warehouse:
        google.answers["look"] = [(401, {"error": {"code": 401, "message": "Invalid Credentials"}})]
        google.answers["token"] = [(400, {"error": "invalid_grant", "error_description": "account not found"})]
        with pytest.raises(CredentialsRefused):
            warehouse.describe(QUERY)


def test_a_host_that_does_not_exist_is_told(opened: Opened, private_key: rsa.RSAPrivateKey) -> None:
    key = key_of("reader", private_key, token_uri="https://no-such-host.invalid/token")
    found = failure(opened, key=key, endpoint="https://no-such-host.invalid")
    assert isinstance(found, WarehouseUnreachable)
    assert "no-such-host.invalid" in str(found)


def test_an_endpoint_that_does_not_exist_is_told_when_asked(opened: Opened) -> None:
    with (
        opened(endpoint="https://no-such-host.invalid") as warehouse,
        pytest.raises(WarehouseUnreachable, match=r"no-such-host\.invalid"),
    ):
        warehouse.describe(QUERY)


@pytest.mark.parametrize("pem", ["", "-----BEGIN PRIVATE KEY-----\nPRIVATE KEY\n-----END PRIVATE KEY-----", None, 7])
def test_a_private_key_that_is_none_is_told_without_it(opened: Opened, pem: object) -> None:
    key = {"type": "service_account", "client_email": "reader@standin-project.iam.gserviceaccount.com"}
    found = failure(
        opened, key=json.dumps(key | {"private_key": pem, "token_uri": "https://oauth2.googleapis.com/token"})
    )
    assert isinstance(found, DeclarationInvalid)
    assert "service_account_key" in str(found)


def test_an_assertion_is_sent_to_nobody_else(google: Google, opened: Opened, private_key: rsa.RSAPrivateKey) -> None:
    key = key_of("reader", private_key, token_uri="https://no-such-host.invalid/token")
    assert "token_uri" in str(failure(opened, key=key))
    assert google.asked == []


def test_nothing_of_the_environment_is_used(google: Google, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = {
        "BIGQUERY_EMULATOR_HOST": "http://no-such-host.invalid",
        "GOOGLE_APPLICATION_CREDENTIALS": "/no/such/file",
        "GOOGLE_CLOUD_PROJECT": "other-project",
        "GOOGLE_CLOUD_UNIVERSE_DOMAIN": "no-such-universe.invalid",
    }
    for name, value in elsewhere.items():
        monkeypatch.setenv(name, value)
    with opened() as warehouse:
        assert warehouse.describe(QUERY).names == ["id"]
    assert {kind for kind, _ in google.asked} == {"token", "look"}


def test_neither_key_nor_token_is_logged(google: Google, opened: Opened, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with opened() as warehouse:
        warehouse.describe(QUERY)
    (assertion,) = google.bodies("token")
    assert not any(secret in caplog.text for secret in ("PRIVATE KEY", "token-of-test", assertion[-40:]))


def test_closing_twice_is_fine(opened: Opened) -> None:
    with opened() as warehouse:
        warehouse.close()
