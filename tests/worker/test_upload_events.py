"""Events that share batches, from the encoder to a feed: one attempt, or several."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pyarrow as pa
import pytest
from aiohttp import web

from sandbox.faults import Faults, Marked
from sandbox.valkey import Valkey
from shared.catalog import NullPolicy
from shared.ledger import Reject, RejectCode
from shared.mapping.destinations import ValueType
from shared.mapping.plan import Constant, Leaf, MappingPlan
from shared.run import Lane
from tests.worker.test_upload import (
    HIGH_QUOTA,
    LIMITS,
    Behaviour,
    Desk,
    Ledger,
    desk,
    stand_in_desk,
    status,
    times_taken,
)
from tests.worker.written import prepared_of
from worker.frontier import Step
from worker.mparticle.check import Checks
from worker.mparticle.encode import Encoder, Merging
from worker.mparticle.prepared import Prepared
from worker.mparticle.quota import Quota
from worker.upload import Ending, Finished, UploadLimits, upload

EVENTS = MappingPlan(
    leaves=(
        Leaf("customer_id", ("user_identities", "customer_id"), ValueType.STRING, is_identity=True),
        Leaf("bad", ("user_attributes", "bad"), ValueType.ATTRIBUTE),
        Leaf("no", ("events", 0, "data", "custom_attributes", "no"), ValueType.SCALAR),
    ),
    constants=(
        Constant(("environment",), "development"),
        Constant(("events", 0, "event_type"), "custom_event"),
        Constant(("events", 0, "data", "event_name"), "bought"),
        Constant(("events", 0, "data", "custom_event_type"), "transaction"),
    ),
    on_null=NullPolicy.OMIT,
)


def events_of(users: Sequence[str | None], *, bad: Sequence[str] = ()) -> Prepared:
    """One event of each of these users, the same one as often as he is named; None has no identity."""
    table = pa.table(
        {
            "customer_id": pa.array(list(users), pa.string()),
            "bad": [user in bad for user in users],
            "no": list(range(len(users))),
        }
    )
    return Encoder(EVENTS, checks=Checks(), merging=Merging(max_events=100)).prepare(table, chunk_id="chunk")


def numbers_in(batch: Any) -> list[int]:
    """The rows that a batch holds, as its events say themselves."""
    return [event["data"]["custom_attributes"]["no"] for event in batch["events"]]


USERS = ["ann", None, "bob", "ann", "cleo", "ann", "bob", "ann", None, "dora", "ann", "eve", "bob", "cleo"]
GOOD = {row for row, user in enumerate(USERS) if user}


def poisoned(row: int, taken: list[tuple[str, list[int]]]) -> Behaviour:
    """Refuse bodies that hold one event, and keep what is taken of the others: batches by id, with their rows."""

    async def behaviour(request: Any) -> web.StreamResponse:
        sent = orjson.loads(request.body)
        if any(row in numbers_in(batch) for batch in sent):
            return web.Response(status=400, text="no event_name")
        taken.extend((batch["source_request_id"], numbers_in(batch)) for batch in sent)
        return web.Response(status=202)

    return behaviour


@dataclass
class EventLedger(Ledger):
    """Keeps the rows, too."""

    taken: set[int] = field(default_factory=set)
    stops_at: int = 1_000

    async def record(self, step: Step) -> None:
        await super().record(step)
        assert not self.taken & set(step.accepted.tolist())
        self.taken |= set(step.accepted.tolist())

    def is_enough(self) -> bool:
        return self.position >= self.stops_at


async def event_attempt(
    made: Desk, ledger: EventLedger, prepared: Prepared, *, limits: UploadLimits = LIMITS
) -> Ending:
    return await upload(
        prepared.write(position=ledger.position),
        rows=ledger.rows,
        position=ledger.position,
        feed=made.feed,
        governor=Quota(made.governor, made.group, HIGH_QUOTA, lane=Lane.LIVE),
        limits=limits,
        record=ledger.record,
        stopping=ledger.is_enough,
    )


@pytest.mark.parametrize("row", sorted(GOOD))
def test_a_poisoned_event_is_rejected_alone_and_each_other_arrives_once(
    run: Any, valkey: Valkey, feed_server: Any, row: int
) -> None:
    taken: list[tuple[str, list[int]]] = []
    ledger = EventLedger(len(USERS))

    async def scenario() -> None:
        server = feed_server(poisoned(row, taken))
        async with server.running(), desk(valkey, server.base_url) as made:
            assert await event_attempt(made, ledger, events_of(USERS)) == Finished()

    run(scenario())
    assert ledger.taken == GOOD - {row}
    assert sorted(ledger.rejected) == sorted({1, 8, row})
    (reject,) = [one for one in ledger.rejects if one.row == row]
    assert reject == Reject(row, RejectCode.REFUSED_BY_MPARTICLE, "mParticle says: no event_name")
    assert sorted(number for _, numbers in taken for number in numbers) == sorted(GOOD - {row})
    firsts = {user: min(at for at in GOOD if USERS[at] == user) for user in USERS if user}
    for batch_id, numbers in taken:
        first = firsts[USERS[numbers[0]] or ""]
        if USERS[numbers[0]] == USERS[row]:
            assert batch_id == f"chunk:{first}:{numbers[0]}", (
                "under an id of its own: the refused one may be remembered"
            )
        else:
            assert batch_id == f"chunk:{first}"


def test_merged_events_cost_one_batch_of_the_quota(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with stand_in_desk(valkey) as (made, stand_in):
            ledger = EventLedger(len(USERS))
            assert await event_attempt(made, ledger, events_of(USERS)) == Finished()
            assert ledger.taken == GOOD
            assert times_taken(stand_in) == dict.fromkeys([0, 2, 4, 9, 11], 1)

    run(scenario())


def test_the_stand_in_takes_every_event_but_those_of_a_marked_user(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with stand_in_desk(valkey) as (made, stand_in):
            stand_in.intake.faults.turn(Faults(reject_marked=Marked(attribute="bad", value=True)))
            ledger = EventLedger(len(USERS))
            assert await event_attempt(made, ledger, events_of(USERS, bad=["bob"])) == Finished()
            bobs = {row for row, user in enumerate(USERS) if user == "bob"}
            assert ledger.taken == GOOD - bobs
            assert sorted(ledger.rejected) == sorted(bobs | {1, 8})
            assert times_taken(stand_in) == dict.fromkeys([0, 4, 9, 11], 1)

    run(scenario())


@pytest.mark.parametrize("stops_at", range(1, len(USERS)))
def test_an_attempt_that_ends_among_shared_batches_is_continued_under_the_same_ids(
    run: Any, valkey: Valkey, feed_server: Any, stops_at: int
) -> None:
    sent: list[tuple[str, list[int]]] = []
    ledger = EventLedger(len(USERS), stops_at=stops_at)
    one_by_one = replace(LIMITS, body_max_batches=1, requests_in_flight=1, progress_every_s=0.001)

    async def scenario() -> None:
        server = feed_server(poisoned(5, sent))
        async with server.running(), desk(valkey, server.base_url) as made:
            prepared = events_of(USERS)
            while await event_attempt(made, ledger, prepared, limits=one_by_one) != Finished():
                ledger.stops_at = 1_000
                prepared = events_of(USERS)

    run(scenario())
    assert ledger.taken == GOOD - {5}
    assert sorted(ledger.rejected) == [1, 5, 8]
    assert sorted(number for _, numbers in sent for number in numbers) == sorted(GOOD - {5})
    assert len({batch_id for batch_id, _ in sent}) == len(sent)


def test_old_events_go_to_the_historical_endpoint_and_no_others(run: Any, valkey: Valkey, feed_server: Any) -> None:
    chunk = prepared_of([[0, 2], [3], [1, 4]], later=[1, 4])
    ledger = EventLedger(5)

    async def scenario() -> list[tuple[str, list[list[int]]]]:
        server = feed_server(status(202))
        async with server.running(), desk(valkey, server.base_url) as made:
            assert await event_attempt(made, ledger, chunk) == Finished()
        return [(request.path, [batch["rows"] for batch in orjson.loads(request.body)]) for request in server.requests]

    assert sorted(run(scenario())) == [("/v2/bulkevents", [[0, 2], [3]]), ("/v2/bulkevents/historical", [[1, 4]])]
    assert ledger.taken == set(range(5))
