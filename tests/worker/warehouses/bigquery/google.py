"""A Google that answers what a test tells it to, and remembers what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

Answer = tuple[int, Any] | None
"""A status and a body, JSON unless it is text; None closes the connection instead."""

DONE: Final[dict[str, Any]] = {
    "jobReference": {"projectId": "standin-project", "jobId": "a", "location": "US"},
    "configuration": {"query": {"query": "SELECT 1"}},
    "status": {"state": "DONE"},
    "statistics": {},
}
_LOOKED: Final = DONE | {
    "statistics": {
        "query": {
            "schema": {"fields": [{"name": "id", "type": "INTEGER"}]},
            "statementType": "SELECT",
            "totalBytesProcessed": "1234",
        }
    }
}


def refusal(status: int, reason: str, words: str) -> Answer:
    """Give an error as BigQuery's API tells it."""
    errors = [{"reason": reason, "message": words, "domain": "global"}]
    return status, {"error": {"code": status, "message": words, "errors": errors}}


def failed_job(reason: str, words: str) -> Answer:
    """Give a job that ended with an error."""
    return 200, DONE | {"status": {"state": "DONE", "errorResult": {"reason": reason, "message": words}}}


class Google:
    """Its ``answers`` are given one after another, the last again and again, by what is asked.

    ``token``: signing in. ``look``: a dry run. ``start``: a job. ``job``, ``cancel``, ``table``, ``data``.
    """

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"
        self.answers: dict[str, list[Answer]] = {
            "token": [(200, {"access_token": "token-of-test", "expires_in": 3600, "token_type": "Bearer"})],
            "look": [(200, _LOOKED)],
        }
        self.asked: list[tuple[str, Any]] = []
        self.agents: list[str] = []

    def answer(self, kind: str, body: Any) -> Answer:
        self.asked.append((kind, body))
        waiting = self.answers[kind]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    def bodies(self, kind: str) -> list[Any]:
        return [body for asked, body in self.asked if asked == kind]


@contextmanager
def answering() -> Iterator[Google]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            google.agents.append(self.headers["User-Agent"])
            path = self.path.partition("?")[0]
            kind = "data" if path.endswith("/data") else "table" if "/tables/" in path else "job"
            self._give(google.answer(kind, None))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if self.path.startswith("/token"):
                self._give(google.answer("token", body.decode()))
                return
            google.agents.append(self.headers["User-Agent"])
            asked = json.loads(body or b"{}")
            is_dry = bool(asked.get("configuration", {}).get("dryRun"))
            kind = "cancel" if self.path.partition("?")[0].endswith("/cancel") else "look" if is_dry else "start"
            self._give(google.answer(kind, asked))

        def _give(self, answer: Answer) -> None:
            if answer is None:
                self.close_connection = True
                return
            status, body = answer
            sent = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class calls it so
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    google = Google(server.server_port)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
