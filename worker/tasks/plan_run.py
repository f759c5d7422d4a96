"""``warehouse_sync.plan_run``: freeze a run's window and snapshot, and record its slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from celery import shared_task

from shared.catalog import Connection, DataModel, Incremental, Pipeline, declared_environment
from shared.errors import SyncError, Transient
from shared.feed import Feed
from shared.iterator import find_row_key, find_user_columns, floor_to_unit
from shared.mapping.cautions import cautions_of
from shared.mapping.plan import MappingPlan
from shared.messages import Message, TaskName, read_payload
from shared.moments import written_exactly
from shared.rejects import find_secrets
from shared.run import Lane, Run, RunId, RunKind, Token, Window
from shared.settings import Settings
from shared.snapshot import FrozenFeed, FrozenIterator, Snapshot
from shared.store import backfills, declared, moves, plans
from shared.store.backfills import Backfill
from shared.store.claims import fresh_token
from shared.store.declared import PipelineRow
from shared.store.tables import runs
from shared.telemetry import bind, bound, log
from shared.tracing import Span, ids_of
from shared.transformation import FieldTransformation
from worker import draft
from worker.heartbeat import heartbeat
from worker.mparticle.check import Checks
from worker.mparticle.keys import identities
from worker.parts import Parts, cut_history
from worker.plan import freeze_window, reads_from
from worker.process import Process
from worker.tasks.boundary import deliver, queued_s, recorded, this_process, traced
from worker.tasks.sources import for_a_replay, rejected_schema
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
            waited_s = queued_s(connection, runs, run_id) if run else None
        if run is None:
            _log.info("message_out_of_date")
            return
        bind(pipeline_id=run.pipeline_id)

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

        span = traced(TaskName.PLAN_RUN, run_id, **ids_of(run), queued_s=waited_s)
        with recorded(put_off=put_off, stop_run=stop_run), span:
            # Describing a slow view may outlast a lease.
            with heartbeat(renew, lease_s=process.settings.plan_lease_s, on_lost=lambda: None):
                messages = _plan(process, run, token, span)
            deliver(process, messages)


@dataclass(frozen=True, slots=True)
class _Declared:
    """What a run is planned from, as it stands when it is planned."""

    row: PipelineRow
    connection: Connection
    model: DataModel
    transformation: FieldTransformation | None
    feed: Feed
    backfill: Backfill | None

    @property
    def pipeline(self) -> Pipeline:
        return self.row.pipeline


def _plan(process: Process, run: Run, token: Token, span: Span) -> list[Message]:
    found = _look_up(process, run)
    if run.kind is RunKind.REPLAY:
        with for_a_replay(process, run):
            parts, snapshot = _freeze(process, run, found, rejected_schema(process, run))
    else:
        label = Label(f"run {run.number}", run.pipeline_id)
        with open_warehouse(found.connection, process.settings, label=label) as warehouse:
            schema = draft.describe(found.model, warehouse)
            find_secrets(schema.names, found.model.secret_columns)
            parts, snapshot = _freeze(process, run, found, schema, warehouse)
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
    span.note(parts=len(parts.windows), columns=len(snapshot.columns))
    _log.info(
        "run_planned",
        pipeline_id=run.pipeline_id,
        kind=run.kind,
        low=window.low and written_exactly(window.low),
        high=window.high and written_exactly(window.high),
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
            declared.transformation_of(connection, row.pipeline),
            declared.get(connection, Feed, row.pipeline.feed_id),
            backfills.to_be_cut(connection, run),
        )


def _freeze(
    process: Process, run: Run, found: _Declared, schema: pa.Schema, warehouse: Warehouse | None = None
) -> tuple[Parts, Snapshot]:
    """Compile what was declared for the columns of ``schema``; a replay has no window, and asks no warehouse."""
    pipeline, feed, limits = found.pipeline, found.feed, process.settings
    environment = draft.environment_of(pipeline, declared_environment(pipeline, found.connection))
    mode, parts = pipeline.sync_mode, Parts((Window(),))
    iterator = draft.iterator_of(schema, mode)
    if iterator is not None and isinstance(mode, Incremental) and warehouse is not None:
        parts = _windows(run, found, mode, iterator, warehouse)
    mapping = draft.compile_mapping(pipeline, found.transformation, schema, environment=environment, iterator=iterator)
    for caution in cautions_of(mapping, protection=feed.input_protection_level):
        _log.warning("mapping_needs_caution", pipeline_id=pipeline.id, caution=caution)
    checks = Checks(batch_max_bytes=limits.batch_max_bytes, limits=pipeline.limits)
    snapshot = Snapshot(
        pipeline_id=pipeline.id,
        connection_id=pipeline.connection_id,
        environment=environment,
        sql_query=found.model.sql_query,
        iterator=iterator,
        mapping=mapping.to_json(),
        checks=checks.to_json(),
        feed=FrozenFeed(
            id=feed.id,
            base_url=feed.base_url,
            api_key=feed.api_key,
            quota_group=feed.quota_group,
            batches_per_s=feed.batches_per_s,
            workspace=feed.workspace,
            gzip=feed.gzip,
        ),
        chunk_max_rows=limits.chunk_max_rows,
        chunk_max_bytes=limits.chunk_max_bytes,
        body_max_batches=limits.body_max_batches,
        body_max_bytes=limits.body_max_bytes,
        columns=tuple(schema.names),
        secret_columns=found.model.secret_columns,
        one_row_per=find_user_columns(schema, pipeline.one_row_per),
        data_plan=None if pipeline.data_plan is None else pipeline.data_plan.model_dump(mode="json"),
        **_merging(run, pipeline, mapping, limits),
        **_of_the_lane(run, found, iterator, parts.windows, schema),
        **_tolerance(run, pipeline),
    )
    return parts, snapshot


def _merging(run: Run, pipeline: Pipeline, mapping: MappingPlan, limits: Settings) -> dict[str, Any]:
    """Give who may share a batch, and which events are historical."""
    whose = [leaf.column for leaf in identities(mapping)]
    merging = draft.merging_of(pipeline, mapping, run.logical_at, most_events=limits.batch_max_events)
    return {
        "batch_max_events": merging.max_events,
        "merges_users": merging.users,
        "order_by": tuple(whose) if pipeline.order_by_identity else (),
        "historical_before_ms": merging.historical_before_ms,
    }


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
    if iterator is None or not isinstance(mode, Incremental) or run.kind is RunKind.REPLAY:
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


def _tolerance(run: Run, pipeline: Pipeline) -> dict[str, Any]:
    """Give how many rejected rows stop the run, and how many rows hold it; none a replay, which somebody asked for."""
    if run.kind is RunKind.REPLAY:
        return {"is_replay": True}
    volume = pipeline.volume
    return {
        "max_rejected_ratio": pipeline.max_rejected_ratio,
        "max_rejected_rows": pipeline.max_rejected_rows,
        "max_volume_rows": None if volume is None else volume.max_rows,
        "max_volume_ratio": None if volume is None else volume.max_ratio,
        "min_volume_rows": None if volume is None else volume.min_rows,
        "min_volume_ratio": None if volume is None else volume.min_ratio,
    }
