"""BigQuery's stand-in: bqemulator in an environment of its own, behind the sign-in of a service account."""

import json
import os
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sandbox.child import Program
from sandbox.ports import free_port
from sandbox.supervisor import Patience, Supervisor
from shared.catalog import Connection, ServiceProvider
from shared.providers.bigquery import BigQueryConfig
from tests.standins.environments import python_of
from tests.standins.standin import Differences, Sizes

PROJECT: Final = "standin-project"
DATASET: Final = "mp"
DIFFERENCES: Final = Differences(
    lacks={
        "decimal_unixtime_ms": "every NUMERIC has nine decimal places, so none is a count of milliseconds",
    },
    held_otherwise={
        "small": (pa.int64(), [-(2**15), 2**15 - 1, None]),
        "price": (pa.decimal128(38, 9), [Decimal("-0.0001"), Decimal("99999999999999.9999"), None]),
        "tags": (pa.list_(pa.string()), [[], ["a"], []]),  # No NULL inside of an array, and no NULL array.
    },
    locates_failures=False,  # "Bad int64 value: ..." comes without a place.
)
_SERVER: Final = Path(__file__).with_name("bigquery_server.py")
_MAY: Final[Mapping[str, tuple[str, ...]]] = {
    "reader": ("jobs", "storage"),
    "slow-reader": ("jobs",),
    "nobody": (),
}
"""Accounts by name, and what each may: run jobs, read through the Storage API."""


def email_of(name: str) -> str:
    """Give the address of an account."""
    return f"{name}@{PROJECT}.iam.gserviceaccount.com"


def key_of(name: str, private_key: rsa.RSAPrivateKey, *, token_uri: str) -> str:
    """Give the content of an account's key file."""
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": email_of(name),
            "token_uri": token_uri,
        }
    )


class BigQueryStandin:
    name: Final = "bigquery"
    sizes: Final = Sizes(unread=1_000_000, lasting=5_000_000, tick_ns=1000)
    is_continuable: Final = True
    endless: Final = (
        "SELECT COUNT(*) AS id FROM UNNEST(GENERATE_ARRAY(1, 1000000)) AS a "
        "CROSS JOIN UNNEST(GENERATE_ARRAY(1, 1000000)) AS b WHERE MOD(a * b, 7) = 3"
    )

    def __init__(self, rest_port: int, grpc_port: int) -> None:
        self.address = f"http://127.0.0.1:{rest_port}"
        self.storage_address = f"http://127.0.0.1:{grpc_port}"
        self.private_keys = {name: rsa.generate_private_key(65537, 2048) for name in _MAY}

    def connection(self, account: str = "reader", **changed: Any) -> Connection:
        config = {
            "project_id": PROJECT,
            "dataset_id": DATASET,
            "region": "US",
            "service_account_id": email_of(account),
            "service_account_key": f"env:{_variable(account)}",
            "endpoint": self.address,
            "storage_endpoint": self.storage_address,
        }
        return Connection(
            id="subject",
            name="Subject",
            service_provider=ServiceProvider.BIGQUERY,
            config=BigQueryConfig.model_validate(config | changed),
        )

    def variables(self) -> Mapping[str, str]:
        keys = {_variable(name): self.key(name) for name in _MAY}
        return keys | {"WAREHOUSE_SYNC_WAREHOUSE_HOSTS": '["127.0.0.1"]'}

    def key(self, account: str) -> str:
        return key_of(account, self.private_keys[account], token_uri=f"{self.address}/token")

    def accounts(self) -> Sequence[Mapping[str, Any]]:
        """What the server knows of each account."""
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return [
            {
                "email": email_of(name),
                "public_key": key.public_key().public_bytes(encoding, form).decode(),
                "may": _MAY[name],
            }
            for name, key in self.private_keys.items()
        ]

    def load(self, name: str, table: pa.Table) -> None:
        sink = pa.BufferOutputStream()
        stored = pa.table({column: _as_bigquery_holds(table.column(column)) for column in table.column_names})
        with pa.ipc.new_stream(sink, stored.schema) as stream:
            stream.write_table(stored)
        path = f"/standin/bigquery/v2/projects/{PROJECT}/datasets/{DATASET}/tables/{name}"
        self.ask(path, sink.getvalue().to_pybytes())

    def numbers(self, count: int) -> str:
        # One array holds at most 1,048,575 numbers in BigQuery.
        if count <= 1_000_000:
            return f"SELECT id FROM UNNEST(GENERATE_ARRAY(0, {count - 1})) AS id"
        return (
            f"SELECT a * 1000000 + b AS id FROM UNNEST(GENERATE_ARRAY(0, {count // 1_000_000 - 1})) AS a "
            "CROSS JOIN UNNEST(GENERATE_ARRAY(0, 999999)) AS b"
        )

    def failing(self, *, at: int, count: int, secret: str) -> str:
        text = f"CASE WHEN id = {at} THEN '{secret}' ELSE '1' END"
        return f"SELECT id,\n  CAST({text} AS INT64) AS n\nFROM UNNEST(GENERATE_ARRAY(0, {count - 1})) AS id"

    def running_queries(self) -> int:
        return sum(job["isRunning"] for job in self.jobs())

    def jobs(self) -> list[dict[str, Any]]:
        """Every job that the server was asked to run, oldest first, as its API tells them."""
        found: list[dict[str, Any]] = self.ask("/standin/jobs")
        return found

    def forget(self, what: str) -> None:
        """Have the server forget its ``tokens``, read ``sessions`` or ``results``, as time does."""
        self.ask(f"/standin/forget/{what}", b"")

    def ask(self, path: str, body: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", body, timeout=60) as answer:  # noqa: S310 - our own server
            return json.load(answer)


@contextmanager
def serving(home: Path) -> Iterator[BigQueryStandin]:
    python = python_of("bigquery")
    rest_port, grpc_port = free_port(), free_port()
    standin = BigQueryStandin(rest_port, grpc_port)
    accounts = home / "accounts.json"
    accounts.write_text(json.dumps(standin.accounts()))
    ports = ("--rest-port", str(rest_port), "--grpc-port", str(grpc_port))
    program = Program(
        name="bigquery",
        argv=(
            str(python),
            "-P",
            str(_SERVER),
            *ports,
            "--accounts",
            str(accounts),
            "--dataset",
            f"{PROJECT}.{DATASET}",
        ),
        environment={"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"},
        cwd=home,
        ready=lambda: _answers(standin),
        stop_timeout_s=3,
    )
    with Supervisor(home, [program], patience=Patience(ready_s=60)):
        yield standin


def _answers(standin: BigQueryStandin) -> bool:
    try:
        standin.jobs()
    except OSError:
        return False
    return True


def _variable(account: str) -> str:
    return f"WAREHOUSE_SYNC_SECRET_BIGQUERY_{account.upper().replace('-', '_')}"


def _as_bigquery_holds(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give a column in one of BigQuery's types: it has one integer, one small decimal, and no NULL in arrays."""
    kind = column.type
    if pa.types.is_integer(kind):
        return column.cast(pa.int64())
    if pa.types.is_decimal(kind):
        return column.cast(pa.decimal128(38, 9))
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us", kind.tz))
    if pa.types.is_list(kind):
        lists = [[value for value in values or () if value is not None] for values in column.to_pylist()]
        return pa.chunked_array([pa.array(lists, kind)])
    return column
