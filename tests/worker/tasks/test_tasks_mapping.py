"""An event pipeline is planned and asked about by its field transformation."""

from typing import Any

import pytest
import sqlalchemy as sa

from shared import catalog
from shared.mapping.plan import EVENT_TYPE, Constant, MappingPlan
from shared.messages import TaskName
from shared.probe import Answer, ProbeKind
from shared.run import RunState
from shared.store import declared
from shared.store.tables import runs
from shared.transformation import FieldTransformation
from tests.worker.tasks.asking import answer_of
from tests.worker.tasks.desk import Desk

INCREMENTAL = catalog.Incremental(iterator_field="CHANGED_AT", iterator_data_type=catalog.IteratorType.TIMESTAMP)
WHO = {"mapping_type": "column", "source": "Customer_ID", "destination": "user_identities.customer_id"}
WHAT = {"mapping_type": "static", "destination": "events.event_type", "value": "session_start"}
NAME = {"mapping_type": "column", "source": "firstname", "destination": "events.data.custom_attributes.first name"}
IGNORED = {"mapping_type": "ignore", "source": "firstname"}


def transformation(name: str, *mappings: dict[str, Any]) -> FieldTransformation:
    return FieldTransformation.model_validate({"id": name, "name": name, "mappings": mappings})


def event_pipeline(desk: Desk, *mappings: dict[str, Any], mode: catalog.Incremental = INCREMENTAL) -> str:
    name = desk.pipeline(mode)
    with desk.database.transaction() as store:
        declared.put(store, transformation(name, *mappings))
        pipeline = declared.get_pipeline(store, name).pipeline
        declared.put_pipeline(store, pipeline.model_copy(update={"field_transformation_id": name}))
    return name


def columns_of(desk: Desk, name: str) -> Answer:
    found: Answer = answer_of(desk, ProbeKind.COLUMNS, pipeline_id=name)
    return found


def plan_of(desk: Desk, run_id: object) -> MappingPlan:
    (row,) = desk.rows(sa.select(runs.c.snapshot).where(runs.c.id == run_id))
    return MappingPlan.from_json(row.snapshot["mapping"])


def test_a_run_freezes_its_plan_and_keeps_it_while_the_mapping_is_edited(desk: Desk) -> None:
    name = event_pipeline(desk, WHO, WHAT, NAME)
    run_id = desk.trigger(name)
    desk.do(TaskName.PLAN_RUN, desk.take_until(TaskName.PLAN_RUN))
    plan = plan_of(desk, run_id)
    assert plan.has_events
    assert Constant(EVENT_TYPE, "session_start") in plan.constants
    assert [leaf.column for leaf in plan.leaves] == ["customer_id", "firstname"]
    with desk.database.transaction() as store:
        declared.put(store, transformation(name, WHO, WHAT, IGNORED))
    assert plan_of(desk, run_id) == plan


def test_a_run_freezes_which_columns_are_secret(desk: Desk) -> None:
    name = desk.pipeline()
    with desk.database.transaction() as store:
        model = declared.get(store, catalog.DataModel, name)
        declared.put(store, model.model_copy(update={"secret_columns": ("FIRSTNAME",)}))
    run_id = desk.trigger(name)
    desk.do(TaskName.PLAN_RUN, desk.take_until(TaskName.PLAN_RUN))
    (row,) = desk.rows(sa.select(runs.c.snapshot).where(runs.c.id == run_id))
    assert row.snapshot["secret_columns"] == ["FIRSTNAME"]


def test_a_mapping_that_does_not_fit_fails_its_run_and_a_corrected_one_is_used(desk: Desk) -> None:
    name = event_pipeline(desk, WHO, NAME)
    run_id = desk.trigger(name)
    desk.do(TaskName.PLAN_RUN, desk.take_until(TaskName.PLAN_RUN))
    failed = desk.run(run_id)
    assert failed.state is RunState.FAILED
    assert "no mapping says of what type the events are" in str(failed.error)
    with desk.database.transaction() as store:
        declared.put(store, transformation(name, WHO, WHAT, NAME))
    desk.retry(run_id)
    desk.do(TaskName.PLAN_RUN, desk.take_until(TaskName.PLAN_RUN))
    assert plan_of(desk, run_id).has_events


def test_columns_say_where_each_goes(desk: Desk) -> None:
    also = {**NAME, "destination": "user_attributes.$FirstName"}
    answer = columns_of(desk, event_pipeline(desk, WHO, WHAT, NAME, also))
    assert [(one.name, one.becomes, one.refused) for one in answer.columns] == [
        ("customer_id", "user_identities.customer_id", None),
        ("firstname", "events.data.custom_attributes.first name, user_attributes.$FirstName", None),
        ("changed_at", "the iterator; it is not sent", None),
    ]
    assert answer.refused is None
    assert len(answer.cautions) == 1
    assert "timestamp_unixtime_ms is not mapped" in answer.cautions[0]


@pytest.mark.parametrize(
    ("mappings", "becomes", "refused"),
    [
        ([IGNORED], "ignored; it is not sent", None),
        ([], "nothing", "no mapping covers it"),
        ([{**NAME, "destination": "events.data.nam"}], "ignored; it is not sent", "does not exist; the nearest"),
        ([{**NAME, "destination": "events.data.screen_name"}], "events.data.screen_name", "these are session_start"),
        ([{**NAME, "destination": "events.data.session_start_unixtime_ms"}], None, "an instant is expected"),
    ],
)
def test_columns_say_which_of_them_keep_the_events_from_being_sent(
    desk: Desk, mappings: list[dict[str, Any]], becomes: str | None, refused: str | None
) -> None:
    answer = columns_of(desk, event_pipeline(desk, WHO, WHAT, *mappings))
    (column,) = [one for one in answer.columns if one.name == "firstname"]
    assert becomes is None or column.becomes == becomes
    assert (refused or "None") in str(column.refused)
    assert (answer.refused is None) == (refused is None)


def test_a_mapped_iterator_is_sent_and_no_caution_is_left(desk: Desk) -> None:
    when = {"mapping_type": "column", "source": "changed_at", "destination": "events.data.timestamp_unixtime_ms"}
    answer = columns_of(desk, event_pipeline(desk, WHO, WHAT, NAME, when))
    assert answer.columns[2].becomes == "events.data.timestamp_unixtime_ms"
    assert answer.refused is None
    assert answer.cautions == ()


def test_a_preview_shows_each_row_as_an_event_of_its_user(desk: Desk) -> None:
    when = {"mapping_type": "column", "source": "changed_at", "destination": "events.data.timestamp_unixtime_ms"}
    name = event_pipeline(desk, WHO, WHAT, NAME, when)
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name, rows=2)
    assert len(answer.batches) == 2
    for batch in answer.batches:
        (sent,) = batch["events"]
        assert sent["event_type"] == "session_start"
        assert sent["data"]["custom_attributes"] == {"first name": "Zoë"}
        assert sent["data"]["timestamp_unixtime_ms"] > 0
        assert batch["user_identities"]["customer_id"].startswith(name)
    assert answer.cautions == ()


def test_a_preview_says_what_may_not_be_expected(desk: Desk) -> None:
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=event_pipeline(desk, WHO, WHAT, NAME), rows=1)
    assert "timestamp_unixtime_ms is not mapped" in answer.cautions[0]


@pytest.mark.parametrize(("historical", "said"), [("auto", 1), ("never", 0)])
def test_a_preview_says_that_historical_events_are_not_forwarded(desk: Desk, historical: str, said: int) -> None:
    when = {"mapping_type": "column", "source": "at", "destination": "events.data.timestamp_unixtime_ms"}
    query = "SELECT customer_id, now() - INTERVAL 31 DAY AS at, changed_at FROM people"
    name = desk.pipeline(INCREMENTAL, query=query)
    with desk.database.transaction() as store:
        declared.put(store, transformation(name, WHO, WHAT, when))
        pipeline = declared.get_pipeline(store, name).pipeline
        changed = {"field_transformation_id": name, "historical": historical}
        declared.put_pipeline(store, pipeline.model_copy(update=changed))
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name, rows=2)
    assert len(answer.batches) == 2
    assert len([one for one in answer.cautions if one.startswith("2 of these batches hold events older")]) == said
