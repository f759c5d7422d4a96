"""``warehouse_sync.plan_run``: freeze a run's window and snapshot, and record its slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from celery import shared_task

from shared.catalog import Connection, DataModel, Feed, Incremental, Pipeline, declared_environment
from shared.errors import DeclarationInvalid, SyncError, Transient
from shared.iterator import find_row_key, find_user_columns, floor_to_unit
from shared.mapping.compile import compile_user_mapping
from shared.messages import Message, TaskName, read_payload
from shared.run import Lane, Run, RunId, Token, Window
from shared.snapshot import FrozenFeed, FrozenIterator, Snapshot
from shared.store import backfills, declared, moves, plans
from shared.store.backfills import Backfill
from shared.store.claims import fresh_token
from shared.store.declared import PipelineRow
from shared.telemetry import bound, log
from worker import draft
from worker.heartbeat import heartbeat
from worker.mparticle.check import Checks
from worker.parts import Parts, cut_history
from worker.plan import freeze_window, reads_from
from worker.process import Process
from worker.tasks.boundary import deliver, recorded, this_process
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

_log = log(__name__)


@shared_task(name=TaskName.PLAN_RUN.value, acks_late=False)
def plan_run(payload: object) -> None:
    """Plan the run that the payload names, once, whoever sends it how often."""
    run_id = RunId(read_payload(payload))
    with bound(run_id=str(run_id)), recorded():
        process = this_process()
        token = fresh_token()
        with process.database.transaction() as connection:
            run = plans.claim(connection, run_id, token, process.settings.plan_lease_s)
        if run is None:
            _log.info("message_out_of_date")
            return

        def put_off(error: Transient) -> None:
            with process.database.transaction() as connection:
                plans.put_off(connection, run_id, token, process.settings.retry_after_s, str(error))

        def stop_run(error: SyncError) -> None:
            with process.database.transaction() as connection:
                plans.put_off(connection, run_id, token, 0, str(error))
                moves.fail(connection, run_id, error)

        def renew() -> bool:
            with process.database.transaction() as connection:
                plans.renew(connection, run_id, token, process.settings.plan_lease_s)
            return True

        with recorded(put_off=put_off, stop_run=stop_run):
            # Describing a slow view may outlast a lease.
            with heartbeat(renew, lease_s=process.settings.plan_lease_s, on_lost=lambda: None):
                messages = _plan(process, run, token)
            deliver(process, messages)


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a run is planned from, as it stands when it is planned."""

    row: PipelineRow
    connection: Connection
    model: DataModel
    feed: Feed
    backfill: Backfill | None

    @property
    def pipeline(self) -> Pipeline:
        return self.row.pipeline


def _plan(process: Process, run: Run, token: Token) -> list[Message]:
    found = _look_up(process, run)
    label = Label(f"run {run.id}", run.pipeline_id)
    with open_warehouse(found.connection, process.settings, label=label) as warehouse:
        parts, snapshot = _freeze(process, run, found, warehouse)
    window, *further = parts.windows
    with process.database.transaction() as connection:
        messages = plans.freeze(
            connection,
            run,
            token,
            window=window,
            snapshot=snapshot.model_dump(mode="json"),
            slice_count=0 if window.is_empty else 1,
            further_parts=further,
        )
        if run.backfill_id is not None and parts.expected_rows is not None:
            backfills.expect(connection, run.backfill_id, parts.expected_rows)
    _log.info(
        "run_planned",
        pipeline_id=run.pipeline_id,
        kind=run.kind,
        low=str(window.low),
        high=str(window.high),
        parts=len(parts.windows),
        missed=run.missed,
    )
    return messages


def _look_up(process: Process, run: Run) -> _Declared:
    with process.database.transaction() as connection:
        row = declared.get_pipeline(connection, run.pipeline_id)
        return _Declared(
            row,
            declared.get(connection, Connection, row.pipeline.connection_id),
            declared.get(connection, DataModel, row.pipeline.data_model_id),
            declared.get(connection, Feed, row.pipeline.feed_id),
            backfills.to_be_cut(connection, run),
        )


def _freeze(process: Process, run: Run, found: _Declared, warehouse: Warehouse) -> tuple[Parts, Snapshot]:
    pipeline, feed, limits = found.pipeline, found.feed, process.settings
    environment = declared_environment(pipeline, found.connection)
    if environment is None:
        raise DeclarationInvalid(f"pipeline {pipeline.id!r} declares no environment; set development or production")
    schema = draft.describe(found.model, warehouse)
    mode, parts = pipeline.sync_mode, Parts((Window(),))
    iterator = draft.iterator_of(schema, mode)
    if iterator is not None and isinstance(mode, Incremental):
        parts = _windows(run, found, mode, iterator, warehouse)
    mapping = compile_user_mapping(
        schema,
        environment=environment,
        on_null=pipeline.on_null,
        iterator=iterator.column if iterator else None,
        rename=pipeline.rename,
    )
    snapshot = Snapshot(
        pipeline_id=pipeline.id,
        connection_id=pipeline.connection_id,
        environment=environment,
        sql_query=found.model.sql_query,
        iterator=iterator,
        mapping=mapping.to_json(),
        checks=Checks(batch_max_bytes=limits.batch_max_bytes).to_json(),
        feed=FrozenFeed(
            id=feed.id,
            base_url=feed.base_url,
            api_key=feed.api_key,
            quota_group=feed.quota_group,
            batches_per_s=feed.batches_per_s,
            gzip=feed.gzip,
        ),
        chunk_max_rows=limits.chunk_max_rows,
        chunk_max_bytes=limits.chunk_max_bytes,
        body_max_batches=limits.body_max_batches,
        body_max_bytes=limits.body_max_bytes,
        columns=tuple(schema.names),
        one_row_per=find_user_columns(schema, pipeline.one_row_per),
        **_of_the_lane(run, found, iterator, parts.windows, schema),
    )
    return parts, snapshot


def _windows(run: Run, found: _Declared, mode: Incremental, iterator: FrozenIterator, warehouse: Warehouse) -> Parts:
    window = freeze_window(
        run,
        mode,
        iterator,
        standing=found.row.standing,
        delay=found.pipeline.schedule.delay,
        warehouse_now=warehouse.clock(),
    )
    if found.backfill is None:
        return Parts((window,))
    return cut_history(
        found.model,
        warehouse,
        mode,
        iterator,
        window,
        parts=found.backfill.parts,
        newest_first=found.backfill.newest_first,
    )


def _of_the_lane(
    run: Run, found: _Declared, iterator: FrozenIterator | None, windows: Sequence[Window], schema: pa.Schema
) -> dict[str, Any]:
    """Give what only the live lane looks back for, and only history is ranked by."""
    mode = found.pipeline.sync_mode
    if iterator is None or not isinstance(mode, Incremental):
        return {}
    if run.lane is Lane.BACKFILL:
        ends = [window.high for window in windows if window.high is not None]
        ranked_to = found.row.standing.watermark or max(ends, default=None)
        return {"ranked_to": ranked_to and floor_to_unit(ranked_to, iterator.type, iterator.zone)}
    return {
        "reads_from": reads_from(windows[0], mode, iterator),
        "row_key": None if mode.row_key is None else find_row_key(schema, mode.row_key),
        "lookback_s": 0 if mode.lookback is None else mode.lookback.total_seconds(),
    }
