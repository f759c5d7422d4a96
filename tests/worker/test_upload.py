"""One attempt at one chunk, against servers that answer in every way, with the governor at a real Valkey."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

import orjson
import pytest
from aiohttp import web

from sandbox.faults import Faults, Marked
from sandbox.mparticle import StandIn, sandbox_running
from sandbox.settings import DEMO_FEED, SandboxFeed, SandboxSettings, Storing
from sandbox.valkey import Valkey
from shared.errors import BrokerUnavailable, CredentialsRefused, FeedRefused, LedgerUnbalanced, StoreUnavailable
from shared.ledger import Reject, RejectCode
from shared.run import Lane
from shared.settings import Settings
from tests.worker.written import apart, encoded_of
from worker.frontier import Step
from worker.mparticle.client import FeedClient, open_session
from worker.mparticle.governor import WINDOW_S, Denied, Governor, Grant
from worker.mparticle.prepared import EncodedRows
from worker.mparticle.quota import Quota
from worker.upload import Ending, Finished, Stopped, UploadLimits, Yielded, upload

BODY = 10
LIMITS = UploadLimits(
    body_max_batches=BODY,
    body_max_events=100,
    body_max_bytes=256_000,
    requests_in_flight=4,
    attempt_target_s=10,
    backoff_first_s=0.01,
    backoff_max_s=0.05,
    progress_every_s=0.02,
)
HIGH_QUOTA = 1e6
Behaviour = Callable[[Any], Any]


def chunk(rows: int, *, position: int = 0, checked: Sequence[int] = (), bad: Sequence[int] = ()) -> EncodedRows:
    """What the encoder gives: users from ``position``, some of them rejected, some marked as bad."""

    def say(batch_id: str, row: list[int]) -> bytes:
        return orjson.dumps(
            {
                "source_request_id": batch_id,
                "environment": "development",
                "user_identities": {"customer_id": str(row[0])},
                "user_attributes": {"bad": row[0] in bad},
            }
        )

    return encoded_of(apart(rows), checks=checked, position=position, has_events=False, say=say)


def rows_of(body: bytes) -> list[int]:
    return [int(batch["source_request_id"].partition(":")[2]) for batch in orjson.loads(body)]


@dataclass
class Ledger:
    """Keeps progress as the store does, and insists on what it relies on."""

    rows: int
    position: int = 0
    accepted: int = 0
    rejects: list[Reject] = field(default_factory=list)
    records: int = 0
    writing: bool = False

    async def record(self, step: Step) -> None:
        progress = step.progress
        assert not self.writing, "two records at once"
        self.writing = True
        await asyncio.sleep(0.001)
        self.writing = False
        assert self.position < progress.position <= self.rows
        assert progress.accepted + len(progress.rejects) == progress.position - self.position
        self.position = progress.position
        self.accepted += progress.accepted
        self.rejects += progress.rejects
        self.records += 1

    @property
    def rejected(self) -> list[int]:
        return [reject.row for reject in self.rejects]


class Desk:
    """Everything an attempt needs beside its chunk."""

    def __init__(self, feed: FeedClient, governor: Governor) -> None:
        self.feed = feed
        self.governor = governor
        self.group = str(uuid.uuid4())

    async def attempt(
        self,
        ledger: Ledger,
        *,
        checked: Sequence[int] = (),
        bad: Sequence[int] = (),
        limits: UploadLimits = LIMITS,
        batches_per_s: float = HIGH_QUOTA,
        lane: Lane = Lane.LIVE,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Ending:
        return await upload(
            chunk(ledger.rows, position=ledger.position, checked=checked, bad=bad),
            rows=ledger.rows,
            position=ledger.position,
            feed=self.feed,
            governor=Quota(self.governor, self.group, batches_per_s, lane=lane),
            limits=limits,
            record=ledger.record,
            stopping=stopping,
        )


@asynccontextmanager
async def desk(
    valkey: Valkey, base_url: str, *, feed: SandboxFeed = DEMO_FEED, timeout_s: float = 5
) -> AsyncIterator[Desk]:
    governor = Governor.connect(valkey.url)
    try:
        async with open_session(requests_in_flight=LIMITS.requests_in_flight, timeout_s=timeout_s) as session:
            yield Desk(FeedClient(session, base_url=base_url, api_key=feed.key, api_secret=feed.secret), governor)
    finally:
        await governor.close()


@asynccontextmanager
async def stand_in_desk(valkey: Valkey, *, batches_per_s: int | None = None) -> AsyncIterator[tuple[Desk, StandIn]]:
    settings = SandboxSettings(storing=Storing.IDS, batches_per_s=batches_per_s)
    async with sandbox_running(settings) as (url, stand_in), desk(valkey, f"{url}/v2") as made:
        yield made, stand_in


def times_taken(stand_in: StandIn) -> dict[int, int]:
    """How often each row was taken."""
    received = stand_in.intake.received[DEMO_FEED.key].starting_with("chunk:")
    return {int(one.source_request_id.partition(":")[2]): one.times for one in received}


# What each answer means, wherever in the chunk it comes.

ROWS = 5 * BODY + 3
TARGETS = {"first": 0, "middle": 27, "last": ROWS - 1}


def answers_to(row: int, answer: Callable[[Any], Any], *, times: int = 1_000) -> Behaviour:
    """Give ``answer`` to bodies that hold a row, so many times, and 202 to everything else."""
    left = [times]

    async def behaviour(request: Any) -> web.StreamResponse:
        if row in rows_of(request.body) and left[0]:
            left[0] -= 1
            response: web.StreamResponse = await answer(request)
            return response
        return web.Response(status=202)

    return behaviour


def status(code: int, text: str = "", **headers: str) -> Callable[[Any], Any]:
    async def answer(_: object) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return answer


async def silence(_: object) -> web.StreamResponse:
    await asyncio.sleep(2)
    return web.Response(status=202)


async def reset(request: Any) -> web.StreamResponse:
    request.transport.abort()
    return web.Response()


PASSING = {
    "500": status(500),
    "503": status(503),
    "504": status(504, "<html>"),
    "408": status(408),
    "429 with Retry-After": status(429, Retry_After="0.05", X_mp_rate_limit_exceeded="account"),
    "timeout": silence,
    "reset": reset,
}


@pytest.fixture
def meet(run: Any, valkey: Valkey, feed_server: Any) -> Callable[..., Any]:
    """One attempt against a server with a behaviour; gives the ending, the ledger and the server."""

    def one(behaviour: Behaviour, ledger: Ledger, *, timeout_s: float = 5, **options: Any) -> Any:
        async def scenario() -> Any:
            server = feed_server(behaviour)
            async with server.running(), desk(valkey, server.base_url, timeout_s=timeout_s) as made:
                return await made.attempt(ledger, **options), server

        return run(scenario())

    return one


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("answer", PASSING)
def test_trouble_that_passes_costs_no_row_and_changes_no_id(meet: Any, answer: str, where: str) -> None:
    ledger = Ledger(ROWS)
    row = TARGETS[where]
    timeout_s = 0.6 if answer == "timeout" else 5.0
    ending, server = meet(answers_to(row, PASSING[answer], times=2), ledger, timeout_s=timeout_s, checked=[13])
    assert ending == Finished()
    assert (ledger.position, ledger.accepted, ledger.rejected) == (ROWS, ROWS - 1, [13])
    troubled = [request.body for request in server.requests if row in rows_of(request.body)]
    assert len(troubled) == 3
    assert len(set(troubled)) == 1
    others = [request.body for request in server.requests if row not in rows_of(request.body)]
    assert len(others) == len(set(others)) == 5


STOPPING = {
    "401": (status(401), CredentialsRefused, "HTTP 401"),
    "403": (status(403), CredentialsRefused, "HTTP 403"),
    "404": (status(404), FeedRefused, "HTTP 404"),
    "302": (status(302, Location="http://127.0.0.1:1/"), FeedRefused, "HTTP 302"),
    "200": (status(200, "hello"), FeedRefused, "HTTP 200"),
}


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("answer", STOPPING)
def test_an_answer_that_no_retry_helps_stops_with_what_was_settled_recorded(meet: Any, answer: str, where: str) -> None:
    ledger = Ledger(ROWS)
    row = TARGETS[where]
    behaviour, error, words = STOPPING[answer]
    ending, server = meet(answers_to(row, behaviour), ledger)
    assert isinstance(ending, Stopped)
    assert isinstance(ending.error, error)
    assert words in str(ending.error)
    assert DEMO_FEED.secret not in str(ending.error)
    assert ledger.position == ledger.accepted == row // BODY * BODY
    refused = [request for request in server.requests if row in rows_of(request.body)]
    assert len(refused) == 1


@pytest.mark.parametrize("where", TARGETS)
def test_a_bad_batch_is_rejected_in_the_words_of_mparticle_and_its_neighbours_are_kept(meet: Any, where: str) -> None:
    ledger = Ledger(ROWS)
    row = TARGETS[where]
    refusal = status(400, '{"errors":[{"code":"BAD_REQUEST","message":"no event_type"}]}')
    ending, _ = meet(answers_to(row, refusal), ledger)
    assert ending == Finished()
    assert ledger.accepted == ROWS - 1
    assert ledger.rejects == [Reject(row, RejectCode.REFUSED_BY_MPARTICLE, "mParticle says: no event_type")]


@pytest.mark.parametrize("where", TARGETS)
def test_a_body_that_is_too_large_is_split_and_only_a_batch_that_is_alone_rejected(meet: Any, where: str) -> None:
    row = TARGETS[where]

    async def behaviour(request: Any) -> web.StreamResponse:
        rows = rows_of(request.body)
        return web.Response(status=413 if len(rows) > 4 or row in rows else 202)

    ledger = Ledger(ROWS)
    ending, _ = meet(behaviour, ledger)
    assert ending == Finished()
    assert (ledger.position, ledger.accepted, ledger.rejected) == (ROWS, ROWS - 1, [row])
    assert ledger.rejects[0].code is RejectCode.BATCH_TOO_LARGE


def test_a_wrong_mapping_stops_the_chunk_before_its_quota_is_spent(meet: Any) -> None:
    ledger = Ledger(1_000)
    ending, server = meet(
        status(400, "user_attributes is not an object"), ledger, limits=replace(LIMITS, body_max_batches=100)
    )
    assert isinstance(ending, Stopped)
    assert isinstance(ending.error, FeedRefused)
    assert "user_attributes is not an object" in str(ending.error)
    assert (ledger.position, ledger.rejects) == (0, [])
    assert sum(len(rows_of(request.body)) for request in server.requests) <= 4 * (100 + 20)


def test_bodies_start_in_order_and_so_many_at_once(meet: Any) -> None:
    async def behaviour(_: object) -> web.StreamResponse:
        await asyncio.sleep(0.005)
        return web.Response(status=202)

    ledger = Ledger(40 * BODY)
    ending, server = meet(behaviour, ledger)
    assert ending == Finished()
    assert server.most_at_once == LIMITS.requests_in_flight
    firsts = [rows_of(request.body)[0] // BODY for request in server.requests]
    assert all(abs(order - first) <= LIMITS.requests_in_flight for order, first in enumerate(firsts))


def test_progress_is_recorded_on_the_way(meet: Any) -> None:
    async def behaviour(_: object) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return web.Response(status=202)

    ledger = Ledger(40 * BODY)
    assert meet(behaviour, ledger)[0] == Finished()
    assert ledger.records > 2


def test_a_chunk_of_rejects_only_sends_nothing(meet: Any) -> None:
    ledger = Ledger(3)
    ending, server = meet(status(500), ledger, checked=[0, 1, 2])
    assert ending == Finished()
    assert (ledger.position, ledger.rejected, server.requests) == (3, [0, 1, 2], [])


def test_a_chunk_that_is_settled_already_is_finished_without_a_word(meet: Any) -> None:
    ledger = Ledger(7, position=7)
    ending, server = meet(status(500), ledger)
    assert ending == Finished()
    assert (ledger.records, server.requests) == (0, [])


# How attempts end early.


def test_a_feed_that_stays_down_is_left_to_a_later_attempt_without_a_hurry(meet: Any) -> None:
    ledger = Ledger(100 * BODY)
    limits = replace(LIMITS, attempt_target_s=0.5, backoff_max_s=0.2)
    ending, server = meet(status(503), ledger, limits=limits)
    assert isinstance(ending, Yielded)
    assert "503" in ending.reason
    assert ending.wait_s == limits.backoff_max_s
    assert ledger.records == 0
    # The senders' own bodies only, ever more slowly: nothing new starts into trouble.
    assert len({request.body for request in server.requests}) == LIMITS.requests_in_flight
    assert len(server.requests) <= 10 * LIMITS.requests_in_flight


def test_bodies_behind_one_that_never_succeeds_are_not_sent_again_and_again(meet: Any) -> None:
    ledger = Ledger(200 * BODY)
    limits = replace(LIMITS, attempt_target_s=0.3)
    ending, server = meet(answers_to(5, status(500)), ledger, limits=limits)
    assert isinstance(ending, Yielded)
    assert ledger.position == 0
    assert len(server.requests) < 100


def test_an_attempt_yields_when_its_time_is_over_and_the_next_goes_on_where_it_was(
    run: Any, valkey: Valkey, feed_server: Any
) -> None:
    async def slowly(_: object) -> web.StreamResponse:
        await asyncio.sleep(0.05)
        return web.Response(status=202)

    async def scenario() -> None:
        server, ledger = feed_server(slowly), Ledger(30 * BODY)
        async with server.running(), desk(valkey, server.base_url) as made:
            limits = replace(LIMITS, attempt_target_s=0.12)
            yielded = 0
            while isinstance(ending := await made.attempt(ledger, limits=limits, checked=[3, 77, 299]), Yielded):
                yielded += 1
                assert ending.wait_s == 0
        assert yielded > 1
        assert ending == Finished()
        assert (ledger.accepted, ledger.rejected) == (297, [3, 77, 299])
        # Bodies in flight were waited for, so nothing was sent twice.
        sent = [row for request in server.requests for row in rows_of(request.body)]
        assert len(sent) == len(set(sent)) == 297

    run(scenario())


def test_an_attempt_that_is_asked_to_stop_waits_for_what_is_in_flight_only(meet: Any) -> None:
    asked = asyncio.Event()
    arrived = []

    async def behaviour(request: Any) -> web.StreamResponse:
        arrived.append(request)
        if len(arrived) == LIMITS.requests_in_flight:
            asked.set()
        await asyncio.sleep(0.3)
        return web.Response(status=202)

    ledger = Ledger(100 * BODY)
    ending, server = meet(behaviour, ledger, stopping=asked.is_set)
    assert isinstance(ending, Yielded)
    assert ending.wait_s == 0
    assert len(server.requests) == LIMITS.requests_in_flight
    assert ledger.position == LIMITS.requests_in_flight * BODY


def test_a_request_to_stop_ends_the_wait_for_a_slot(meet: Any) -> None:
    ledger = Ledger(100 * BODY)
    began_at = time.monotonic()
    ending, server = meet(
        status(202),
        ledger,
        batches_per_s=0.1,
        stopping=lambda: ledger.records > 0,
        limits=replace(LIMITS, attempt_target_s=60),
    )
    assert isinstance(ending, Yielded)
    assert ending.wait_s == 0
    # The second slot is ten seconds after the first.
    assert time.monotonic() - began_at < 5
    assert len(server.requests) == 1


def test_an_attempt_that_is_not_wanted_sends_nothing(meet: Any) -> None:
    ending, server = meet(status(202), Ledger(ROWS), stopping=lambda: True)
    assert isinstance(ending, Yielded)
    assert server.requests == []


def test_a_backfill_attempt_that_live_starves_yields_after_the_longest_wait_for_one_slot(
    run: Any, feed_server: Any
) -> None:
    class Starved:
        """A quota that always has another live body go first, a moment later."""

        asked = 0

        def body_batches(self, limit: int) -> int:
            return limit

        def take(self, _: int) -> bool:
            return False

        async def reserve(self, batches: int, *, max_wait_s: float, **_: object) -> Grant | Denied:
            self.asked += 1
            return Denied(0.01) if max_wait_s < 0.01 else Grant(0.01, batches, b"")

    async def scenario() -> None:
        server, quota, ledger = feed_server(status(202)), Starved(), Ledger(ROWS)
        async with server.running(), open_session(requests_in_flight=4, timeout_s=5) as session:
            ending = await upload(
                chunk(ROWS),
                rows=ROWS,
                position=0,
                feed=FeedClient(session, base_url=server.base_url, api_key="key", api_secret="secret"),
                governor=quota,  # type: ignore[arg-type] # the least that an attempt asks of a quota
                limits=replace(LIMITS, max_wait_s=0.1),
                record=ledger.record,
                stopping=lambda: False,
            )
        assert isinstance(ending, Yielded)
        # What it still waits for the next attempt can wait for.
        assert ending.wait_s == 0
        assert "quota" in ending.reason
        assert 1 < quota.asked <= 11
        assert server.requests == []

    run(scenario())


def test_a_wait_for_the_quota_that_is_longer_than_an_attempt_is_left_to_the_store(meet: Any) -> None:
    ledger = Ledger(3 * BODY)
    ending, server = meet(
        status(202), ledger, batches_per_s=0.1, limits=replace(LIMITS, attempt_target_s=5, max_wait_s=30)
    )
    assert isinstance(ending, Yielded)
    assert 9 < ending.wait_s < 11
    assert len(server.requests) == 1


def test_a_backfill_attempt_yields_at_once_where_live_has_reserved_what_it_would_wait_for(
    run: Any, valkey: Valkey, feed_server: Any
) -> None:
    async def scenario() -> None:
        server, ledger = feed_server(status(202)), Ledger(ROWS)
        async with server.running(), desk(valkey, server.base_url) as made:
            live = Quota(made.governor, made.group, BODY, lane=Lane.LIVE)
            for _ in range(40):
                await live.reserve(BODY, wanted=BODY, max_wait_s=60)
            ending = await made.attempt(ledger, lane=Lane.BACKFILL, batches_per_s=BODY)
            assert isinstance(ending, Yielded)
            assert ending.wait_s > LIMITS.max_wait_s
            assert server.requests == []

    run(scenario())


def test_a_pause_longer_than_an_attempt_waits_is_left_to_the_store(run: Any, valkey: Valkey, feed_server: Any) -> None:
    async def scenario() -> None:
        server, ledger = feed_server(answers_to(2 * BODY, status(429, Retry_After="90"))), Ledger(ROWS)
        async with server.running(), desk(valkey, server.base_url) as made:
            ending = await made.attempt(ledger)
            assert isinstance(ending, Yielded)
            assert 85 < ending.wait_s <= 90
            # Everybody waits: another attempt sends nothing.
            sent = len(server.requests)
            assert isinstance(await made.attempt(ledger), Yielded)
            assert len(server.requests) == sent

    run(scenario())


def test_a_429_without_retry_after_pauses_the_other_workers_too(run: Any, valkey: Valkey, feed_server: Any) -> None:
    async def scenario() -> None:
        denied = asyncio.Event()
        throttled = answers_to(27, status(429), times=1)

        async def behaviour(request: Any) -> web.StreamResponse:
            answer: web.StreamResponse = await throttled(request)
            if answer.status == HTTPStatus.ACCEPTED:
                # No body follows until the other worker knows: it would book a slot after the pause, before its own.
                await denied.wait()
            return answer

        server, ledger = feed_server(behaviour), Ledger(ROWS)
        async with server.running(), desk(valkey, server.base_url) as made, desk(valkey, server.base_url) as other:
            sending = asyncio.create_task(made.attempt(ledger))
            paused: Grant | Denied = Grant(0, 0, b"")
            while not isinstance(paused, Denied):
                # So seldom that what it reserves is far below the quota, at which a new account may not begin.
                paused = await other.governor.reserve(made.group, 1, HIGH_QUOTA, 0.1)
                await asyncio.sleep(0.02)
            denied.set()
            ending = await sending
            # The pause is a second at most. But a 429 that names no limit also says that what was sent in the stretch
            # before it was too much, so nothing goes before the first of that is a whole stretch ago.
            assert 0.1 < paused.wait_s <= WINDOW_S
            assert ending == Finished()
        assert ledger.accepted == ROWS
        assert len(server.requests) == 7

    run(scenario())


@pytest.mark.parametrize("error", [StoreUnavailable("the state database does not answer"), ZeroDivisionError()])
def test_what_record_raises_ends_the_attempt_at_once_and_is_passed_on(
    run: Any, valkey: Valkey, feed_server: Any, error: Exception
) -> None:
    class Lost(Ledger):
        async def record(self, step: Step) -> None:
            assert step.progress.position == BODY
            raise error

    async def scenario() -> None:
        released = asyncio.Event()

        async def behaviour(request: Any) -> web.StreamResponse:
            if 0 not in rows_of(request.body):
                await released.wait()
            return web.Response(status=202)

        server = feed_server(behaviour)
        async with server.running(), desk(valkey, server.base_url) as made:
            # Were the bodies in flight waited for, this would not end.
            with pytest.raises(type(error)):
                await made.attempt(Lost(100 * BODY))
            released.set()
        assert len(server.requests) <= LIMITS.requests_in_flight + 1

    run(scenario())


def test_cancellation_leaves_nothing_behind(run: Any, valkey: Valkey, feed_server: Any) -> None:
    async def scenario() -> None:
        arrived, released = asyncio.Event(), asyncio.Event()

        async def behaviour(_: object) -> web.StreamResponse:
            arrived.set()
            await released.wait()
            return web.Response(status=202)

        server, ledger = feed_server(behaviour), Ledger(100 * BODY)
        async with server.running(), desk(valkey, server.base_url) as made:
            # The fixture ``run`` looks for tasks left behind.
            sending = asyncio.create_task(made.attempt(ledger))
            await arrived.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            released.set()
        assert ledger.records == 0

    run(scenario())


def test_a_cancellation_that_is_swallowed_below_still_ends_the_attempt(
    run: Any, valkey: Valkey, feed_server: Any
) -> None:
    class Swallowing:
        """A quota whose client loses a cancellation that comes together with its answer."""

        def __init__(self) -> None:
            self.asked = asyncio.Event()

        def body_batches(self, limit: int) -> int:
            return limit

        def take(self, _: int) -> bool:
            return False

        async def reserve(self, batches: int, **_: object) -> Grant:
            self.asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return Grant(0, batches, b"")

    async def scenario() -> None:
        server, quota = feed_server(status(202)), Swallowing()
        async with server.running(), desk(valkey, server.base_url) as made:
            sending = asyncio.create_task(
                upload(
                    chunk(ROWS),
                    rows=ROWS,
                    position=0,
                    feed=made.feed,
                    governor=quota,  # type: ignore[arg-type] # the least that an attempt asks of a quota
                    limits=LIMITS,
                    record=Ledger(ROWS).record,
                    stopping=lambda: False,
                )
            )
            await quota.asked.wait()
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
        assert server.requests == []

    run(scenario())


def test_rows_that_the_encoder_lost_are_noticed(run: Any, valkey: Valkey, feed_server: Any) -> None:
    async def scenario() -> None:
        server = feed_server(status(202))
        async with server.running(), desk(valkey, server.base_url) as made:
            await upload(
                chunk(20, checked=[7]),
                rows=21,
                position=0,
                feed=made.feed,
                governor=Quota(made.governor, made.group, HIGH_QUOTA, lane=Lane.LIVE),
                limits=LIMITS,
                record=Ledger(21).record,
                stopping=lambda: False,
            )

    with pytest.raises(LedgerUnbalanced):
        run(scenario())


# Redis.


def test_an_attempt_yields_while_redis_is_gone_and_the_next_one_finishes(
    run: Any, valkey: Valkey, feed_server: Any
) -> None:
    async def scenario() -> None:
        gone = asyncio.Event()

        async def behaviour(request: Any) -> web.StreamResponse:
            rows = rows_of(request.body)
            if 5 * BODY in rows:
                await asyncio.to_thread(valkey.stop)
                gone.set()
            elif rows[0] > 5 * BODY:
                await gone.wait()
            return web.Response(status=202)

        server, ledger = feed_server(behaviour), Ledger(100 * BODY)
        async with server.running(), desk(valkey, server.base_url) as made:
            try:
                ending = await made.attempt(ledger)
            finally:
                await asyncio.to_thread(valkey.start)
            assert isinstance(ending, Yielded)
            assert ending.wait_s == LIMITS.backoff_max_s
            assert "Redis" in ending.reason
            assert 0 < ledger.position < ledger.rows
            server.behaviour = status(202)
            assert await made.attempt(ledger) == Finished()
        assert ledger.accepted == ledger.rows

    run(scenario())


def test_a_429_that_cannot_be_told_to_the_others_is_obeyed_by_this_attempt(
    run: Any, valkey: Valkey, feed_server: Any
) -> None:
    class Deaf:
        """A quota whose Redis went away after the slot was granted."""

        def body_batches(self, limit: int) -> int:
            return limit

        def take(self, _: int) -> bool:
            return True

        async def observe(self, _: object, **__: object) -> None:
            raise BrokerUnavailable("Redis does not answer")

    async def scenario() -> Ending:
        server = feed_server(status(429, Retry_After="70"))
        async with server.running(), desk(valkey, server.base_url) as made:
            return await upload(
                chunk(1),
                rows=1,
                position=0,
                feed=made.feed,
                governor=Deaf(),  # type: ignore[arg-type] # the least that an attempt asks of a quota
                limits=LIMITS,
                record=Ledger(1).record,
                stopping=lambda: False,
            )

    assert run(scenario()) == Yielded(70, "Redis does not answer")


# The stand-in mParticle, which remembers ids and keeps a quota.


def test_next_to_nothing_is_throttled_at_the_quota_of_the_account(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with stand_in_desk(valkey, batches_per_s=270) as (made, stand_in):
            ledger = Ledger(720)
            began_at = time.monotonic()
            limits = replace(LIMITS, body_max_batches=100)
            assert await made.attempt(ledger, batches_per_s=270, limits=limits) == Finished()
            # Ten bodies a second, and the last is due after all of the 26 before it.
            assert time.monotonic() - began_at > 2.3
            assert ledger.accepted == 720
            answers = stand_in.intake.counters.answers_by_status
            assert answers[HTTPStatus.ACCEPTED] == 27
            # None, unless this machine held the process up for longer than slots allow for.
            assert answers[HTTPStatus.TOO_MANY_REQUESTS] <= 1
            assert times_taken(stand_in) == dict.fromkeys(range(720), 1)

    run(scenario())


def test_a_quota_that_was_declared_too_high_costs_time_and_no_row(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with stand_in_desk(valkey, batches_per_s=40) as (made, stand_in):
            ledger = Ledger(80)
            assert await made.attempt(ledger) == Finished()
            assert stand_in.intake.counters.answers_by_status[HTTPStatus.TOO_MANY_REQUESTS] >= 1
            assert times_taken(stand_in) == dict.fromkeys(range(80), 1)

    run(scenario())


def test_cut_connections_repeat_ids_with_the_same_content(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with stand_in_desk(valkey) as (made, stand_in):
            stand_in.intake.faults.turn(Faults(drop_before=0.2, drop_after=0.2, seed=3))
            ledger = Ledger(60 * BODY)
            assert await made.attempt(ledger) == Finished()
            assert ledger.accepted == 60 * BODY
            taken = times_taken(stand_in)
            assert taken.keys() == set(range(60 * BODY))
            assert max(taken.values()) > 1
            assert stand_in.intake.counters.conflicts == 0

    run(scenario())


def test_marked_rows_are_rejected_among_thousands_and_everything_else_is_taken(run: Any, valkey: Valkey) -> None:
    async def scenario() -> None:
        async with stand_in_desk(valkey) as (made, stand_in):
            stand_in.intake.faults.turn(Faults(reject_marked=Marked(attribute="bad", value=True)))
            bad = [0, 1, 2, 555, *range(700, 790), 1_100, 2_999]
            ledger = Ledger(3_000)
            limits = replace(LIMITS, body_max_batches=100)
            assert await made.attempt(ledger, bad=bad, checked=[10, 556], limits=limits) == Finished()
            assert ledger.rejected == sorted([*bad, 10, 556])
            assert times_taken(stand_in) == dict.fromkeys(set(range(3_000)) - set(ledger.rejected), 1)

    run(scenario())


def test_limits_are_those_of_the_configuration() -> None:
    limits = UploadLimits.of(Settings(requests_in_flight=3, attempt_target_s=7))
    assert (limits.requests_in_flight, limits.attempt_target_s, limits.max_wait_s) == (3, 7, 30)
