"""What is cut, noted or rejected of a run's rows counts once, wherever its uploads are struck."""

from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa

from shared import catalog
from shared.dataplan import DataPlan, OnViolation
from shared.ledger import Ledger
from shared.limits import MOST_EVENT_NAMES, Beyond, EventName, Limits
from shared.messages import TaskName
from shared.notices import NoticeName
from shared.probe import ProbeKind
from shared.run import Run, RunId, RunState
from shared.store import declared, event_names, notices
from shared.store.reject_tables import reject_files
from shared.transformation import FieldTransformation
from tests.worker.tasks.asking import answer_of
from tests.worker.tasks.desk import ROWS, Desk, Killed, Strike, When, fails_with

LONG = (
    "SELECT customer_id, CASE WHEN ends_with(customer_id, '3') THEN repeat('é', 5000) ELSE 'Zoë' END AS firstname"
    " FROM people"
)
UNPLANNED = "plan: user_attributes: firstname: unplanned"
USERS: dict[str, Any] = {
    "match": {"type": "user_attributes", "criteria": {}},
    "validator": {"type": "json_schema", "definition": {"additionalProperties": False, "properties": {"plan": {}}}},
}
EVENT: tuple[dict[str, Any], ...] = (
    {"mapping_type": "column", "source": "customer_id", "destination": "user_identities.customer_id"},
    {"mapping_type": "column", "source": "firstname", "destination": "events.data.event_name"},
    {"mapping_type": "static", "destination": "events.event_type", "value": "custom_event"},
    {"mapping_type": "static", "destination": "events.data.custom_event_type", "value": "other"},
)
NAMED = "SELECT customer_id, CASE WHEN ends_with(customer_id, '3') THEN 'new' ELSE 'old' END AS firstname FROM people"


def pipeline(desk: Desk, query: str, **declarations: Any) -> str:
    name = desk.pipeline(catalog.Full(), query=query)
    with desk.database.transaction() as store:
        if query == NAMED:
            transformation = {"id": name, "name": name, "mappings": EVENT}
            declared.put(store, FieldTransformation.model_validate(transformation))
            declarations["field_transformation_id"] = name
        whole = declared.get_pipeline(store, name).pipeline
        declared.put_pipeline(store, whole.model_copy(update=declarations))
    return name


def cut_and_judged(desk: Desk, on_violation: OnViolation = OnViolation.WARN) -> str:
    plan = DataPlan(document={"data_points": [USERS]}, on_violation=on_violation)
    return pipeline(desk, LONG, limits=Limits(attribute_value=Beyond.TRUNCATE), data_plan=plan)


def ended(desk: Desk, run_id: RunId) -> Run:
    run = desk.finish(run_id)
    assert run.state is RunState.SETTLED, run
    return run


def counted(desk: Desk, run_id: RunId) -> dict[str, int]:
    codes: dict[str, int] = {}
    for row in desk.rows(sa.select(reject_files.c.counts).where(reject_files.c.run_id == run_id)):
        for code, rows in row["counts"].items():
            codes[code] = codes.get(code, 0) + rows
    return codes


def fill_workspace(desk: Desk, *names: str) -> None:
    with desk.database.transaction() as store:
        known = [EventName("custom_event", name) for name in names]
        event_names.register(store, "default", known)
        others = [EventName("custom_event", f"other {number}") for number in range(MOST_EVENT_NAMES - len(names))]
        event_names.register(store, "default", others)


@pytest.mark.parametrize("when", When)
def test_findings_count_once_wherever_an_upload_is_killed(desk: Desk, when: When) -> None:
    for nth in count(1):
        run_id = desk.trigger(cut_and_judged(desk))
        arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
        strike = Strike(nth, when, fails_with(Killed()))
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, arguments)
        run = ended(desk, run_id)
        assert run.ledger == Ledger(extracted=ROWS, accepted=ROWS)
        assert dict(run.findings) == {"attribute_value_truncated": 1, UNPLANNED: ROWS}
        if not strike.fell:
            break
    assert nth > 3


def test_a_message_that_comes_twice_counts_nothing_twice(desk: Desk) -> None:
    run_id = desk.trigger(cut_and_judged(desk))
    while taken := desk.take():
        desk.do(*taken)
        desk.do(*taken)
    run = ended(desk, run_id)
    assert dict(run.findings) == {"attribute_value_truncated": 1, UNPLANNED: ROWS}
    with desk.database.transaction() as store:
        kept = notices.newest(store, run.pipeline_id)
    assert [notice.name for notice in kept] == [NoticeName.ROWS_FOUND]
    assert f"{UNPLANNED} (7), attribute_value_truncated (1)" in kept[0].message


def test_what_is_cut_arrives_cut(desk: Desk) -> None:
    run = ended(desk, desk.trigger(cut_and_judged(desk)))
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{run.pipeline_id}-3")
    assert profile is not None
    assert profile.attributes["firstname"] == "é" * 4096


def test_rows_that_violate_a_strict_plan_are_rejected_and_counted_by_rule(desk: Desk) -> None:
    run = ended(desk, desk.trigger(cut_and_judged(desk, OnViolation.REJECT)))
    assert run.ledger == Ledger(extracted=ROWS, rejected=ROWS)
    assert counted(desk, run.id) == {"plan_violation": ROWS}
    assert dict(run.findings) == {UNPLANNED: ROWS}


@pytest.mark.parametrize("when", When)
def test_rows_of_one_user_that_share_a_batch_count_as_merged_once(desk: Desk, when: When) -> None:
    query = "SELECT 'somebody' AS customer_id, firstname FROM people"
    for nth in count(1):
        run_id = desk.trigger(pipeline(desk, query))
        arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
        strike = Strike(nth, when, fails_with(Killed()))
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, arguments)
        run = ended(desk, run_id)
        assert (run.ledger, run.batches) == (Ledger(extracted=ROWS, accepted=ROWS), 3)
        assert dict(run.findings) == {"rows_merged": ROWS - 3}
        if not strike.fell:
            break
    assert nth > 3


def test_an_edited_plan_applies_to_later_runs_only(desk: Desk) -> None:
    name = cut_and_judged(desk)
    run_id = desk.trigger(name)
    desk.take_until(TaskName.UPLOAD_CHUNK)
    with desk.database.transaction() as store:
        whole = declared.get_pipeline(store, name).pipeline
        declared.put_pipeline(store, whole.model_copy(update={"data_plan": None, "limits": Limits()}))
    assert dict(ended(desk, run_id).findings) == {"attribute_value_truncated": 1, UNPLANNED: ROWS}
    later = ended(desk, desk.trigger(name))
    assert later.ledger == Ledger(extracted=ROWS, accepted=ROWS - 1, rejected=1)
    assert (dict(later.findings), counted(desk, later.id)) == ({}, {"value_too_long": 1})


def test_events_with_a_name_beyond_the_workspaces_are_counted(desk: Desk) -> None:
    fill_workspace(desk, "old")
    run = ended(desk, desk.trigger(pipeline(desk, NAMED)))
    assert run.ledger == Ledger(extracted=ROWS, accepted=ROWS)
    assert dict(run.findings) == {"distinct_names_over_limit": 1}


@pytest.mark.parametrize("when", When)
def test_events_with_a_name_beyond_the_workspaces_are_rejected_alike_after_every_death(desk: Desk, when: When) -> None:
    fill_workspace(desk, "old")
    for nth in count(1):
        run_id = desk.trigger(pipeline(desk, NAMED, limits=Limits(distinct_names=Beyond.REJECT)))
        arguments = desk.take_until(TaskName.UPLOAD_CHUNK)
        strike = Strike(nth, when, fails_with(Killed()))
        with desk.database.struck(strike):
            desk.do(TaskName.UPLOAD_CHUNK, arguments)
        run = ended(desk, run_id)
        assert run.ledger == Ledger(extracted=ROWS, accepted=ROWS - 1, rejected=1)
        assert counted(desk, run_id) == {"too_many_event_names": 1}
        if not strike.fell:
            break
    assert nth > 3


def test_no_name_of_an_event_is_in_what_an_operator_is_told(desk: Desk) -> None:
    fill_workspace(desk, "old")
    run = ended(desk, desk.trigger(pipeline(desk, NAMED)))
    with desk.database.transaction() as store:
        told = [notice.message for notice in notices.newest(store, run.pipeline_id)]
    assert len(told) == 1
    assert "new" not in told[0]
    assert "old" not in told[0]


def test_a_mapping_that_a_limit_refuses_fails_its_run_before_anything_is_read(desk: Desk) -> None:
    query = f'SELECT customer_id, 1 AS "{"x" * 300}" FROM people'
    run_id = desk.trigger(pipeline(desk, query, limits=Limits(user_attribute_name=Beyond.REJECT)))
    desk.do(TaskName.PLAN_RUN, desk.take_until(TaskName.PLAN_RUN))
    failed = desk.run(run_id)
    assert (failed.state, failed.error_kind) == (RunState.FAILED, "MappingRefused")
    assert "limits.user_attribute_name" in str(failed.error)


def test_a_long_name_of_an_attribute_arrives_cut(desk: Desk) -> None:
    query = f'SELECT customer_id, 1 AS "{"x" * 300}" FROM people'
    run = ended(desk, desk.trigger(pipeline(desk, query)))
    assert dict(run.findings) == {"user_attribute_name_truncated": ROWS}
    profile = desk.stand_in.intake.profiles.find("customer_id", f"{run.pipeline_id}-0")
    assert profile is not None
    assert set(profile.attributes) == {"x" * 256}


def test_a_preview_shows_what_a_strict_plan_would_reject(desk: Desk) -> None:
    name = cut_and_judged(desk, OnViolation.REJECT)
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name, rows=2)
    assert [(reject.code, reject.reason) for reject in answer.rejects] == [
        ("plan_violation", UNPLANNED.removeprefix("plan: "))
    ] * 2
