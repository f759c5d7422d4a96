"""``/runs``: all pipelines' runs, what happened to each and its chunks; cancel, retry, approve, abandon them. Ours."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path

from console.api.answering import responses
from console.api.paging import Paged
from console.api.run_answers import errors_of, run_shape
from console.api.run_listing import NAMED, States, run_page
from console.api.signed_in import Operator, Viewer
from console.operations import Operations
from console.shapes.confirmed import RunReference
from console.shapes.extensions import AbandonedShape, ChunkShape, RetryRequest, RunEventShape, RunsShape
from console.shapes.reconstructed import RunShape
from shared.run import RunId
from shared.store.chunk_list import ChunkPlace, ListedChunk
from shared.store.run_events import RunEvent
from shared.store.run_lists import Wanted

router = APIRouter(prefix="/runs", tags=["runs"])

RunName = Annotated[str, Path(alias="id", description=NAMED)]


@router.get("", responses=responses())
def list_runs(operations: Viewer, paged: Paged, states: States = ()) -> list[RunShape]:
    """List the runs of all pipelines, of deleted ones too, newest first."""
    return run_page(operations, Wanted(states=states), paged)


@router.get("/{id}", responses=responses())
def get_run(operations: Viewer, run: RunName) -> RunShape:
    """Give one run."""
    return run_shape(operations.watching.run(operations.find_run(run)))


@router.get("/{id}/events", responses=responses())
def list_run_events(operations: Viewer, run: RunName, paged: Paged) -> list[RunEventShape]:
    """List what happened to a run, and who did it: oldest first, because it goes on at the end."""
    place = paged.behind(int)
    after_id = 0 if place is None else int(place[0])
    found = operations.watching.events(operations.find_run(run), after_id=after_id, limit=paged.limit + 1)
    return [_event(one) for one in paged.one(found, lambda one: (one.id,))]


@router.get("/{id}/chunks", responses=responses())
def list_run_chunks(operations: Viewer, run: RunName, paged: Paged) -> list[ChunkShape]:
    """List a run's chunks in the order of its rows: where each stands, and why."""
    place = paged.behind(int, int)
    behind = None if place is None else ChunkPlace(int(place[0]), int(place[1]))
    found = operations.watching.chunks(operations.find_run(run), after=behind, limit=paged.limit + 1)
    shown = paged.one(found, lambda one: (one.place.slice_no, one.place.no))
    return [_chunk(one) for one in shown]


@router.post("/{id}/cancel", responses=responses())
def cancel_run(operations: Operator, run: RunName) -> RunShape:
    """Stop a run until it is retried or abandoned; a repeat is refused, and changes nothing."""
    run_id = operations.find_run(run)
    operations.cancel(run_id)
    return run_shape(operations.watching.run(run_id))


@router.post("/{id}/retry", responses=responses())
def retry_run(operations: Operator, run: RunName, asked: RetryRequest | None = None) -> RunsShape:
    """Continue a stopped run with the same window, chunks and ids; a repeat is refused, and changes nothing."""
    accepts_rejects = asked is not None and asked.accepts_rejects
    return _at_work(operations, operations.retry(operations.find_run(run), accepts_rejects=accepts_rejects))


@router.post("/{id}/approve", responses=responses())
def approve_run(operations: Operator, run: RunName) -> RunsShape:
    """Let a held run go on with the same window, chunks and ids; a repeat is refused, and changes nothing.

    However many rows it has, nobody is asked about them again.
    """
    return _at_work(operations, operations.approve(operations.find_run(run)))


@router.post("/{id}/abandon", responses=responses())
def abandon_run(operations: Operator, run: RunName) -> AbandonedShape:
    """Give up a stopped run and free its window; a repeat is refused, and changes nothing.

    The answer says how many accepted rows the next run that reads its window sends again, under new ids.
    """
    run_id = operations.find_run(run)
    operations.abandon(run_id)
    shown = run_shape(operations.watching.run(run_id))
    return AbandonedShape(**shown.model_dump(), rows_to_be_sent_again=shown.ledger.accepted)


def _at_work(operations: Operations, run_ids: Sequence[RunId]) -> RunsShape:
    found = operations.watching.references(run_ids)
    return RunsShape(runs=tuple(RunReference(id=run_id, number=number) for run_id, number in found))


def _event(event: RunEvent) -> RunEventShape:
    return RunEventShape(
        id=event.id,
        happened_on=event.happened_at,
        name=event.name,
        actor=event.actor,
        errors=errors_of(event.error_kind, event.error),
    )


def _chunk(chunk: ListedChunk) -> ChunkShape:
    return ChunkShape(
        id=chunk.id,
        slice_no=chunk.place.slice_no,
        no=chunk.place.no,
        state=chunk.state,
        rows=chunk.rows,
        position=chunk.position,
        accepted=chunk.accepted,
        rejected=chunk.rejected,
        unchanged=chunk.unchanged,
        superseded=chunk.superseded,
        spool_bytes=chunk.spool_bytes,
        attempts=chunk.attempts,
        deaths=chunk.deaths,
        error=chunk.error,
        claimant=chunk.claimant,
        published_on=chunk.published_at,
        in_doubt_since=chunk.in_doubt_since,
        not_before=chunk.not_before,
        done_on=chunk.done_at,
        queued_s=_seconds(chunk.queue_ms),
        worked_s=_seconds(chunk.run_ms),
    )


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1000
