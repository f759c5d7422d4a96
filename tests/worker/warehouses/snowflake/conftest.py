"""A responder in Snowflake's place: it answers the client over HTTP with what a test wants to see survive."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
import pytest

from shared.catalog import Connection, ServiceProvider
from shared.providers.snowflake import SnowflakeConfig
from shared.settings import Settings
from tests.standins import snowflake_wire as wire
from worker.warehouses.base import Label, Warehouse
from worker.warehouses.registry import open_warehouse
from worker.warehouses.snowflake import signin

QUERY_ID = "01b2c3d4-0000-0000-0000-000000000001"
COLUMNS = wire.describe([("N", "BIGINT")], "TIMESTAMP_TZ")
Answer = Mapping[str, Any] | tuple[int, bytes] | None


class Responder:
    """Plays a session with one query of twelve rows in three parts, unless told otherwise for some path.

    ``answers`` maps the beginning of a path to an answer, or to a function that gives the next one: an object as JSON,
    a status with a body, or None to cut the connection.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer | Callable[[], Answer]] = {}
        self.requests: list[str] = []
        self.parts = wire.parts(pa.table({"N": list(range(12))}), COLUMNS, rows=4, indent=0)

    def count(self, path: str) -> int:
        return sum(request.startswith(path) for request in self.requests)

    def answer(self, path: str, body: Mapping[str, Any]) -> Answer:
        self.requests.append(path)
        for beginning, answer in self.answers.items():
            if path.startswith(beginning):
                return answer() if callable(answer) else answer
        return self.usual(path, body)

    def usual(self, path: str, body: Mapping[str, Any]) -> Answer:
        match path.split("/")[1:]:
            case ["session", "v1", "login-request"]:
                return succeeded(
                    {"token": "t", "masterToken": "m", "sessionId": 1, "parameters": [], "sessionInfo": {}}
                )
            case ["queries", "v1", "query-request"] if body.get("describeOnly"):
                return succeeded({"rowtype": COLUMNS, "queryId": QUERY_ID, "rowsetBase64": ""} | FORMAT)
            case ["queries", "v1", "query-request"]:
                data = {"queryId": QUERY_ID, "getResultUrl": f"/queries/{QUERY_ID}/result"}
                return succeeded(data) | {"code": "333334"}
            case ["monitoring", *_]:
                return succeeded({"queries": [{"id": QUERY_ID, "status": "SUCCESS", "state": "SUCCESS"}]})
            case ["queries", _, "result"]:
                return succeeded(self.result())
            case ["chunks", number]:
                return 200, self.parts[int(number)].arrow
            case _:
                return succeeded(None)

    def result(self) -> dict[str, Any]:
        first, *rest = self.parts
        chunks = [
            {
                "url": f"{self.url}/chunks/{number}?signature=signed",
                "rowCount": part.rows,
                "uncompressedSize": len(part.arrow),
                "compressedSize": len(part.arrow),
            }
            for number, part in enumerate(rest, start=1)
        ]
        told = {"rowtype": COLUMNS, "queryId": QUERY_ID, "rowsetBase64": first.inline(), "chunks": chunks}
        return told | FORMAT | {"total": 12, "returned": 12}

    def connection(self, **changes: Any) -> Connection:
        config = {
            "account_identifier": "standin",
            "warehouse": "LOADING",
            "database": "ANALYTICS",
            "user": "READER",
            "password": "env:WAREHOUSE_SYNC_SECRET_SNOWFLAKE",
            "endpoint": self.url,
        } | changes
        declared = SnowflakeConfig.model_validate({name: value for name, value in config.items() if value is not None})
        return Connection(id="subject", name="Subject", service_provider=ServiceProvider.SNOWFLAKE, config=declared)

    def opened(self, *, query_timeout_s: float = 20, **changes: Any) -> AbstractContextManager[Warehouse]:
        limits = Settings(query_timeout_s=query_timeout_s)
        return open_warehouse(self.connection(**changes), limits, label=Label("run 7", pipeline_id="users"))


FORMAT = {"queryResultFormat": "arrow", "statementTypeId": 4096, "total": 0, "returned": 0, "chunkHeaders": {}}


def succeeded(data: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"data": data, "code": None, "message": None, "success": True}


def failed(code: str, message: str, sql_state: str = "42000") -> dict[str, Any]:
    data = {"errorCode": code, "sqlState": sql_state, "queryId": QUERY_ID}
    return {"data": data, "code": code, "message": message, "success": False}


@pytest.fixture
def responder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Responder]:
    monkeypatch.setenv("WAREHOUSE_SYNC_SECRET_SNOWFLAKE", "a-secret-password")
    monkeypatch.setenv("WAREHOUSE_SYNC_WAREHOUSE_HOSTS", '["127.0.0.1"]')
    monkeypatch.setattr(signin, "_LONGEST_PAUSE_MS", 250)  # The client's shortest.

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            answer = found.answer(path, json.loads(sent) if sent.startswith(b"{") else {})
            if answer is None:
                self.close_connection = True
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
                return
            status, content = answer if isinstance(answer, tuple) else (200, json.dumps(answer).encode())
            with suppress(ConnectionError):  # A client that gave up does not wait for it.
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        found = Responder(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield found
        server.shutdown()
