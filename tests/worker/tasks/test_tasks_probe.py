"""A probe is answered once, in time or not at all, and its answer stays nowhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pyarrow as pa
import pytest
import sqlalchemy as sa

from shared import catalog
from shared.errors import ColumnMissing, ModelInvalid, StoreUnavailable
from shared.messages import TaskName
from shared.probe import ProbeKind
from shared.rejects import MASK
from shared.settings import Settings
from shared.sql import Query
from shared.store import declared, probes
from shared.store.tables import probes as rows_of_probes
from tests.standins.continuable import Continuable, History
from tests.worker.tasks.asking import answer_of, ask, look
from tests.worker.tasks.desk import QUERY, ROWS, Desk, Killed, Strike, When, fails_with
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse

INCREMENTAL = catalog.Incremental(iterator_field="CHANGED_AT", iterator_data_type=catalog.IteratorType.TIMESTAMP)


def test_a_connection_says_what_it_is_signed_in_to(desk: Desk) -> None:
    answer = answer_of(desk, ProbeKind.TEST, connection_id=desk.pipeline())
    assert answer.session["database"].endswith(".duckdb")
    assert answer.warehouse_now is not None


def test_columns_say_their_type_and_what_becomes_of_them(desk: Desk) -> None:
    answer = answer_of(desk, ProbeKind.COLUMNS, pipeline_id=desk.pipeline(INCREMENTAL))
    assert [(one.name, one.becomes, one.refused) for one in answer.columns] == [
        ("customer_id", "user_identities.customer_id", None),
        ("firstname", "user_attributes.firstname", None),
        ("changed_at", "the iterator; it is not sent", None),
    ]
    assert answer.refused is None


def test_columns_say_which_of_them_keep_the_pipeline_from_running(desk: Desk) -> None:
    query = "SELECT customer_id, 'x'::BLOB AS picture FROM people"
    answer = answer_of(desk, ProbeKind.COLUMNS, pipeline_id=desk.pipeline(query=query))
    (picture,) = [one for one in answer.columns if one.refused]
    assert picture.name == "picture"
    assert "picture" in answer.refused


def test_a_preview_shows_the_batches_that_rows_become(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL)
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name, rows=3)
    assert len(answer.rows) == len(answer.batches) == 3
    assert {batch["environment"] for batch in answer.batches} == {"development"}
    assert all(batch["user_identities"]["customer_id"].startswith(name) for batch in answer.batches)
    assert all(batch["user_attributes"] == {"firstname": "Zoë"} for batch in answer.batches)
    assert answer.rejects == ()


def test_a_preview_shows_no_value_of_a_secret_column(desk: Desk) -> None:
    query = "SELECT customer_id, firstname, ['a', NULL] AS Tags, NULL::INT AS age FROM people"
    name = desk.pipeline(query=query)
    secrets = catalog.DataModel(id=name, name=name, sql_query=query, secret_columns=("CUSTOMER_ID", "tags", "age"))
    with desk.database.transaction() as store:
        declared.put(store, secrets)
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name, rows=1)
    assert answer.rows == ({"customer_id": MASK, "firstname": "Zoë", "Tags": MASK, "age": None},)
    (batch,) = answer.batches
    assert batch["user_identities"] == {"customer_id": MASK}
    assert batch["user_attributes"] == {"firstname": "Zoë", "Tags": [MASK]}
    assert name not in answer.model_dump_json()
    desk.finish(desk.trigger(name))
    assert desk.stand_in.intake.profiles.find("customer_id", f"{name}-0") is not None, "what is sent is real"


def test_a_secret_column_that_is_not_there_keeps_the_pipeline_from_running(desk: Desk) -> None:
    name = desk.pipeline()
    with desk.database.transaction() as store:
        declared.put(store, catalog.DataModel(id=name, name=name, sql_query=QUERY, secret_columns=("custmer_id",)))
    answer = answer_of(desk, ProbeKind.COLUMNS, pipeline_id=name)
    assert answer.refused is not None
    assert "did you mean 'customer_id'?" in answer.refused
    with pytest.raises(ColumnMissing, match="'custmer_id'"):
        answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name)


def test_a_preview_shows_the_rows_that_would_be_rejected(desk: Desk) -> None:
    query = "SELECT NULL::VARCHAR AS customer_id, firstname FROM people"
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=desk.pipeline(query=query), rows=2)
    assert [one.code for one in answer.rejects] == ["no_identity"] * 2
    assert answer.batches == ()


@pytest.mark.parametrize(
    ("value", "row", "attribute"),
    [
        ("'a' || chr(0) || 'b'", "a\u2400b", "a\u2400b"),
        ("['a' || chr(0)]", ["a\u2400"], ["a\u2400"]),
        ("""'"\\u0000"'::JSON""", '"\\u0000"', "\u2400"),
        ("'\\u0000'", "\\u0000", "\\u0000"),
        ("'nan'::DOUBLE", None, None),
    ],
)
def test_a_preview_shows_what_the_store_cannot_hold(desk: Desk, value: str, row: object, attribute: object) -> None:
    name = desk.pipeline(query=f"SELECT customer_id, {value} AS odd FROM people")
    answer = answer_of(desk, ProbeKind.PREVIEW, pipeline_id=name, rows=1)
    assert [one["odd"] for one in answer.rows] == [row]
    assert [batch.get("user_attributes", {}).get("odd") for batch in answer.batches] == [attribute]


def test_a_count_is_of_the_window_that_the_next_run_reads(desk: Desk) -> None:
    name = desk.pipeline(INCREMENTAL)
    first = answer_of(desk, ProbeKind.COUNT, pipeline_id=name)
    assert first.row_count == ROWS
    assert first.low is None
    desk.finish(desk.trigger(name))
    following = answer_of(desk, ProbeKind.COUNT, pipeline_id=name)
    assert following.row_count == 0
    assert following.low is not None


def test_what_a_query_costs_is_unknown_where_nothing_is_billed(desk: Desk) -> None:
    assert answer_of(desk, ProbeKind.COST, pipeline_id=desk.pipeline()).scanned_bytes is None


def test_what_the_warehouse_refuses_is_the_answer(desk: Desk) -> None:
    with pytest.raises(ModelInvalid, match="no_such_table"):
        answer_of(desk, ProbeKind.COLUMNS, pipeline_id=desk.pipeline(query="SELECT * FROM no_such_table"))


def test_a_question_delivered_twice_is_answered_once(desk: Desk) -> None:
    probe_id, arguments = ask(desk, ProbeKind.TEST, connection_id=desk.pipeline())
    desk.do_at_once(TaskName.PROBE, arguments, times=3)
    first = desk.rows(sa.select(rows_of_probes))
    desk.do(TaskName.PROBE, arguments)
    assert desk.rows(sa.select(rows_of_probes)) == first
    assert look(desk, probe_id).answer is not None


def test_a_question_that_nobody_waits_for_any_more_is_not_asked(desk: Desk) -> None:
    probe_id, arguments = ask(desk, ProbeKind.TEST, connection_id=desk.pipeline())
    with desk.database.transaction() as store:
        store.execute(sa.update(rows_of_probes).values(asked_at=rows_of_probes.c.asked_at - timedelta(hours=1)))
    desk.do(TaskName.PROBE, arguments)
    assert not look(desk, probe_id).is_taken
    with desk.database.transaction() as store:
        probes.forget(store, probe_id)
    desk.do(TaskName.PROBE, arguments)
    assert desk.rows(sa.select(rows_of_probes)) == []


@pytest.mark.parametrize("kind", [ProbeKind.PREVIEW, ProbeKind.COUNT])
def test_a_query_that_reads_rows_is_not_begun_once_nobody_waits(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, kind: ProbeKind
) -> None:
    history = History()
    name = desk.pipeline()

    class Slow(Continuable):
        def describe(self, query: Query) -> pa.Schema:
            with desk.database.transaction() as store:
                probes.forget(store, probe_id)
            return super().describe(query)

    @contextmanager
    def opened(connection: catalog.Connection, settings: Settings, *, label: Label) -> Iterator[Warehouse]:
        with open_warehouse(connection, settings, label=label) as warehouse:
            yield Slow(warehouse, history)

    monkeypatch.setattr("worker.tasks.probe.open_warehouse", opened)
    probe_id, arguments = ask(desk, kind, pipeline_id=name)
    desk.do(TaskName.PROBE, arguments)
    assert history.opened == []
    assert desk.rows(sa.select(rows_of_probes)) == []


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("when", When)
@pytest.mark.parametrize("failure", [StoreUnavailable("broke"), Killed()], ids=["broken", "killed"])
def test_a_probe_struck_at_any_commit_harms_nothing_and_may_be_asked_again(
    desk: Desk, nth: int, when: When, failure: BaseException
) -> None:
    name = desk.pipeline()
    _, arguments = ask(desk, ProbeKind.TEST, connection_id=name)
    strike = Strike(nth, when, fails_with(failure))
    with desk.database.struck(strike):
        desk.do(TaskName.PROBE, arguments)
    assert strike.fell
    assert answer_of(desk, ProbeKind.TEST, connection_id=name).session


def test_answers_that_nobody_read_are_removed_by_upkeep(desk: Desk) -> None:
    answer_of(desk, ProbeKind.PREVIEW, pipeline_id=desk.pipeline())
    with desk.database.transaction() as store:
        store.execute(sa.update(rows_of_probes).values(asked_at=rows_of_probes.c.asked_at - timedelta(hours=1)))
    desk.do(TaskName.UPKEEP, ())
    assert desk.rows(sa.select(rows_of_probes)) == []
