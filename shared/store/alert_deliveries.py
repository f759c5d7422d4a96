"""Deliveries of alerts: one row a change and channel, claimed by one task at a time, delivered at least once.

A channel is sent one message at a time, so that one that hangs holds one slot, and after it failed none for a while.
Neither delays another channel.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import sqlalchemy as sa

from shared.alert_message import AlertMessage
from shared.alerts import Channel
from shared.messages import Message, Priority, TaskName
from shared.run import Token
from shared.store import claims
from shared.store.alert_tables import alert_changes, alert_deliveries

PENDING: Final = sa.and_(alert_deliveries.c.delivered_at.is_(None), alert_deliveries.c.given_up_at.is_(None))
_IS_FREE: Final = sa.or_(alert_deliveries.c.token.is_(None), alert_deliveries.c.lease_until < sa.func.now())


@dataclass(frozen=True, slots=True)
class ClaimedDelivery:
    """One message for one channel, and how often that was tried, this time included."""

    id: UUID
    channel: Channel
    message: AlertMessage
    attempts: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A delivery that nobody tries any more."""

    id: UUID
    channel: Channel
    attempts: int
    error: str | None


def next_due(
    connection: sa.Connection, channels: Collection[Channel], *, resend_after_s: float, pause_s: float
) -> list[Message]:
    """Mark the oldest due delivery of each channel as sent, and give the messages.

    None of a channel that is at work, that failed within ``pause_s``, or whose message went out within
    ``resend_after_s`` and may still arrive.
    """
    other = alert_deliveries.alias("other")
    is_busy = sa.exists().where(
        other.c.channel == alert_deliveries.c.channel,
        other.c.given_up_at.is_(None),
        other.c.delivered_at.is_(None),
        sa.or_(
            other.c.lease_until > sa.func.now(),
            other.c.failed_at > claims.after(-pause_s),
            sa.and_(other.c.token.is_(None), other.c.sent_at > claims.after(-resend_after_s)),
        ),
    )
    is_due = sa.and_(PENDING, _IS_FREE, claims.is_due(alert_deliveries), ~is_busy)
    oldest = [
        connection.scalar(
            sa.select(alert_deliveries.c.id)
            .where(alert_deliveries.c.channel == channel, is_due)
            .order_by(alert_deliveries.c.queued_at, alert_deliveries.c.id)
            .limit(1)
        )
        for channel in channels
    ]
    sent = connection.scalars(
        sa.update(alert_deliveries)
        .where(alert_deliveries.c.id.in_([id_ for id_ in oldest if id_ is not None]), PENDING, _IS_FREE)
        .values(sent_at=sa.func.now(), resends=alert_deliveries.c.resends + 1)
        .returning(alert_deliveries.c.id)
    )
    return [Message(TaskName.ALERT, id_, priority=Priority.LAST) for id_ in sent]


def claim(connection: sa.Connection, delivery_id: UUID, token: Token, lease_s: float) -> ClaimedDelivery | None:
    """Claim a delivery that is due, or give ``None``: it is delivered, given up, put off or in other hands."""
    claimed = connection.execute(
        sa.update(alert_deliveries)
        .where(alert_deliveries.c.id == delivery_id, PENDING, _IS_FREE, claims.is_due(alert_deliveries))
        .values(
            token=token,
            lease_until=claims.after(lease_s),
            claimant=claims.this_process(),
            attempts=alert_deliveries.c.attempts + 1,
            deaths=alert_deliveries.c.deaths + sa.case((alert_deliveries.c.token.is_not(None), 1), else_=0),
        )
        .returning(alert_deliveries.c.change_id, alert_deliveries.c.channel, alert_deliveries.c.attempts)
    ).one_or_none()
    if claimed is None:
        return None
    message = connection.execute(
        sa.select(alert_changes.c.message).where(alert_changes.c.id == claimed.change_id)
    ).scalar_one()
    return ClaimedDelivery(
        delivery_id, Channel(claimed.channel), AlertMessage.model_validate(message), claimed.attempts
    )


def delivered(connection: sa.Connection, delivery_id: UUID, token: Token) -> None:
    """Record that a channel took its message, or raise ``ClaimLost``."""
    claims.require_one(
        connection.execute(
            sa.update(alert_deliveries)
            .where(claims.held_by(alert_deliveries, delivery_id, token))
            .values(delivered_at=sa.func.now(), **claims.RELEASED)
        )
    )


def failed(
    connection: sa.Connection,
    delivery_id: UUID,
    token: Token,
    error: str,
    *,
    first_s: float,
    most_s: float,
    give_up_s: float,
) -> bool:
    """Put a delivery off for a doubling while, or give it up where it was queued so long ago; say whether it is.

    Raises:
        ClaimLost: it is in other hands.
    """
    pause = claims.doubled(first_s, alert_deliveries.c.attempts - 1, most_s=most_s)
    is_over = alert_deliveries.c.queued_at < claims.after(-give_up_s)
    result = connection.execute(
        sa.update(alert_deliveries)
        .where(claims.held_by(alert_deliveries, delivery_id, token))
        .values(
            error=error,
            failed_at=sa.func.now(),
            not_before=sa.func.now() + pause,
            given_up_at=sa.case((is_over, sa.func.now())),
            sent_at=None,
            **claims.RELEASED,
        )
        .returning(alert_deliveries.c.given_up_at)
    ).one_or_none()
    if result is None:
        raise claims.ClaimLost
    return result.given_up_at is not None


def give_up_old(connection: sa.Connection, *, after_s: float) -> list[GivenUp]:
    """Give up what was queued so long ago and is in nobody's hands: its channel is not configured, or no worker ran."""
    given_up = connection.execute(
        sa.update(alert_deliveries)
        .where(PENDING, _IS_FREE, alert_deliveries.c.queued_at < claims.after(-after_s))
        .values(given_up_at=sa.func.now(), **claims.RELEASED)
        .returning(
            alert_deliveries.c.id, alert_deliveries.c.channel, alert_deliveries.c.attempts, alert_deliveries.c.error
        )
    )
    return [GivenUp(row.id, Channel(row.channel), row.attempts, row.error) for row in given_up]
