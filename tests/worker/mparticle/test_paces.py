"""What metrics read of an account's state is what the governor's own scripts make of it."""

import uuid
from typing import Any

import pytest
import redis

from sandbox.valkey import Valkey
from shared import paces
from shared.paces import FIELDS, KEY_PREFIX
from worker.mparticle.answers import Throttled
from worker.mparticle.governor import Governor, Grant
from worker.mparticle.pace import PRELUDE

QUOTA = 200.0


@pytest.fixture
def group() -> str:
    return f"group-{uuid.uuid4()}"


def paced(client: redis.Redis, group: str) -> paces.Pace:
    with client.pipeline(transaction=False) as pipeline:
        paces.ask(pipeline, [group])
        (found,) = paces.read(pipeline.execute(), [QUOTA])
    return found


def test_an_account_without_a_state_may_spend_its_quota(valkey: Valkey, group: str) -> None:
    assert paced(redis.Redis.from_url(valkey.url), group) == paces.Pace(QUOTA, 0, 0)


def test_what_was_sent_counts_for_a_second_and_a_refusal_shows_as_rate_and_pause(
    run: Any, valkey: Valkey, group: str
) -> None:
    client = redis.Redis.from_url(valkey.url)

    async def scenario() -> None:
        governor = Governor.connect(valkey.url)
        granted = await governor.reserve(group, 10, QUOTA, 0)
        assert isinstance(granted, Grant)
        assert paced(client, group).sent_batches in {10, 0}, "unless this machine stood still for a second"
        await governor.refused(group, Throttled(40.0, "account"), QUOTA, batches=10, sent_ago_s=0)
        await governor.close()

    run(scenario())
    found = paced(client, group)
    assert 30 < found.paused_s <= 40
    assert found.allowed_batches_per_s < QUOTA
    assert found.sent_batches == 0, "what was refused does not count"


@pytest.mark.parametrize("ago_s", [0, 100, 1_000_000])
def test_the_allowed_rate_is_the_one_that_the_scripts_apply(valkey: Valkey, group: str, ago_s: int) -> None:
    client = redis.Redis.from_url(valkey.url)
    seconds, _ = client.time()
    client.hset(KEY_PREFIX + group, mapping={"allowed": "50.000", "allowed_at": (seconds - ago_s) * 1_000_000})
    script = PRELUDE + "return string.format('%.6f', allowed_rate(tonumber(ARGV[1])))"
    applied = float(client.eval(script, 1, KEY_PREFIX + group, str(QUOTA)))
    assert paced(client, group).allowed_batches_per_s == pytest.approx(applied, abs=0.5)
    assert applied > 50 or not ago_s


def test_every_field_that_is_read_is_one_that_the_scripts_keep() -> None:
    assert all(f"'{name}'" in PRELUDE for name in FIELDS)
