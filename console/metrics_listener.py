"""``/metrics`` on a port of its own, without a sign-in: for collectors that have none, in a network that is trusted.

Nothing else is there: neither the API, nor anything that changes something or shows a row.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from console.api.metrics import answered
from console.operations import Operations
from console.protocol import MOST_BYTES_OF_HEAD, Bounded
from console.sockets import opened
from shared.settings import PREFIX

_MOST_AT_ONCE: Final = 16
"""Connections that are answered; whoever comes beyond is told to come back."""
_GRACE_S: Final = 5


@contextmanager
def listening(operations: Operations, host: str, port: int) -> Iterator[None]:
    """Answer from a thread of its own until the block ends.

    Raises:
        DeclarationInvalid: nothing may listen there.
    """
    listener = opened(host, port, option=f"--metrics-port or {PREFIX}METRICS_PORT")
    server = uvicorn.Server(_configured(operations))
    # Signals are the main thread's: uvicorn leaves them alone in this one.
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(2 * _GRACE_S)
        listener.close()


def _configured(operations: Operations) -> uvicorn.Config:
    def metrics(request: Request) -> Response:
        return answered(operations, request)

    return uvicorn.Config(
        Starlette(routes=[Route("/metrics", metrics)]),
        limit_concurrency=_MOST_AT_ONCE,
        http=Bounded,
        h11_max_incomplete_event_size=MOST_BYTES_OF_HEAD,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE_S,
    )
