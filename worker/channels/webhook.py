"""A message as JSON, posted to a server of the operator's and signed."""

import hmac
import time
from hashlib import sha256
from typing import Final

from pydantic import SecretStr
from yarl import URL

from shared.alert_message import AlertMessage
from shared.settings import Settings
from worker.channels.base import told
from worker.channels.posting import address, post

_VARIABLE: Final = "WAREHOUSE_SYNC_ALERT_WEBHOOK_URL"


class Webhook:
    """The webhook that settings name."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        self._settings = settings
        self._url = url

    def send(self, message: AlertMessage) -> str:
        """Send one message once; see :class:`worker.channels.base.Channel`."""
        url, secret = self._read()
        body = message.model_dump_json().encode()
        headers = headers_of(message, body, secret, now_s=int(time.time()))
        status, _ = post(url, body, headers, timeout_s=self._settings.alert_timeout_s)
        return f"{url.host} answered {status}"

    def check(self) -> None:
        """Read address and secret without using them; see :class:`worker.channels.base.Channel`."""
        self._read()

    def _read(self) -> tuple[URL, str | None]:
        settings = self._settings
        url = address(told(self._url, settings), settings, variable=_VARIABLE)
        secret = settings.alert_webhook_secret
        return url, None if secret is None else told(secret, settings)


def headers_of(message: AlertMessage, body: bytes, secret: str | None, *, now_s: int) -> dict[str, str]:
    """Give a body's headers: what tells a repeat, when it was sent, and who sent it."""
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "warehouse-sync",
        "Idempotency-Key": str(message.id),
        "X-Warehouse-Sync-Id": str(message.id),
        "X-Warehouse-Sync-Timestamp": str(now_s),
    }
    if secret is not None:
        headers["X-Warehouse-Sync-Signature"] = signature(body, secret, now_s)
    return headers


def signature(body: bytes, secret: str, now_s: int) -> str:
    """Give what proves to whoever has the secret that a body was sent by us, and when."""
    signed = hmac.new(secret.encode(), f"{now_s}.".encode() + body, sha256)
    return f"v1={signed.hexdigest()}"
