"""Every line that a task logs says of which run, pipeline, chunk and attempt it is, whichever thread logs it."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from sandbox.faults import Faults
from shared.errors import StoreUnavailable
from shared.messages import TaskName
from shared.run import RunState
from shared.store import chunks
from shared.telemetry import configure_logs
from tests.worker.tasks.conftest import LIMITS
from tests.worker.tasks.desk import Desk
from tests.worker.tasks.test_tasks_replay import QUERY

OF_ALL = {"run_id", "pipeline_id"}
OF_TASK = {
    TaskName.PLAN_RUN: OF_ALL,
    TaskName.EXTRACT_SLICE: OF_ALL | {"slice_id", "slice_no"},
    TaskName.UPLOAD_CHUNK: OF_ALL | {"chunk_id", "chunk_no", "attempt"},
    TaskName.SETTLE_RUN: OF_ALL,
}


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the logs as they were found."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.fixture
def limits() -> dict[str, str]:
    return {**LIMITS, "UPLOAD_LEASE_S": "0.3", "CHUNK_MAX_ROWS": "100"}


def test_every_line_of_a_task_names_what_it_is_about(
    desk: Desk, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    renew, refusals = chunks.renew, iter([StoreUnavailable("the connection broke")])

    def renewed(*arguments: Any) -> None:
        for refusal in refusals:
            raise refusal
        renew(*arguments)

    monkeypatch.setattr("worker.tasks.upload_chunk.chunks.renew", renewed)
    configure_logs("json")
    name = desk.pipeline(query=QUERY)
    run_id = desk.trigger(name)
    # Longer than the heartbeat waits before it renews; then an attempt that ends without an answer.
    desk.stand_in.intake.faults.turn(Faults.model_validate({"delay_s": 0.5, "next": 2}))
    by_task: dict[TaskName, list[dict[str, object]]] = {task: [] for task in OF_TASK}

    def do(task: TaskName, arguments: tuple[Any, ...]) -> None:
        capsys.readouterr()
        desk.do(task, arguments)
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        by_task[task] += [line for line in lines if line["event"] != "message_out_of_date"]

    assert desk.finish(run_id, do).state is RunState.SETTLED
    events = {str(line["event"]) for lines in by_task.values() for line in lines}
    assert {"slice_published", "lease_not_renewed", "rows_rejected", "run_settled"} <= events
    for task, lines in by_task.items():
        for line in lines:
            assert OF_TASK[task] <= line.keys(), line
            assert line["run_id"] == str(run_id)
            assert line["pipeline_id"] == name
    assert structlog.contextvars.get_contextvars() == {}
