"""A run's spans are one tree whose ids follow from the run's own, and say neither texts nor values."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import trace_export, tracing
from shared.errors import ModelInvalid, WarehouseBusy
from shared.run import RunId
from shared.tracing import Span
from tests.collector import remembering

RUN = RunId(UUID("11111111-2222-4333-8444-555555555555"))


class Lost(Exception):
    """Harmless."""


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    with remembering() as exporter:
        yield exporter


def only(memory: InMemorySpanExporter) -> ReadableSpan:
    (span,) = memory.get_finished_spans()
    return span


def test_a_span_is_in_its_runs_trace_under_the_root_that_every_process_knows(memory: InMemorySpanExporter) -> None:
    with Span("plan_run", RUN, pipeline_id="p", queued_s=None) as span:
        span.note(parts=2)
        span.count(rows=3)
        span.count(rows=4)
    told = only(memory)
    assert told.context is not None
    assert told.parent is not None
    assert format(told.context.trace_id, "032x") == RUN.hex == "11111111222243338444555555555555"
    assert told.parent.span_id == tracing.root_id(RUN) == 0xCCA11473008661E0
    assert dict(told.attributes or {}) == {
        "warehouse_sync.run_id": str(RUN),
        "warehouse_sync.pipeline_id": "p",
        "warehouse_sync.parts": 2,
        "warehouse_sync.rows": 7,
    }
    assert (told.start_time or 0) <= (told.end_time or 0)
    assert told.status.is_unset


def test_a_part_is_its_spans_child(memory: InMemorySpanExporter) -> None:
    with Span("extract_slice", RUN) as span, span.part("query"):
        pass
    part, whole = memory.get_finished_spans()
    assert part.parent is not None
    assert whole.context is not None
    assert (part.name, part.parent.span_id) == ("query", whole.context.span_id)


@pytest.mark.parametrize(
    ("error", "kind", "is_ok"),
    [
        (ModelInvalid("column zoë@example.com"), "ModelInvalid", False),
        (WarehouseBusy("zoë@example.com"), "WarehouseBusy", True),
        (ValueError("zoë@example.com"), "Unexpected", False),
        (Lost("zoë@example.com"), "Lost", True),
        (SystemExit("zoë@example.com"), "Unexpected", False),
    ],
)
def test_a_failure_is_told_by_its_kind_and_never_by_its_text(
    memory: InMemorySpanExporter, error: BaseException, kind: str, *, is_ok: bool
) -> None:
    with pytest.raises(type(error)), Span("upload_chunk", RUN, harmless=(Lost,)):
        raise error
    told = only(memory)
    assert (told.attributes or {})["warehouse_sync.error_kind"] == kind
    assert told.status.is_unset is is_ok
    assert "zo" not in told.to_json()


def test_what_begins_before_its_runs_are_known_is_told_once_for_each(memory: InMemorySpanExporter) -> None:
    began, runs = tracing.began(), [RunId(uuid4()) for _ in range(3)]
    tracing.tell_each("claim_due", runs, began_ns=began, pipelines=3)
    told = memory.get_finished_spans()
    assert [span.context.trace_id for span in told if span.context] == [run.int for run in runs]
    assert {span.start_time for span in told} == {began}


def test_without_a_collector_nothing_is_told() -> None:
    trace_export.use(None)
    assert not tracing.is_on()
    with Span("plan_run", RUN) as span, span.part("query"):
        span.count(rows=1)
    tracing.tell_each("trigger", [RUN], began_ns=0)
