"""``warehouse_sync.alert``: tell one change of one alert by one channel; and ``try_alerts``, which tries all of them.

Told at least once: what was sent and not recorded is sent again, under the same id. A channel that fails is put off,
and so are its other messages for a while; no other channel, and no run, waits for it.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from celery import shared_task

from shared.alert_message import AlertMessage
from shared.alerts import Channel as ChannelName
from shared.errors import AlertRefused, SyncError
from shared.messages import TaskName, read_payload
from shared.probe import Answer, ChannelAnswer, Question
from shared.run import Token
from shared.store import alert_deliveries
from shared.store.alert_deliveries import ClaimedDelivery
from shared.store.claims import fresh_token
from shared.store.probes import ProbeId
from shared.telemetry import bound, log
from worker.alert_text import trial
from worker.channels.base import Channel, conversation_s
from worker.channels.registry import channels_of
from worker.process import Process
from worker.tasks.alerting import due
from worker.tasks.boundary import deliver, recorded, this_process
from worker.tasks.questions import answer_once

_log = log(__name__)
_LEASE_CONVERSATIONS: Final = 2
"""A lease outlasts the longest conversation, and as long again for finding and reaching who is told."""


# Acknowledged early, as all that control workers do: see ``settle_run``. What is lost, upkeep sends again.
@shared_task(name=TaskName.ALERT.value, acks_late=False)
def alert(payload: object) -> None:
    """Send the delivery that the payload names to its channel, and ask for the channel's next one."""
    delivery_id = read_payload(payload)
    with bound(delivery_id=str(delivery_id)), recorded():
        process, token = this_process(), fresh_token()
        with process.database.transaction() as connection:
            lease_s = _LEASE_CONVERSATIONS * conversation_s(process.settings)
            claimed = alert_deliveries.claim(connection, delivery_id, token, lease_s)
        if claimed is None:
            _log.info("message_out_of_date")
            return

        def put_off(error: SyncError) -> None:
            _put_off(process, claimed, token, error)

        with recorded(put_off=put_off, stop_run=put_off):
            _channel(process, claimed.channel).send(claimed.message)
            with process.database.transaction() as connection:
                alert_deliveries.delivered(connection, delivery_id, token)
            _log.info("alert_delivered", channel=claimed.channel, attempts=claimed.attempts)
            deliver(process, due(process))


@shared_task(name=TaskName.TRY_ALERTS.value, acks_late=False)
def try_alerts(payload: object) -> None:
    """Send a message to every channel, once, and answer what each said, if somebody still waits for it."""
    answer_once(payload, _try)


def _try(process: Process, _probe_id: ProbeId, _question: Question) -> Answer:
    message = trial(uuid4(), datetime.now(UTC))
    tried = (_tried(name, one, message) for name, one in channels_of(process.settings).items())
    return Answer(channels=tuple(tried))


def _channel(process: Process, name: ChannelName) -> Channel:
    try:
        return channels_of(process.settings)[name]
    except KeyError:
        raise AlertRefused(
            f"the settings of this worker name no channel {name}; all control workers need the same"
        ) from None


def _put_off(process: Process, claimed: ClaimedDelivery, token: Token, error: SyncError) -> None:
    limits = process.settings
    with process.database.transaction() as connection:
        is_given_up = alert_deliveries.failed(
            connection,
            claimed.id,
            token,
            f"{type(error).__name__}: {error}",
            first_s=limits.alert_retry_first_s,
            most_s=limits.alert_retry_max_s,
            give_up_s=limits.alert_give_up_s,
        )
    _log.error(
        "alert_given_up" if is_given_up else "alert_not_delivered",
        channel=claimed.channel,
        attempts=claimed.attempts,
        error_kind=type(error).__name__,
    )


def _tried(name: ChannelName, channel: Channel, message: AlertMessage) -> ChannelAnswer:
    try:
        return ChannelAnswer(channel=name, is_well=True, said=channel.send(message))
    except SyncError as error:
        return ChannelAnswer(channel=name, is_well=False, said=f"{type(error).__name__}: {error}")
