"""Shared batches against the batches of single rows: nothing is lost, added or mixed, and no limit is broken."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.catalog import NullPolicy
from shared.mapping.plan import EVENT, Leaf, MappingPlan
from tests.worker.mparticle.event_oracle import IsRight, instant_of, parse, rows_of
from tests.worker.mparticle.event_tables import Made, can_be_joined, event_tables
from tests.worker.mparticle.test_encode_oracle import (
    CHUNK,
    as_identity,
    batch_of,
    batches_of,
    plan_of,
    same,
    tables,
    value_of,
)
from tests.worker.mparticle.test_encode_oracle import parse as parse_numbers
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging

SOME = settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
ID_SLACK = 8
"""How many bytes two batches' ids may differ by, with row numbers of any length."""


def picked(column: Any, rows: Sequence[int]) -> Any:
    """Give some rows of a column, one chunk for each run of neighbours: Arrow can take few of the types here."""
    edges = [0, *(at for at, (one, next_) in enumerate(pairwise(rows), 1) if next_ != one + 1), len(rows)]
    parts = [column.slice(rows[start], end - start) for start, end in pairwise(edges) if end > start]
    return pa.chunked_array([chunk for part in parts for chunk in part.chunks], column.type)


@st.composite
def few_users(draw: st.DrawFn) -> Made:
    """A plan and a table of events in which all that is not of the event repeats often."""
    made = draw(event_tables(most=5))
    plan, table = made.plan, made.table
    if not table.num_rows or not can_be_joined(table):
        return made
    count = draw(st.integers(1, 12))
    place = st.integers(0, table.num_rows - 1)
    users = draw(st.lists(place, min_size=count, max_size=count))
    events = draw(st.lists(place, min_size=count, max_size=count))
    of_event = {leaf.column for leaf in plan.leaves if leaf.path[: len(EVENT)] == EVENT}
    columns = {name: picked(table.column(name), events if name in of_event else users) for name in table.column_names}
    return Made(plan, pa.table(columns))


def head_of(batch: dict[str, Any]) -> str:
    return repr({name: value for name, value in batch.items() if name not in {"events", "source_request_id"}})


@SOME
@given(few_users(), st.integers(2, 4), st.sampled_from([400, 900, 128_000]), st.data(), st.sampled_from([0, 95, 998]))
def test_events_that_share_a_batch_are_those_of_single_batches_in_their_order(
    is_right: IsRight, made: Made, max_events: int, max_bytes: int, data: st.DataObject, first_row: int
) -> None:
    plan, table = made.plan, made.table
    checks = replace(Checks(), batch_max_bytes=max_bytes)
    apart = Encoder(plan, checks=checks).encode(table, chunk_id=CHUNK, first_row=first_row)
    single = {row: parse(text) for row, text in zip(apart.rows.tolist(), batches_of(apart), strict=True)}
    rows = dict(enumerate(rows_of(table), first_row))
    instants = {row: instant_of(plan, rows[row]) for row in single}
    before = data.draw(st.sampled_from([None, *(one for one in instants.values() if one is not None)]))
    is_old = {row: before is not None and instant is not None and instant < before for row, instant in instants.items()}

    merging = Merging(max_events=max_events, historical_before_ms=before)
    encoded = Encoder(plan, checks=checks, merging=merging).encode(table, chunk_id=CHUNK, first_row=first_row)
    texts = batches_of(encoded)
    shares = [encoded.sent[start:end].tolist() for start, end in pairwise(encoded.starts.tolist())]

    assert encoded.rejects == apart.rejects
    assert sorted(row for share in shares for row in share) == sorted(single)
    assert encoded.rows.tolist() == [share[0] for share in shares]
    for text, share in zip(texts, shares, strict=True):
        batch = parse(text)
        assert share == sorted(share)
        assert batch["source_request_id"] == f"{CHUNK}:{share[0]}"
        assert {head_of(single[row]) for row in share} == {head_of(batch)}
        assert batch["events"] == [event for row in share for event in single[row]["events"]]
        assert len({is_old[row] for row in share}) == 1
        assert len(share) <= max_events
        assert len(text) <= max_bytes
        assert is_right(json.loads(text))
    alike: defaultdict[tuple[bool, str], list[int]] = defaultdict(list)
    for row, batch in single.items():
        alike[is_old[row], head_of(batch)].append(row)
    # Old events come last; the batches of one user stand together, and users in the order of their first rows.
    in_order = sorted(alike.items(), key=lambda group: (group[0][0], group[1][0]))
    assert [row for share in shares for row in share] == [row for _, group in in_order for row in group]
    assert encoded.historical_from == sum(not is_old[share[0]] for share in shares)
    assert encoded.events.tolist() == [len(share) for share in shares]

    # Only a limit keeps two batches apart that could be one.
    for number, following in pairwise(range(len(shares))):
        keys = [(is_old[shares[one][0]], head_of(single[shares[one][0]])) for one in (number, following)]
        if keys[0] == keys[1]:
            size = len(texts[number]) + 1 + first_event_size(texts[following])
            assert len(shares[number]) == max_events or size > max_bytes - ID_SLACK

    again = Encoder(plan, checks=checks, merging=merging).encode(table, chunk_id=CHUNK, first_row=first_row)
    assert bytes(again.data) == bytes(encoded.data)
    assert again.rows.tolist() == encoded.rows.tolist()


def first_event_size(batch: bytes) -> int:
    events = batch.partition(b',"events":[')[2].decode()
    return len(events[: json.JSONDecoder().raw_decode(events)[1]].encode())


@st.composite
def repeated_users(draw: st.DrawFn) -> Any:
    """A table of users, most of whom are in it several times."""
    table = draw(tables())
    if not table.num_rows or not can_be_joined(table):
        return table
    count = draw(st.integers(1, 10))
    place = st.integers(0, table.num_rows - 1)
    users = draw(st.lists(place, min_size=count, max_size=count))
    values = draw(st.lists(place, min_size=count, max_size=count))
    identities = {leaf.column for leaf in plan_of(table, NullPolicy.OMIT).leaves if leaf.is_identity}
    return pa.table(
        {name: picked(table.column(name), users if name in identities else values) for name in table.column_names}
    )


@SOME
@given(repeated_users(), st.sampled_from(NullPolicy))
def test_rows_of_one_user_become_one_batch_field_by_field_the_newest_first(table: Any, on_null: NullPolicy) -> None:
    plan = plan_of(table, on_null)
    checks = Checks()
    encoded = Encoder(plan, checks=checks, merging=Merging(users=True)).encode(table, chunk_id=CHUNK)
    apart = Encoder(plan, checks=checks).encode(table, chunk_id=CHUNK)
    rows = rows_of(table)
    users: defaultdict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for row in apart.rows.tolist():
        users[identities_of(plan, rows[row])].append(row)

    assert encoded.rejects == apart.rejects
    assert encoded.rows.tolist() == [same_user[0] for same_user in users.values()]
    for text, same_user in zip(batches_of(encoded), users.values(), strict=True):
        request_id = f"{CHUNK}:{same_user[0]}"
        merged = {leaf.column: newest(leaf, [rows[row] for row in same_user], on_null=on_null) for leaf in plan.leaves}
        expected = batch_of(plan, merged, request_id, checks)
        assert same(expected, parse_numbers(text)), (expected, text)


def identities_of(plan: MappingPlan, row: dict[str, Any]) -> tuple[str | None, ...]:
    return tuple(identity_of(leaf, row) for leaf in plan.leaves if leaf.is_identity)


def identity_of(leaf: Leaf, row: dict[str, Any]) -> str | None:
    text = as_identity(value_of(row[leaf.column]))
    return str(int(text)) if text is not None and leaf.path == ("mpid",) else text


def newest(leaf: Leaf, rows: list[dict[str, Any]], *, on_null: NullPolicy) -> Any:
    """Give the scalar that counts: the newest, or the newest that has a value where a missing one says nothing."""
    found = [row[leaf.column] for row in rows]
    if on_null is not NullPolicy.OMIT:
        return found[-1]
    return next((scalar for scalar in reversed(found) if value_of(scalar) is not None), found[-1])


@pytest.mark.parametrize("policy", list(NullPolicy))
def test_a_null_takes_part_where_it_means_something(policy: NullPolicy) -> None:
    table = pa.table({"email": ["a@b", "a@b"], "x": [1, None], "y": [None, 2]})
    encoded = Encoder(plan_of(table, policy), checks=Checks(), merging=Merging(users=True)).encode(
        table, chunk_id=CHUNK
    )
    (text,) = batches_of(encoded)
    batch = json.loads(text)
    expected = {
        NullPolicy.OMIT: ({"x": 1, "y": 2}, None),
        NullPolicy.NULL: ({"x": None, "y": 2}, None),
        NullPolicy.DELETE: ({"y": 2}, ["x"]),
    }
    assert (batch["user_attributes"], batch.get("deleted_user_attributes")) == expected[policy]
