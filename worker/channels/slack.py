"""A message in a Slack channel, by one of its incoming webhooks.

Source: Slack, "Sending messages using incoming webhooks", "Formatting text" (the three characters to escape),
"Section block" (3,000 characters of text).
"""

import json
import re
from typing import Any, Final

from pydantic import SecretStr
from yarl import URL

from shared.alert_message import AlertMessage
from shared.alerts import Change
from shared.settings import Settings
from worker.alert_text import lines_of
from worker.channels.base import told
from worker.channels.posting import address, post

_VARIABLE: Final = "WAREHOUSE_SYNC_ALERT_SLACK_URL"
_MOST_CHARS: Final = 2_900
_WORD: Final = re.compile(rb"[a-z_]{1,40}")
_SIGNS: Final = {
    Change.OPENED: ":red_circle:",
    Change.CHANGED: ":large_orange_circle:",
    Change.RECOVERED: ":large_green_circle:",
    Change.HAPPENED: ":large_blue_circle:",
}


class Slack:
    """The incoming webhook that settings name; its address is the secret."""

    def __init__(self, settings: Settings, url: SecretStr) -> None:
        self._settings = settings
        self._url = url

    def send(self, message: AlertMessage) -> str:
        """Send one message once; see :class:`worker.channels.base.Channel`."""
        url = self._read()
        headers = {"Content-Type": "application/json", "Idempotency-Key": str(message.id)}
        body = json.dumps(slack_body(message)).encode()
        status, text = post(url, body, headers, timeout_s=self._settings.alert_timeout_s)
        word = f" {text.decode()}" if _WORD.fullmatch(text) else ""
        return f"{url.host} answered {status}{word}"

    def check(self) -> None:
        """Read the address without using it; see :class:`worker.channels.base.Channel`."""
        self._read()

    def _read(self) -> URL:
        return address(told(self._url, self._settings), self._settings, variable=_VARIABLE)


def slack_body(message: AlertMessage) -> dict[str, Any]:
    """Give a message as Slack takes it: ``text`` is what notifications show, blocks what the channel does."""
    sign = _SIGNS[message.change]
    title, lines = _escaped(message.title), _escaped("\n".join(lines_of(message)))
    return {
        "text": f"{sign} {title} (id {message.id})",
        "blocks": [
            {"type": "section", "text": {"type": "mrkdwn", "text": f"{sign} *{title[:_MOST_CHARS]}*"}},
            {"type": "section", "text": {"type": "mrkdwn", "text": lines[:_MOST_CHARS], "verbatim": True}},
        ],
    }


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
