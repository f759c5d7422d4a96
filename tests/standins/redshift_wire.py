"""The wire between Redshift's client and its stand-in, where what the stand-in cannot do by itself is done to it."""

import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Final

from tests.standins.redshift_server import HOST

_READ_BYTES: Final = 1 << 16
_SYNC: Final = b"S"


@dataclass
class Faults:
    """What goes wrong, until it is taken back.

    Attributes:
        sign_in: an error that answers whoever wants to sign in.
        statements: errors by the words with which a statement begins; each happens once.
        cut_after_bytes: how much the server may say on one connection before both are cut.
        is_silent: whether the server takes connections and says nothing.
        lets_in: how many may still sign in before ``sign_in`` happens.
    """

    sign_in: Mapping[str, str] = field(default_factory=dict)
    statements: dict[str, Mapping[str, str]] = field(default_factory=dict)
    cut_after_bytes: int | None = None
    is_silent: bool = False
    lets_in: int = 0
    statements_seen: list[str] = field(default_factory=list)


class Wire(ThreadingTCPServer):
    """A server in front of the one at ``upstream_port``; it lives as long as its block."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, upstream_port: int) -> None:
        super().__init__((HOST, 0), _Connection)
        self.upstream_port = upstream_port
        self.faults = Faults()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


@contextmanager
def wire_to(port: int) -> Iterator[Wire]:
    with Wire(port) as wire:
        serving = threading.Thread(target=wire.serve_forever, kwargs={"poll_interval": 0.02})
        serving.start()
        try:
            yield wire
        finally:
            wire.shutdown()
            serving.join()


class _Connection(BaseRequestHandler):
    request: socket.socket
    server: Wire

    def handle(self) -> None:
        faults = self.server.faults
        with suppress(OSError, EOFError), socket.create_connection((HOST, self.server.upstream_port)) as upstream:
            for end in (self.request, upstream):  # What is handed on in pieces must not wait for being acknowledged.
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            size = self._read(4)
            startup = size + self._read(struct.unpack("!i", size)[0] - 4)
            if faults.is_silent:
                self._read(1)
            if faults.sign_in and faults.lets_in == 0:
                self.request.sendall(_error(faults.sign_in))
                return
            faults.lets_in = max(0, faults.lets_in - 1)
            upstream.sendall(startup)
            back = threading.Thread(target=self._hand_back, args=(upstream,))
            back.start()
            try:
                self._hand_on(upstream)
            finally:
                with suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)
                back.join()

    def _hand_on(self, upstream: socket.socket) -> None:
        while True:
            kind, size = struct.unpack("!ci", self._read(5))
            body = self._read(size - 4)
            error = self._fault_of(kind, body)
            if error is None:
                upstream.sendall(struct.pack("!ci", kind, size) + body)
                continue
            while kind != _SYNC:
                kind, size = struct.unpack("!ci", self._read(5))
                self._read(size - 4)
            self.request.sendall(_error(error) + b"Z\0\0\0\x05E")

    def _fault_of(self, kind: bytes, body: bytes) -> Mapping[str, str] | None:
        if kind != b"P":
            return None
        statement = body.split(b"\0")[1].decode()
        self.server.faults.statements_seen.append(statement)
        statements = self.server.faults.statements
        found = next((begins for begins in statements if statement.startswith(begins)), None)
        return None if found is None else statements.pop(found)

    def _hand_back(self, upstream: socket.socket) -> None:
        told = 0
        with suppress(OSError):
            while received := upstream.recv(_READ_BYTES):
                limit = self.server.faults.cut_after_bytes
                told += len(received)
                if limit is not None and told > limit:
                    self.request.sendall(received[: len(received) - (told - limit)])
                    break
                self.request.sendall(received)
        with suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)

    def _read(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            more = self.request.recv(size - len(received))
            if not more:
                raise EOFError
            received += more
        return received


def _error(fields: Mapping[str, str]) -> bytes:
    body = b"".join(f"{name}{text}\0".encode() for name, text in {"S": "ERROR", **fields}.items()) + b"\0"
    return struct.pack("!ci", b"E", len(body) + 4) + body
