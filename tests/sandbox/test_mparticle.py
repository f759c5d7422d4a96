"""Every answer of the stand-in mParticle, over a real socket."""

import asyncio
import gzip
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession, encode_basic_auth

from sandbox.mparticle import sandbox_running
from sandbox.settings import DEMO_FEED, SandboxFeed, SandboxSettings, Storing
from shared.feed import ProtectionLevel

BULK = "/v2/bulkevents"
HISTORICAL = "/v2/bulkevents/historical"
SINGLE = "/v2/events"
DAY_MS = 86_400_000


def credentials(feed: SandboxFeed = DEMO_FEED) -> dict[str, str]:
    return {"Authorization": encode_basic_auth(feed.key, feed.secret)}


@asynccontextmanager
async def calling(settings: SandboxSettings) -> AsyncIterator[ClientSession]:
    async with sandbox_running(settings) as (base_url, _), ClientSession(base_url) as session:
        yield session


def converse(conversation: Callable[[ClientSession], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        async with calling(SandboxSettings(**settings)) as session:
            await conversation(session)

    asyncio.run(run())


async def send(
    session: ClientSession,
    batches: object,
    path: str = BULK,
    *,
    feed: SandboxFeed = DEMO_FEED,
    headers: dict[str, str] | None = None,
) -> tuple[int, bytes]:
    body = batches if isinstance(batches, bytes) else orjson.dumps(batches)
    async with session.post(path, data=body, headers=credentials(feed) | (headers or {})) as response:
        return response.status, await response.read()


async def counters(session: ClientSession) -> dict[str, Any]:
    async with session.get("/counters") as response:
        counts: dict[str, Any] = await response.json()
        return counts


async def profile(session: ClientSession, **identity: str) -> dict[str, Any] | None:
    async with session.get("/profiles", params=identity) as response:
        found: dict[str, Any] = await response.json()
        return found if response.status == 200 else None


def batch(user: int = 1, **fields: Any) -> dict[str, Any]:
    return {"environment": "production", "user_identities": {"customer_id": str(user)}, **fields}


def event(age_ms: int) -> dict[str, Any]:
    stamp = int(time.time() * 1000) - age_ms
    data = {"timestamp_unixtime_ms": stamp, "custom_event_type": "other", "event_name": "e"}
    return {"event_type": "custom_event", "data": data}


def test_a_good_body_is_answered_202_with_nothing_in_it() -> None:
    async def conversation(session: ClientSession) -> None:
        assert await send(session, [batch()]) == (202, b"")
        assert await send(session, batch(), SINGLE) == (202, b"")
        assert (await counters(session))["batches"] == 2

    converse(conversation)


def test_a_missing_sign_in_is_401_and_a_wrong_one_403() -> None:
    async def conversation(session: ClientSession) -> None:
        async with session.post(BULK, data=b"[]") as response:
            assert response.status == 401
        assert (await send(session, [], feed=SandboxFeed(DEMO_FEED.key, "wrong")))[0] == 403
        async with session.post(BULK, data=b"[]", headers={"Authorization": "Bearer x"}) as response:
            assert response.status == 403
        counts = await counters(session)
        assert counts["requests"] == 3
        assert counts["rejected_requests_by_status"] == {"401": 1, "403": 2}

    converse(conversation)


@pytest.mark.parametrize("body", [b"[", b"", b"\xff", b'{"environment": "production"}', b"[" * 2000])
def test_what_is_no_array_of_json_is_answered_400_in_mparticles_words(body: bytes) -> None:
    async def conversation(session: ClientSession) -> None:
        status, answer = await send(session, body)
        assert status == 400
        (error,) = orjson.loads(answer)["errors"]
        assert error["code"] == "BAD_REQUEST"
        assert error["message"]

    converse(conversation)


def test_an_array_of_no_batches_is_taken_signs_in_like_any_and_counts_nothing() -> None:
    async def conversation(session: ClientSession) -> None:
        before = await counters(session)
        assert await send(session, []) == (202, b"")
        status, _ = await send(session, [], feed=SandboxFeed("us1-stranger", "s"))
        assert status == 403
        after = await counters(session)
        assert after["requests"] - before["requests"] == 2
        assert (after["batches"], after["without_id"], after["by_environment"]) == (0, 0, {})

    converse(conversation)


def test_one_batch_goes_to_events_and_an_array_does_not() -> None:
    async def conversation(session: ClientSession) -> None:
        assert (await send(session, [batch()], SINGLE))[0] == 400

    converse(conversation)


def test_a_hundred_batches_are_taken_and_one_more_refused() -> None:
    async def conversation(session: ClientSession) -> None:
        assert (await send(session, [batch()] * 100))[0] == 202
        assert (await send(session, [batch()] * 101))[0] == 400
        assert (await counters(session))["batches"] == 100

    converse(conversation)


def test_a_body_of_256000_bytes_is_taken_and_one_more_byte_is_413() -> None:
    async def conversation(session: ClientSession) -> None:
        good = orjson.dumps([batch()])
        assert (await send(session, good.ljust(256_000)))[0] == 202
        assert (await send(session, good.ljust(256_001)))[0] == 413
        assert (await send(session, good.ljust(1_000_000)))[0] == 413

    converse(conversation)


def _of_bytes(size: int) -> dict[str, Any]:
    empty = len(orjson.dumps(batch(user_attributes={"a": ""})))
    return batch(user_attributes={"a": "x" * (size - empty)})


def test_a_batch_of_more_than_128000_bytes_vanishes_from_bulk_and_is_400_alone() -> None:
    async def conversation(session: ClientSession) -> None:
        assert (await send(session, _of_bytes(128_000), SINGLE))[0] == 202
        assert (await send(session, _of_bytes(128_001), SINGLE))[0] == 400
        assert (await send(session, [_of_bytes(127_900), _of_bytes(127_900)]))[0] == 202
        assert (await send(session, [batch(), _of_bytes(128_001), batch()]))[0] == 202
        counts = await counters(session)
        assert counts["batches"] == 5
        assert counts["dropped_by_reason"] == {"too_large": 1}

    converse(conversation)


def test_a_bad_batch_vanishes_from_bulk_and_the_others_are_taken() -> None:
    async def conversation(session: ClientSession) -> None:
        bodies = [batch(1), batch(2, typo=1, source_request_id="r:7"), {"environment": "production"}, batch(3)]
        assert await send(session, bodies) == (202, b"")
        counts = await counters(session)
        assert counts["batches"] == 2
        assert counts["dropped"] == 2
        assert counts["dropped_by_reason"] == {"unknown_field": 1, "no_identity": 1}
        async with session.get("/dropped") as response:
            assert (await response.json())[0] == {"source_request_id": "r:7", "reason": "unknown_field"}

    converse(conversation)


def test_a_bad_batch_alone_is_answered_400() -> None:
    async def conversation(session: ClientSession) -> None:
        status, answer = await send(session, batch(typo=1), SINGLE)
        assert status == 400
        assert b"unknown_field" in answer
        assert (await counters(session))["dropped"] == 0

    converse(conversation)


def test_the_historical_path_takes_old_events_only_and_leaves_profiles_alone() -> None:
    async def conversation(session: ClientSession) -> None:
        undated = {"event_type": "session_start", "data": {}}
        bodies = [
            batch(1, events=[event(40 * DAY_MS)], source_request_id="old"),
            batch(2),
            batch(3, events=[event(40 * DAY_MS), event(2 * DAY_MS)]),
            batch(4, events=[event(40 * DAY_MS), undated]),
        ]
        assert (await send(session, bodies, HISTORICAL))[0] == 202
        counts = await counters(session)
        assert (counts["batches"], counts["historical"], counts["events"], counts["profiles"]) == (1, 1, 1, 0)
        assert counts["dropped_by_reason"] == {
            "historical_no_events": 1,
            "historical_too_young": 1,
            "historical_no_timestamp": 1,
        }
        assert await received(session, "") == [
            {"source_request_id": "old", "times": 1, "historical": True, "key": DEMO_FEED.key}
        ]

    converse(conversation)


async def received(session: ClientSession, prefix: str) -> list[dict[str, Any]]:
    async with session.get("/received", params={"prefix": prefix}) as response:
        return [orjson.loads(line) for line in (await response.read()).splitlines()]


def test_a_repeated_id_changes_nothing_and_is_counted_by_whether_its_content_is_the_same() -> None:
    async def conversation(session: ClientSession) -> None:
        first = batch(source_request_id="chunk:1", user_attributes={"a": 1})
        other = batch(source_request_id="chunk:1", user_attributes={"a": 2})
        await send(session, [first])
        await send(session, [first, other, batch(source_request_id="chunk:2")])
        counts = await counters(session)
        assert (counts["batches"], counts["duplicates"], counts["conflicts"]) == (2, 1, 1)
        seen = {one["source_request_id"]: one["times"] for one in await received(session, "chunk:")}
        assert seen == {"chunk:1": 3, "chunk:2": 1}
        assert await received(session, "chunk:2x") == []
        found = await profile(session, customer_id="1")
        assert found is not None
        assert found["user_attributes"] == {"a": 1}

    converse(conversation)


def test_the_same_id_under_another_key_is_another_batch() -> None:
    feeds = (DEMO_FEED, SandboxFeed("us1-other", "s"))

    async def conversation(session: ClientSession) -> None:
        for feed in feeds:
            await send(session, [batch(source_request_id="chunk:1")], feed=feed)
        assert (await counters(session))["batches"] == 2

    converse(conversation, feeds=feeds)


def test_what_is_not_kept_is_not_known() -> None:
    async def conversation(session: ClientSession) -> None:
        for _ in range(2):
            await send(session, [batch(source_request_id="chunk:1")])
        assert (await counters(session))["batches"] == 2
        for path in ("/received", "/profiles?customer_id=1"):
            async with session.get(path) as response:
                assert response.status == 409

    converse(conversation, storing=Storing.OFF)


def test_gzip_is_415_unless_accepted() -> None:
    async def conversation(session: ClientSession) -> None:
        assert (await send(session, gzip.compress(b"[]"), headers={"Content-Encoding": "gzip"}))[0] == 415

    converse(conversation)


def test_limits_hold_for_what_a_compressed_body_becomes() -> None:
    async def conversation(session: ClientSession) -> None:
        good = orjson.dumps([batch()])
        headers = {"Content-Encoding": "gzip"}
        assert (await send(session, gzip.compress(good.ljust(256_000)), headers=headers))[0] == 202
        assert (await send(session, gzip.compress(good.ljust(256_001)), headers=headers))[0] == 413
        assert (await send(session, gzip.compress(bytes(50_000_000)), headers=headers))[0] == 413
        assert (await send(session, good, headers=headers))[0] == 400
        assert (await send(session, gzip.compress(good)[:-9], headers=headers))[0] == 400
        assert (await send(session, good, headers={"Content-Encoding": "br"}))[0] == 415
        assert (await send(session, good))[0] == 202
        counts = await counters(session)
        # The four small ones and the bomb's 50 kB, against three bodies' worth of content.
        assert counts["wire_bytes"] < 60_000
        assert counts["bytes"] > 256_000

    converse(conversation, accepts_gzip=True)


def test_each_protection_level_holds_for_its_own_feed() -> None:
    creator = SandboxFeed("creator", "s")
    updater = SandboxFeed("updater", "s", ProtectionLevel.UPDATE_ONLY)
    reader = SandboxFeed("reader", "s", ProtectionLevel.READ_ONLY)

    async def conversation(session: ClientSession) -> None:
        await send(session, [batch(1, user_attributes={"a": "new"})], feed=updater)
        assert await profile(session, customer_id="1") is None
        await send(session, [batch(1, user_attributes={"a": "created"})], feed=creator)
        await send(session, [batch(1, user_attributes={"a": "updated"})], feed=updater)
        await send(session, [batch(1, user_attributes={"a": "read"})], feed=reader)
        found = await profile(session, customer_id="1")
        assert found is not None
        assert found["user_attributes"] == {"a": "updated"}
        counts = await counters(session)
        assert (counts["batches"], counts["withheld"], counts["profiles"]) == (4, 2, 1)

    converse(conversation, feeds=(creator, updater, reader))


def test_the_quota_is_told_on_202_and_beyond_it_is_429() -> None:
    async def conversation(session: ClientSession) -> None:
        body = orjson.dumps([batch()] * 80)
        async with session.post(BULK, data=body, headers=credentials()) as response:
            assert response.headers["X-mp-rate-limit-percentage-used"] == "80"
        async with session.post(BULK, data=body, headers=credentials()) as response:
            assert response.status == 429
            assert response.headers["X-mp-rate-limit-exceeded"] == "account"
            assert response.headers["Retry-After"] == "1"
        assert (await counters(session))["batches"] == 80

    converse(conversation, batches_per_s=100)


def test_too_steep_a_rise_is_429_for_its_acceleration() -> None:
    async def conversation(session: ClientSession) -> None:
        body = orjson.dumps([batch()] * 8)
        async with session.post(BULK, data=body, headers=credentials()) as response:
            assert "X-mp-rate-limit-percentage-used" not in response.headers
        async with session.post(BULK, data=body, headers=credentials()) as response:
            assert response.status == 429
            assert response.headers["X-mp-rate-limit-exceeded"] == "acceleration"

    converse(conversation, acceleration_batches_per_s=10)


def test_counters_tell_environments_apart_and_can_begin_anew() -> None:
    async def conversation(session: ClientSession) -> None:
        unnamed = {"user_identities": {"email": "a@example.com"}}
        body = orjson.dumps([batch(), {**batch(2), "environment": "development"}, unnamed])
        await send(session, body)
        counts = await counters(session)
        assert counts["by_environment"] == {"production": 2, "development": 1}
        assert (counts["bytes"], counts["without_id"]) == (len(body), 3)
        async with session.post("/counters/reset") as response:
            assert response.status == 204
        assert {**await counters(session), "profiles": 0} == {
            name: {} if isinstance(count, dict) else 0 for name, count in counts.items()
        }
        assert await profile(session, email="a@example.com") is not None

    converse(conversation)


def test_events_are_counted_by_type_once_and_a_bad_one_costs_its_whole_batch() -> None:
    view = {"event_type": "screen_view", "data": {"screen_name": "a"}}
    start = {"event_type": "session_start", "data": {}}

    async def conversation(session: ClientSession) -> None:
        good = {**batch(1, source_request_id="c:1", user_attributes={"level": "gold"}), "events": [view, start, view]}
        bad = {**batch(2), "events": [start, {"event_type": "screen_view", "data": {}}]}
        await send(session, [good, bad])
        await send(session, [good])
        counts = await counters(session)
        assert counts["events"] == 3
        assert counts["events_by_type"] == {"screen_view": 2, "session_start": 1}
        assert (counts["batches"], counts["duplicates"]) == (1, 1)
        assert counts["dropped_by_reason"] == {"no_event_screen_name": 1}
        found = await profile(session, customer_id="1")
        assert found is not None
        assert found["user_attributes"] == {"level": "gold"}
        assert await profile(session, customer_id="2") is None

    converse(conversation)


def test_a_profile_is_asked_for_by_one_identity() -> None:
    async def conversation(session: ClientSession) -> None:
        for path, status in (("/profiles", 400), ("/profiles?email=a&customer_id=1", 400), ("/profiles?email=a", 404)):
            async with session.get(path) as response:
                assert response.status == status

    converse(conversation)


def test_every_id_is_told_however_many_there_are() -> None:
    async def conversation(session: ClientSession) -> None:
        for body_no in range(25):
            await send(session, [batch(source_request_id=f"chunk:{body_no * 100 + row}") for row in range(100)])
        seen = [one["source_request_id"] for one in await received(session, "chunk:")]
        assert sorted(seen) == sorted(f"chunk:{row}" for row in range(2500))

    converse(conversation)
