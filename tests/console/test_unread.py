"""Whoever finds no row read is told up to where it was read, and why not further."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from console.api.pipeline_answers import pipeline_shape
from console.api.run_answers import run_shape
from console.shapes.reconstructed import PipelineShape
from console.unread import newest_of_each, told
from console.watching import SeenRun
from shared.catalog import Pipeline, ServiceProvider
from shared.ledger import Ledger
from shared.run import Lane, PipelineState, Run, RunKind, RunState, Standing, Window
from shared.store.declared import PipelineRow
from shared.store.records import Record
from shared.store.summaries import Summary
from tests.console.test_progress import RUN

HIGH = datetime(2026, 5, 4, 21, 2, 7, tzinfo=UTC)
EMPTY = replace(RUN, number=17, mode="incremental", window=Window(HIGH - timedelta(hours=1), HIGH))
READ = "run 17 of people found nothing new: it read rows changed before 2026-05-04 21:02:07 UTC"


def declared(*, iterator: str = "timestamp", delay: str = "5m", until: str | None = None) -> PipelineShape:
    pipeline = Pipeline.model_validate(
        {
            "id": "people",
            "name": "People",
            "connection_id": "lake",
            "data_model_id": "people",
            "feed_id": "main",
            "environment": "development",
            "sync_mode": {
                "type": "incremental",
                "iterator_field": "at",
                "iterator_data_type": iterator,
                "until": until,
            },
            "schedule": {"type": "on_demand", "delay": delay},
        }
    )
    return pipeline_shape(summary(pipeline))


def said(run: Run, pipeline: PipelineShape) -> str | None:
    return told(run_shape(SeenRun(run, None)), pipeline)


@pytest.mark.parametrize(("delay", "why"), [("5m", "5m"), ("PT1H", "1h"), ("0s", "0s")])
def test_who_finds_nothing_new_is_told_up_to_where_was_read_and_the_delay(delay: str, why: str) -> None:
    found = said(EMPTY, declared(delay=delay))
    assert found == f"{READ} (`delay` is {why}); rows changed since then are read by the next run"


def test_a_date_is_read_once_its_day_is_over() -> None:
    assert "of a DATE iterator only whole days are read" in (said(EMPTY, declared(iterator="date")) or "")


@pytest.mark.parametrize(
    ("iterator", "until", "is_over"),
    [
        ("timestamp", "2026-05-04T21:02:07Z", True),
        ("timestamp_unixtime_s", "2026-05-04T21:02:07.9Z", True),
        ("timestamp", "2026-05-04T21:02:09Z", False),
        ("date", "2026-05-05T12:00:00Z", True),
        ("date", "2026-05-06T00:00:00Z", False),
    ],
)
def test_no_next_run_is_promised_where_until_ends_all_reading(iterator: str, until: str, is_over: bool) -> None:
    high = datetime(2026, 5, 5, tzinfo=UTC) if iterator == "date" else HIGH
    run = replace(EMPTY, window=Window(high - timedelta(days=2), high))
    assert ("`until` lets nothing later" in (said(run, declared(iterator=iterator, until=until)) or "")) is is_over


@pytest.mark.parametrize(
    "run",
    [
        replace(EMPTY, ledger=Ledger(extracted=4, unchanged=4)),
        replace(EMPTY, kind=RunKind.SCHEDULED),
        replace(EMPTY, kind=RunKind.INITIAL, lane=Lane.BACKFILL, window=Window(None, HIGH, includes_null=True)),
    ],
    ids=["lookback", "scheduled", "initial"],
)
def test_rows_that_were_read_before_are_not_new_and_an_initial_sync_may_find_none(run: Run) -> None:
    assert (said(run, declared()) or "").startswith(READ)


@pytest.mark.parametrize(
    "run",
    [
        replace(EMPTY, ledger=Ledger(extracted=1, accepted=1)),
        replace(EMPTY, ledger=Ledger(extracted=1, rejected=1)),
        replace(EMPTY, state=RunState.FAILED),
        replace(EMPTY, state=RunState.EXTRACTING),
        replace(EMPTY, kind=RunKind.BACKFILL, lane=Lane.BACKFILL),
        replace(EMPTY, kind=RunKind.REPLAY, lane=Lane.BACKFILL, window=Window()),
        replace(EMPTY, kind=RunKind.INITIAL, lane=Lane.BACKFILL, part=1),
        replace(EMPTY, mode="full", window=Window()),
    ],
    ids=["accepted", "rejected", "failed", "at work", "backfill", "replay", "a later part", "full"],
)
def test_nothing_is_said_of_runs_that_found_something_or_that_no_run_follows(run: Run) -> None:
    assert said(run, declared()) is None


def test_of_each_pipeline_only_the_newest_run_is_looked_at() -> None:
    listed = [run_shape(SeenRun(replace(RUN, pipeline_id=id_, number=no), None)) for id_, no in (("a", 3), ("b", 2))]
    older = run_shape(SeenRun(replace(RUN, pipeline_id="a", number=1), None))
    assert [run.number for run in newest_of_each([*listed, older])] == [3, 2]


def summary(pipeline: Pipeline) -> Summary:
    row = PipelineRow(pipeline, Standing(1), None, PipelineState.ACTIVE)
    return Summary(row, Record(1, HIGH, None, None, None), ServiceProvider.DUCKDB, "us1-0123456789abcdef", HIGH)
