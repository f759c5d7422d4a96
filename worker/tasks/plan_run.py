"""``warehouse_sync.plan_run``: freeze a run's window and snapshot, and record its slices."""

from celery import shared_task

from shared.catalog import Connection, DataModel, Feed, Incremental, declared_environment
from shared.errors import DeclarationInvalid, SyncError, Transient
from shared.mapping.compile import compile_user_mapping
from shared.messages import Message, TaskName, read_payload
from shared.run import Run, RunId, Token, Window
from shared.snapshot import FrozenFeed, Snapshot
from shared.store import declared, moves, plans
from shared.store.claims import fresh_token
from shared.store.declared import PipelineRow
from shared.telemetry import bound, log
from worker import draft
from worker.heartbeat import heartbeat
from worker.mparticle.check import Checks
from worker.plan import freeze_window
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


def _plan(process: Process, run: Run, token: Token) -> list[Message]:
    with process.database.transaction() as connection:
        row = declared.get_pipeline(connection, run.pipeline_id)
        warehouse_declared = declared.get(connection, Connection, row.pipeline.connection_id)
        model = declared.get(connection, DataModel, row.pipeline.data_model_id)
        feed = declared.get(connection, Feed, row.pipeline.feed_id)
    with open_warehouse(
        warehouse_declared, process.settings, label=Label(f"run {run.id}", run.pipeline_id)
    ) as warehouse:
        window, snapshot = _freeze(process, run, row, warehouse_declared, model, feed, warehouse)
    with process.database.transaction() as connection:
        messages = plans.freeze(
            connection,
            run,
            token,
            window=window,
            snapshot=snapshot.model_dump(mode="json"),
            slice_count=0 if window.is_empty else 1,
        )
    _log.info("run_planned", pipeline_id=run.pipeline_id, kind=run.kind, low=str(window.low), high=str(window.high))
    return messages


def _freeze(
    process: Process,
    run: Run,
    row: PipelineRow,
    connection: Connection,
    model: DataModel,
    feed: Feed,
    warehouse: Warehouse,
) -> tuple[Window, Snapshot]:
    pipeline, limits = row.pipeline, process.settings
    environment = declared_environment(pipeline, connection)
    if environment is None:
        raise DeclarationInvalid(f"pipeline {pipeline.id!r} declares no environment; set development or production")
    schema = draft.describe(model, warehouse)
    mode, window = pipeline.sync_mode, Window()
    iterator = draft.iterator_of(schema, mode)
    if iterator is not None and isinstance(mode, Incremental):
        window = freeze_window(
            run,
            mode,
            iterator,
            standing=row.standing,
            delay=pipeline.schedule.delay,
            warehouse_now=warehouse.clock(),
        )
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
        sql_query=model.sql_query,
        iterator=iterator,
        mapping=mapping.to_json(),
        checks=Checks(batch_max_bytes=limits.batch_max_bytes).to_json(),
        feed=FrozenFeed(
            id=feed.id,
            base_url=feed.base_url,
            api_key=feed.api_key,
            quota_group=feed.quota_group,
            batches_per_s=feed.batches_per_s,
        ),
        chunk_max_rows=limits.chunk_max_rows,
        chunk_max_bytes=limits.chunk_max_bytes,
        body_max_batches=limits.body_max_batches,
        body_max_bytes=limits.body_max_bytes,
    )
    return window, snapshot
