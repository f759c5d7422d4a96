"""``/runs/{id}/rejects``: rejected rows are counted, looked at, downloaded, sent anew and purged."""

import tempfile
from collections.abc import Iterator
from typing import Annotated, BinaryIO, Final

import orjson
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from console.api import paging
from console.api.answering import responses
from console.api.bodies import OptionalDocument, documented, optionally
from console.api.declared import Document
from console.api.paging import After, Limit
from console.api.places import downloading
from console.api.reading import read
from console.api.signed_in import Admin, Operator, Viewer, identity
from console.rejecting import Shown
from console.saved import Format
from console.shapes.confirmed import RunReference
from console.shapes.rejects import (
    ROWS_HEADER,
    PurgeRequest,
    PurgeShape,
    RejectedRow,
    RejectsShape,
    ReplayOfRun,
    ReplayRequest,
    ReplayShape,
)
from shared.access import Identity, Role, require
from shared.ledger import RejectCode

router = APIRouter(tags=["rejects"])

_PART_BYTES: Final = 1 << 16
_MEDIA_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.PARQUET: "application/vnd.apache.parquet",
    Format.JSONL: "application/x-ndjson",
}

Named = Annotated[str, Path(alias="id", description="a run's number, its id, or the id's beginning")]
OfCode = Annotated[RejectCode | None, Query(description="only rows that were refused for this")]


@router.get("/runs/{id}/rejects", responses=responses())
def get_rejects(operations: Viewer, run: Named) -> RejectsShape:
    """Count a run's rejected rows by code, and say what became of them since; no row's values."""
    found = operations.rejects.of(operations.find_run(run))
    return RejectsShape(
        run_id=found.run.id,
        number=found.run.number,
        pipeline_id=found.run.pipeline_id,
        rejected=found.run.ledger.rejected,
        counts=dict(found.counts),
        purged=found.purged,
        removed=found.removed,
        left_to_replay=found.left,
        left_by_code=dict(found.left_by_code),
        replays=tuple(
            ReplayOfRun(
                run_id=replay.id,
                number=replay.number,
                state=replay.state.value,
                accepted_rows=replay.ledger.accepted,
                rejected_rows=replay.ledger.rejected,
            )
            for replay in found.replays
        ),
    )


@router.get("/runs/{id}/rejects/rows", responses=responses(), response_model=list[RejectedRow])
def list_rejected_rows(
    operations: Operator,
    request: Request,
    run: Named,
    code: OfCode = None,
    limit: Limit = paging.DEFAULT,
    after: After = None,
) -> Response:
    """List a run's rejected rows in the order in which they were recorded; what may be secret is masked."""
    place = paging.read(after, int, int)
    behind = None if place is None else (int(place[0]), int(place[1]))
    found = operations.rejects.rows(operations.find_run(run), code, limit=limit + 1, after=behind)
    answer = Response(media_type="application/json")
    shown = paging.page(request, answer, found, limit, lambda row: row.place)
    # Not by way of floats: decimals keep all their digits.
    answer.body = orjson.dumps([_row(row) for row in shown])
    answer.headers["Content-Length"] = str(len(answer.body))
    return answer


@router.get(
    "/runs/{id}/rejects/download",
    responses={**responses(), 200: {"content": {kind: {} for kind in _MEDIA_TYPES.values()}}},
    response_class=StreamingResponse,
    dependencies=[downloading],
)
def download_rejects(
    operations: Operator,
    who: Annotated[Identity, Depends(identity)],
    run: Named,
    kind: Annotated[Format, Query(alias="format")],
    code: OfCode = None,
    *,
    is_masked: Annotated[bool, Query(alias="masked", description="false takes an admin")] = True,
) -> Response:
    """Give all of a run's rejected rows as one file; with ``masked=false`` the values of secret columns, too.

    In CSV, a text that a spreadsheet would compute begins with an apostrophe; the other formats are exact.
    It is made whole before the first byte goes out, so that what is wrong is told by a status and not by a short file.
    """
    if not is_masked:
        require(who, Role.ADMIN)
    run_id = operations.find_run(run)
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it has no name; whoever reads its last byte closes it
    try:
        rows = operations.rejects.save(run_id, file, kind, code, is_masked=is_masked)
        size = file.tell()
        file.seek(0)
    except BaseException:
        file.close()
        raise
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="rejects-{operations.run(run_id).number}.{kind}"',
        "Cache-Control": "no-store",
        ROWS_HEADER: str(rows),
    }
    return StreamingResponse(_parts(file), media_type=_MEDIA_TYPES[kind], headers=headers)


@router.post("/runs/{id}/replay", responses=responses(), openapi_extra=optionally(ReplayRequest))
def replay_rejects(
    operations: Operator,
    run: Named,
    document: OptionalDocument,
) -> ReplayShape:
    """Send a run's rejected rows anew, by a run of its own: today's mapping, checks and feed, new ids.

    A repeat is refused: the first one has taken the rows.
    """
    asked, told = read(ReplayRequest, document)
    (replay_id,) = operations.rejects.replay(operations.find_run(run), asked.code)
    return ReplayShape(run_id=replay_id, number=operations.run(replay_id).number, warnings=told)


@router.post("/rejects/purge", responses=responses(), openapi_extra=documented(PurgeRequest))
def purge_rejects(operations: Admin, document: Document) -> PurgeShape:
    """Remove somebody's rows from all rejected rows of pipelines, for good; a repeat removes what is left.

    The value is in the body alone: addresses end up in logs.
    """
    asked, told = read(PurgeRequest, document)
    purged = operations.rejects.purge(asked.pipeline_ids, asked.column, asked.value)
    return PurgeShape(
        rows=purged.rows,
        runs=purged.runs,
        in_spool=tuple(purged.in_spool),
        in_spool_runs=tuple(RunReference(id=run_id, number=number) for run_id, number in purged.in_spool.items()),
        warnings=told,
    )


def _row(row: Shown) -> dict[str, object]:
    return {"code": row.code, "reason": row.reason, "values": row.values}


def _parts(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while part := file.read(_PART_BYTES):
            yield part
