"""A wire that breaks: passes bytes on to a server, and cuts a connection after as many as a test says."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_CHUNK_BYTES = 65_536


class Wire:
    """Connections to one port; the first ``cuts`` of them end after ``after_bytes`` from the server."""

    def __init__(self, port: int, *, cuts: int, after_bytes: int) -> None:
        self.connections = 0
        self._port = port
        self._cuts = cuts
        self._after_bytes = after_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._carriers: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self.address = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            limit = self._after_bytes if self.connections <= self._cuts else None
            server = socket.create_connection(("127.0.0.1", self._port))
            self._open += [client, server]
            carrier = threading.Thread(target=_carry, args=(client, server, limit))
            carrier.start()
            self._carriers.append(carrier)

    def close(self) -> None:
        # close() alone wakes nobody who waits in accept() or recv().
        for end in (self._listener, *self._open):
            _shut(end)
        for carrier in self._carriers:
            carrier.join()
        self._listener.close()


def _carry(client: socket.socket, server: socket.socket, limit: int | None) -> None:
    with client, server:
        asking = threading.Thread(target=_pass_on, args=(client, server, None))
        asking.start()
        _pass_on(server, client, limit)
        asking.join()


def _pass_on(source: socket.socket, target: socket.socket, limit: int | None) -> None:
    passed = 0
    with suppress(OSError):
        while (sent := source.recv(_CHUNK_BYTES)) and (limit is None or passed < limit):
            target.sendall(sent)
            passed += len(sent)
    _shut(source)
    _shut(target)


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def breaking(address: str, *, cuts: int, after_bytes: int) -> Iterator[Wire]:
    """Stand between a client and the server at this address."""
    wire = Wire(int(address.rpartition(":")[2]), cuts=cuts, after_bytes=after_bytes)
    thread = threading.Thread(target=wire.serve)
    thread.start()
    try:
        yield wire
    finally:
        wire.close()
        thread.join()
