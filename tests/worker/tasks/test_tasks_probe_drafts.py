"""Declarations that nobody saved are asked about as those that are; and a worker reads what it can."""

from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import ValidationError

from shared import catalog
from shared.errors import DeclarationInvalid, ModelInvalid, NotFound, PayloadUnknown
from shared.messages import TaskName
from shared.probe import ProbeKind, Question
from shared.rejects import MASK
from shared.store import declared, probes
from shared.store.declared_tables import data_models, pipelines
from shared.store.tables import probes as rows_of_probes
from shared.transformation import FieldTransformation
from tests.worker.tasks.asking import answer_of, ask, look
from tests.worker.tasks.desk import QUERY, ROWS, Desk

INCREMENTAL = catalog.Incremental(iterator_field="changed_at", iterator_data_type=catalog.IteratorType.TIMESTAMP)


def draft_of(desk: Desk, query: str = QUERY, **changed: Any) -> dict[str, Any]:
    """Give an unsaved pipeline and data model over the warehouse of a saved one."""
    saved = desk.pipeline()
    with desk.database.transaction() as store:
        row = declared.get_pipeline(store, saved)
    model = catalog.DataModel(id="unsaved", name="unsaved", sql_query=query)
    pipeline = row.pipeline.model_copy(update={"id": "unsaved", "name": "unsaved", "data_model_id": "unsaved"})
    return {"pipeline": pipeline.model_copy(update=changed), "data_model": model}


def test_an_unsaved_pipeline_is_previewed_and_counted_and_stays_unsaved(desk: Desk) -> None:
    draft = draft_of(desk, sync_mode=INCREMENTAL)
    before = desk.rows(sa.select(pipelines.c.id)), desk.rows(sa.select(data_models.c.id))
    assert [one.name for one in answer_of(desk, ProbeKind.COLUMNS, **draft).columns] == [
        "customer_id",
        "firstname",
        "changed_at",
    ]
    preview = answer_of(desk, ProbeKind.PREVIEW, **draft, rows=2)
    assert [batch["user_attributes"] for batch in preview.batches] == [{"firstname": "Zoë"}] * 2
    counted = answer_of(desk, ProbeKind.COUNT, **draft)
    assert (counted.low, counted.row_count) == (None, ROWS), "its next run is its first"
    assert answer_of(desk, ProbeKind.COST, **draft).scanned_bytes is None
    assert (desk.rows(sa.select(pipelines.c.id)), desk.rows(sa.select(data_models.c.id))) == before


def test_an_unsaved_data_model_stands_for_the_saved_one_of_its_id(desk: Desk) -> None:
    name = desk.pipeline()
    model = catalog.DataModel(id=name, name=name, sql_query="SELECT customer_id FROM people")
    answer = answer_of(desk, ProbeKind.COLUMNS, pipeline_id=name, data_model=model)
    assert [one.name for one in answer.columns] == ["customer_id"]
    with pytest.raises(DeclarationInvalid, match="'another'"):
        answer_of(desk, ProbeKind.COLUMNS, pipeline_id=name, data_model=model.model_copy(update={"id": "another"}))


def test_an_unsaved_transformation_makes_events(desk: Desk) -> None:
    transformation = FieldTransformation.model_validate(
        {
            "id": "unsaved-events",
            "name": "unsaved events",
            "mappings": [
                {"mapping_type": "static", "value": "custom_event", "destination": "events.event_type"},
                {"mapping_type": "static", "value": "seen", "destination": "events.data.event_name"},
                {"mapping_type": "static", "value": "other", "destination": "events.data.custom_event_type"},
                {"mapping_type": "column", "source": "customer_id", "destination": "user_identities.customer_id"},
                {"mapping_type": "ignore", "source": "firstname"},
                {"mapping_type": "ignore", "source": "changed_at"},
            ],
        }
    )
    draft = draft_of(desk, field_transformation_id=transformation.id)
    answer = answer_of(desk, ProbeKind.PREVIEW, **draft, field_transformation=transformation, rows=1)
    assert [batch["events"][0]["event_type"] for batch in answer.batches] == ["custom_event"]


def test_what_an_unsaved_pipeline_names_has_to_be_declared(desk: Desk) -> None:
    draft = draft_of(desk, connection_id="nowhere")
    with pytest.raises(NotFound, match="'nowhere'"):
        answer_of(desk, ProbeKind.COLUMNS, **draft)


def test_a_query_shows_columns_what_they_become_and_rows(desk: Desk) -> None:
    connection = desk.pipeline()
    model = catalog.DataModel(
        id="tried",
        name="tried",
        sql_query="SELECT customer_id, firstname AS Nick FROM people",
        secret_columns=("nick",),
    )
    answer = answer_of(desk, ProbeKind.QUERY, connection_id=connection, data_model=model, rows=2)
    assert [(one.name, one.becomes) for one in answer.columns] == [
        ("customer_id", "user_identities.customer_id"),
        ("Nick", "user_attributes.Nick"),
    ]
    assert [row["Nick"] for row in answer.rows] == [MASK, MASK]
    assert not answer.batches
    saved = answer_of(desk, ProbeKind.QUERY, connection_id=connection, data_model_id=connection)
    assert len(saved.rows) == 5
    broken = model.model_copy(update={"sql_query": "DELETE FROM people"})
    with pytest.raises(ModelInvalid, match="SELECT"):
        answer_of(desk, ProbeKind.QUERY, connection_id=connection, data_model=broken)


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"kind": "test"}, "names one connection_id"),
        ({"kind": "columns"}, "names one pipeline_id or pipeline"),
        ({"kind": "query", "connection_id": "people"}, "names one data_model_id or data_model"),
        ({"kind": "feed", "connection_id": "people"}, "names no connection_id; expected feed_id"),
        ({"kind": "spool", "pipeline_id": "people"}, "expected nothing"),
        ({"kind": "send", "pipeline_id": "people", "rows": 21}, "at most 20 are sent"),
    ],
)
def test_a_question_names_what_its_kind_asks_for_and_nothing_else(document: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Question.model_validate(document)


def test_a_pipeline_carries_only_what_it_names(desk: Desk) -> None:
    draft = draft_of(desk, data_model_id="another")
    with pytest.raises(ValidationError, match="the pipeline names 'another'"):
        Question(kind=ProbeKind.COLUMNS, **draft)


def test_a_question_that_needs_nothing_new_is_stored_as_the_previous_release_reads_it(desk: Desk) -> None:
    about = Question(kind=ProbeKind.COUNT, pipeline_id="people").to_json()
    assert about == {"kind": "count", "pipeline_id": "people"}
    draft = draft_of(desk, max_rejected_ratio=None)
    again = Question.model_validate(Question(kind=ProbeKind.COLUMNS, **draft).to_json())
    assert again.pipeline == draft["pipeline"], "what is none stays none, where the default is another"


def test_whoever_asks_what_a_worker_cannot_read_hears_so_at_once(desk: Desk) -> None:
    probe_id, arguments = ask(desk, ProbeKind.TEST, connection_id=desk.pipeline())
    with desk.database.transaction() as store:
        store.execute(sa.update(rows_of_probes).values(question={"kind": "of_tomorrow", "secret": "s3cret"}))
    desk.do(TaskName.PROBE, arguments)
    error = look(desk, probe_id).error
    assert isinstance(error, PayloadUnknown)
    assert "'of_tomorrow'" in str(error)
    assert "s3cret" not in str(error)


def test_an_answer_of_a_later_release_is_read_as_far_as_it_is_known(desk: Desk) -> None:
    probe_id, arguments = ask(desk, ProbeKind.TEST, connection_id=desk.pipeline())
    desk.do(TaskName.PROBE, arguments)
    with desk.database.transaction() as store:
        added = sa.cast(rows_of_probes.c.answer, sa.dialects.postgresql.JSONB).concat({"of_tomorrow": 1})
        store.execute(sa.update(rows_of_probes).values(answer=added))
        assert probes.look(store, probe_id).answer is not None
