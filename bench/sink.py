"""The cheapest possible receiver: reads each request and answers 202, so that a sender alone is measured."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Final

import uvloop

_ANSWER: Final = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
_LENGTH: Final = b"content-length:"


class _Sink(asyncio.Protocol):
    """Counts bytes up to the end of each request and answers."""

    def __init__(self) -> None:
        self._left = 0
        self._head = b""

    def connection_made(self, transport: Any) -> None:
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        while data:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
            else:
                self._head += data
                end = self._head.find(b"\r\n\r\n")
                if end < 0:
                    return
                lowered = self._head[:end].lower()
                start = lowered.index(_LENGTH) + len(_LENGTH)
                self._left = int(lowered[start:].split(b"\r\n", 1)[0])
                data, self._head = self._head[end + 4 :], b""
                if self._left == 0:
                    continue
            if self._left == 0:
                self._write(_ANSWER)


@contextmanager
def sink() -> Iterator[str]:
    """Run a sink in a process of its own and give its base URL."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/v2"
    finally:
        process.terminate()
        process.join()


def _serve(pipe: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(run())
