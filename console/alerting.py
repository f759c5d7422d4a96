"""The verbs of alerts: look at them, and try out the channels that people are told by."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shared.alerts import AlertName, Channel
from shared.errors import DeclarationInvalid
from shared.probe import Answer, ChannelAnswer, ProbeKind, Question
from shared.store import alerts, markers
from shared.store.alerts import AlertPlace, Delivery, Listed, Told
from shared.store.database import Database


@dataclass(frozen=True, slots=True)
class Channels:
    """The channels that control workers have, ``None`` where none has looked yet; and each one's last delivery.

    ``ill`` is what those workers found wrong with the settings of some of them, without reaching anybody.
    """

    configured: tuple[str, ...] | None
    ill: Mapping[str, str]
    last: Mapping[Channel, Delivery]


class Alerting:
    """Alerts, bound to one state database; ``ask`` has a worker answer a question."""

    def __init__(self, database: Database, ask: Callable[[Question], Answer]) -> None:
        self._database = database
        self._ask = ask

    def listed(
        self,
        *,
        is_open: bool | None = None,
        names: Collection[AlertName] = (),
        pipeline_id: str | None = None,
        after: AlertPlace | None = None,
        limit: int,
    ) -> list[Listed]:
        """Give alerts, open ones first, then the newest; those behind a place to read on."""
        with self._database.transaction() as connection:
            return alerts.listed(
                connection, is_open=is_open, names=names, pipeline_id=pipeline_id, after=after, limit=limit
            )

    def get(self, named: str) -> tuple[Listed, list[Told]]:
        """Give one alert by its id, and what was told of it, or raise ``NotFound``."""
        try:
            alert_id = UUID(named)
        except ValueError:
            raise DeclarationInvalid("id: expected an alert's id, a UUID; `warehouse-sync alerts` lists them") from None
        with self._database.transaction() as connection:
            return alerts.get(connection, alert_id)

    def test(self) -> Sequence[ChannelAnswer]:
        """Have a worker send one message by every channel, and give what each answered.

        Raises:
            NoWorker: no control worker took the question.
            AlertUnsent: not every channel answered in time.
        """
        return self._ask(Question(kind=ProbeKind.ALERTS)).channels

    def channels(self) -> Channels:
        """Give the channels that workers have, and how their last deliveries ended."""
        with self._database.transaction() as connection:
            told = markers.find(connection, alerts.CHANNELS)
            configured = None if told is None else tuple(filter(None, told.split(",")))
            return Channels(configured, alerts.ill_channels(connection), alerts.last_deliveries(connection))
