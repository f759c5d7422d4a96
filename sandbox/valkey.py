"""The embedded Valkey: an append-only file, a password, TCP on 127.0.0.1 only.

The append-only file is what lets queued messages survive a crash; it reaches the disk every second. TCP and no unix
socket, as for PostgreSQL: a home folder's path may be longer than a socket's may be.
"""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from sandbox import ports
from sandbox.binaries import Places, find_valkey
from sandbox.server import Server

ANSWER_LIMIT_S = 3

SETTINGS = f"""\
bind {ports.LOOPBACK}
protected-mode yes
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class Valkey(Server):
    """Valkey, or a Redis, in ``<home>/valkey``."""

    name: ClassVar[str] = "valkey"
    title: ClassVar[str] = "Valkey"
    process_names: ClassVar[frozenset[str]] = frozenset({"valkey-server", "redis-server"})
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @property
    def url(self) -> str:
        """A URL as Celery and redis-py take it."""
        address = self.address
        return f"redis://:{address.password}@{ports.LOOPBACK}:{address.port}/0"

    def answers(self) -> bool:
        """Whether it answers our ``PING``; not while it still reads its append-only file."""
        client = redis.Redis.from_url(
            self.url,
            socket_timeout=ANSWER_LIMIT_S,
            socket_connect_timeout=ANSWER_LIMIT_S,
            # redis-py itself would try for seconds before it says no; whoever asks here asks again.
            retry=Retry(NoBackoff(), 0),
        )
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def _find(self, places: Places) -> Path:
        return find_valkey(places)

    def _pid_file(self) -> Path:
        return self.home / "valkey.pid"

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)

    def _configure(self) -> Sequence[str]:
        address = self.address
        # In a file and not on the command line, which every user of the machine may read.
        settings = self.home / "valkey.conf"
        with os.fdopen(os.open(settings, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(
                f"{SETTINGS}port {address.port}\nrequirepass {_quoted(address.password)}\n"
                f"dir {_quoted(str(self.folder))}\npidfile {_quoted(str(self._pid_file()))}\n"
            )
        return [address.program, str(settings)]


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
