"""What upkeep does about alerts: look at what is the matter, record what changed, and say which messages go out.

A look is one transaction, and one look at a time: whoever finds another at it leaves it to that one. A channel's
trouble stays its own: what it could not be told waits in the store.
"""

import json
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from uuid import uuid4

import sqlalchemy as sa

from shared.alert_message import AlertMessage
from shared.alerts import Change, Channel, Decision
from shared.errors import SyncError
from shared.messages import Message
from shared.store import alert_deliveries, alert_sightings, alerts, markers
from shared.telemetry import log
from worker.alert_text import message_of
from worker.alerts import decide
from worker.channels.base import Channel as WayToTell
from worker.channels.registry import channels_of
from worker.process import Process
from worker.staleness import stale

_log = log(__name__)


def look(process: Process) -> list[Message]:
    """Record what has changed since the last look, and give the messages that tell of it."""
    settings = process.settings
    channels = channels_of(settings)
    ill = _ill(channels)
    newly_ill: Mapping[str, str] = {}
    with process.database.transaction() as connection:
        now = alerts.hold(connection)
        if now is not None:
            newly_ill = _tell_channels(connection, channels, ill)
        news = [] if now is None else _recorded(process, connection, channels, now)
    for channel, error in newly_ill.items():
        _log.warning("alert_channel_refused", channel=channel, error=error)
    for one in news:
        run = None if one.run is None else str(one.run.id)
        pipeline = None if one.pipeline is None else one.pipeline.id
        _log.info(f"alert_{one.change}", name=one.name, alert_id=str(one.alert_id), pipeline_id=pipeline, run_id=run)
    _forget(process)
    return due(process)


def due(process: Process) -> list[Message]:
    """Give the messages of deliveries that are due: one a channel, and none of a channel that is at work."""
    settings = process.settings
    with process.database.transaction() as connection:
        return alert_deliveries.next_due(
            connection,
            channels_of(settings),
            resend_after_s=settings.resend_after_s,
            pause_s=settings.alert_retry_first_s,
        )


def _recorded(
    process: Process, connection: sa.Connection, channels: Collection[Channel], now: datetime
) -> list[AlertMessage]:
    settings = process.settings
    decision = decide(
        [
            *alert_sightings.conditions(connection, rejected_ratio=settings.alert_rejected_ratio),
            *stale(alert_sightings.marks(connection), now),
        ],
        alerts.open_ones(connection),
        now=now,
        calm=timedelta(seconds=settings.alert_calm_s),
    )
    messages = _written(connection, decision, settings.alert_link_base)
    return alerts.record(connection, decision, messages, channels, now=now)


def _written(connection: sa.Connection, decision: Decision, link_base: str | None) -> list[AlertMessage]:
    over = [one.condition.run_id for one in decision.changes if one.change is Change.RECOVERED]
    standings = alerts.standings_of(connection, [run_id for run_id in over if run_id is not None])
    messages = []
    for one in decision.changes:
        now = None if one.condition.run_id is None else standings.get(one.condition.run_id)
        messages.append(
            message_of(
                one,
                id_=uuid4(),
                alert_id=one.alert_id or uuid4(),
                run_state=None if now is None else now.state,
                run_counts={} if now is None else now.counts,
                link_base=link_base,
            )
        )
    return messages


def _ill(channels: Mapping[Channel, WayToTell]) -> dict[str, str]:
    """Say what is wrong with the settings of channels, by channel; nobody is reached."""
    found: dict[str, str] = {}
    for name, channel in channels.items():
        try:
            channel.check()
        except SyncError as error:
            found[name.value] = f"{type(error).__name__}: {error}"
    return found


def _tell_channels(
    connection: sa.Connection, channels: Collection[Channel], ill: Mapping[str, str]
) -> Mapping[str, str]:
    """Record which channels there are and what is wrong with them; give what was not known to be wrong."""
    configured = ",".join(sorted(channels))
    if markers.find(connection, alerts.CHANNELS) != configured:
        markers.replace(connection, alerts.CHANNELS, configured)
    recorded = alerts.ill_channels(connection)
    if recorded != ill:
        markers.replace(connection, alerts.ILL_CHANNELS, json.dumps(ill))
    return {channel: error for channel, error in ill.items() if recorded.get(channel) != error}


def _forget(process: Process) -> None:
    """Give up what nobody could be told for too long, and remove what was over long ago."""
    settings = process.settings
    with process.database.transaction() as connection:
        given_up = alert_deliveries.give_up_old(connection, after_s=settings.alert_give_up_s)
        alerts.expire(connection, retention_s=settings.alert_retention_s)
    for one in given_up:
        _log.error(
            "alert_given_up", delivery_id=str(one.id), channel=one.channel, attempts=one.attempts, error=one.error
        )
