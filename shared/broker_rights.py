"""Whether the broker lets its user do what workers and whoever sends to them do, and what time it is there.

Each command is tried, on keys and a channel of our own that expire within a minute, because what a user may do can be
asked of Redis and Valkey only by users who may do more than ours needs.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha1
from typing import Any, Final
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shared.errors import BrokerUnavailable

SUFFICES: Final = (
    "~* &* -@all +@read +@write +@connection +@transaction +@pubsub +@blocking +eval +evalsha +script|load +time "
    "-@dangerous +info"
)
"""The ACL rules of a user that suffices for workers, beat, the console and Flower, as measured."""

_TIMEOUT_S: Final = 5.0
_KEPT_S: Final = 60
_BRIEFLY_S: Final = 0.05
_SCRIPT: Final = "return redis.call('TIME')"


@dataclass(frozen=True, slots=True)
class Tried:
    """What trying came to.

    ``refused`` are the commands that the broker's user may not use, each with the ACL rule that allows it.
    """

    user: str
    now: datetime | None
    refused: dict[str, str]


def try_commands(url: str) -> Tried:
    """Try every command that the product needs of its broker.

    Raises:
        BrokerUnavailable: the broker does not answer, or refuses the sign-in; the message holds no password.
    """
    where = urlsplit(url)
    user = unquote(where.username or "") or "default"
    address = f"{where.hostname or 'localhost'}:{where.port or 6379}"
    client: Any = redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=Retry(NoBackoff(), 0)
    )
    refused: dict[str, str] = {}
    now = None
    try:
        for command, rule, attempt in _attempts(client, f"warehouse_sync:doctor:{uuid4()}"):
            try:
                found = attempt()
            except redis.exceptions.NoPermissionError as error:
                refused[command] = _rule_for(str(error), rule)
            except redis.exceptions.ResponseError as error:
                if "ACL failure in script" not in str(error):
                    raise
                refused[command] = "+time"  # All that the script asks for.
            else:
                if command == "TIME":
                    now = datetime.fromtimestamp(found[0] + found[1] / 1_000_000, UTC)
    except (redis.RedisError, OSError, ValueError) as error:
        # AuthenticationError says which user, and never the password.
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BrokerUnavailable(
            f"the broker at {address} does not answer ({said}); check that Redis or Valkey runs and "
            "WAREHOUSE_SYNC_BROKER_URL is right, its user and password too"
        ) from None
    finally:
        client.close()
    return Tried(user, now, refused)


def _rule_for(said: str, rule: str) -> str:
    """Give the rule that is missing: of keys or channels where these are what the broker refuses."""
    if "channel" in said:
        return "&*"
    return "~*" if "key" in said else rule


def _attempts(client: Any, key: str) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Give each command, the ACL rule that allows it, and a harmless use of it."""
    yield "PING", "+@connection", client.ping
    yield "TIME", "+time", client.time
    yield "SET", "+@write", lambda: client.set(key, "", ex=_KEPT_S)
    yield "EXISTS", "+@read", lambda: client.exists(key)
    yield "PEXPIRE", "+@write", lambda: client.pexpire(key, _KEPT_S * 1000)
    yield "DEL", "+@write", lambda: client.delete(key)
    yield "LPUSH", "+@write", lambda: _expiring(client, f"{key}:list", lambda name: client.lpush(name, ""))
    yield "LLEN", "+@read", lambda: client.llen(f"{key}:list")
    yield "RPOP", "+@write", lambda: client.rpop(f"{key}:list")
    yield "BRPOP", "+@blocking", lambda: client.brpop([f"{key}:list"], timeout=_BRIEFLY_S)
    yield "SADD", "+@write", lambda: _expiring(client, f"{key}:set", lambda name: client.sadd(name, "one"))
    yield "SMEMBERS", "+@read", lambda: client.smembers(f"{key}:set")
    yield "SREM", "+@write", lambda: client.srem(f"{key}:set", "one")
    yield "ZADD", "+@write", lambda: _expiring(client, f"{key}:sorted", lambda name: client.zadd(name, {"one": 1}))
    yield "ZREVRANGEBYSCORE", "+@read", lambda: client.zrevrangebyscore(f"{key}:sorted", 1, 0)
    yield "ZREM", "+@write", lambda: client.zrem(f"{key}:sorted", "one")
    yield "HSET", "+@write", lambda: _expiring(client, f"{key}:hash", lambda name: client.hset(name, "one", 1))
    yield "HGET", "+@read", lambda: client.hget(f"{key}:hash", "one")
    yield "HDEL", "+@write", lambda: client.hdel(f"{key}:hash", "one")
    yield "MULTI", "+@transaction", lambda: client.pipeline().exists(key).execute()
    yield "SCRIPT LOAD", "+script|load", lambda: client.script_load(_SCRIPT)
    yield "EVAL", "+eval", lambda: client.eval(_SCRIPT, 0)
    yield "EVALSHA", "+evalsha", lambda: _evalsha(client)
    yield "PUBLISH", "+@pubsub", lambda: client.publish(key, "")
    yield "SUBSCRIBE", "+@pubsub", lambda: _subscribe(client, lambda listener: listener.subscribe(key))
    yield "PSUBSCRIBE", "+@pubsub", lambda: _subscribe(client, lambda listener: listener.psubscribe(f"{key}*"))
    yield "INFO", "+info", client.info


def _expiring(client: Any, name: str, write: Callable[[str], Any]) -> None:
    write(name)
    client.expire(name, _KEPT_S)


def _evalsha(client: Any) -> None:
    with suppress(redis.exceptions.NoScriptError):  # It may be used, where loading may not.
        client.evalsha(sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest(), 0)


def _subscribe(client: Any, listen: Callable[[Any], Any]) -> None:
    with client.pubsub() as listener:
        listen(listener)
        listener.get_message(timeout=_TIMEOUT_S)
