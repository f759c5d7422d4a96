"""HTTP on a connection: uvicorn's own, with an end to waiting, and refusals of what is no HTTP in our shape.

By itself uvicorn waits for a request's head as long as a byte comes now and then, and each connection holds a file
descriptor of the process meanwhile: a thousand of them, and nobody else gets through. Bodies are the gate's matter.
"""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from console.shapes.ground import ErrorBody, Message
from shared.errors import DeclarationInvalid

HEAD_WITHIN_S: Final = 20.0
"""From a connection's beginning, or the first byte of its next request, to the end of the request's head."""
REST_WITHIN_S: Final = 60.0
"""What is left of a body whose request was answered before it was read: as long as any body may take."""
MOST_BYTES_OF_HEAD: Final = 16 * 1024
"""Of a request's line and headers."""

_REFUSAL: Final = ErrorBody(
    statusCode=400,
    errors=(
        Message(
            message=f"this is no HTTP/1.1 request, or its line and headers have more than {MOST_BYTES_OF_HEAD:,} bytes",
            code=DeclarationInvalid.__name__,
        ),
    ),
)


class Bounded(H11Protocol):
    """One connection, which is closed where the next request does not begin in time."""

    within_s: float = HEAD_WITHIN_S
    rest_within_s: float = REST_WITHIN_S
    _awaited: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        """Read what came: it may begin a request, end its head, or be what is left of one that was answered before."""
        super().data_received(data)
        if self._is_busy():
            self._stop_waiting()
        else:
            self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - theirs
        """Refuse what is no request; uvicorn's ``msg`` is for its log."""
        body = _REFUSAL.model_dump_json(exclude_none=True).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _is_busy(self) -> bool:
        # None until the first request, whatever its type says.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _await_head(self) -> None:
        # Not anew with every byte that comes: that would be uvicorn's patience once more.
        if self._awaited is None and not self.transport.is_closing():
            # Whoever still sends reads the refusal only then, and would lose it with the connection.
            within_s = self.rest_within_s if self.conn.their_state is h11.SEND_BODY else self.within_s
            self._awaited = self.loop.call_later(within_s, self._give_up)

    def _stop_waiting(self) -> None:
        if self._awaited is not None:
            self._awaited.cancel()
            self._awaited = None

    def _give_up(self) -> None:
        self._awaited = None
        if not self._is_busy():
            self.transport.close()
