"""Alerts: can people be told, and were they told the last time?"""

from collections.abc import Iterator
from typing import Final

from console.examining.finding import Finding, failed
from console.operations import Operations
from shared.errors import SyncError

_SUBJECT: Final = "alerts"


def of_alerts(operations: Operations) -> Iterator[Finding]:
    """Look at the channels that control workers have, as they told, and how the last delivery of each ended."""
    try:
        found = operations.alerting.channels()
    except SyncError as error:
        yield failed(_SUBJECT, error)
        return
    if found.configured is None:
        yield Finding(_SUBJECT, "no worker has looked yet whether anything is the matter")
    elif not found.configured:
        yield Finding(_SUBJECT, "are kept and shown, and nobody is told: no channel is configured (docs/alerts.md)")
    configured = found.configured or ()
    ill = {channel: words for channel, words in found.ill.items() if channel in configured}
    if well := [channel for channel in configured if channel not in ill]:
        yield Finding(_SUBJECT, f"are told by {', '.join(well)}")
    for channel, words in ill.items():
        yield Finding(
            f"{_SUBJECT}, {channel}",
            f"cannot be told: {words}",
            "correct the channel's settings, for all control workers, and restart them; `warehouse-sync alerts test` "
            "tries them",
        )
    for channel, last in found.last.items():
        if channel in well and last.delivered_at is None and last.error is not None:
            attempts = "1 attempt" if last.attempts == 1 else f"{last.attempts} attempts"
            yield Finding(
                f"{_SUBJECT}, {channel}",
                f"the last message was not delivered in {attempts}: {last.error}",
                "correct the channel's settings, for all control workers; `warehouse-sync alerts test` tries them",
            )
