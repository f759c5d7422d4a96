"""What tests of the schedule share."""

from collections.abc import Iterator

import pytest
import redis

from sandbox.valkey import Valkey


@pytest.fixture
def client(valkey: Valkey) -> Iterator[redis.Redis]:
    """A connection to the session's Valkey, for looking at what is kept there."""
    with redis.Redis.from_url(valkey.url) as made:
        yield made
