"""Two releases side by side, as while workers are upgraded one after the other: what the older leaves to the newer."""

from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from shared.mapping.plan import PLAN_VERSION
from shared.messages import PAYLOAD_VERSION, TaskName
from shared.run import WORKING, RunId
from shared.snapshot import SNAPSHOT_VERSION
from shared.store.declared_tables import pipelines
from shared.store.tables import runs
from tests.worker.tasks.desk import Desk, assert_settled_whole
from worker.mparticle.check import CHECKS_VERSION


@pytest.mark.parametrize("task", [TaskName.EXTRACT_SLICE, TaskName.UPLOAD_CHUNK])
def test_a_run_planned_by_a_newer_version_waits_for_a_worker_of_that(desk: Desk, task: TaskName) -> None:
    run_id = desk.trigger(desk.pipeline())
    arguments = desk.take_until(task)
    frozen = desk.run(run_id).snapshot
    assert frozen is not None
    freeze(desk, run_id, {**frozen, "version": SNAPSHOT_VERSION + 1, "what_it_changes": True})
    desk.do(task, arguments)
    assert desk.run(run_id).state in WORKING
    assert desk.run(run_id).error is None
    freeze(desk, run_id, frozen)
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_what_a_newer_version_added_and_an_older_may_leave_out_is_left_out(desk: Desk) -> None:
    run_id = desk.trigger(desk.pipeline())
    desk.take_until(TaskName.EXTRACT_SLICE)
    frozen = desk.run(run_id).snapshot
    assert frozen is not None
    freeze(desk, run_id, {**frozen, "of_a_later_version": 1, "feed": {**frozen["feed"], "of_a_later_version": 1}})
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_a_pipeline_declared_with_a_newer_version_is_planned_by_a_worker_of_that(desk: Desk) -> None:
    pipeline_id = desk.pipeline()
    run_id = desk.trigger(pipeline_id)
    arguments = desk.take_until(TaskName.PLAN_RUN)
    declare(desk, pipeline_id, pipelines.c.document.op("||")(sa.cast({"of_a_later_version": 1}, JSONB)))
    desk.do(TaskName.PLAN_RUN, arguments)
    assert desk.run(run_id).state in WORKING
    declare(desk, pipeline_id, pipelines.c.document.op("-")("of_a_later_version"))
    desk.time_passes()
    desk.do(TaskName.UPKEEP, ())
    assert_settled_whole(desk, desk.finish(run_id).id)


def test_a_new_form_of_what_a_snapshot_holds_is_a_new_version_of_snapshots() -> None:
    """Whoever changes one of these asks: may a worker of the release before go on with such a run?"""
    assert (SNAPSHOT_VERSION, PLAN_VERSION, CHECKS_VERSION, PAYLOAD_VERSION) == (1, 2, 2, 1)


def freeze(desk: Desk, run_id: RunId, snapshot: Mapping[str, Any]) -> None:
    with desk.process.database.transaction() as connection:
        connection.execute(sa.update(runs).where(runs.c.id == run_id).values(snapshot=dict(snapshot)))


def declare(desk: Desk, pipeline_id: str, document: sa.ColumnElement[Any]) -> None:
    with desk.process.database.transaction() as connection:
        connection.execute(sa.update(pipelines).where(pipelines.c.id == pipeline_id).values(document=document))
