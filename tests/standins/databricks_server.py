"""The workspace that Databricks's client believes to talk to: sign-in and Thrift's envelope, in front of Apache Spark.

Run as ``python databricks_server.py PORT SPARK_PORT`` with ``STANDIN_TOKEN``, ``STANDIN_CLIENT_ID`` and
``STANDIN_CLIENT_SECRET`` in the environment. Spark runs every statement. What differs between its Thrift server and
Databricks's is made up for here:

* sign-in: bearer tokens, and ``/oidc/v1/token`` for service principals; Spark is told a user without a password;
* results: Spark's columns become Arrow. Nested values and variants come to us as JSON (``to_json``), whose types
  ``DESCRIBE QUERY`` tells, and leave as Arrow's own lists, structs and maps, and as JSON text;
* parameters: ``EXECUTE IMMEDIATE ... USING`` has Spark bind them;
* errors: told as Databricks does, without the names of Java's classes.

``GET /sessions`` tells how clients introduced themselves.
"""

import base64
import http.client
import json
import os
import re
import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs

import pyarrow as pa
import pyarrow.compute as pc
import sqlglot.expressions as exp
from databricks.sql.thrift_api.TCLIService import TCLIService, ttypes
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated
from thrift.transport.TTransport import TMemoryBuffer

WAREHOUSE_PATH: Final = "/sql/1.0/warehouses/standin"
CALL, REPLY = 1, 2
CANCEL_TAKES_S: Final = 0.5
FIRST_PAGE_ROW_BYTES: Final = 1000
"""Of a result whose rows are not known yet."""
BASIC: Final = "Basic " + base64.b64encode(b"standin:none").decode()

INSTANT: Final = pa.timestamp("us", "Etc/UTC")
PLAIN: Final = {
    "boolean": pa.bool_(),
    "tinyint": pa.int8(),
    "smallint": pa.int16(),
    "int": pa.int32(),
    "bigint": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "timestamp": INSTANT,
    "timestamp_ntz": pa.timestamp("us"),
    "void": pa.null(),
}
"""What Databricks sends a type as; what is not here is sent as text."""
ARROW_OF_SQLGLOT: Final = {
    exp.DataType.Type.BOOLEAN: pa.bool_(),
    exp.DataType.Type.TINYINT: pa.int8(),
    exp.DataType.Type.SMALLINT: pa.int16(),
    exp.DataType.Type.INT: pa.int32(),
    exp.DataType.Type.BIGINT: pa.int64(),
    exp.DataType.Type.FLOAT: pa.float32(),
    exp.DataType.Type.DOUBLE: pa.float64(),
    exp.DataType.Type.BINARY: pa.binary(),
    exp.DataType.Type.DATE: pa.date32(),
    exp.DataType.Type.TIMESTAMPLTZ: INSTANT,
    exp.DataType.Type.TIMESTAMPTZ: INSTANT,
    exp.DataType.Type.TIMESTAMP: INSTANT,
    exp.DataType.Type.TIMESTAMPNTZ: pa.timestamp("us"),
}
THRIFT_VALUES: Final = (
    ("boolVal", pa.bool_()),
    ("byteVal", pa.int8()),
    ("i16Val", pa.int16()),
    ("i32Val", pa.int32()),
    ("i64Val", pa.int64()),
    ("doubleVal", pa.float64()),
    ("stringVal", pa.string()),
    ("binaryVal", pa.binary()),
)
NESTED: Final = ("array<", "map<", "struct<", "variant")
READS: Final = re.compile(r"\s*(SELECT|WITH|FROM|VALUES|\()", re.IGNORECASE)
CONDITION: Final = re.compile(r"\[[A-Z][A-Z0-9_.]+\]")


# Values: from Spark's columns to Databricks's Arrow.


def arrow_type(type_name: str) -> pa.DataType:
    """Give the Arrow type in which Databricks sends a type."""
    if type_name in PLAIN:
        return PLAIN[type_name]
    if found := re.fullmatch(r"decimal\((\d+),(\d+)\)", type_name):
        return pa.decimal128(int(found[1]), int(found[2]))
    if type_name.startswith("time("):
        return pa.time64("us")
    if type_name.startswith(NESTED) and type_name != "variant":
        return _nested_type(exp.DataType.build(type_name, dialect="databricks"))
    return pa.string()


def _nested_type(kind: Any) -> pa.DataType:
    match kind.this:
        case exp.DataType.Type.ARRAY:
            return pa.list_(pa.field("element", _nested_type(kind.expressions[0])))
        case exp.DataType.Type.MAP:
            return pa.map_(_nested_type(kind.expressions[0]), _nested_type(kind.expressions[1]))
        case exp.DataType.Type.STRUCT:
            return pa.struct([(part.this.name, _nested_type(part.args["kind"])) for part in kind.expressions])
        case exp.DataType.Type.DECIMAL:
            precision, scale = (int(part.name) for part in kind.expressions)
            return pa.decimal128(precision, scale)
        case _:
            return ARROW_OF_SQLGLOT.get(kind.this, pa.string())


def arrow_column(column: Any, type_name: str) -> pa.Array:
    """Give one of Spark's columns in the Arrow type of its name."""
    values, nulls = _values(column)
    wanted = arrow_type(type_name)
    if pa.types.is_null(wanted):
        return pa.nulls(len(values))
    masked = pc.if_else(nulls, pa.scalar(None, values.type), values)
    if type_name.startswith(NESTED) and type_name != "variant":
        texts = (None if text is None else json.loads(text, parse_float=Decimal) for text in masked.to_pylist())
        return pa.array([_shaped(value, wanted) for value in texts], wanted)
    if pa.types.is_time(wanted):
        return pa.array([None if text is None else time.fromisoformat(text) for text in masked.to_pylist()], wanted)
    if wanted == INSTANT:
        return pc.assume_timezone(masked.cast(pa.timestamp("us")), "UTC").cast(INSTANT)
    return masked.cast(wanted)


def _values(column: Any) -> tuple[pa.Array, pa.Array]:
    name, kind = next((name, kind) for name, kind in THRIFT_VALUES if getattr(column, name) is not None)
    found = getattr(column, name)
    bits = found.nulls if isinstance(found.nulls, bytes) else found.nulls.encode("latin1")
    # Bits that are missing at the end are not set: that row is not NULL.
    padded = bits.ljust(-(-len(found.values) // 8), b"\0")
    nulls = pa.Array.from_buffers(pa.bool_(), len(found.values), [None, pa.py_buffer(padded)])
    return pa.array(found.values, kind), nulls


def _shaped(value: Any, kind: pa.DataType) -> Any:
    """Make of a JSON value what Arrow wants for a type; NULL members of a struct are missing in Spark's JSON."""
    if value is None:
        return None
    if pa.types.is_list(kind):
        return [_shaped(item, kind.value_type) for item in value]
    if pa.types.is_map(kind):
        return [(_shaped(key, kind.key_type), _shaped(item, kind.item_type)) for key, item in value.items()]
    if pa.types.is_struct(kind):
        return {part.name: _shaped(value.get(part.name), part.type) for part in kind}
    scalars: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
        (pa.types.is_decimal, lambda text: Decimal(str(text))),
        (pa.types.is_binary, base64.b64decode),
        (pa.types.is_date, date.fromisoformat),
        (pa.types.is_timestamp, datetime.fromisoformat),
        (pa.types.is_integer, int),
        (pa.types.is_floating, float),
    )
    return next((convert(value) for is_kind, convert in scalars if is_kind(kind)), value)


# Statements: from Databricks's dialect of Thrift to Spark's.


@dataclass(frozen=True)
class Columns:
    """A result's columns, as ``DESCRIBE QUERY`` or Thrift's own metadata told them."""

    names: Sequence[str]
    types: Sequence[str]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field(name, arrow_type(kind), metadata={"Spark:DataType:SqlName": kind.upper()})
                for name, kind in zip(self.names, self.types, strict=True)
            ]
        )

    def readable(self, statement: str) -> str:
        """Have Spark give as text what its Thrift server would garble; on the first line, so that places keep."""
        aliases = [f"c{number}" for number in range(len(self.names))]
        if not any(kind.startswith((*NESTED, "time(")) for kind in self.types):
            return statement
        parts = [
            f"to_json({alias})" if kind.startswith(NESTED)
            else f"CAST({alias} AS STRING)" if kind.startswith("time(")
            else alias
            for alias, kind in zip(aliases, self.types, strict=True)
        ]  # fmt: skip
        return f"SELECT {', '.join(parts)} FROM ({statement}\n) AS answer({', '.join(aliases)})"


def with_parameters(statement: str, parameters: Sequence[Any] | None) -> str:
    """Have Spark bind parameters, named or not."""
    if not parameters:
        return statement
    using = ", ".join(_value_of(parameter) for parameter in parameters)
    return f"EXECUTE IMMEDIATE {_literal(statement)} USING {using}"


def _value_of(parameter: Any) -> str:
    text = parameter.value.stringValue if parameter.value else None
    value = "NULL" if text is None else f"CAST({_literal(text)} AS {parameter.type})"
    return f"{value} AS {parameter.name}" if parameter.name else value


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def as_databricks_tells(message: str | None) -> str | None:
    """Cut Java's names before an error's condition, and its stack behind."""
    if message is None:
        return None
    told = message.partition("\n\tat ")[0]
    found = CONDITION.search(told)
    if found is None:
        return told
    return told[told.rfind(found[0]) :]


# Thrift: decode, ask Spark, encode.


def protocol(data: bytes = b"") -> Any:
    """Give Thrift's binary protocol over bytes, without its limits: this is one machine."""
    return TBinaryProtocolAccelerated(TMemoryBuffer(data), string_length_limit=None, container_length_limit=None)


def encoded(name: str, kind: int, number: int, struct: Any) -> bytes:
    """Give a message's bytes."""
    out = protocol()
    out.writeMessageBegin(name, kind, number)
    struct.write(out)
    out.writeMessageEnd()
    return bytes(out.trans.getvalue())


def decoded(data: bytes, suffix: str) -> tuple[str, int, Any]:
    """Give a message's name, number and content; ``suffix`` says whether it is arguments or a result."""
    source = protocol(data)
    name, _, number = source.readMessageBegin()
    struct = getattr(TCLIService, f"{name}_{suffix}")()
    struct.read(source)
    return name, number, struct


class Spark:
    """Spark's Thrift server over HTTP; a connection for each thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def ask(self, name: str, request: Any) -> Any:
        """Send one request and give its response."""
        arguments = getattr(TCLIService, f"{name}_args")(request)
        data = encoded(name, CALL, 0, arguments)
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection("127.0.0.1", self._port)
        headers = {"Content-Type": "application/x-thrift", "Authorization": BASIC}
        try:
            connection.request("POST", "/cliservice", data, headers)
            answer = connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._local.connection = None
            raise
        return decoded(answer, "result")[2].success

    def rows(self, session: Any, statement: str) -> list[Any] | None:
        """Run a short statement and give its columns; None where Spark refuses it."""
        ran = self.ask(
            "ExecuteStatement",
            ttypes.TExecuteStatementReq(sessionHandle=session, statement=statement, runAsync=False),
        )
        if ran.operationHandle is None:
            return None
        fetched = self.ask("FetchResults", ttypes.TFetchResultsReq(operationHandle=ran.operationHandle, maxRows=10_000))
        self.ask("CloseOperation", ttypes.TCloseOperationReq(operationHandle=ran.operationHandle))
        return None if fetched.results is None else list(fetched.results.columns or [])


class Workspace:
    """What the client asks for, answered by Spark in Databricks's words."""

    def __init__(self, spark: Spark) -> None:
        self.spark = spark
        self.sessions: list[dict[str, Any]] = []
        self._columns: dict[bytes, Columns] = {}
        self._fetching: dict[bytes, threading.Event] = {}
        self._row_bytes: dict[bytes, float] = {}
        self._ended: set[bytes] = set()

    def answer(self, name: str, request: Any, user_agent: str) -> Any:
        """Give the response to one request."""
        change = getattr(self, f"_{name}", None)
        response = self.spark.ask(name, request) if change is None else change(request, user_agent)
        if response.status is not None:
            response.status.errorMessage = as_databricks_tells(response.status.errorMessage)
        return response

    def _OpenSession(self, request: Any, user_agent: str) -> Any:  # noqa: N802 - Thrift's name
        asked = dict(request.configuration or {})
        self.sessions.append({"user_agent": user_agent, "configuration": asked})
        request.client_protocol = ttypes.TProtocolVersion.HIVE_CLI_SERVICE_PROTOCOL_V10
        request.configuration = {key: value for key, value in asked.items() if "arrowBased" not in key}
        if request.initialNamespace is not None and request.initialNamespace.schemaName:
            request.configuration["use:database"] = request.initialNamespace.schemaName
        response = self.spark.ask("OpenSession", request)
        response.serverProtocolVersion = ttypes.TProtocolVersion.SPARK_CLI_SERVICE_PROTOCOL_V7
        response.canUseMultipleCatalogs = True
        return response

    def _ExecuteStatement(self, request: Any, _: str) -> Any:  # noqa: N802 - Thrift's name
        request.confOverlay = None
        columns = self._described(request) if READS.match(request.statement) else None
        statement = request.statement if columns is None else columns.readable(request.statement)
        request.statement = with_parameters(statement, request.parameters)
        request.parameters = request.getDirectResults = None
        response = self.spark.ask("ExecuteStatement", request)
        if columns is not None and response.operationHandle is not None:
            self._columns[response.operationHandle.operationId.guid] = columns
        return response

    def _described(self, request: Any) -> Columns | None:
        asked = with_parameters(f"DESCRIBE QUERY {request.statement}", request.parameters)
        rows = self.spark.rows(request.sessionHandle, asked)
        if not rows:
            return None
        names, types, *_ = (column.stringVal.values for column in rows)
        return Columns(names, types)

    def _GetOperationStatus(self, request: Any, _: str) -> Any:  # noqa: N802 - Thrift's name
        response = self.spark.ask("GetOperationStatus", request)
        response.errorMessage = response.displayMessage = as_databricks_tells(response.errorMessage)
        return response

    def _GetResultSetMetadata(self, request: Any, _: str) -> Any:  # noqa: N802 - Thrift's name
        response = self.spark.ask("GetResultSetMetadata", request)
        if response.schema is not None:
            columns = self._columns_of(request.operationHandle, response)
            for column, name in zip(response.schema.columns, columns.names, strict=True):
                column.columnName = name
            response.resultFormat = ttypes.TSparkRowSetType.ARROW_BASED_SET
            response.lz4Compressed = False
            response.arrowSchema = columns.schema.serialize().to_pybytes()
        return response

    def _FetchResults(self, request: Any, user_agent: str) -> Any:  # noqa: N802 - Thrift's name
        metadata = self._GetResultSetMetadata(
            ttypes.TGetResultSetMetadataReq(operationHandle=request.operationHandle), user_agent
        )
        operation = request.operationHandle.operationId.guid
        fetched = self._fetching[operation] = threading.Event()
        # Spark knows no limit in bytes, so it is asked for as many rows as will fit.
        row_bytes = self._row_bytes.get(operation, FIRST_PAGE_ROW_BYTES)
        request.maxRows = min(request.maxRows, max(1, int((request.maxBytes or sys.maxsize) / row_bytes)))
        try:
            response = self.spark.ask("FetchResults", request)
        finally:
            fetched.set()
        if response.results is None or metadata.schema is None:
            return response
        columns = self._columns_of(request.operationHandle, metadata)
        if found := response.results.columns:
            arrays = [arrow_column(column, kind) for column, kind in zip(found, columns.types, strict=True)]
        else:  # Of a statement that returns none.
            arrays = [pa.array([], field.type) for field in columns.schema]
        batch = pa.RecordBatch.from_arrays(arrays, schema=columns.schema)
        self._row_bytes[operation] = max(1, batch.nbytes / max(1, len(batch)))
        response.results.columns, response.results.rows = None, []
        response.results.arrowBatches = [
            ttypes.TSparkArrowBatch(batch=batch.serialize().to_pybytes(), rowCount=len(batch))
        ]
        response.hasMoreRows = len(batch) > 0
        response.resultSetMetadata = metadata
        return response

    def _CancelOperation(self, request: Any, user_agent: str) -> Any:  # noqa: N802 - Thrift's name
        response = self.spark.ask("CancelOperation", request)
        fetched = self._fetching.get(request.operationHandle.operationId.guid)
        if fetched is not None and not fetched.wait(CANCEL_TAKES_S):
            # Spark ends jobs that run, once: one that a fetch began a moment later runs on until its operation closes.
            self._CloseOperation(ttypes.TCloseOperationReq(operationHandle=request.operationHandle), user_agent)
        return response

    def _CloseOperation(self, request: Any, _: str) -> Any:  # noqa: N802 - Thrift's name
        operation = request.operationHandle.operationId.guid
        self._columns.pop(operation, None)
        self._fetching.pop(operation, None)
        self._row_bytes.pop(operation, None)
        if operation in self._ended:
            return ttypes.TCloseOperationResp(status=ttypes.TStatus(statusCode=ttypes.TStatusCode.SUCCESS_STATUS))
        self._ended.add(operation)
        return self.spark.ask("CloseOperation", request)

    def _columns_of(self, operation: Any, metadata: Any) -> Columns:
        known = self._columns.get(operation.operationId.guid)
        if known is not None:
            return known
        plain = [column.typeDesc.types[0].primitiveEntry.type for column in metadata.schema.columns]
        types = [ttypes.TTypeId._VALUES_TO_NAMES[number].removesuffix("_TYPE").lower() for number in plain]
        return Columns([column.columnName for column in metadata.schema.columns], types)


class Door(BaseHTTPRequestHandler):
    """Who comes in, and what for."""

    protocol_version = "HTTP/1.1"
    # Head and body leave together and at once; apart, the second waits 40 ms for the other side to confirm the first.
    wbufsize = -1
    disable_nagle_algorithm = True
    workspace: Workspace
    tokens: Final[set[str]] = {os.environ.get("STANDIN_TOKEN", "")}

    def log_message(self, *_: Any) -> None:
        """Write nothing: a request's line may hold a secret."""

    def do_GET(self) -> None:
        """Tell how clients introduced themselves."""
        self._send(200, json.dumps(self.workspace.sessions).encode(), "application/json")

    def do_POST(self) -> None:
        """Give a token, or answer Thrift."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/oidc/v1/token":
            self._give_token(body)
        elif self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            self._send(403, b"{}", "application/json", {"x-databricks-reason-phrase": "Invalid access token."})
        elif self.path != WAREHOUSE_PATH:
            self._send(404, b"{}", "application/json", {"x-databricks-reason-phrase": "No such warehouse."})
        else:
            name, number, arguments = decoded(body, "args")
            response = self.workspace.answer(name, arguments.req, self.headers.get("User-Agent", ""))
            result = getattr(TCLIService, f"{name}_result")(success=response)
            self._send(200, encoded(name, REPLY, number, result), "application/x-thrift")

    def _give_token(self, body: bytes) -> None:
        pair = f"{os.environ['STANDIN_CLIENT_ID']}:{os.environ['STANDIN_CLIENT_SECRET']}"
        if self.headers.get("Authorization") != "Basic " + base64.b64encode(pair.encode()).decode():
            self._send(401, b'{"error": "invalid_client"}', "application/json")
        elif parse_qs(body.decode()) != {"grant_type": ["client_credentials"], "scope": ["all-apis"]}:
            self._send(400, b'{"error": "invalid_request"}', "application/json")
        else:
            token = secrets.token_urlsafe()
            self.tokens.add(token)
            told = {"access_token": token, "token_type": "Bearer", "expires_in": 3600}
            self._send(200, json.dumps(told).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve until killed."""
    port, spark_port = (int(word) for word in sys.argv[1:3])
    Door.workspace = Workspace(Spark(spark_port))
    ThreadingHTTPServer(("127.0.0.1", port), Door).serve_forever()


if __name__ == "__main__":
    main()
