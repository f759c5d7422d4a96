"""What every channel keeps: whom a message may be shown to, and secrets that are resolved when they are needed."""

from ipaddress import ip_address
from typing import Final, Protocol

from pydantic import SecretStr

from shared.alert_message import AlertMessage
from shared.credentials import resolve
from shared.errors import AlertRefused
from shared.settings import Settings

_REFERENCES: Final = ("env:", "file:")
_STEPS: Final = 6
"""Of the longest conversation, a mail's, that may each take ``alert_timeout_s``; whoever needs more of them hurries."""


class Channel(Protocol):
    """A way to tell people. What it raises and what it answers hold no secret."""

    def check(self) -> None:
        """Raise what ``send`` would raise before it reaches anybody: ``AlertRefused`` or ``SecretUnavailable``."""
        ...

    def send(self, message: AlertMessage) -> str:
        """Send one message once, and say what came of it.

        Raises:
            AlertUnsent: it may arrive later, or may have arrived; a repeat has the same id.
            AlertRefused: nothing is sent before an operator has corrected the settings.
            SecretUnavailable: a reference leads nowhere.
        """
        ...


def told(value: SecretStr, settings: Settings) -> str:
    """Give what a setting holds, or what its ``env:`` or ``file:`` reference leads to."""
    text = value.get_secret_value().strip()
    return resolve(text, settings, purpose="alerts") if text.startswith(_REFERENCES) else text


def may_be_read(host: str, settings: Settings) -> bool:
    """Say whether a host may be told things without TLS: this machine, and those that the settings allow."""
    return host in settings.alert_hosts or is_this_machine(host)


def is_this_machine(host: str) -> bool:
    """Say whether what a host is told stays on this machine."""
    return host == "localhost" or _is_loopback(host)


def conversation_s(settings: Settings) -> float:
    """Give how long telling one channel may take, once it is reached."""
    return _STEPS * settings.alert_timeout_s


def require_tls(host: str, settings: Settings, *, variable: str, wanted: str) -> None:
    """Raise ``AlertRefused`` unless a host may be told things without TLS; the message names no more than it."""
    if not may_be_read(host, settings):
        raise AlertRefused(
            f"{variable}: {host} would be told without TLS; use {wanted}, or, if everybody on the way may read it, add "
            "the host to WAREHOUSE_SYNC_ALERT_HOSTS"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
