"""Events that share a batch: what the batch says, whom it is named by, and how large it is."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog import NullPolicy
from shared.errors import LedgerUnbalanced
from shared.ledger import RejectCode
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Constant, Leaf, MappingPlan, Need
from tests.worker.written import prepared_of
from worker.mparticle import assemble, event_rows
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.prepared import EncodedRows, Prepared

PLAN = MappingPlan(
    leaves=(
        Leaf("email", ("user_identities", "email"), ValueType.STRING, is_identity=True),
        Leaf("plan", ("user_attributes", "plan"), ValueType.ATTRIBUTE),
        Leaf("name", ("events", 0, "data", "event_name"), ValueType.TEXT),
        Leaf("at", ("events", 0, "data", "timestamp_unixtime_ms"), ValueType.EPOCH_MS),
    ),
    constants=(
        Constant(("environment",), "production"),
        Constant(("events", 0, "event_type"), "custom_event"),
    ),
    on_null=NullPolicy.OMIT,
    needs=(Need(("events", 0, "data"), ("event_name",)),),
)
Row = tuple[str | None, str | None, str | None, int | None]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", 'c"', None]),
        st.sampled_from(["gold", None]),
        st.sampled_from(["x", "yy", 'z"', None]),
        st.none() | st.integers(0, 20),
    ),
    max_size=14,
)
SOME = settings(deadline=None)


def table(rows: list[Row]) -> Any:
    columns = list(zip(*rows, strict=True)) or [()] * 4
    kinds = [pa.string(), pa.string(), pa.string(), pa.int64()]
    arrays = [pa.array(list(column), kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=["email", "plan", "name", "at"])


def prepared(
    rows: list[Row],
    *,
    max_events: int = 100,
    before_ms: int | None = None,
    age: list[int] | None = None,
    checks: Checks | None = None,
    first_row: int = 0,
) -> Prepared:
    merging = Merging(max_events=max_events, historical_before_ms=before_ms)
    return Encoder(PLAN, checks=checks or Checks(), merging=merging).prepare(
        table(rows),
        chunk_id="c",
        first_row=first_row,
        age=None if age is None else np.array(age, dtype=np.int64),
    )


def texts(encoded: EncodedRows) -> list[bytes]:
    content = bytes(encoded.data)
    assert encoded.offsets[0] == 0
    assert encoded.offsets[-1] == len(content)
    found = [content[start:end] for start, end in pairwise(encoded.offsets.tolist())]
    assert all(text.endswith(b"},") for text in found)
    return [text[:-1] for text in found]


def batches(encoded: EncodedRows) -> list[Any]:
    return list(map(json.loads, texts(encoded)))


def rows_of(encoded: EncodedRows) -> list[list[int]]:
    """The rows of each batch."""
    return [encoded.sent[start:end].tolist() for start, end in pairwise(encoded.starts.tolist())]


def names(batch: Any) -> list[str]:
    return [event["data"]["event_name"] for event in batch["events"]]


def test_events_of_one_user_are_one_batch_in_order_named_by_its_first() -> None:
    found = prepared([("a", None, "1", 5), ("b", None, "2", 5), ("a", None, "3", None), ("a", None, "4", 1)]).write()
    assert texts(found)[0].decode() == (
        '{"source_request_id":"c:0","environment":"production","user_identities":{"email":"a"},"events":['
        '{"event_type":"custom_event","data":{"event_name":"1","timestamp_unixtime_ms":5}},'
        '{"event_type":"custom_event","data":{"event_name":"3"}},'
        '{"event_type":"custom_event","data":{"event_name":"4","timestamp_unixtime_ms":1}}]}'
    )
    assert [batch["source_request_id"] for batch in batches(found)] == ["c:0", "c:1"]
    assert rows_of(found) == [[0, 2, 3], [1]]
    assert found.rows.tolist() == [0, 1]
    assert found.events.tolist() == [3, 1]


def test_events_are_one_batch_only_where_all_else_of_it_is_equal() -> None:
    found = prepared([("a", "gold", "1", 1), ("a", None, "2", 2), ("a", "gold", "3", 3), (None, "gold", "4", 4)])
    assert rows_of(found.write()) == [[0, 2], [1]]
    assert [(reject.row, reject.code) for reject in found.rejects] == [(3, RejectCode.NO_IDENTITY)]


def test_the_oldest_event_names_the_batch_and_comes_first() -> None:
    found = prepared([("a", None, "new", 9), ("a", None, "old", 1)], age=[9, 1]).write()
    (batch,) = batches(found)
    assert batch["source_request_id"] == "c:1"
    assert names(batch) == ["old", "new"]


def test_a_batch_has_so_many_events_at_most() -> None:
    found = prepared([("a", None, str(row), 1) for row in range(7)], max_events=3).write()
    assert rows_of(found) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [batch["source_request_id"] for batch in batches(found)] == ["c:0", "c:3", "c:6"]


def test_without_merging_each_event_is_a_batch_in_the_order_of_rows() -> None:
    found = prepared([("a", None, str(row), 1) for row in range(3)], max_events=1).write()
    assert rows_of(found) == [[0], [1], [2]]


def test_a_bad_event_is_no_part_of_its_users_batch() -> None:
    found = prepared([("a", None, "1", 1), ("a", None, None, 2), ("a", None, "3", 3)])
    assert rows_of(found.write()) == [[0, 2]]
    (reject,) = found.rejects
    assert (reject.row, reject.code) == (1, RejectCode.MISSING_FIELD)
    assert found.open_rows().tolist() == [0, 2]


def test_a_row_that_is_left_out_leaves_its_name_to_the_batch() -> None:
    """The id is that of the share: an earlier attempt may have sent it with all rows."""
    rows: list[Row] = [("a", None, str(row), row) for row in range(4)]
    chunk = prepared(rows)
    left = chunk.write(unchanged=np.array([0, 2]))
    assert rows_of(left) == [[1, 3]]
    assert [(batch["source_request_id"], names(batch)) for batch in batches(left)] == [("c:0", ["1", "3"])]
    assert len(chunk.write(unchanged=np.arange(4))) == 0


def test_events_for_the_historical_endpoint_come_last_and_in_batches_of_their_own() -> None:
    rows: list[Row] = [("a", None, "old", 9), ("a", None, "new", 10), ("b", None, "none", None), ("a", None, "o", 0)]
    found = prepared(rows, before_ms=10).write()
    assert [names(batch) for batch in batches(found)] == [["new"], ["none"], ["old", "o"]]
    assert found.historical_from == 2
    assert prepared(rows, before_ms=0).write().historical_from == 2
    assert prepared(rows[:1], before_ms=10).write().historical_from == 0
    assert prepared([], before_ms=10).write().historical_from == 0


def test_historical_events_come_last_where_nothing_is_merged_too() -> None:
    found = prepared([("a", None, "old", 9), ("a", None, "new", 10)], before_ms=10, max_events=1).write()
    assert rows_of(found) == [[1], [0]]
    assert found.historical_from == 1


def test_an_event_of_a_refused_batch_has_an_id_of_its_own() -> None:
    chunk = prepared([("b", None, "0", 0), ("a", "gold", "1", 1), ("a", "gold", "2", 2)], first_row=40)
    found = chunk.write()
    alone = json.loads(found.alone(1, 1))
    assert alone["source_request_id"] == "c:41:42"
    assert names(alone) == ["2"]
    assert {**alone, "source_request_id": "c:41"} == {**batches(found)[1], "events": alone["events"]}


def test_a_position_inside_of_a_share_leaves_its_events_one_by_one_under_their_own_ids() -> None:
    chunk = prepared([("a", None, "0", 0), ("b", None, "1", 1), ("a", None, "2", 2), ("a", None, "3", 3)], first_row=9)
    assert chunk.shares.order.tolist() == [9, 11, 12, 10]
    whole = chunk.write()
    found = chunk.write(position=1)
    assert rows_of(found) == [[11], [12], [10]]
    assert texts(found) == [whole.alone(0, 1), whole.alone(0, 2), texts(whole)[1]]
    assert found.batch_shares.tolist() == [0, 0, 1]
    assert rows_of(chunk.write(position=1, unchanged=np.array([11]))) == [[12], [10]]
    assert [len(chunk.write(position=position)) for position in (0, 2, 3, 4)] == [2, 2, 1, 0]


def test_a_position_beyond_the_rows_or_inside_of_a_users_share_is_refused() -> None:
    with pytest.raises(LedgerUnbalanced, match="3 are final"):
        prepared([("a", None, "0", 0), ("a", None, "1", 1)]).write(position=3)
    with pytest.raises(LedgerUnbalanced, match="1 are final, which is inside"):
        prepared_of([[0, 1]], has_events=False).write(position=1)


@SOME
@given(ROWS, st.integers(1, 4), st.none() | st.integers(0, 20), st.integers(0, 95), st.data())
def test_each_good_event_is_in_one_batch_as_it_would_be_alone(
    rows: list[Row], max_events: int, before_ms: int | None, first_row: int, data: st.DataObject
) -> None:
    age = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    apart = prepared(rows, max_events=1, first_row=first_row).write()
    chunk = prepared(rows, max_events=max_events, before_ms=before_ms, age=age, first_row=first_row)
    found = chunk.write()
    assert chunk.rejects == apart.rejects
    expected = dict(zip(apart.sent.tolist(), batches(apart), strict=True))
    seen: list[int] = []
    for number, (batch, ours) in enumerate(zip(batches(found), rows_of(found), strict=True)):
        assert batch["source_request_id"] == f"c:{ours[0]}"
        assert ours == sorted(ours, key=lambda row: (age[row - first_row], row))
        assert batch["events"] == [expected[row]["events"][0] for row in ours]
        for row in ours:
            shared, alone = {**batch}, {**expected[row]}
            for name in ("events", "source_request_id"):
                del shared[name], alone[name]
            assert shared == alone
            at = rows[row - first_row][3]
            is_old = before_ms is not None and at is not None and at < before_ms
            assert is_old == (number >= found.historical_from)
        seen += ours
    assert sorted(seen) == sorted(expected)


@SOME
@given(ROWS, st.integers(130, 400), st.integers(0, 12))
def test_sizes_are_those_of_the_text_and_no_batch_is_over_the_limit(rows: list[Row], most: int, first_row: int) -> None:
    checks = Checks(batch_max_bytes=most)
    alone = {
        row: len(text)
        for encoded in [prepared(rows, max_events=1, first_row=first_row).write()]
        for row, text in zip(encoded.sent.tolist(), texts(encoded), strict=True)
    }
    found = prepared(rows, checks=checks, first_row=first_row).write()
    for text in texts(found):
        assert len(text) <= most
    too_large = [reject.row for reject in found.rejects if reject.code is RejectCode.BATCH_TOO_LARGE]
    assert too_large == [row for row, size in alone.items() if size > most]


def test_a_batch_as_large_as_the_limit_is_not_cut() -> None:
    rows: list[Row] = [("a", None, str(row), 1) for row in range(3)]
    whole = len(texts(prepared(rows).write())[0])
    assert rows_of(prepared(rows, checks=Checks(batch_max_bytes=whole)).write()) == [[0, 1, 2]]
    assert rows_of(prepared(rows, checks=Checks(batch_max_bytes=whole - 1)).write()) == [[0, 1], [2]]


def test_text_beyond_arrows_usual_offsets_is_written_with_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: list[Row] = [("a", None, "1", 1), ("b", "gold", 'z"', None), ("a", None, "3", 3), (None, None, "x", 1)]
    usual = prepared(rows).write()
    for module in (assemble, event_rows):
        monkeypatch.setattr(module, "OFFSET_MAX", 1)
    large = prepared(rows).write()
    assert texts(large) == texts(usual)
    assert large.alone(0, 1) == usual.alone(0, 1)


def test_no_rows_are_no_batches() -> None:
    found = prepared([]).write()
    assert (len(found), found.offsets.tolist(), found.events.tolist(), bytes(found.data)) == (0, [0], [], b"")
    only_bad = prepared([(None, None, "1", 1)]).write()
    assert (len(only_bad), len(only_bad.rejects)) == (0, 1)
