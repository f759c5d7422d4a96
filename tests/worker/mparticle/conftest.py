"""What tests of sending to mParticle share."""

from collections.abc import Iterator

import pytest
import redis
from jsonschema import Draft7Validator

from sandbox.valkey import Valkey
from tests.worker.mparticle.event_oracle import IsRight


@pytest.fixture(scope="session")
def is_right(batch_schema: Draft7Validator) -> IsRight:
    """Whether mParticle's own schema accepts a batch; the schema itself is too long for Hypothesis to print."""
    return lambda batch: bool(batch_schema.is_valid(batch))


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    """A connection to the session's Valkey, for looking at what is kept there."""
    with redis.Redis.from_url(valkey.url) as made:
        yield made
