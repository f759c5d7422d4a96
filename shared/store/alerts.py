"""Alerts as rows: what is open, what changed and is to be told, and what can be looked at afterwards."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from pydantic import TypeAdapter, ValidationError
from sqlalchemy.dialects.postgresql import insert

from shared.alert_message import AlertMessage
from shared.alerts import EVENTS, AlertName, Change, Channel, Condition, Decision, OpenAlert
from shared.errors import NotFound
from shared.run import RunState
from shared.store import locks, markers
from shared.store.alert_deliveries import PENDING
from shared.store.alert_grounds import counts_of
from shared.store.alert_tables import alert_changes, alert_deliveries, alerts
from shared.store.locks import Lock
from shared.store.tables import runs

CHANNELS: Final = "alert_channels"
"""The marker of the channels that the workers have, with commas between: who has no secrets cannot see that."""
ILL_CHANNELS: Final = "alert_channels_ill"
"""The marker of what is wrong with them, as JSON: a sentence by channel, without secrets."""
_CONDITION: Final = TypeAdapter(Condition)
_SENTENCES: Final = TypeAdapter(dict[str, str])
_EXPIRED_A_TIME: Final = 1_000


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run stands now, and its rows by what became of them."""

    state: RunState
    counts: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Listed:
    """An alert as people look at it; ``message`` is that of its last change."""

    id: UUID
    message: AlertMessage
    opened_at: datetime
    recovered_at: datetime | None

    @property
    def is_event(self) -> bool:
        """Whether it was over when it was told."""
        return self.message.name in EVENTS


@dataclass(frozen=True, slots=True)
class AlertPlace:
    """Where an alert stands among the others: open ones first, then the newest."""

    is_open: bool
    opened_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class Told:
    """One change of an alert, and how far each channel is with it."""

    message: AlertMessage
    changed_at: datetime
    deliveries: tuple["Delivery", ...]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One channel's part in telling a change; ``error`` is what the last attempt that failed said."""

    channel: Channel
    attempts: int
    delivered_at: datetime | None
    given_up_at: datetime | None
    not_before: datetime | None
    error: str | None


def hold(connection: sa.Connection) -> datetime | None:
    """Be the only one who looks until the transaction ends, and give its instant; ``None`` where another looks now."""
    if not locks.take_if_free(connection, Lock.LOOKING):
        return None
    now: datetime = connection.execute(sa.select(sa.func.now())).scalar_one()
    return now


def ill_channels(connection: sa.Connection) -> Mapping[str, str]:
    """Give what workers found wrong with the settings of channels, a sentence by channel."""
    recorded = markers.find(connection, ILL_CHANNELS)
    return {} if recorded is None else _SENTENCES.validate_json(recorded)


def open_ones(connection: sa.Connection) -> list[OpenAlert]:
    """Give all alerts that are open; one that a later release wrote and this one cannot read is left alone."""
    query = sa.select(alerts).where(alerts.c.recovered_at.is_(None))
    found = []
    for row in connection.execute(query):
        try:
            condition = _CONDITION.validate_python(row.condition)
        except ValidationError:
            continue
        found.append(OpenAlert(row.id, condition, row.told_at, row.absent_since))
    return found


def standings_of(connection: sa.Connection, run_ids: Collection[UUID]) -> Mapping[UUID, Standing]:
    """Give where some runs stand now."""
    if not run_ids:
        return {}
    query = sa.select(runs).where(runs.c.id.in_(run_ids))
    return {row.id: Standing(RunState(row.state), counts_of(row)) for row in connection.execute(query)}


def record(
    connection: sa.Connection,
    decision: Decision,
    messages: Sequence[AlertMessage],
    channels: Collection[Channel],
    *,
    now: datetime,
) -> list[AlertMessage]:
    """Record what a look decided, and queue its messages for every channel; give those that are news.

    ``messages`` are those of the decision's changes, in the same order. What somebody else has recorded meanwhile is
    left out, so that it is not told twice.
    """
    news = []
    for one, message in zip(decision.changes, messages, strict=True):
        condition = _CONDITION.dump_python(one.condition, mode="json")
        written = message.model_dump(mode="json")
        if one.alert_id is None:
            values = {
                "id": message.alert_id,
                "name": one.condition.name,
                "subject": one.condition.subject,
                "pipeline_id": one.condition.pipeline_id,
                "condition": condition,
                "message": written,
                "opened_at": now,
                "told_at": now,
                "recovered_at": now if one.change is Change.HAPPENED else None,
            }
            done = connection.execute(insert(alerts).values(values).on_conflict_do_nothing().returning(alerts.c.id))
        else:
            values = {"message": written, "told_at": now, "condition": condition}
            if one.change is Change.RECOVERED:
                values["recovered_at"] = now
            changing = sa.update(alerts).where(alerts.c.id == one.alert_id, alerts.c.recovered_at.is_(None))
            done = connection.execute(changing.values(values).returning(alerts.c.id))
        if done.one_or_none() is not None:
            news.append(message)
    _note_presence(connection, decision, now)
    _queue(connection, news, channels, now)
    return news


def listed(
    connection: sa.Connection,
    *,
    is_open: bool | None = None,
    names: Collection[AlertName] = (),
    pipeline_id: str | None = None,
    after: AlertPlace | None = None,
    limit: int = 50,
) -> list[Listed]:
    """Give alerts, open ones first and of each the newest first; those behind a place to read on."""
    stands_open = alerts.c.recovered_at.is_(None)
    place = (stands_open, alerts.c.opened_at, alerts.c.id)
    query = sa.select(alerts).order_by(*(part.desc() for part in place)).limit(limit)
    if is_open is not None:
        query = query.where(stands_open if is_open else ~stands_open)
    if names:
        query = query.where(alerts.c.name.in_(names))
    if pipeline_id is not None:
        query = query.where(alerts.c.pipeline_id == pipeline_id)
    if after is not None:
        behind = sa.tuple_(sa.literal(after.is_open), sa.literal(after.opened_at), sa.literal(after.id))
        query = query.where(sa.tuple_(*place) < behind)
    return [_listed(row) for row in connection.execute(query)]


def get(connection: sa.Connection, alert_id: UUID) -> tuple[Listed, list[Told]]:
    """Give one alert and its changes, oldest first, or raise ``NotFound``."""
    row = connection.execute(sa.select(alerts).where(alerts.c.id == alert_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no alert {alert_id}, or not any more; `warehouse-sync alerts` lists them")
    changes = connection.execute(
        sa.select(alert_changes)
        .where(alert_changes.c.alert_id == alert_id)
        .order_by(alert_changes.c.changed_at, alert_changes.c.id)
    ).all()
    deliveries: dict[UUID, list[Delivery]] = {change.id: [] for change in changes}
    query = (
        sa.select(alert_deliveries)
        .where(alert_deliveries.c.change_id.in_(list(deliveries)))
        .order_by(alert_deliveries.c.channel)
    )
    for one in connection.execute(query):
        deliveries[one.change_id].append(_delivery(one))
    return _listed(row), [
        Told(AlertMessage.model_validate(one.message), one.changed_at, tuple(deliveries[one.id])) for one in changes
    ]


def last_deliveries(connection: sa.Connection) -> dict[Channel, Delivery]:
    """Give each channel's newest delivery that was tried."""
    found = {}
    for channel in Channel:
        row = connection.execute(
            sa.select(alert_deliveries)
            .where(alert_deliveries.c.channel == channel, alert_deliveries.c.attempts > 0)
            .order_by(alert_deliveries.c.queued_at.desc())
            .limit(1)
        ).one_or_none()
        if row is not None:
            found[channel] = _delivery(row)
    return found


def expire(connection: sa.Connection, *, retention_s: float) -> int:
    """Remove alerts that were over so long ago, with what was told of them; give how many."""
    is_pending = sa.exists().where(
        alert_deliveries.c.change_id == alert_changes.c.id, alert_changes.c.alert_id == alerts.c.id, PENDING
    )
    old = (
        sa.select(alerts.c.id)
        .where(alerts.c.recovered_at < sa.func.now() - timedelta(seconds=retention_s), ~is_pending)
        .limit(_EXPIRED_A_TIME)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(sa.delete(alerts).where(alerts.c.id.in_(old))).rowcount


def _note_presence(connection: sa.Connection, decision: Decision, now: datetime) -> None:
    for ids, values in (
        (decision.absent, {"absent_since": now}),
        (decision.back, {"absent_since": None}),
        (decision.hushed, {"recovered_at": now}),
    ):
        if ids:
            connection.execute(
                sa.update(alerts).where(alerts.c.id.in_(ids), alerts.c.recovered_at.is_(None)).values(values)
            )


def _queue(
    connection: sa.Connection, news: Sequence[AlertMessage], channels: Collection[Channel], now: datetime
) -> None:
    if not news:
        return
    connection.execute(
        sa.insert(alert_changes),
        [
            {
                "id": one.id,
                "alert_id": one.alert_id,
                "change": one.change,
                "message": one.model_dump(mode="json"),
                "changed_at": now,
            }
            for one in news
        ],
    )
    queued = [
        {"id": uuid4(), "change_id": one.id, "channel": channel, "queued_at": now + timedelta(microseconds=place)}
        for place, one in enumerate(news)
        for channel in channels
    ]
    if queued:
        connection.execute(sa.insert(alert_deliveries), queued)


def _listed(row: Any) -> Listed:
    return Listed(row.id, AlertMessage.model_validate(row.message), row.opened_at, row.recovered_at)


def _delivery(row: Any) -> Delivery:
    return Delivery(
        channel=Channel(row.channel),
        attempts=row.attempts,
        delivered_at=row.delivered_at,
        given_up_at=row.given_up_at,
        not_before=row.not_before,
        error=row.error,
    )
