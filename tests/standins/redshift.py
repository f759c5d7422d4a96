"""Redshift's stand-in: the embedded PostgreSQL, from which Redshift descends, behind ``redshift_server``.

It serves the same database twice: without TLS, and with TLS and a certificate of its own making.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

import psycopg
import pyarrow as pa
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg import sql

from sandbox import ports
from sandbox.child import Program
from sandbox.services import BROKER_URL, DATABASE_URL, services_for
from sandbox.supervisor import Supervisor
from shared.catalog import Connection, ServiceProvider
from shared.providers.redshift import RedshiftConfig
from tests.standins.standin import Differences, Sizes

DIFFERENCES: Final = Differences(
    lacks={"tags": "there are no lists; a SUPER holds them, as JSON"},
    locates_failures=False,  # An error of a row has no place in the SQL.
)
PASSWORD: Final = "WAREHOUSE_SYNC_SECRET_REDSHIFT"
DATABASE: Final = "mp"
Tls = Literal["verify-full", "verify-ca", "off"]

_ROOT: Final = Path(__file__).resolve().parents[2]
_OUR_SESSIONS: Final = "FROM pg_stat_activity WHERE application_name LIKE 'warehouse-sync%'"
_WHAT_REDSHIFT_HAS: Final = """
CREATE FUNCTION getdate() RETURNS timestamp LANGUAGE sql AS
  $$ SELECT date_trunc('second', clock_timestamp() AT TIME ZONE 'UTC') $$;
CREATE FUNCTION split_to_array(text, text) RETURNS json LANGUAGE sql IMMUTABLE AS
  $$ SELECT to_json(string_to_array($1, $2)) $$;
CREATE FUNCTION json_parse(text) RETURNS json LANGUAGE sql IMMUTABLE AS $$ SELECT $1::json $$;
"""


class RedshiftStandin:
    name: Final = "redshift"
    sizes: Final = Sizes(tick_ns=1000)
    endless: Final = "SELECT CAST(LENGTH(CAST(pg_sleep(3600) AS VARCHAR)) AS BIGINT) AS id"
    is_continuable: Final = False

    def __init__(self, postgres: sa.URL, port: int, tls_port: int, authority: Path) -> None:
        self._postgres = postgres
        self._ports = {"off": port, "verify-ca": tls_port, "verify-full": tls_port}
        self._authority = authority
        self.port = port
        self.tls_port = tls_port

    def connection(self, *, tls: Tls = "off", **changes: Any) -> Connection:
        declared = {
            "host": ports.LOOPBACK,
            "port": self._ports[tls],
            "database": DATABASE,
            "user": self._postgres.username,
            "password": f"env:{PASSWORD}",
            "tls": tls,
        }
        config = RedshiftConfig.model_validate(declared | changes)
        return Connection(id="subject", name="Subject", service_provider=ServiceProvider.REDSHIFT, config=config)

    def variables(self) -> Mapping[str, str]:
        return {
            PASSWORD: str(self._postgres.password),
            "WAREHOUSE_SYNC_WAREHOUSE_HOSTS": json.dumps([ports.LOOPBACK, "localhost"]),
        }

    @property
    def trusted(self) -> Mapping[str, str]:
        """The environment in which the client trusts who signed this server's certificate."""
        return {"SSL_CERT_FILE": str(self._authority)}

    def load(self, name: str, table: pa.Table) -> None:
        columns = [
            sql.SQL("{} {}").format(sql.Identifier(field.name), sql.SQL(_type_of(field.type))) for field in table.schema
        ]
        values = [_values(column) for column in table.columns]
        with self.administer() as session:
            target = sql.Identifier(name)
            session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(target))
            session.execute(sql.SQL("CREATE TABLE {} ({})").format(target, sql.SQL(", ").join(columns)))
            with session.cursor().copy(sql.SQL("COPY {} FROM STDIN").format(target)) as copy:
                for row in zip(*values, strict=True):
                    copy.write_row(row)

    def numbers(self, count: int) -> str:
        # In the select list, where PostgreSQL makes them one by one.
        return f"SELECT generate_series(0::BIGINT, {count - 1}) AS id"

    def failing(self, *, at: int, count: int, secret: str) -> str:
        text = f"CASE WHEN i = {at} THEN '{secret}' ELSE '1' END"
        return f"SELECT i AS id,\n  CAST({text} AS INTEGER) AS n\nFROM (SELECT generate_series(0, {count - 1}) AS i) t"

    def running_queries(self) -> int:
        return len(self.sessions("state = 'active'"))

    def sessions(self, condition: str = "true") -> list[str]:
        """Give the application names of our sessions."""
        with self.administer() as session:
            found = session.execute(sql.SQL(f"SELECT application_name {_OUR_SESSIONS} AND {condition}"))
            return [str(name) for (name,) in found]

    def end_sessions(self) -> None:
        """End our sessions, whatever they do."""
        with self.administer() as session:
            session.execute(sql.SQL(f"SELECT pg_terminate_backend(pid) {_OUR_SESSIONS}"))

    @contextmanager
    def administer(self) -> Iterator[psycopg.Connection]:
        """Open a session straight at the PostgreSQL behind."""
        url = self._postgres.render_as_string(hide_password=False)
        with closing(psycopg.connect(url, autocommit=True)) as session:
            yield session


def _type_of(arrow_type: Any) -> str:
    types = pa.types
    if types.is_decimal(arrow_type):
        return f"NUMERIC({arrow_type.precision}, {arrow_type.scale})"
    if types.is_timestamp(arrow_type):
        return "TIMESTAMP" if arrow_type.tz is None else "TIMESTAMPTZ"
    if types.is_nested(arrow_type):
        return "JSON"
    if types.is_time(arrow_type):
        return "TIME"
    return {
        pa.bool_(): "BOOLEAN",
        pa.int16(): "SMALLINT",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float32(): "REAL",
        pa.float64(): "DOUBLE PRECISION",
        pa.string(): "VARCHAR(65535)",
        pa.date32(): "DATE",
        pa.binary(): "BYTEA",
    }[arrow_type]


def _values(column: pa.ChunkedArray) -> list[Any]:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz))  # Refuses what it would cut off.
    values: list[Any] = column.to_pylist()
    if pa.types.is_nested(column.type):
        return [None if value is None else json.dumps(value) for value in values]
    return values


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost and its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redshift stand-in")])
    hosts = [x509.DNSName("localhost")]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "certificate.pem", folder / "key.pem"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


@contextmanager
def serving(home: Path) -> Iterator[RedshiftStandin]:
    # No broker is wanted, and what is named by its address is not started.
    environment = {name: value for name, value in os.environ.items() if name != DATABASE_URL} | {BROKER_URL: "none"}
    chain, key = make_certificate(home)
    with services_for(home / "postgres", environment) as services:
        first = sa.make_url(services.database_url).set(drivername="postgresql")
        with closing(psycopg.connect(first.render_as_string(hide_password=False), autocommit=True)) as session:
            session.execute(f"CREATE DATABASE {DATABASE}")
        postgres = first.set(database=DATABASE)
        with closing(psycopg.connect(postgres.render_as_string(hide_password=False), autocommit=True)) as session:
            session.execute(_WHAT_REDSHIFT_HAS)
        port, tls_port = ports.free_port(), ports.free_port()
        encrypted = ("--certificate", str(chain), "--key", str(key))
        programs = [_server(home, "plain", port, postgres), _server(home, "tls", tls_port, postgres, *encrypted)]
        with Supervisor(home / "server", programs):
            yield RedshiftStandin(postgres, port, tls_port, chain)


def _server(home: Path, name: str, port: int, postgres: sa.URL, *options: str) -> Program:
    argv = (sys.executable, "-m", "tests.standins.redshift_server", "--port", str(port))
    log = home / "server" / "logs" / f"{name}.log"
    return Program(
        name,
        (*argv, "--postgres-port", str(postgres.port), *options),
        os.environ,
        _ROOT,
        ready=lambda: log.exists() and "listening" in log.read_text(),
    )
