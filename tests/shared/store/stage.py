"""Workers without work: the store's moves in the order in which planners, extractors and uploaders make them."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from shared.catalog import (
    Connection,
    DataModel,
    Environment,
    Full,
    Incremental,
    IteratorType,
    Pipeline,
    ServiceProvider,
)
from shared.errors import SyncError
from shared.feed import Feed
from shared.ledger import Progress, Reject, RejectCode
from shared.messages import Message, TaskName
from shared.providers.duckdb import DuckDbConfig
from shared.run import ChunkId, PipelineState, Position, Run, RunId, SliceId, Standing, Token, Window
from shared.schedule import OnDemand, Schedule
from shared.spool import SpooledFile
from shared.store import breaker, chunks, declared, dispatching, lives, plans, requests, runs, settling, slices
from shared.store.asked import Asked
from shared.store.chunks import ClaimedChunk
from shared.store.claims import ClaimLost, fresh_token
from shared.store.database import Database
from shared.store.ground import metadata
from shared.store.slices import NewChunk, Published
from shared.transformation import FieldMapping, FieldTransformation, MappingType
from worker.settle import decide

WINDOW_CHUNKS = 8
MAX_REOPENINGS = 3
LEASE_S = 60.0
DOUBT_MAX_S = 25 * 86400.0
LAPSED_S = -1.0
"""A lease that lapses with the transaction that grants it: its holder counts as dead at once."""

T0 = datetime(2024, 5, 1, tzinfo=UTC)
T1 = datetime(2024, 5, 2, tzinfo=UTC)
T2 = datetime(2024, 5, 3, tzinfo=UTC)
FEED = Feed(
    id="us1",
    name="US",
    base_url="https://s2s.mparticle.com/v2",
    api_key="key",
    api_secret="env:WAREHOUSE_SYNC_SECRET_US1",
)
LAKE = Connection(
    id="lake", name="Lake", service_provider=ServiceProvider.DUCKDB, config=DuckDbConfig(folder=Path("/lake"))
)
USERS = DataModel(id="users", name="Users", sql_query="SELECT 1")
VISITS = FieldTransformation(
    id="visits",
    name="Visits",
    mappings=(
        FieldMapping(mapping_type=MappingType.STATIC, destination="events.event_type", value="session_start"),
        FieldMapping(mapping_type=MappingType.COLUMN, source="email", destination="user_identities.email"),
    ),
)
FULL = Full()
INCREMENTAL = Incremental(iterator_field="changed_at", iterator_data_type=IteratorType.TIMESTAMP_TZ)


@dataclass(frozen=True)
class Held:
    """A chunk and the token of whoever claimed it."""

    chunk: ClaimedChunk
    token: Token


@dataclass(frozen=True)
class Stage:
    """One database, and everybody who works on it."""

    database: Database

    def clear(self) -> None:
        """Remove everything, as if nothing had been declared."""
        with self.database.transaction() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(sa.delete(table))

    def declare(
        self,
        pipeline_id: str = "people",
        *,
        mode: Incremental | Full = FULL,
        environment: Environment | None = Environment.DEVELOPMENT,
        schedule: Schedule | None = None,
        is_active: bool = True,
    ) -> str:
        with self.database.transaction() as connection:
            declared.put(connection, FEED)
            declared.put(connection, LAKE)
            declared.put(connection, USERS)
            declared.put_pipeline(
                connection,
                Pipeline(
                    id=pipeline_id,
                    name=pipeline_id,
                    connection_id="lake",
                    data_model_id="users",
                    feed_id="us1",
                    environment=environment,
                    sync_mode=mode,
                    schedule=schedule or OnDemand(),
                ),
            )
            if (
                is_active
                and environment
                and declared.get_pipeline(connection, pipeline_id).state is PipelineState.DRAFT
            ):
                lives.activate(connection, pipeline_id)
        return pipeline_id

    def trigger(self, pipeline_id: str = "people") -> Asked:
        with self.database.transaction() as connection:
            return requests.trigger(connection, pipeline_id, window_chunks=WINDOW_CHUNKS, max_reopenings=MAX_REOPENINGS)

    def started(self, pipeline_id: str = "people") -> RunId:
        (run_id,) = self.trigger(pipeline_id).runs
        return run_id

    def claim_plan(self, run_id: RunId, *, lease_s: float = LEASE_S) -> tuple[Run, Token]:
        token = fresh_token()
        with self.database.transaction() as connection:
            run = plans.claim(connection, run_id, token, lease_s)
        if run is None:
            raise ClaimLost
        return run, token

    def freeze(
        self,
        run: Run,
        token: Token,
        window: Window,
        *,
        slice_count: int = 1,
        further_parts: Sequence[Window] = (),
        snapshot: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[Message]:
        with self.database.transaction() as connection:
            return plans.freeze(
                connection,
                run,
                token,
                window=window,
                snapshot=dict(snapshot),
                slice_count=slice_count,
                further_parts=further_parts,
            )

    def plan(
        self,
        run_id: RunId,
        window: Window | None = None,
        *,
        slice_count: int = 1,
        snapshot: Mapping[str, Any] = MappingProxyType({}),
    ) -> list[SliceId]:
        run, token = self.claim_plan(run_id)
        messages = self.freeze(run, token, window or Window(), slice_count=slice_count, snapshot=snapshot)
        return [SliceId(message.id) for message in messages if message.task is TaskName.EXTRACT_SLICE]

    def claim_slice(self, slice_id: SliceId, *, lease_s: float = LEASE_S) -> tuple[slices.ClaimedSlice, Token]:
        token = fresh_token()
        with self.database.transaction() as connection:
            claimed = slices.claim(connection, slice_id, token, lease_s)
        if claimed is None:
            raise ClaimLost
        return claimed, token

    def publish(
        self, claimed: slices.ClaimedSlice, token: Token, sizes: Sequence[int], *, extracted: int | None = None
    ) -> list[Message]:
        new = [NewChunk(ChunkId(uuid4()), no, f"{token}/{no}", "sum", rows, 100) for no, rows in enumerate(sizes)]
        with self.database.transaction() as connection:
            published = slices.publish(
                connection, claimed, token, new, extracted=sum(sizes) if extracted is None else extracted
            )
            if published is Published.IS_HELD:
                return []
            run = runs.get(connection, claimed.run_id)
            messages = dispatching.dispatch(connection, run.id, run.lane, limit=WINDOW_CHUNKS)
        return messages or ([Message(TaskName.SETTLE_RUN, run.id)] if published is Published.IS_READ else [])

    def publish_and_continue(
        self, claimed: slices.ClaimedSlice, token: Token, sizes: Sequence[int], *, lease_s: float = LEASE_S
    ) -> tuple[slices.ClaimedSlice | None, list[Message]]:
        """Publish some of a slice and claim what follows; claim nothing where the run is held instead."""
        new = [
            NewChunk(ChunkId(uuid4()), no, f"{token}/{claimed.no}/{no}", "sum", rows, 100)
            for no, rows in enumerate(sizes)
        ]
        position: Position = {"result": str(claimed.run_id), "row": claimed.no + 1}
        with self.database.transaction() as connection:
            following = slices.publish_and_continue(
                connection, claimed, token, new, extracted=sum(sizes), position=position, lease_s=lease_s
            )
            if following is None:
                return None, []
            run = runs.get(connection, claimed.run_id)
            return following, dispatching.dispatch(connection, run.id, run.lane, limit=WINDOW_CHUNKS)

    def extract(self, slice_id: SliceId, sizes: Sequence[int]) -> list[ChunkId]:
        self.publish(*self.claim_slice(slice_id), sizes)
        return self.chunk_ids(slice_id)

    def uploading(self, sizes: Sequence[int], window: Window | None = None) -> tuple[RunId, list[ChunkId]]:
        """Take a pipeline's next run to where its chunks wait to be uploaded."""
        run_id = self.started()
        (slice_id,) = self.plan(run_id, window)
        return run_id, self.extract(slice_id, sizes)

    def claim(self, chunk_id: ChunkId, *, lease_s: float = LEASE_S) -> Held | None:
        token = fresh_token()
        with self.database.transaction() as connection:
            claimed = chunks.claim(connection, chunk_id, token, lease_s, doubt_max_s=DOUBT_MAX_S)
        return None if claimed is None else Held(claimed, token)

    def held(self, chunk_id: ChunkId, *, lease_s: float = LEASE_S) -> Held:
        held = self.claim(chunk_id, lease_s=lease_s)
        if held is None:
            raise ClaimLost
        return held

    def record(
        self,
        held: Held,
        position: int,
        *,
        start: int | None = None,
        rejected: int = 0,
        findings: Mapping[str, int] | None = None,
    ) -> bool:
        first = held.chunk.position if start is None else start
        rejects = tuple(Reject(first + row, RejectCode.NO_IDENTITY, "no identity") for row in range(rejected))
        file = SpooledFile(f"rejects/{held.token}/{first}", rejected, 10, "sum") if rejects else None
        progress = Progress(position, position - first - rejected, rejects)
        with self.database.transaction() as connection:
            return chunks.record(
                connection, held.chunk, held.token, progress, lease_s=LEASE_S, rejects=file, findings=findings or {}
            )

    def finish(self, held: Held) -> list[Message]:
        with self.database.transaction() as connection:
            return chunks.finish(connection, held.chunk, held.token)

    def upload(self, chunk_id: ChunkId, *, rejected: int = 0) -> list[Message]:
        held = self.held(chunk_id)
        if held.chunk.position < held.chunk.rows:
            self.record(held, held.chunk.rows, rejected=rejected)
        return self.finish(held)

    def settle(self, run_id: RunId) -> bool:
        return self._settled(run_id) is not None

    def settled(self, run_id: RunId) -> list[Message]:
        """Settle a run that is complete, and give the messages of what waited for it."""
        messages = self._settled(run_id)
        assert messages is not None
        return messages

    def _settled(self, run_id: RunId) -> list[Message] | None:
        with self.database.transaction() as connection:
            held = settling.lock(connection, run_id)
            settlement = decide(held.run, held.pipeline.standing, settling.other_parts(connection, held.run))
            if settlement is None or breaker.judge(connection, run_id):
                return None
            return settling.settle(
                connection,
                held,
                watermark=settlement.watermark,
                history_settled_to=settlement.history_settled_to,
            )

    def complete(self, run_id: RunId, window: Window | None = None, sizes: Sequence[int] = (2,)) -> None:
        """Take a run that was just asked for to its end."""
        for slice_id in self.plan(run_id, window):
            for chunk_id in self.extract(slice_id, sizes):
                self.upload(chunk_id)
        assert self.settle(run_id)

    def past_history(self) -> None:
        """Declare an incremental pipeline whose initial sync has settled up to T0."""
        self.declare(mode=INCREMENTAL)
        self.complete(self.started(), Window(None, T0, includes_null=True))

    def run(self, run_id: RunId) -> Run:
        with self.database.transaction() as connection:
            return runs.get(connection, run_id)

    def standing(self, pipeline_id: str = "people") -> Standing:
        with self.database.transaction() as connection:
            return declared.get_pipeline(connection, pipeline_id).standing

    def fault(self, pipeline_id: str = "people") -> str | None:
        with self.database.transaction() as connection:
            return declared.get_pipeline(connection, pipeline_id).faulted_reason

    def chunk_ids(self, slice_id: SliceId) -> list[ChunkId]:
        rows = self.rows("SELECT id FROM chunks WHERE slice_id = :slice ORDER BY no", slice=slice_id)
        return [ChunkId(row.id) for row in rows]

    def chunk(self, chunk_id: ChunkId) -> Any:
        (row,) = self.rows("SELECT * FROM chunks WHERE id = :id", id=chunk_id)
        return row

    def rows(self, statement: str, **parameters: object) -> Sequence[Any]:
        with self.database.transaction() as connection:
            return connection.execute(sa.text(statement), parameters).all()

    def write(self, statement: str, **parameters: object) -> None:
        with self.database.transaction() as connection:
            connection.execute(sa.text(statement), parameters)


def sent(messages: Iterable[Message], task: TaskName) -> list[Any]:
    """Give the ids in the messages of one task."""
    return [message.id for message in messages if message.task is task]


def at_once(*acts: Callable[[], object]) -> list[object]:
    """Do all of it in threads that begin together; give what each gave, or raised."""
    ready = threading.Barrier(len(acts))

    def do(act: Callable[[], object]) -> object:
        ready.wait()
        try:
            return act()
        except SyncError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(do, acts))
