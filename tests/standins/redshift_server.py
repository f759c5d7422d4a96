"""A Redshift in front of a PostgreSQL: what Redshift's client and SQL expect and PostgreSQL lacks, translated.

The client's messages pass unchanged but for the start-up parameters that only Redshift knows, ``query_group``, and
LISTAGG; the server's but for its version, and for two types that PostgreSQL calls otherwise: ``json`` is announced as
SUPER and ``bytea`` as VARBYTE, whose text is bare hexadecimal digits.

    python -m tests.standins.redshift_server --port PORT --postgres-port PORT [--certificate CHAIN --key KEY]
"""

import argparse
import asyncio
import re
import ssl
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"

_SSL_REQUEST: Final = 80877103
_PROTOCOL_3: Final = 196608
_KNOWN_TO_POSTGRESQL: Final = frozenset({b"user", b"database", b"application_name"})
_JSON, _SUPER = 114, 4000
_BYTEA, _VARBYTE = 17, 6551
_TYPES: Final = {_JSON: _SUPER, _BYTEA: _VARBYTE}
_QUERY_GROUP: Final = re.compile(rb"\bSET query_group\b")
_LISTAGG: Final = re.compile(rb"\bLISTAGG\((.+?)\)\s+WITHIN GROUP\s*\((ORDER BY [^)]+)\)", re.IGNORECASE | re.DOTALL)
_HEADER: Final = struct.Struct("!ci")
_READ_BYTES: Final = 1 << 18


def as_postgresql(kind: bytes, body: bytes) -> bytes:
    """Translate a message of the client's."""
    if kind != b"P":  # Parse: the only one that holds SQL.
        return body
    # PostgreSQL knows no such setting, but any that has a dot.
    body = _QUERY_GROUP.sub(b"SET redshift.query_group", body)
    return _LISTAGG.sub(rb"STRING_AGG(\1 \2)", body)


@dataclass
class AsRedshift:
    """Translates the server's messages of one connection."""

    hexadecimal: list[int] = field(default_factory=list)

    def __call__(self, kind: bytes, body: bytes) -> bytes:
        match kind:
            case b"S" if body.startswith(b"server_version\0"):
                return b"server_version\x008.0.2\0"
            case b"R" if body.startswith(b"\0\0\0\x0a"):
                return body.rstrip(b"\0") + b"\0"  # The client takes a second terminator for one more mechanism.
            case b"T":
                return self._described(body)
            case b"D" if self.hexadecimal:
                return self._row(body)
        return body

    def _described(self, body: bytes) -> bytes:
        described = bytearray(body)
        self.hexadecimal = []
        at = 2
        for column in range(int.from_bytes(body[:2])):
            at = body.index(0, at) + 1 + 6
            (oid,) = struct.unpack_from("!i", body, at)
            struct.pack_into("!i", described, at, _TYPES.get(oid, oid))
            if oid == _BYTEA:
                self.hexadecimal.append(column)
            at += 12
        return bytes(described)

    def _row(self, body: bytes) -> bytes:
        fields = list(_fields(body))
        for column in self.hexadecimal:
            value = fields[column]
            fields[column] = value and value.removeprefix(b"\\x")
        row = b"".join(_sized(value) for value in fields)
        return body[:2] + row


def _fields(body: bytes) -> Iterator[bytes | None]:
    at = 2
    while at < len(body):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        yield None if size < 0 else body[at : at + size]
        at += max(size, 0)


def _sized(value: bytes | None) -> bytes:
    return struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value


Translate = Callable[[bytes, bytes], bytes]


async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter, translate: Translate) -> None:
    """Hand on message after message until the source ends."""
    pending = b""
    try:
        while received := await source.read(_READ_BYTES):
            pending += received
            translated, pending = _translated(pending, translate)
            sink.write(translated)
            await sink.drain()
    except ConnectionError:
        pass
    finally:
        sink.close()


def _translated(pending: bytes, translate: Translate) -> tuple[bytes, bytes]:
    """Translate the whole messages; give the rest back."""
    parts: list[bytes] = []
    at = 0
    while len(pending) - at >= _HEADER.size:
        kind, size = _HEADER.unpack_from(pending, at)
        end = at + 1 + size
        if end > len(pending):
            break
        body = translate(kind, pending[at + _HEADER.size : end])
        parts += (_HEADER.pack(kind, len(body) + 4), body)
        at = end
    return b"".join(parts), pending[at:]


async def serve_client(
    client: asyncio.StreamReader, to_client: asyncio.StreamWriter, *, postgres_port: int, tls: ssl.SSLContext | None
) -> None:
    """Serve one client until it leaves."""
    with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        code, parameters = await _startup(client)
        if code == _SSL_REQUEST:
            to_client.write(b"N" if tls is None else b"S")
            await to_client.drain()
            if tls is not None:
                await to_client.start_tls(tls)
            code, parameters = await _startup(client)
        postgres, to_postgres = await asyncio.open_connection(HOST, postgres_port)
        to_postgres.write(_startup_message(code, parameters))
        await asyncio.gather(relay(client, to_postgres, as_postgresql), relay(postgres, to_client, AsRedshift()))
    to_client.close()


async def _startup(client: asyncio.StreamReader) -> tuple[int, bytes]:
    size, code = struct.unpack("!ii", await client.readexactly(8))
    return code, await client.readexactly(size - 8)


def _startup_message(code: int, parameters: bytes) -> bytes:
    if code == _PROTOCOL_3:
        words = parameters.rstrip(b"\0").split(b"\0")
        kept = zip(words[::2], words[1::2], strict=False)
        parameters = b"".join(name + b"\0" + value + b"\0" for name, value in kept if name in _KNOWN_TO_POSTGRESQL)
        parameters += b"\0"
    return struct.pack("!ii", len(parameters) + 8, code) + parameters


async def serve(port: int, postgres_port: int, tls: ssl.SSLContext | None) -> None:
    """Serve until cancelled; say so when listening."""
    server = await asyncio.start_server(partial(serve_client, postgres_port=postgres_port, tls=tls), HOST, port)
    async with server:
        print("listening", flush=True)  # noqa: T201 - the starter waits for it
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--postgres-port", type=int, required=True)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    given = parser.parse_args()
    tls = None
    if given.certificate is not None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(given.certificate, given.key)
    asyncio.run(serve(given.port, given.postgres_port, tls))


if __name__ == "__main__":
    main()
