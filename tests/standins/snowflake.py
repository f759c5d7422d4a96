"""Snowflake's stand-in: a server that the vendor's unmodified client signs in to, with fakesnow behind it.

It is loaded with what it can hold as Snowflake would: integers of any width are NUMBER(38, 0), lists become the
semi-structured ARRAY.
"""

import json
import os
import secrets
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from sandbox.child import Program
from sandbox.ports import free_port
from sandbox.supervisor import Patience, Supervisor
from shared.catalog import Connection, ServiceProvider
from shared.columns import JSON
from shared.providers.snowflake import SnowflakeConfig
from tests.standins.environments import python_of
from tests.standins.standin import Differences, Sizes

DIFFERENCES: Final = Differences(
    held_otherwise={
        "small": (pa.decimal128(38, 0), [-(2**15), 2**15 - 1, None]),
        "big": (pa.decimal128(38, 0), [-(2**63), 2**63 - 1, None]),
        "tags": (JSON, ["[]", '["a",null]', None]),
    },
    locates_failures=False,
)
ROOT: Final = Path(__file__).resolve().parents[2]
PASSPHRASE: Final = "pass phrase"
_READY_S: Final = 120


@dataclass(frozen=True, slots=True)
class Keys:
    """A key pair as PEM texts; the private key plain and encrypted with ``PASSPHRASE``."""

    private: str
    encrypted: str
    public: str

    @classmethod
    def made(cls) -> "Keys":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        encryption = BestAvailableEncryption(PASSPHRASE.encode())
        return cls(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode(),
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
        )


class SnowflakeStandin:
    name: Final = "snowflake"
    sizes: Final = Sizes(unread=300_000, lasting=2_000_000)
    endless: Final = (
        'SELECT CAST(COUNT(*) AS NUMBER(18, 0)) AS "id" FROM TABLE(GENERATOR(ROWCOUNT => 1000000000000)) '
        "WHERE HASH(SEQ8()) = 3"
    )
    is_continuable: Final = True

    def __init__(self, url: str, password: str, keys: Keys) -> None:
        self.url = url
        self.keys = keys
        self._password = password

    def connection(self, **changes: Any) -> Connection:
        config: dict[str, Any] = {
            "account_identifier": "standin",
            "warehouse": "loading",
            "database": "analytics",
            "schema_name": "public",
            "role": "sync",
            "user": "reader",
            "password": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE",
            "endpoint": self.url,
        }
        given = {name: value for name, value in (config | changes).items() if value is not None}
        return Connection(
            id="subject", name="Subject", service_provider=ServiceProvider.SNOWFLAKE, config=SnowflakeConfig(**given)
        )

    def variables(self) -> Mapping[str, str]:
        return {
            "WAREHOUSE_SYNC_SECRET_SNOWFLAKE": self._password,
            "WAREHOUSE_SYNC_SECRET_SNOWFLAKE_KEY": self.keys.private,
            "WAREHOUSE_SYNC_SECRET_SNOWFLAKE_ENCRYPTED_KEY": self.keys.encrypted,
            "WAREHOUSE_SYNC_SECRET_SNOWFLAKE_PASSPHRASE": PASSPHRASE,
            "WAREHOUSE_SYNC_WAREHOUSE_HOSTS": '["127.0.0.1"]',
        }

    def load(self, name: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        self._ask(f"/standin/tables/{name}", sink.getvalue().to_pybytes())

    def numbers(self, count: int) -> str:
        return f'SELECT CAST(SEQ8() AS NUMBER(18, 0)) AS "id" FROM TABLE(GENERATOR(ROWCOUNT => {count}))'

    def failing(self, *, at: int, count: int, secret: str) -> str:
        text = f"CASE WHEN i = {at} THEN '{secret}' ELSE '1' END"
        numbers = f"(SELECT SEQ8() AS i FROM TABLE(GENERATOR(ROWCOUNT => {count})))"
        return f'SELECT i AS "id",\n  CAST({text} AS INTEGER) AS n\nFROM {numbers} AS numbers'

    def running_queries(self) -> int:
        return int(self.look()["running"])

    def look(self) -> dict[str, Any]:
        """Give what the server has seen: sessions, queries, requests."""
        seen: dict[str, Any] = json.loads(self._ask("/standin"))
        return seen

    def change(self, **settings: Any) -> None:
        """Have the server behave otherwise; what is not named is as at the start."""
        self._ask("/standin/settings", json.dumps(settings).encode())

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        method = "GET" if body is None else "PUT"
        request = urllib.request.Request(self.url + path, body, method=method)  # noqa: S310 - our own server
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - our own server
            content: bytes = answer.read()
            return content


@contextmanager
def serving(home: Path) -> Iterator[SnowflakeStandin]:
    port, password, keys = free_port(), secrets.token_urlsafe(16), Keys.made()
    standin = SnowflakeStandin(f"http://127.0.0.1:{port}", password, keys)
    program = Program(
        name="snowflake",
        # As a module: in the path of a script's folder, its name would hide the vendor's package.
        argv=(str(python_of("snowflake")), "-m", "tests.standins.snowflake_server", str(port)),
        environment={"PATH": os.environ["PATH"], "STANDIN_PASSWORD": password, "STANDIN_PUBLIC_KEY": keys.public},
        cwd=ROOT,
        ready=lambda: _answers(standin),
    )
    with Supervisor(home, [program], patience=Patience(ready_s=_READY_S)):
        yield standin


def _answers(standin: SnowflakeStandin) -> bool:
    try:
        standin.look()
    except OSError:
        return False
    return True
