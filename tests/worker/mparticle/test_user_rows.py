"""Several rows of one user as one batch: field by field, the newest first."""

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.catalog import Environment, NullPolicy
from shared.ledger import RejectCode
from shared.mapping.compile import compile_user_mapping
from worker.mparticle import assemble
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.prepared import EncodedRows, Prepared

TOGETHER = Merging(users=True)
SCHEMA = pa.schema(
    [
        ("customer_id", pa.string()),
        ("email", pa.string()),
        ("n", pa.int64()),
        ("vip", pa.bool_()),
        ("likes", pa.list_(pa.string())),
    ]
)
Row = dict[str, Any]
SOME = settings(deadline=None)


def prepared(
    rows: list[Row],
    *,
    on_null: NullPolicy = NullPolicy.OMIT,
    age: list[int] | None = None,
    checks: Checks | None = None,
    merging: Merging = TOGETHER,
    first_row: int = 0,
) -> Prepared:
    plan = compile_user_mapping(SCHEMA, environment=Environment.PRODUCTION, on_null=on_null, iterator=None)
    return Encoder(plan, checks=checks or Checks(), merging=merging).prepare(
        pa.Table.from_pylist(rows, SCHEMA),
        chunk_id="c",
        first_row=first_row,
        age=None if age is None else np.array(age, dtype=np.int64),
    )


def batches(encoded: EncodedRows) -> list[Any]:
    content = bytes(encoded.data)
    assert encoded.offsets[-1] == len(content)
    return [json.loads(content[start : end - 1]) for start, end in pairwise(encoded.offsets.tolist())]


def rows_of(encoded: EncodedRows) -> list[list[int]]:
    return [encoded.sent[start:end].tolist() for start, end in pairwise(encoded.starts.tolist())]


def user(name: str, **fields: Any) -> Row:
    return {"customer_id": name, **fields}


def test_of_each_field_the_newest_row_that_has_a_value_counts() -> None:
    found = prepared([user("a", n=1, vip=True, likes=["x"]), user("b", n=7), user("a", n=2), user("a", vip=False)])
    first, second = batches(found.write())
    assert first["source_request_id"] == "c:0"
    assert first["user_attributes"] == {"n": 2, "vip": False, "likes": ["x"]}
    assert second["source_request_id"] == "c:1"
    assert rows_of(found.write()) == [[0, 2, 3], [1]]
    assert found.write().events.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("on_null", "attributes", "deleted"),
    [
        (NullPolicy.DELETE, {"n": 2}, ["vip", "likes"]),
        (NullPolicy.NULL, {"n": 2, "vip": None, "likes": None}, None),
    ],
)
def test_where_a_null_means_something_the_newest_row_alone_counts(
    on_null: NullPolicy, attributes: dict[str, Any], deleted: list[str] | None
) -> None:
    (batch,) = batches(prepared([user("a", n=1, vip=True, likes=["x"]), user("a", n=2)], on_null=on_null).write())
    assert batch["user_attributes"] == attributes
    assert batch.get("deleted_user_attributes") == deleted


def test_the_age_and_not_the_place_says_which_row_is_newer() -> None:
    found = prepared([user("a", n=3), user("a", n=1, vip=True), user("a", n=2, vip=False)], age=[9, 1, 5]).write()
    (batch,) = batches(found)
    assert batch["source_request_id"] == "c:1", "named by the oldest"
    assert batch["user_attributes"] == {"n": 3, "vip": False}
    assert rows_of(found) == [[1, 2, 0]]


def test_users_are_one_only_if_all_their_identities_are_equal() -> None:
    rows = [user("a", n=1), user("a", email="a@x", n=2), user("a", email="a@x", n=3), {"email": "a@x", "n": 4}]
    assert rows_of(prepared(rows).write()) == [[0], [1, 2], [3]]


def test_a_row_that_is_left_out_has_no_part_in_the_batch_and_its_name_stays() -> None:
    chunk = prepared([user("a", n=1), user("a", vip=True), user("a", n=3, likes=["x"])])
    (batch,) = batches(chunk.write(superseded=np.array([0]), unchanged=np.array([2])))
    assert batch["source_request_id"] == "c:0"
    assert batch["user_attributes"] == {"vip": True}
    (batch,) = batches(chunk.write(unchanged=np.array([2])))
    assert batch["user_attributes"] == {"n": 1, "vip": True}


def test_a_row_that_a_check_refused_has_no_part_in_the_batch() -> None:
    chunk = prepared([user("a", n=1), user("a", n=2, likes=["x" * 513]), user("a", vip=True)])
    assert [reject.code for reject in chunk.rejects] == [RejectCode.LIST_ENTRY_TOO_LONG]
    (batch,) = batches(chunk.write())
    assert batch["user_attributes"] == {"n": 1, "vip": True}


def test_rows_that_might_be_too_large_together_are_not_merged() -> None:
    rows = [user("a", likes=["x" * 100]), user("a", n=2), user("a", n=3)]
    assert rows_of(prepared(rows, checks=Checks(batch_max_bytes=350)).write()) == [[0, 1], [2]]
    assert all(len(bytes(encoded.data)) <= 350 for encoded in [prepared(rows).write()])


def test_rows_are_not_merged_where_that_could_exceed_the_attributes_of_a_batch() -> None:
    rows = [user("a", n=1), user("a", vip=True)]
    assert rows_of(prepared(rows, checks=Checks(max_attributes=3)).write()) == [[0, 1]]
    assert rows_of(prepared(rows, checks=Checks(max_attributes=2)).write()) == [[0], [1]]


def test_runs_that_were_planned_without_it_merge_nobody() -> None:
    assert rows_of(prepared([user("a", n=1), user("a", n=2)], merging=Merging()).write()) == [[0], [1]]


def test_a_row_of_a_user_is_never_sent_alone() -> None:
    with pytest.raises(ValueError, match="one user's"):
        prepared([user("a", n=1), user("a", n=2)]).write().alone(0, 1)


def test_text_beyond_arrows_usual_offsets_is_written_with_larger_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [user("a", n=1, vip=True), user("b", likes=["x"]), user("a", n=2)]
    usual = prepared(rows).write()
    monkeypatch.setattr(assemble, "OFFSET_MAX", 1)
    large = prepared(rows).write()
    assert bytes(large.data) == bytes(usual.data)


USERS = st.fixed_dictionaries(
    {
        "customer_id": st.sampled_from(["a", "b", None]),
        "email": st.sampled_from(["x@x", "", None]),
        "n": st.none() | st.integers(0, 3),
        "vip": st.none() | st.booleans(),
        "likes": st.none() | st.lists(st.sampled_from(['q"', None]), max_size=2),
    }
)


@SOME
@given(st.lists(USERS, max_size=14), st.sampled_from(NullPolicy), st.integers(0, 95), st.data())
def test_a_merged_batch_is_that_of_one_row_with_the_newest_values(
    rows: list[Row], on_null: NullPolicy, first_row: int, data: st.DataObject
) -> None:
    age = data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows)))
    chunk = prepared(rows, on_null=on_null, age=age, first_row=first_row)
    out = data.draw(st.sets(st.sampled_from(range(first_row, first_row + len(rows))))) if rows else set()
    left_out = np.array(sorted(out & set(chunk.open_rows().tolist())), dtype=np.int64)
    found = chunk.write(superseded=left_out)
    seen: list[int] = []
    for batch, ours, name in zip(batches(found), rows_of(found), found.rows.tolist(), strict=True):
        assert batch["source_request_id"] == f"c:{name}"
        assert ours == sorted(ours, key=lambda row: (age[row - first_row], row))
        members = [rows[row - first_row] for row in ours]
        assert len({(one["customer_id"], one["email"] or None) for one in members}) == 1
        newest = dict(members[-1])
        if on_null is NullPolicy.OMIT:
            for one in members:
                newest |= {field: value for field, value in one.items() if value is not None}
        (alone,) = batches(prepared([newest], on_null=on_null, merging=Merging()).write())
        assert {**batch, "source_request_id": "c:0"} == alone
        seen += ours
    rejected = [reject.row for reject in chunk.rejects]
    assert sorted([*seen, *rejected, *left_out.tolist()]) == list(range(first_row, first_row + len(rows)))
