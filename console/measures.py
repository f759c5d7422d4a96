"""Every metric of the deployment: its name, its labels, and what it says to whoever looks at it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

PREFIX: Final = "warehouse_sync_"


class Kind(StrEnum):
    """How a metric behaves over time."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric; ``name`` is without :data:`PREFIX`."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


def _gauge(name: str, told: str, *labels: str) -> Measure:
    return Measure(name, Kind.GAUGE, labels, told)


def _counter(name: str, told: str, *labels: str) -> Measure:
    return Measure(name, Kind.COUNTER, labels, told)


def _histogram(name: str, told: str, *labels: str) -> Measure:
    return Measure(name, Kind.HISTOGRAM, labels, told)


MEASURES: Final = (
    _gauge("store_up", "1 if PostgreSQL answered this request, else 0 and nothing that it knows is told"),
    _gauge("broker_up", "1 if Redis or Valkey answered this request, else 0 and nothing that it knows is told"),
    _gauge("build_info", "1; the label says which release answers", "version"),
    _gauge("queue_messages", "Messages that wait in a queue, without those in workers' hands", "queue"),
    _gauge(
        "queue_oldest_message_age_seconds",
        "For how long the oldest message of a queue has waited; 0 where none waits",
        "queue",
    ),
    _gauge("runs", "Runs that are not over: they wait, are at work, or stopped and hold their window", "state", "lane"),
    _counter("runs_ended", "Ends of runs; one that failed and was retried has several", "pipeline", "lane", "outcome"),
    _gauge("pipelines", "Pipelines by where they are in their life, without deleted ones", "state"),
    _gauge("pipeline_faulted", "1 if nothing of the pipeline starts until an operator acts, else 0", "pipeline"),
    _gauge("watermark_lag_seconds", "How far the pipeline's watermark lies behind the store's time", "pipeline"),
    _counter("rows_extracted", "Rows that were read from the warehouse and published in the spool", "pipeline", "lane"),
    _counter("rows", "Rows that have ended, by how", "pipeline", "lane", "end"),
    _counter("batches_sent", "Batches that mParticle accepted", "pipeline", "lane"),
    _counter("bytes_sent", "Bytes of request bodies as sent, after compression, repeats included", "pipeline", "lane"),
    _counter("requests", "Requests to mParticle by what answered; throttled is 429", "pipeline", "lane", "answer"),
    _histogram("chunk_queue_seconds", "How long a chunk that is done had waited for a worker, in all", "lane"),
    _histogram("chunk_run_seconds", "How long a chunk that is done was in workers' hands, in all attempts", "lane"),
    _counter("attempts", "Claims of a plan, a slice or a chunk by a worker", "task", "lane"),
    _counter("leases_expired", "Claims that were taken away because their worker died or stood still", "task", "lane"),
    _gauge("spool_bytes", "Bytes of chunks in the spool, those being written included, without rejects"),
    _gauge("spool_soft_limit_bytes", "Above this only who holds less than a fair share of the spool starts reading"),
    _gauge("spool_hard_limit_bytes", "Above this nothing starts reading from a warehouse"),
    _gauge("quota_batches_per_second", "The quota of an mParticle account, as its feeds declare it", "quota_group"),
    _gauge(
        "quota_allowed_batches_per_second",
        "What is spent of the quota at most now, as learned from mParticle's answers",
        "quota_group",
    ),
    _gauge("quota_used_ratio", "The share of the quota that was spent in the last second", "quota_group"),
    _gauge(
        "quota_paused_seconds", "For how long nothing more is sent to the account; 0: it is not paused", "quota_group"
    ),
    _gauge("beat_last_tick_timestamp_seconds", "When a beat last looked for what is due, by the store's clock"),
    _gauge("beats", "Beats that have ticked within a minute, and those that fell silent within a day", "state"),
    _gauge("alerts_open", "Alerts that are open", "name"),
)
