"""What may be asked of Prometheus: the metrics of docs/metrics.md by name and labels, and how expressions do so."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import promql_parser

PREFIX: Final = "warehouse_sync_"
LABELS: Final[Mapping[str, tuple[str, ...]]] = {
    "store_up": (),
    "broker_up": (),
    "build_info": ("version",),
    "queue_messages": ("queue",),
    "queue_oldest_message_age_seconds": ("queue",),
    "runs": ("state", "lane"),
    "runs_ended_total": ("pipeline", "lane", "outcome"),
    "pipelines": ("state",),
    "pipeline_faulted": ("pipeline",),
    "watermark_lag_seconds": ("pipeline",),
    "rows_extracted_total": ("pipeline", "lane"),
    "rows_total": ("pipeline", "lane", "end"),
    "batches_sent_total": ("pipeline", "lane"),
    "bytes_sent_total": ("pipeline", "lane"),
    "requests_total": ("pipeline", "lane", "answer"),
    "chunk_queue_seconds_bucket": ("lane", "le"),
    "chunk_run_seconds_bucket": ("lane", "le"),
    "attempts_total": ("task", "lane"),
    "leases_expired_total": ("task", "lane"),
    "spool_bytes": (),
    "spool_soft_limit_bytes": (),
    "spool_hard_limit_bytes": (),
    "quota_batches_per_second": ("quota_group",),
    "quota_allowed_batches_per_second": ("quota_group",),
    "quota_used_ratio": ("quota_group",),
    "quota_paused_seconds": ("quota_group",),
    "beat_last_tick_timestamp_seconds": (),
    "beats": ("state",),
    "alerts_open": ("name",),
}
VALUES: Final[Mapping[str, frozenset[str]]] = {
    "end": frozenset({"accepted", "rejected", "unchanged", "superseded"}),
    "answer": frozenset(
        {"accepted", "refused", "too_large", "throttled", "unavailable", "sign_in_refused", "not_the_api"}
    ),
    "name": frozenset(
        {
            *("run_failed", "pipeline_faulted", "rows_rejected", "stale", "volume_unusual"),
            *("credentials_refused", "full_resync", "backfill_finished", "run_held"),
        }
    ),
}
"""Of labels whose values are fixed and have no enumeration in the code that tests could ask."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One series selector of an expression.

    ``once`` says whether it is counted once however many APIs are scraped: a maximum, or a count of them, lies
    directly around it, or around the rate that is taken of it.
    """

    metric: str
    matchers: tuple[tuple[str, str, str], ...]
    once: bool


def asked(expression: str) -> Iterator[Asked]:
    """Give every selector of an expression.

    Raises:
        ValueError: it is no PromQL.
    """
    return _asked(promql_parser.parse(expression), once=False)


def _asked(node: Any, *, once: bool) -> Iterator[Asked]:
    match node:
        case promql_parser.VectorSelector():
            matchers = tuple((one.name, str(one.op), one.value) for one in node.matchers.matchers)
            yield Asked(str(node.name), matchers, once)
        case promql_parser.MatrixSelector():
            yield from _asked(node.vector_selector, once=once)
        case promql_parser.AggregateExpr():
            yield from _asked(node.expr, once=once or str(node.op) in {"max", "count"})
        case promql_parser.Call():
            for argument in node.args:
                yield from _asked(argument, once=once or node.func.name == "absent")
        case promql_parser.BinaryExpr():
            yield from _asked(node.lhs, once=False)
            yield from _asked(node.rhs, once=False)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from _asked(node.expr, once=once)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise AssertionError(f"not looked into: {type(node).__name__}")
