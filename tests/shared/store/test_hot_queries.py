"""What every worker and every upkeep asks stays cheap beside a hundred thousand chunks and a year of runs."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy import Connection

from shared.messages import Queue
from shared.run import ChunkId, RunId, RunState, SliceId, Token
from shared.store import (
    accepted,
    access,
    auditing,
    chunk_list,
    chunks,
    dispatching,
    lost,
    newer,
    rejected_users,
    rejects,
    run_events,
    run_lists,
    runs,
    settling,
    slices,
    summaries,
)
from shared.store.chunk_list import ChunkPlace
from shared.store.chunks import ClaimedChunk
from shared.store.database import Database
from shared.store.run_lists import RunPlace, Wanted
from tests.shared.store.stage import DOUBT_MAX_S, T0, WINDOW_CHUNKS, Stage

CHUNKS = 100_000
MOST_ROWS = 3_000
"""Rows that one statement may touch: far more than the work at hand, far fewer than there are."""

FILL = (
    """
    INSERT INTO runs (id, pipeline_id, generation, kind, lane, mode, state, logical_at, snapshot, created_at, ended_at,
                      spool_freed_at, rejects_freed_at, slices_total, slices_published)
    SELECT gen_random_uuid(), 'people', 1, 'manual', 'live', 'full', 'settled', at, '{}', at, at, at, at, 1, 1
    FROM (SELECT now() - no * interval '1 h' - interval '1 d' AS at FROM generate_series(1, 9000) AS no)
    """,
    """
    INSERT INTO slices (id, run_id, no, state, rows_read, bytes_spooled)
    SELECT gen_random_uuid(), id, 0, 'published', 9, 9 FROM runs WHERE state = 'settled'
    """,
    """
    INSERT INTO chunks (id, run_id, slice_id, no, state, path, checksum, rows, bytes, position, accepted, claimant)
    SELECT gen_random_uuid(), run_id, id, 0, 'done', 'p', 's', 9, 9, 9, 9, 'host:1' FROM slices
    WHERE state = 'published'
    """,
    """
    INSERT INTO chunks (id, run_id, slice_id, no, state, path, checksum, rows, bytes, position, accepted)
    SELECT gen_random_uuid(), run_id, id, chunk, CASE settled WHEN 0 THEN 'ready' ELSE 'done' END,
           'p', 's', 9, 9, settled, settled
    FROM (SELECT no AS chunk, CASE WHEN no % 2 = 0 THEN 0 ELSE 9 END AS settled FROM generate_series(1, :chunks) AS no),
         slices
    WHERE state = 'pending'
    """,
    "UPDATE slices SET state = 'published'",
    """
    UPDATE runs SET state = 'uploading', chunks_total = :chunks, slices_published = 1, extracted = 9 * :chunks
    WHERE state = 'extracting'
    """,
    """
    INSERT INTO newer_rows (pipeline_id, user_key, iterator_at)
    SELECT 'people', md5(no::text)::uuid, now() FROM generate_series(1, :chunks) AS no
    """,
    """
    INSERT INTO rejected_users (pipeline_id, user_key, iterator_at)
    SELECT 'people', md5(no::text)::uuid, now() FROM generate_series(1, :chunks) AS no
    """,
    "INSERT INTO newer_counts (pipeline_id, rows) VALUES ('people', :chunks)",
    """
    INSERT INTO accepted_keys (pipeline_id, row_key, iterator_at)
    SELECT 'people', md5(no::text)::uuid, now() + no * interval '1 s' FROM generate_series(1, :chunks) AS no
    """,
    "INSERT INTO clients (id, name, role, secret_hash) VALUES ('client_0', 'nightly', 'admin', 's')",
    """
    INSERT INTO tokens (id, client_id, role, hash, expires_at)
    SELECT gen_random_uuid(), 'client_0', 'admin', md5(no::text), now() + interval '1 h'
    FROM generate_series(1, 20000) AS no
    """,
    """
    INSERT INTO audit (action, kind, subject, fields)
    SELECT 'changed', 'feed', 'us' || no % 10, '{}' FROM generate_series(1, 20000) AS no
    """,
    "UPDATE pipelines SET watermark = now() + interval '9 s' WHERE id = 'people'",
    "ANALYZE",
)


class Weight:
    """How many rows each statement of a block touches, by PostgreSQL's own account."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._statements: list[tuple[str, Any]] = []
        sa.event.listen(connection, "before_cursor_execute", self._remember)

    def _remember(self, *event: Any) -> None:
        self._statements.append((event[2], event[3]))

    def heaviest(self) -> tuple[int, str]:
        sa.event.remove(self._connection, "before_cursor_execute", self._remember)
        return max((self._touched(*statement), statement[0]) for statement in self._statements)

    def _touched(self, statement: str, parameters: Any) -> int:
        found = self._connection.exec_driver_sql(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters
        ).scalar_one()
        return max(rows_of((found if isinstance(found, list) else json.loads(found))[0]["Plan"]))


def rows_of(plan: Mapping[str, Any]) -> Iterator[int]:
    names = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter", "Rows Removed by Index Recheck")
    yield int(sum(plan.get(name, 0) for name in names) * plan["Actual Loops"])
    for part in plan.get("Plans", ()):
        yield from rows_of(part)


def crowded(database: Database) -> tuple[Stage, RunId]:
    """Fill a database with a year of hourly runs, and one run that has half of its many chunks before it."""
    stage = Stage(database)
    stage.declare()
    run_id = stage.started()
    stage.plan(run_id)
    with database.transaction() as connection:
        for statement in FILL:
            connection.execute(sa.text(statement), {"chunks": CHUNKS} if ":chunks" in statement else {})
    return stage, run_id


def test_no_hot_query_reads_more_than_its_work(database: Database) -> None:
    stage, run_id = crowded(database)
    run = stage.run(run_id)
    with stage.database.transaction() as connection:
        first = dispatching.dispatch(connection, run_id, run.lane, limit=WINDOW_CHUNKS)
    assert len(first) == WINDOW_CHUNKS
    held = stage.held(ChunkId(first[0].id))
    stage.record(held, 9)
    token, unknown = Token(uuid4()), uuid4()
    no_token = f"ws_{'A' * 43}"
    finished: ClaimedChunk = held.chunk
    hot: dict[str, Callable[[Connection], object]] = {
        "claim a chunk": lambda c: chunks.claim(c, ChunkId(first[1].id), token, 60, doubt_max_s=DOUBT_MAX_S),
        "finish a chunk": lambda c: chunks.finish(c, finished, held.token),
        "dispatch": lambda c: dispatching.dispatch(c, run_id, run.lane, limit=2 * WINDOW_CHUNKS),
        "claim a slice": lambda c: slices.claim(c, SliceId(unknown), token, 60),
        "count room": lambda c: (slices.room_taken(c), slices.waiting_for_room(c)),
        "free the dead": lost.free_dead,
        "find what was never sent": lambda c: lost.never_sent(c, window_chunks=3 * WINDOW_CHUNKS),
        "count what is outstanding": lost.sent_and_unclaimed,
        "send again": lambda c: [lost.send_again(c, q, at_most=9, after_s=-1, max_s=3600) for q in Queue],
        "find what nobody settled": lost.complete_unsettled,
        "find what is in doubt": lambda c: lost.in_doubt(c, longer_than_s=86400),
        "find expired spools": lambda c: lost.expired_spools(c, retention_s=3600),
        "find expired rejects": lambda c: rejects.expire(c, retention_s=3600),
        "list the newest runs": lambda c: run_lists.newest(c, Wanted(), limit=20),
        "list a pipeline's newest runs": lambda c: run_lists.newest(c, Wanted("people"), limit=20),
        "list the next page of a pipeline's runs": lambda c: run_lists.newest(
            c, Wanted("people"), before=RunPlace(run.created_at, run.number), limit=20
        ),
        "show all pipelines": summaries.of_all,
        "find open runs": lambda c: runs.open_of(c, "people"),
        "say why a run waits": lambda c: run_lists.why_they_wait(c, [run_id]),
        "ask whether history is loaded": lambda c: (newer.is_loading(c, "people"), newer.is_watched(c, "people")),
        "look users up": lambda c: newer.newer(c, "people", [uuid4() for _ in range(1_000)]),
        "forget users": lambda c: newer.forget(c, at_most=1_000),
        "look rows up": lambda c: accepted.known(c, "people", [uuid4() for _ in range(1_000)]),
        "forget rows": accepted.forget,
        "ask for rejected users": lambda c: rejected_users.are_any(c, "people"),
        "look rejected users up": lambda c: rejected_users.saw(c, "people", {uuid4(): T0 for _ in range(1_000)}),
        "stop a run": lambda c: runs.stop(c, run_id, RunState.CANCELLED, None),
        "identify somebody": lambda c: access.identify(c, no_token),
        "list what was done": lambda c: auditing.newest(c, kind="feed", subject="us1", before_id=20_000),
        "list a run's first chunks": lambda c: chunk_list.of_run(c, run_id),
        "list a run's last chunks": lambda c: chunk_list.of_run(c, run_id, after=ChunkPlace(0, CHUNKS - 9)),
        "list what happened to a run": lambda c: run_events.of_run(c, run_id),
        "find a run by its number": lambda c: runs.find(c, str(run.number)),
        "settle another": lambda c: settling.lock(c, run_id),
    }
    for name, ask in hot.items():
        with stage.database.transaction() as connection:
            weight = Weight(connection)
            ask(connection)
            touched, statement = weight.heaviest()
            connection.rollback()
        assert touched <= MOST_ROWS, f"{name} touches {touched} rows: {statement}"
