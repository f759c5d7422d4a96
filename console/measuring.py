"""Measure the whole deployment: a few queries and one call to the broker, whatever the number of pipelines.

What does not answer is told to be down, and nothing is told of what it would have said: no value here is older than the
request for it.
"""

import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from itertools import product
from typing import Any, Final

import redis
import sqlalchemy as sa
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared import backlog, paces
from shared.alerts import AlertName
from shared.endpoints import broker_url, database_url
from shared.errors import StoreUnavailable
from shared.run import Lane, PipelineState
from shared.settings import Settings
from shared.store import beats, measuring, slices, totals
from shared.store.database import Database
from shared.store.measuring import StandingPipeline
from shared.telemetry import log

_log = log(__name__)

ALERTS: Final = tuple(name.value for name in AlertName)
ROW_ENDS: Final = ("accepted", "rejected", "unchanged", "superseded")
_TIMEOUT_S: Final = 3.0
"""Whoever collects metrics gives up after 10 s by default, and both are asked one after the other."""
_AT_ONE_INSTANT: Final = sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
_LIMIT: Final = sa.text(f"SET LOCAL statement_timeout = {int(_TIMEOUT_S * 1000)}")

Labels = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many were at most so long, by each bound in seconds, the last without; and all of them together."""

    buckets: Sequence[tuple[str, int]]
    sum_s: float


@dataclass(slots=True)
class Measured:
    """Values by metric and labels, in the order of the metric's; what is not known is not there."""

    values: dict[str, dict[Labels, float]] = field(default_factory=dict)
    histograms: dict[str, dict[Labels, Histogram]] = field(default_factory=dict)

    def put(self, name: str, value: float, *labels: str) -> None:
        """Note one value."""
        self.values.setdefault(name, {})[labels] = value


class Measuring:
    """Measures with connections of its own, so that no load on the API keeps it waiting; one at a time."""

    def __init__(self, settings: Settings) -> None:
        """Prepare, without connecting."""
        self._settings = settings
        self._database = Database(database_url(settings), pool_size=1)
        self._one = threading.Lock()

    def measure(self) -> Measured:
        """Measure everything now; any thread may call."""
        with self._one:
            found = Measured()
            found.put("build_info", 1, version("warehouse-sync"))
            found.put("spool_soft_limit_bytes", self._settings.spool_soft_bytes)
            found.put("spool_hard_limit_bytes", self._settings.spool_hard_bytes)
            quotas = self._ask_store(found)
            self._ask_broker(found, quotas)
            return found

    def close(self) -> None:
        """Close the connections."""
        self._database.close()
        if "_client" in vars(self):
            self._client.close()

    @cached_property
    def _client(self) -> redis.Redis:
        return redis.Redis.from_url(
            broker_url(self._settings),
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    def _ask_store(self, found: Measured) -> Mapping[str, float]:
        told = Measured()
        try:
            with self._database.transaction() as connection:
                connection.execute(_AT_ONE_INSTANT)
                connection.execute(_LIMIT)
                _pipelines(told, measuring.standing(connection), totals.of_pipelines(connection, measuring.ids()))
                _lanes(told, totals.of_lanes(connection))
                for (state, lane), count in measuring.open_runs(connection).items():
                    told.put("runs", count, state, lane)
                told.put("spool_bytes", sum(slices.room_taken(connection).values()))
                _beats(told, beats.ticking(connection))
                for name, count in (dict.fromkeys(ALERTS, 0) | measuring.open_alerts(connection)).items():
                    told.put("alerts_open", count, name)
                quotas = measuring.quotas(connection)
        except StoreUnavailable as error:
            _log.warning("store_not_measured", error=str(error))
            found.put("store_up", 0)
            return {}
        found.put("store_up", 1)
        found.values |= told.values
        found.histograms |= told.histograms
        for group, quota in quotas.items():
            found.put("quota_batches_per_second", quota, group)
        return quotas

    def _ask_broker(self, found: Measured, quotas: Mapping[str, float]) -> None:
        try:
            with self._client.pipeline(transaction=False) as pipeline:
                backlog.ask(pipeline)
                asked = len(pipeline)
                paces.ask(pipeline, quotas)
                answers: list[Any] = pipeline.execute()
        except (redis.RedisError, OSError, ValueError) as error:
            # Its text may hold what its user may not do, and never the password; the kind is enough to look further.
            _log.warning("broker_not_measured", error_kind=type(error).__name__)
            found.put("broker_up", 0)
            return
        found.put("broker_up", 1)
        now = datetime.now(UTC)
        for queue, waiting in backlog.read(answers[:asked]).items():
            found.put("queue_messages", sum(one.messages for one in waiting.values()), queue)
            age_s = backlog.age_s(waiting, now)
            if age_s is not None:
                found.put("queue_oldest_message_age_seconds", age_s, queue)
        for (group, quota), pace in zip(
            quotas.items(), paces.read(answers[asked:], list(quotas.values())), strict=True
        ):
            found.put("quota_allowed_batches_per_second", pace.allowed_batches_per_s, group)
            found.put("quota_used_ratio", pace.sent_batches / quota, group)
            found.put("quota_paused_seconds", pace.paused_s, group)


def _pipelines(
    told: Measured, standing: Collection[StandingPipeline], counted: Sequence[tuple[str, Lane, str, int]]
) -> None:
    counts = {(pipeline, lane, name): value for pipeline, lane, name, value in counted}
    known = {(one.id, Lane.LIVE) for one in standing} | {(pipeline, lane) for pipeline, lane, _, _ in counted}
    for pipeline, lane in sorted(known & {(one.id, lane) for one in standing for lane in Lane}):

        def put(metric: str, name: str, *labels: str, of: tuple[str, Lane] = (pipeline, lane)) -> None:
            # From 0 on: what appears with its first count looks as if nothing had been counted.
            told.put(metric, counts.get((*of, name), 0), *of, *labels)

        put("rows_extracted", "extracted")
        put("batches_sent", "batches")
        put("bytes_sent", totals.SENT_BYTES)
        for end in ROW_ENDS:
            put("rows", end, end)
        for outcome in totals.ENDS:
            put("runs_ended", f"ended_{outcome}", outcome)
        for answer in totals.ANSWERS:
            put("requests", f"requests_{answer}", answer)
    for state in PipelineState:
        if state is not PipelineState.DELETED:
            told.put("pipelines", sum(one.state is state for one in standing), state)
    for one in standing:
        told.put("pipeline_faulted", one.is_faulted, one.id)
        if one.lag_s is not None:
            told.put("watermark_lag_seconds", one.lag_s, one.id)


def _lanes(told: Measured, counted: Sequence[tuple[Lane, str, int]]) -> None:
    counts = {(lane, name): value for lane, name, value in counted}
    for lane, task in product(Lane, totals.TASKS):
        told.put("attempts", counts.get((lane, f"attempts_{task}"), 0), task, lane)
        told.put("leases_expired", counts.get((lane, f"expired_{task}"), 0), task, lane)
    for lane, what in product(Lane, ("queue", "run")):
        of_lane = {name: value for (one, name), value in counts.items() if one is lane}
        histogram = Histogram(totals.buckets(what, of_lane), of_lane.get(f"{what}_ms", 0) / 1000)
        told.histograms.setdefault(f"chunk_{what}_seconds", {})[(lane,)] = histogram


def _beats(told: Measured, known: Sequence[beats.Beat]) -> None:
    silent = sum(one.is_silent for one in known)
    told.put("beats", len(known) - silent, "ticking")
    told.put("beats", silent, "silent")
    if known:
        told.put("beat_last_tick_timestamp_seconds", known[0].ticked_at.timestamp())
