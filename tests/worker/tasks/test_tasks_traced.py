"""What is done for a run is one tree of spans, from the trigger to its end, however it comes about."""

from collections.abc import Iterator
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from console.operations import Operations
from shared import catalog, tracing
from shared.errors import StoreUnavailable
from shared.messages import TaskName
from shared.run import HeldFor, RunId, RunState
from shared.store import holds, moves
from tests.collector import remembering
from tests.worker.tasks.desk import QUERY, ROWS, Desk, Killed, Strike, When, assert_settled_whole, fails_with
from worker.tasks.operate import trigger


@pytest.fixture
def memory() -> Iterator[InMemorySpanExporter]:
    with remembering() as exporter:
        yield exporter


def said(span: ReadableSpan, name: str) -> object:
    return (span.attributes or {}).get(f"warehouse_sync.{name}")


def of_run(memory: InMemorySpanExporter, run_id: RunId) -> list[ReadableSpan]:
    """Give a run's spans, having seen that they are one tree of which no span is told twice."""
    spans = [span for span in memory.get_finished_spans() if span.context and span.context.trace_id == run_id.int]
    ids = [span.context.span_id for span in spans if span.context]
    assert len(set(ids)) == len(ids)
    (root,) = [span for span in spans if span.parent is None]
    assert root.context is not None
    assert root.context.span_id == tracing.root_id(run_id)
    assert {span.parent.span_id for span in spans if span.parent} <= set(ids)
    return spans


def named(spans: list[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def names(spans: list[ReadableSpan]) -> list[str]:
    return [span.name for span in spans]


def test_a_run_is_one_tree_from_its_trigger_to_its_end(desk: Desk, memory: InMemorySpanExporter) -> None:
    pipeline_id = desk.pipeline()
    trigger(pipeline_id)
    (span,) = memory.get_finished_spans()
    assert span.context is not None
    run_id = RunId(UUID(int=span.context.trace_id))
    run = desk.finish(run_id)
    assert_settled_whole(desk, run_id)
    spans = of_run(memory, run_id)
    assert names(spans) == [
        "trigger", "plan_run", "query", "extract_slice", *["upload_chunk"] * 3, "run", "settle_run",
    ]  # fmt: skip
    (root,) = named(spans, "run")
    assert (root.start_time, root.end_time) == tuple(
        round(at.timestamp() * 1e6) * 1000 for at in (run.created_at, run.ended_at) if at
    )
    expected: dict[str, object] = {
        "pipeline_id": pipeline_id,
        "state": "settled",
        "lane": "live",
        "kind": "manual",
        "mode": "full",
    }
    expected |= {"extracted": ROWS, "accepted": ROWS, "batches": ROWS, "chunks": 3, "run_id": str(run_id)}
    assert {name: said(root, name) for name in expected} == expected
    (extract,) = named(spans, "extract_slice")
    assert (said(extract, "rows"), said(extract, "chunks")) == (ROWS, 3)
    uploads = named(spans, "upload_chunk")
    assert [said(one, "accepted") for one in uploads] == [3, 3, 1]
    assert all(said(one, "attempt") == 1 and said(one, "is_finished") for one in uploads)
    for one in (*uploads, extract, *named(spans, "plan_run")):
        waited_s = said(one, "queued_s")
        assert isinstance(waited_s, float)
        assert 0 <= waited_s < 60
    told = "".join(one.to_json() for one in spans)
    assert not [word for word in (QUERY, "Zoë", "Zo\\u00eb", f"{pipeline_id}-0") if word in told]


def test_a_run_that_fails_and_is_retried_goes_on_in_its_trace(desk: Desk, memory: InMemorySpanExporter) -> None:
    pipeline_id = desk.pipeline(query="SELECT customer_id, CAST(firstname AS INTEGER) AS firstname FROM people")
    run_id = desk.trigger(pipeline_id)
    assert desk.finish(run_id).state is RunState.FAILED
    (root,) = named(of_run(memory, run_id), "run")
    assert (said(root, "state"), said(root, "error_kind")) == ("failed", "ModelInvalid")
    assert not root.status.is_unset
    desk.retry(run_id)
    assert desk.finish(run_id).state is RunState.FAILED
    (again,) = named(of_run(memory, run_id), "reopened")
    assert (again.start_time or 0) > (root.end_time or 0)
    with desk.database.transaction() as store:
        moves.abandon(store, run_id)
    spans = of_run(memory, run_id)
    (closed,) = named(spans, "closed")
    assert said(closed, "state") == "abandoned"
    assert [said(one, "error_kind") for one in named(spans, "extract_slice")] == ["ModelInvalid"] * 2
    assert "Could not convert" not in "".join(one.to_json() for one in spans)


def test_a_run_that_is_held_and_approved_goes_on_in_its_trace(desk: Desk, memory: InMemorySpanExporter) -> None:
    run_id = desk.trigger(desk.pipeline())
    desk.take_until(TaskName.UPLOAD_CHUNK)
    with desk.process.database.transaction() as connection:
        assert holds.hold(connection, run_id, HeldFor.VOLUME_UNUSUAL, "is this meant?")
    desk.lose_messages()
    desk.retry(run_id)
    assert_settled_whole(desk, desk.finish(run_id).id)
    spans = of_run(memory, run_id)
    assert [said(one, "state") for one in named(spans, "run")] == ["cancelled"]
    assert [said(one, "state") for one in named(spans, "reopened")] == ["settled"]


def test_an_end_that_is_rolled_back_is_not_told(desk: Desk, memory: InMemorySpanExporter) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(TaskName.SETTLE_RUN)
    with desk.database.struck(Strike(1, When.BEFORE, fails_with(StoreUnavailable("gone")))):
        desk.do(TaskName.SETTLE_RUN, arguments)
    assert "run" not in names(list(memory.get_finished_spans()))
    desk.finish(run_id)
    assert len(named(of_run(memory, run_id), "run")) == 1


@pytest.mark.parametrize(
    "task", [TaskName.PLAN_RUN, TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK, TaskName.SETTLE_RUN]
)
def test_a_task_that_dies_and_one_that_is_sent_twice_leave_one_tree(
    desk: Desk, memory: InMemorySpanExporter, task: TaskName
) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(task)
    with desk.database.struck(Strike(2, When.BEFORE, fails_with(Killed()))):
        desk.do(task, arguments)
    desk.do(task, arguments)
    desk.finish(run_id)
    assert_settled_whole(desk, run_id)
    assert len(named(of_run(memory, run_id), "run")) == 1


def test_a_trigger_of_the_control_plane_is_told_as_well(desk: Desk, memory: InMemorySpanExporter) -> None:
    operations = Operations(desk.process.settings)
    try:
        pipeline_id = desk.pipeline(catalog.Full())
        (run_id,) = operations.trigger(pipeline_id)
        operations.cancel(run_id)
    finally:
        operations.close()
    spans = of_run(memory, run_id)
    assert names(spans) == ["trigger", "run"]
    assert said(spans[1], "state") == "cancelled"
