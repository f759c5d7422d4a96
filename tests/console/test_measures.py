"""What documents say of the metrics is what there is, and what there is can be read by those who collect."""

import re
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as plain_families

from console.exposition import exposed
from console.measures import MEASURES, PREFIX, Kind
from console.measuring import Histogram, Measured

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
ROW = re.compile(r"^\| `([a-z_]+)` \| (gauge|counter|histogram) \|([^|]*)\|", re.MULTILINE)
NAMES = """
    queue_messages{queue} queue_oldest_message_age_seconds{queue} runs{state,lane}
    runs_ended_total{pipeline,lane,outcome} pipelines{state} pipeline_faulted{pipeline}
    watermark_lag_seconds{pipeline} rows_extracted_total{pipeline,lane} rows_total{pipeline,lane,end}
    batches_sent_total{pipeline,lane} bytes_sent_total{pipeline,lane} requests_total{pipeline,lane,answer}
    chunk_queue_seconds{lane} chunk_run_seconds{lane} attempts_total{task,lane} leases_expired_total{task,lane}
    spool_bytes{} spool_soft_limit_bytes{} spool_hard_limit_bytes{} quota_batches_per_second{quota_group}
    quota_allowed_batches_per_second{quota_group} quota_used_ratio{quota_group} quota_paused_seconds{quota_group}
    beat_last_tick_timestamp_seconds{} beats{state} alerts_open{name} store_up{} broker_up{} build_info{version}
"""
"""What dashboards, alert rules and autoscalers name; renaming one breaks them."""


def told(name: str, kind: Kind) -> str:
    return f"{name}_total" if kind is Kind.COUNTER else name


def test_the_names_that_others_rely_on_are_there_and_no_others() -> None:
    expected = {
        (name, tuple(label for label in labels.split(",") if label))
        for name, labels in re.findall(r"([a-z_]+)\{([a-z_,]*)\}", NAMES)
    }
    assert {(told(one.name, one.kind), one.labels) for one in MEASURES} == expected


def test_the_page_lists_every_metric_with_its_kind_and_labels_and_no_other() -> None:
    listed = {(name, kind, tuple(re.findall(r"`([a-z_]+)`", labels))) for name, kind, labels in ROW.findall(PAGE)}
    assert listed == {(told(one.name, one.kind), one.kind.value, one.labels) for one in MEASURES}


def test_every_metric_that_the_page_mentions_is_one() -> None:
    series = {told(one.name, one.kind) for one in MEASURES} | {
        f"{one.name}_bucket" for one in MEASURES if one.kind is Kind.HISTOGRAM
    }
    assert set(re.findall(rf"{PREFIX}([a-z_]+)", PAGE)) - {""} <= series


def test_both_formats_hold_the_same_and_can_be_read() -> None:
    measured = Measured()
    measured.put("rows", 7, 'a "strange" id', "live", "rejected")
    measured.put("store_up", 1)
    measured.histograms["chunk_run_seconds"] = {("live",): Histogram([("0.1", 2), ("1", 3), ("inf", 4)], 12.5)}
    plain, plain_type = exposed(measured, "text/plain;version=0.0.4")
    opened, opened_type = exposed(measured, "application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert plain_type.startswith("text/plain")
    assert opened_type.startswith("application/openmetrics-text")
    for families in (plain_families(plain.decode()), openmetrics_families(opened.decode())):  # type: ignore[no-untyped-call]
        found = {
            (one.name, frozenset(one.labels.items())): one.value
            for family in families
            for one in family.samples
            if not one.name.endswith("_created")
        }
        rows = frozenset({"pipeline": 'a "strange" id', "lane": "live", "end": "rejected"}.items())
        assert found[(f"{PREFIX}rows_total", rows)] == 7
        assert found[(f"{PREFIX}store_up", frozenset())] == 1
        assert found[(f"{PREFIX}chunk_run_seconds_count", frozenset({("lane", "live")}))] == 4
        assert found[(f"{PREFIX}chunk_run_seconds_sum", frozenset({("lane", "live")}))] == 12.5
        assert len(found) == 2 + 5


def test_every_metric_says_what_it_is_even_while_nothing_is_known_of_it() -> None:
    text = exposed(Measured(), "")[0].decode()
    for one in MEASURES:
        assert f"# HELP {PREFIX}{told(one.name, one.kind)} {one.help}" in text
