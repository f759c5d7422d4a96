"""Which rows are left out: older ones of users that were sent newer ones, and those read again."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog import Environment, IteratorType, NullPolicy
from shared.ledger import RejectCode
from shared.mapping.compile import compile_user_mapping
from shared.mapping.plan import MappingPlan
from shared.run import Window
from shared.snapshot import FrozenFeed, FrozenIterator, Snapshot
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder
from worker.mparticle.prepared import EncodedRows, Prepared
from worker.stale import Lookback, Sendable

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SCHEMA = pa.schema([("customer_id", pa.string()), ("no", pa.int64()), ("changed_at", pa.timestamp("us", "UTC"))])
ROWS = st.lists(st.tuples(st.none() | st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=12)


def at(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def snapshot(**changes: Any) -> Snapshot:
    mapping = compile_user_mapping(
        SCHEMA, environment=Environment.DEVELOPMENT, on_null=NullPolicy.OMIT, iterator="changed_at", rename={}
    )
    return Snapshot.model_validate(
        {
            "pipeline_id": "people",
            "connection_id": "lake",
            "environment": Environment.DEVELOPMENT,
            "sql_query": "SELECT 1",
            "iterator": FrozenIterator(column="changed_at", type=IteratorType.TIMESTAMP_TZ, zone="UTC"),
            "mapping": mapping.to_json(),
            "checks": Checks().to_json(),
            "feed": FrozenFeed(id="f", base_url="u", api_key="k", quota_group="q", batches_per_s=1),
            "chunk_max_rows": 1,
            "chunk_max_bytes": 1,
            "body_max_batches": 1,
            "body_max_bytes": 1,
            **changes,
        }
    )


SNAPSHOT = snapshot()
PLAN = MappingPlan.from_json(SNAPSHOT.mapping)


def chunk(rows: list[tuple[str | None, int | None]]) -> Any:
    values = [[user for user, _ in rows], list(range(len(rows))), [None if m is None else at(m) for _, m in rows]]
    return pa.table([pa.array(column, field.type) for column, field in zip(values, SCHEMA, strict=True)], SCHEMA)


def prepared(table: Any) -> Prepared:
    return Encoder(PLAN, checks=Checks()).prepare(table, chunk_id="c")


def sendable(rows: list[tuple[str | None, int | None]], position: int = 0) -> Sendable:
    table = chunk(rows)
    return Sendable.of(prepared(table).open_rows(position), table, plan=PLAN, snapshot=SNAPSHOT)


@settings(deadline=None)
@given(live=ROWS, history=ROWS, data=st.data())
def test_exactly_the_rows_that_are_older_than_their_users_newest_are_superseded(
    live: list[tuple[str | None, int | None]], history: list[tuple[str | None, int | None]], data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(history)))
    marks = sendable(live).newest()
    found = sendable(history, position).superseded(marks)
    newest: dict[str, int] = {}
    for user, minute in live:
        if user and minute is not None:
            newest[user] = max(minute, newest.get(user, -1))
    assert len(marks) == len(newest)
    assert found.tolist() == [
        row
        for row, (user, minute) in enumerate(history)
        if row >= position and user in newest and (minute is None or minute < newest[user])
    ]


def test_rejected_rows_mark_nobody_and_are_never_superseded() -> None:
    table = chunk([(None, 9), ("a", 9)])
    rows = prepared(table)
    assert [reject.code for reject in rows.rejects] == [RejectCode.NO_IDENTITY]
    found = Sendable.of(rows.open_rows(), table, plan=PLAN, snapshot=SNAPSHOT)
    assert list(found.newest().values()) == [at(9)]
    assert found.named() == list(found.newest())
    assert found.positions.tolist() == [1]


def test_a_full_run_has_no_instants_and_marks_nobody() -> None:
    table = chunk([("a", 9)])
    found = Sendable.of(prepared(table).open_rows(), table, plan=PLAN, snapshot=snapshot(iterator=None))
    assert found.newest() == {}


@settings(deadline=None)
@given(rows=st.lists(st.text("abc", min_size=1, max_size=3), max_size=12), data=st.data())
def test_what_is_left_out_takes_no_byte_of_the_others(rows: list[str], data: st.DataObject) -> None:
    whole = prepared(chunk([(user, 1) for user in rows]))
    position = data.draw(st.integers(0, len(rows)))
    out = data.draw(st.sets(st.sampled_from(range(position, len(rows))))) if position < len(rows) else set()
    superseded = np.array(sorted(row for row in out if row % 2), dtype=np.int64)
    unchanged = np.array(sorted(row for row in out if not row % 2), dtype=np.int64)
    left = whole.write(position=position, superseded=superseded, unchanged=unchanged)
    assert left.superseded.tolist() == superseded.tolist()
    assert left.unchanged.tolist() == unchanged.tolist()
    assert texts(left) == {row: text for row, text in texts(whole.write(position=position)).items() if row not in out}


def texts(rows: EncodedRows) -> dict[int, Any]:
    batches = [
        orjson.loads(bytes(rows.data[first : end - 1]))
        for first, end in zip(rows.offsets[:-1].tolist(), rows.offsets[1:].tolist(), strict=True)
    ]
    assert rows.offsets[-1] == len(rows.data)
    assert [int(batch["source_request_id"].partition(":")[2]) for batch in batches] == rows.rows.tolist()
    return dict(zip(rows.rows.tolist(), batches, strict=True))


def lookback(minutes: list[int | None], *, low: int | None = 5, high: int = 9) -> Lookback:
    table = chunk([(str(row), minute) for row, minute in enumerate(minutes)])
    found = Lookback.of(
        prepared(table).open_rows(),
        table,
        snapshot=snapshot(row_key="no", lookback_s=180),
        window=Window(None if low is None else at(low), at(high)),
    )
    assert found is not None
    return found


def test_rows_below_the_window_that_were_accepted_are_unchanged() -> None:
    again = lookback([2, 3, 4, 5, None])
    first, second, third = again.asked()
    assert again.unchanged({}).tolist() == []
    assert again.unchanged({first: at(2), second: at(4), third: at(3)}).tolist() == [0, 1], "row 2 changed meanwhile"
    inside = again.rows[3]
    assert inside is not None
    assert again.unchanged({inside: at(5)}).tolist() == [], "it is in the window"


def test_accepted_rows_that_the_next_run_reads_again_are_kept() -> None:
    again = lookback([5, 6, 7, 8])
    kept = again.to_keep(np.array([0, 1, 3]))
    assert kept == {again.rows[1]: at(6), again.rows[3]: at(8)}


def test_without_a_row_key_or_an_end_nothing_is_looked_up() -> None:
    table = chunk([("a", 1)])
    window = Window(at(0), at(9))
    rows = prepared(table).open_rows()
    for chosen in (snapshot(lookback_s=60), snapshot(row_key="no"), snapshot()):
        assert Lookback.of(rows, table, snapshot=chosen, window=window) is None
    assert Lookback.of(rows, table, snapshot=snapshot(row_key="no", lookback_s=1), window=Window()) is None


def test_the_first_window_of_all_reads_nothing_again() -> None:
    assert lookback([1, 2], low=None).asked() == []


def test_of_dates_the_whole_day_is_kept_that_the_next_run_reads_again() -> None:
    """A query over dates begins with a whole day, however short the lookback."""
    table = chunk([("a", 1), ("b", 2)])
    midnight = NOON.replace(hour=0)
    days = pa.array([(midnight + timedelta(days=day)).date() for day in (1, 0)])
    table = table.set_column(table.schema.get_field_index("changed_at"), "changed_at", days)
    found = Lookback.of(
        prepared(table).open_rows(),
        table,
        snapshot=snapshot(
            row_key="no",
            lookback_s=60,
            iterator=FrozenIterator(column="changed_at", type=IteratorType.DATE, zone="UTC"),
        ),
        window=Window(midnight, midnight + timedelta(days=2)),
    )
    assert found is not None
    assert list(found.to_keep(np.array([0, 1])).values()) == [midnight + timedelta(days=1)]
