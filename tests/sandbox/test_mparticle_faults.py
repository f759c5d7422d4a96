"""Every fault that can be switched on in the stand-in mParticle, over a real socket."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest
from aiohttp import ClientConnectionError, ClientSession, encode_basic_auth
from hypothesis import given
from hypothesis import strategies as st

from sandbox.faults import Faults, FaultSwitch
from sandbox.intake import Intake
from sandbox.mparticle import sandbox_running
from sandbox.settings import DEMO_FEED, SandboxSettings

CREDENTIALS = {"Authorization": encode_basic_auth(DEMO_FEED.key, DEMO_FEED.secret)}


def converse(conversation: Callable[[ClientSession, Intake], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with (
            sandbox_running(SandboxSettings(**settings)) as (base_url, stand_in),
            ClientSession(base_url) as session,
        ):
            await conversation(session, stand_in.intake)

    asyncio.run(run())


async def turn(session: ClientSession, **faults: object) -> None:
    async with session.put("/faults", data=orjson.dumps(faults)) as response:
        assert response.status == 200, await response.text()


async def send(session: ClientSession, *batches: dict[str, Any]) -> tuple[int, dict[str, str]]:
    async with session.post("/v2/bulkevents", data=orjson.dumps(batches), headers=CREDENTIALS) as response:
        await response.read()
        return response.status, dict(response.headers)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nobody tells; the server shares this loop and needs its turn
            await asyncio.sleep(0)


def batch(**attributes: object) -> dict[str, Any]:
    return {"user_identities": {"customer_id": "1"}, "user_attributes": attributes}


def test_a_status_is_answered_to_the_next_requests_only_and_nothing_is_taken() -> None:
    async def conversation(session: ClientSession, intake: Intake) -> None:
        await turn(session, status=503, next=2)
        assert [(await send(session, batch()))[0] for _ in range(3)] == [503, 503, 202]
        assert intake.counters.batches == 1
        assert intake.counters.answers_by_status == {503: 2, 202: 1}

    converse(conversation)


def test_a_status_of_429_names_its_limit_and_the_wait_that_was_asked_for() -> None:
    async def conversation(session: ClientSession, _: Intake) -> None:
        await turn(session, status=429, retry_after_s=7, limit_exceeded="feed")
        status, headers = await send(session, batch())
        assert (status, headers["Retry-After"], headers["X-mp-rate-limit-exceeded"]) == (429, "7", "feed")
        await turn(session, status=429)
        assert "Retry-After" not in (await send(session, batch()))[1]

    converse(conversation)


def test_retry_after_can_be_left_out_of_the_quotas_own_429() -> None:
    async def conversation(session: ClientSession, _: Intake) -> None:
        await turn(session, omit_retry_after=True)
        await send(session, *[batch()] * 100)  # A minute and more of the quota, however late the next request is.
        status, headers = await send(session, batch())
        assert (status, headers["X-mp-rate-limit-exceeded"]) == (429, "account")
        assert "Retry-After" not in headers

    converse(conversation, batches_per_s=1)


def test_a_connection_is_cut_before_the_batches_are_taken_or_after() -> None:
    async def conversation(session: ClientSession, intake: Intake) -> None:
        await turn(session, drop_before=1, next=1)
        with pytest.raises(ClientConnectionError):
            await send(session, batch())
        assert intake.counters.batches == 0
        await turn(session, drop_after=1, next=1)
        with pytest.raises(ClientConnectionError):
            await send(session, batch())
        assert intake.counters.batches == 1
        assert (await send(session, batch()))[0] == 202
        assert intake.counters.connections_cut == 2
        assert intake.counters.requests == 3

    converse(conversation)


def test_a_late_answer_comes_after_the_batches_were_taken() -> None:
    async def conversation(session: ClientSession, intake: Intake) -> None:
        await turn(session, delay_s=60)
        late = asyncio.create_task(send(session, batch()))
        await until(lambda: intake.counters.batches > 0)
        assert not late.done()
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)

    converse(conversation)


def test_a_late_answer_still_comes() -> None:
    async def conversation(session: ClientSession, _: Intake) -> None:
        await turn(session, delay_s=0.05)
        loop = asyncio.get_running_loop()
        before = loop.time()
        assert (await send(session, batch()))[0] == 202
        assert loop.time() - before >= 0.05

    converse(conversation)


def test_who_hangs_is_cut_off_when_the_faults_change_and_nothing_was_taken() -> None:
    async def conversation(session: ClientSession, intake: Intake) -> None:
        await turn(session, hang=True)
        hanging = asyncio.create_task(send(session, batch()))
        await until(lambda: intake.counters.requests > 0)
        assert not hanging.done()
        async with session.delete("/faults") as response:
            assert await response.json() == {"struck": 0}
        with pytest.raises(ClientConnectionError):
            await hanging
        assert (await send(session, batch()))[0] == 202
        assert intake.counters.batches == 1

    converse(conversation)


def test_a_stand_in_stops_at_once_while_someone_hangs() -> None:
    async def run() -> None:
        async with ClientSession() as session:
            async with sandbox_running(SandboxSettings()) as (base_url, stand_in):
                intake = stand_in.intake
                intake.faults.turn(Faults(hang=True))
                hanging = asyncio.ensure_future(session.post(f"{base_url}/v2/events", data=b"{}"))
                await until(lambda: intake.counters.requests > 0)
            with pytest.raises(ClientConnectionError):
                await hanging

    asyncio.run(run())


def test_strict_answers_400_for_a_bad_batch_and_takes_nothing_of_the_body() -> None:
    async def conversation(session: ClientSession, intake: Intake) -> None:
        await turn(session, strict=True)
        assert (await send(session, batch(), {"typo": 1}))[0] == 400
        assert (intake.counters.batches, intake.counters.dropped_by_reason) == (0, {})
        assert (await send(session, batch()))[0] == 202

    converse(conversation)


def test_a_marked_batch_has_its_whole_body_refused() -> None:
    async def conversation(session: ClientSession, intake: Intake) -> None:
        await turn(session, reject_marked={"attribute": "poison", "value": "yes"})
        assert (await send(session, batch(), batch(poison="yes")))[0] == 400
        assert (await send(session, batch(poison="no"), batch()))[0] == 202
        assert intake.counters.batches == 2

    converse(conversation)


def test_every_body_can_be_refused() -> None:
    async def conversation(session: ClientSession, _: Intake) -> None:
        await turn(session, reject_all=True)
        assert (await send(session, batch()))[0] == 400

    converse(conversation)


def test_faults_can_be_read_and_unknown_ones_are_refused() -> None:
    async def conversation(session: ClientSession, _: Intake) -> None:
        await turn(session, status=500, share=0.5)
        async with session.get("/faults") as response:
            assert await response.json() == {"status": 500, "share": 0.5, "struck": 0}
        for wrong in ({"statsu": 500}, {"share": 2}, {"status": 200}, {"next": 0}):
            async with session.put("/faults", data=orjson.dumps(wrong)) as response:
                assert response.status == 400
        assert (await send(session, batch()))[0] in {202, 500}

    converse(conversation)


@given(seed=st.integers(0, 1000), share=st.floats(0, 1))
def test_the_same_seed_strikes_the_same_requests(seed: int, share: float) -> None:
    faults = Faults(drop_after=share, seed=seed)
    one, other = FaultSwitch(0), FaultSwitch(1)
    one.turn(faults)
    other.turn(faults)
    assert [one.strike() for _ in range(50)] == [other.strike() for _ in range(50)]


def test_a_share_strikes_about_that_many_and_no_other_share_moves_it() -> None:
    switch = FaultSwitch(3)
    switch.turn(Faults(drop_before=0.3))
    alone = [switch.strike().drop_before for _ in range(1000)]
    switch.turn(Faults(drop_before=0.3, drop_after=0.5, delay_s=1, share=0.1))
    assert alone == [switch.strike().drop_before for _ in range(1000)]
    assert 250 < sum(alone) < 350
