"""Which alerts open, change and recover, given what is the matter now and what was recorded (pure).

Whoever looks twice finds nothing new to tell: what was told is recorded with what it was told of. A condition that is
gone may come back a moment later (a failed run that is reopened and fails again), so an alert recovers only once its
condition has been gone for ``calm``; if it comes back before, it is the same alert, and nobody is told.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from shared.alerts import EVENTS, AlertChange, Change, Condition, Decision, OpenAlert

AT_MOST: Final = 500
"""Alerts that one look opens; the next one, half a minute later, opens more."""


def decide(
    conditions: Iterable[Condition],
    recorded: Iterable[OpenAlert],
    *,
    now: datetime,
    calm: timedelta,
    at_most: int = AT_MOST,
) -> Decision:
    """Compare what is the matter with what is recorded as open.

    Args:
        conditions: all that is the matter, and events that were not recorded yet.
        recorded: all alerts that are open.
        now: by the clock that recorded them.
        calm: how long a condition must be gone, and how long a change of its kind must wait after the last message.
        at_most: how many may open.
    """
    seen = {condition.key: condition for condition in conditions}
    open_now = {alert.condition.key: alert for alert in recorded}
    new = [
        AlertChange(Change.HAPPENED if condition.name in EVENTS else Change.OPENED, condition)
        for key, condition in seen.items()
        if key not in open_now and not condition.is_muted
    ]
    changes = sorted(new, key=lambda one: one.condition.since)[:at_most]
    absent, back, hushed = [], [], []
    for key, alert in open_now.items():
        condition = seen.get(key)
        if condition is None:
            gone_since = alert.absent_since or now
            if now - gone_since >= calm:
                changes.append(AlertChange(Change.RECOVERED, alert.condition, alert.id, gone_since))
            elif alert.absent_since is None:
                absent.append(alert.id)
        elif condition.is_muted:
            hushed.append(alert.id)
        else:
            if alert.absent_since is not None:
                back.append(alert.id)
            if condition.kind != alert.condition.kind and now - alert.told_at >= calm:
                changes.append(AlertChange(Change.CHANGED, condition, alert.id))
    return Decision(tuple(changes), tuple(absent), tuple(back), tuple(hushed))
