"""A workspace that says what a test tells it to: for what a real server does rarely, or Spark not at all."""

import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pyarrow as pa
from databricks.sql.thrift_api.TCLIService import TCLIService, ttypes

from shared.catalog import Connection, ServiceProvider
from shared.providers.databricks import DatabricksConfig
from tests.standins.databricks_server import REPLY, decoded, encoded

PATH = "/sql/1.0/warehouses/a1b2c3"
OK = ttypes.TStatus(statusCode=ttypes.TStatusCode.SUCCESS_STATUS)


@dataclass(frozen=True)
class Http:
    """An answer that is not Thrift's; ``cut`` breaks the connection instead."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = "{}"
    cut: bool = False


CUT = Http(cut=True)


@dataclass
class Responder:
    """What is answered, and what was asked.

    ``http`` holds answers to the next requests of a Thrift method, or of ``token``. ``open_errors`` refuse sessions;
    ``error`` is how the query ends, unless it ``is_closed``; ``first_row`` is what the server says its first row is.
    """

    table: pa.Table = field(default_factory=lambda: pa.table({"id": pa.array([1, 2, 3], pa.int64())}))
    described: list[tuple[str, str]] = field(default_factory=lambda: [("id", "bigint")])
    http: dict[str, list[Http]] = field(default_factory=dict)
    open_errors: list[ttypes.TStatus] = field(default_factory=list)
    error: str | None = None
    is_closed: bool = False
    first_row: int = 0
    requests: list[tuple[str, Any, Mapping[str, str]]] = field(default_factory=list)
    address: str = ""

    def connection(self, **changed: Any) -> Connection:
        declared: dict[str, Any] = {
            "server_hostname": "127.0.0.1",
            "http_path": PATH,
            "schema": "mp",
            "endpoint": self.address,
            "access_token": "env:WAREHOUSE_SYNC_SECRET_TOKEN",
        }
        config = DatabricksConfig.model_validate(declared | changed)
        return Connection(id="bricks", name="Bricks", service_provider=ServiceProvider.DATABRICKS, config=config)

    def asked(self, method: str) -> list[Any]:
        return [request for name, request, _ in self.requests if name == method]

    def statements(self) -> list[str]:
        return [request.statement for request in self.asked("ExecuteStatement")]

    def answer(self, name: str, request: Any) -> Any:
        match name:
            case "OpenSession":
                return self._opened()
            case "ExecuteStatement":
                kind = request.statement.partition(" ")[0]
                identifier = ttypes.THandleIdentifier(guid=kind.encode().ljust(16), secret=b"s" * 16)
                handle = ttypes.TOperationHandle(identifier, ttypes.TOperationType.EXECUTE_STATEMENT, True)  # noqa: FBT003 - Thrift's order
                return ttypes.TExecuteStatementResp(status=OK, operationHandle=handle)
            case "GetOperationStatus":
                return self._state(request)
            case "GetResultSetMetadata":
                return self._metadata(request)
            case "FetchResults":
                return self._page(request)
            case _:
                return getattr(ttypes, f"T{name}Resp")(status=OK)

    def _opened(self) -> Any:
        if self.open_errors:
            return ttypes.TOpenSessionResp(
                status=self.open_errors.pop(0),
                serverProtocolVersion=ttypes.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V7,
            )
        identifier = ttypes.THandleIdentifier(guid=b"session".ljust(16), secret=b"s" * 16)
        return ttypes.TOpenSessionResp(
            status=OK,
            serverProtocolVersion=ttypes.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V7,
            sessionHandle=ttypes.TSessionHandle(identifier),
            canUseMultipleCatalogs=True,
        )

    def _state(self, request: Any) -> Any:
        if self._is_query(request) and self.error is not None:
            state = ttypes.TOperationState.ERROR_STATE
            return ttypes.TGetOperationStatusResp(status=OK, operationState=state, displayMessage=self.error)
        if self._is_query(request) and self.is_closed:
            return ttypes.TGetOperationStatusResp(status=OK, operationState=ttypes.TOperationState.CLOSED_STATE)
        return ttypes.TGetOperationStatusResp(status=OK, operationState=ttypes.TOperationState.FINISHED_STATE)

    def _metadata(self, request: Any) -> Any:
        schema = self._table(request).schema
        return ttypes.TGetResultSetMetadataResp(
            status=OK,
            schema=ttypes.TTableSchema([_column(part) for part in schema]),
            resultFormat=ttypes.TSparkRowSetType.ARROW_BASED_SET,
            lz4Compressed=False,
            arrowSchema=schema.serialize().to_pybytes(),
        )

    def _page(self, request: Any) -> Any:
        batches = [
            ttypes.TSparkArrowBatch(batch=batch.serialize().to_pybytes(), rowCount=len(batch))
            for batch in self._table(request).to_batches()
        ]
        first = self.first_row if self._is_query(request) else 0
        rows = ttypes.TRowSet(startRowOffset=first, rows=[], arrowBatches=batches)
        return ttypes.TFetchResultsResp(
            status=OK, hasMoreRows=False, results=rows, resultSetMetadata=self._metadata(request)
        )

    def _table(self, request: Any) -> pa.Table:
        if self._is_query(request):
            return self.table
        names, types = zip(*self.described, strict=True)
        return pa.table({"col_name": names, "data_type": types, "comment": [""] * len(names)})

    @staticmethod
    def _is_query(request: Any) -> bool:
        return bool(request.operationHandle.operationId.guid.startswith(b"SELECT"))


def failed(words: str, state: str | None = None) -> ttypes.TStatus:
    return ttypes.TStatus(statusCode=ttypes.TStatusCode.ERROR_STATUS, errorMessage=words, sqlState=state)


def _door(responder: Responder) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None: ...

        def do_GET(self) -> None:
            self._send(Http(500))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/token"):
                responder.requests.append(("token", body.decode(), dict(self.headers)))
                token = f"token-{len(responder.asked('token'))}"
                said = Http(body=json.dumps({"access_token": token, "expires_in": 3600}))
                self._send(responder.http["token"].pop(0) if responder.http.get("token") else said)
                return
            name, number, arguments = decoded(body, "args")
            responder.requests.append((name, arguments.req, dict(self.headers)))
            if responder.http.get(name):
                self._send(responder.http[name].pop(0))
                return
            result = getattr(TCLIService, f"{name}_result")(success=responder.answer(name, arguments.req))
            self._reply(200, {}, encoded(name, REPLY, number, result))

        def _send(self, answer: Http) -> None:
            if answer.cut:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
            else:
                self._reply(answer.status, answer.headers, answer.body.encode())

        def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Door


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None: ...  # Of connections that were cut.


@contextmanager
def responding() -> Iterator[Responder]:
    responder = Responder()
    with _Server(("127.0.0.1", 0), _door(responder)) as server:
        responder.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield responder
        server.shutdown()
        thread.join()


def _column(part: Any) -> Any:
    kind, qualifiers = ttypes.TTypeId.STRING_TYPE, {}
    if pa.types.is_decimal(part.type):
        kind = ttypes.TTypeId.DECIMAL_TYPE
        qualifiers = {
            "precision": ttypes.TTypeQualifierValue(i32Value=part.type.precision),
            "scale": ttypes.TTypeQualifierValue(i32Value=part.type.scale),
        }
    entry = ttypes.TPrimitiveTypeEntry(type=kind, typeQualifiers=ttypes.TTypeQualifiers(qualifiers))
    return ttypes.TColumnDesc(columnName=part.name, typeDesc=ttypes.TTypeDesc([ttypes.TTypeEntry(entry)]), position=1)
