"""A server that Snowflake's own client takes for Snowflake: sign-in, queries, results in chunks, and their end.

Run as ``python -m tests.standins.snowflake_server`` with its port, and with what it accepts in ``STANDIN_PASSWORD``
and ``STANDIN_PUBLIC_KEY``. Under ``/standin/`` tests fill it, look into it, and have it misbehave.
"""

import base64
import gzip
import hashlib
import itertools
import json
import os
import secrets
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jwt
import pyarrow as pa
import uvicorn
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.standins.snowflake_engine import DATABASE, SCHEMA, Engine, Failure, Query
from tests.standins.snowflake_wire import Part

ACCOUNT: Final = "STANDIN"
USER: Final = "READER"
ROLES: Final = frozenset({"SYNC", "PUBLIC"})
WAREHOUSES: Final = frozenset({"LOADING"})
_IN_PROGRESS: Final = "333333"
_IN_PROGRESS_ASYNC: Final = "333334"
_WAIT_S: Final = 2.0
"""How long an answer about a running query is held back."""


@dataclass(slots=True)
class Settings:
    """What tests may change."""

    part_rows: int = 10_000
    zoned_type: str = "TIMESTAMP_TZ"
    chunks_expired: bool = False
    results_expired: bool = False


@dataclass(eq=False, slots=True)
class Session:
    """Whoever signed in, and with what."""

    login: Mapping[str, Any]
    parameters: dict[str, Any]
    headers: Mapping[str, str]


@dataclass(eq=False)
class Standin:
    """All that the server knows."""

    engine: Engine = field(default_factory=Engine)
    settings: Settings = field(default_factory=Settings)
    sessions: dict[str, Session] = field(default_factory=dict)
    history: list[Session] = field(default_factory=list)
    queries: dict[str, Query] = field(default_factory=dict)
    chunks: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    numbers: Any = field(default_factory=itertools.count)


standin: Final = Standin()


class Refused(Exception):
    """An answer that is not a result."""

    def __init__(self, code: str, message: str, *, status: int = 200, sql_state: str = "08001") -> None:
        super().__init__(message)
        self.answer = _failed(Failure(code, sql_state, message), status=status)


async def log_in(request: Request) -> Response:
    """Sign in by password or key; where a database or compute warehouse is not there, the session has none."""
    data = (await _json(request))["data"]
    _authenticate(data)
    asked = {name: request.query_params.get(name) for name in ("databaseName", "schemaName", "warehouse", "roleName")}
    role = (asked["roleName"] or "PUBLIC").upper()
    if role not in ROLES:
        message = f"Role '{role}' specified in the connect string does not exist or not authorized."
        raise Refused("390189", message)
    database = _known(asked["databaseName"], {DATABASE})
    warehouse = _known(asked["warehouse"], WAREHOUSES)
    parameters = dict(data.get("SESSION_PARAMETERS") or {})
    if str(parameters.get("CLIENT_VALIDATE_DEFAULT_PARAMETERS", "")).lower() == "true":
        for kind, name, found in (
            ("database", asked["databaseName"], database),
            ("warehouse", asked["warehouse"], warehouse),
        ):
            if name is not None and found is None:
                raise Refused("390201", f"The requested {kind} does not exist or not authorized.")
    token = secrets.token_urlsafe(32)
    session = Session({**data, "PASSWORD": None, "TOKEN": None}, parameters, dict(request.headers))
    standin.sessions[token] = session
    standin.history.append(session)
    return _succeeded(
        {
            "token": token,
            "masterToken": secrets.token_urlsafe(32),
            "validityInSeconds": 3600,
            "masterValidityInSeconds": 14400,
            "sessionId": next(standin.numbers) + 1,
            "serverVersion": "9.30.0",
            "parameters": [{"name": name, "value": value} for name, value in parameters.items()],
            "sessionInfo": {
                "databaseName": database,
                "schemaName": _known(asked["schemaName"], {SCHEMA}),
                "warehouseName": warehouse,
                "roleName": role,
            },
        }
    )


async def ask(request: Request) -> Response:
    """Describe a query, or run it: to its end, or with its id as the answer."""
    session = _session(request)
    body = await _json(request)
    parameters = session.parameters | (body.get("parameters") or {})
    query = Query(body["sqlText"], body.get("bindings") or {}, parameters, request.query_params.get("requestId", ""))
    settings = standin.settings
    if body.get("describeOnly"):
        await run_in_threadpool(standin.engine.describe, query, settings.zoned_type)
        return _failed(query.failure, query) if query.failure else _succeeded(_description(query))
    standin.queries[query.id] = query
    arguments = {
        "timeout_s": float(parameters.get("STATEMENT_TIMEOUT_IN_SECONDS") or 172_800),
        "zoned_type": settings.zoned_type,
        "part_rows": settings.part_rows,
    }
    threading.Thread(target=standin.engine.run, args=(query,), kwargs=arguments).start()
    if body.get("asyncExec"):
        return _in_progress(query, _IN_PROGRESS_ASYNC)
    return await run_in_threadpool(_result_of, query)


async def result(request: Request) -> Response:
    """Give the result of a query, or say that it still runs."""
    _session(request)
    return await run_in_threadpool(_result_of, _query(request))


async def status(request: Request) -> Response:
    """Say how a query is doing."""
    _session(request)
    # The client puts two slashes before the id.
    query = standin.queries.get(request.path_params["id"].removeprefix("/"))
    if query is None:
        return _succeeded({"queries": []})
    told = {"id": query.id, "status": query.status, "state": query.status, "sqlText": query.sql}
    if query.failure is not None and query.done.is_set():
        told |= {"errorCode": query.failure.code, "errorMessage": query.failure.message}
    return _succeeded({"queries": [told]})


async def abort(request: Request) -> Response:
    """End a query, named by its own id or by its request's."""
    _session(request)
    if "id" in request.path_params:
        found = [_query(request)]
    else:
        request_id = (await _json(request)).get("requestId")
        found = [query for query in standin.queries.values() if query.request_id == request_id]
    for query in found:
        query.aborted.set()
    return _succeeded(None)


async def chunk(request: Request) -> Response:
    """Give a part of a result, while its address is valid."""
    if standin.settings.chunks_expired or request.path_params["key"] not in standin.chunks:
        return Response("<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>", 403)
    return Response(standin.chunks[request.path_params["key"]], headers={"Content-Encoding": "gzip"})


async def end_session(request: Request) -> Response:
    """Sign out, or be told that somebody is still there."""
    _session(request)
    if request.query_params.get("delete"):
        standin.sessions.pop(_token(request), None)
    return _succeeded(None)


async def ignore(_: Request) -> Response:
    """Take what the client tells about itself."""
    return _succeeded(None)


async def load(request: Request) -> Response:
    """Make a table from an Arrow stream."""
    table = pa.ipc.open_stream(await request.body()).read_all()
    await run_in_threadpool(standin.engine.load, request.path_params["name"], table)
    return JSONResponse({})


async def look(_: Request) -> Response:
    """Tell all that tests may know."""
    return JSONResponse(
        {
            "queries": [query.told() for query in standin.queries.values()],
            "running": sum(not query.done.is_set() for query in standin.queries.values()),
            "sessions": [
                {"login": session.login, "headers": session.headers, "open": session in standin.sessions.values()}
                for session in standin.history
            ],
            "requests": standin.requests,
        }
    )


async def change(request: Request) -> Response:
    """Change settings: what is not named is as at the start. Chunks or sessions are forgotten on request."""
    asked = json.loads(await request.body())
    if asked.pop("forget_chunks", False):
        standin.chunks.clear()
    if asked.pop("forget_sessions", False):
        standin.sessions.clear()
    standin.settings = Settings(**asked)
    return JSONResponse({})


def _authenticate(data: Mapping[str, Any]) -> None:
    wrong = Refused("390100", "Incorrect username or password was specified.")
    if str(data.get("LOGIN_NAME", "")).upper() != USER:
        raise wrong
    if data.get("AUTHENTICATOR") == "SNOWFLAKE_JWT":
        try:
            claims = jwt.decode(data["TOKEN"], PUBLIC_KEY, algorithms=["RS256"])
        except jwt.InvalidTokenError:
            raise Refused("390144", "JWT token is invalid.") from None
        if claims["iss"] != f"{ACCOUNT}.{USER}.{_fingerprint()}" or claims["sub"] != f"{ACCOUNT}.{USER}":
            raise Refused("390144", "JWT token is invalid.")
    elif not secrets.compare_digest(str(data.get("PASSWORD")), PASSWORD):
        raise wrong


def _fingerprint() -> str:
    der = PUBLIC_KEY.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return "SHA256:" + base64.b64encode(hashlib.sha256(der).digest()).decode()


def _result_of(query: Query) -> Response:
    if not query.done.wait(_WAIT_S):
        return _in_progress(query, _IN_PROGRESS)
    if query.failure is not None:
        return _failed(query.failure, query)
    if standin.settings.results_expired:
        return _failed(Failure("000710", "02000", f"Result for query {query.id} has expired"), query)
    first, *rest = query.parts
    told = _description(query) | {
        "total": query.rows,
        "returned": query.rows,
        "rowsetBase64": first.inline(),
    }
    if rest:
        told |= {"chunks": [_offered(part) for part in rest], "chunkHeaders": {"x-standin": "1"}}
    return _succeeded(told)


def _offered(part: Part) -> dict[str, Any]:
    key, packed = secrets.token_hex(16), part.packed()
    standin.chunks[key] = packed
    return {
        "url": f"http://127.0.0.1:{PORT}/chunks/{key}?signature={secrets.token_hex(8)}",
        "rowCount": part.rows,
        "uncompressedSize": len(part.arrow),
        "compressedSize": len(packed),
    }


def _description(query: Query) -> dict[str, Any]:
    return {
        "queryId": query.id,
        "rowtype": query.columns,
        "rowsetBase64": "",
        "total": 0,
        "returned": 0,
        "queryResultFormat": "arrow",
        "statementTypeId": 4096,
        "parameters": [],
        "finalDatabaseName": DATABASE,
        "finalSchemaName": SCHEMA,
        "numberOfBinds": query.sql.count("?"),
        "arrayBindSupported": False,
    }


def _in_progress(query: Query, code: str) -> Response:
    data = {"queryId": query.id, "getResultUrl": f"/queries/{query.id}/result", "queryAbortsAfterSecs": 300}
    return JSONResponse({"data": data, "code": code, "message": "Query execution in progress.", "success": True})


def _succeeded(data: Any) -> Response:
    return JSONResponse({"data": data, "code": None, "message": None, "success": True})


def _failed(failure: Failure, query: Query | None = None, *, status: int = 200) -> Response:
    data = {"errorCode": failure.code, "sqlState": failure.sql_state, "queryId": query.id if query else None}
    answer = {"data": data, "code": failure.code, "message": failure.message, "success": False, "headers": None}
    return JSONResponse(answer, status)


def _known(name: str | None, known: frozenset[str] | set[str]) -> str | None:
    return name.upper() if name is not None and name.upper() in known else None


def _query(request: Request) -> Query:
    found = standin.queries.get(request.path_params["id"])
    if found is None:
        raise Refused("000612", "Result not found", sql_state="02000")
    return found


def _session(request: Request) -> Session:
    found = standin.sessions.get(_token(request))
    if found is None:
        raise Refused("390111", "Session no longer exists. New login required to access the service.")
    return found


def _token(request: Request) -> str:
    header: str = request.headers.get("Authorization", "")
    return header.removeprefix('Snowflake Token="').removesuffix('"')


async def _json(request: Request) -> Any:
    body = await request.body()
    return json.loads(gzip.decompress(body) if request.headers.get("Content-Encoding") == "gzip" else body)


def _answering(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        standin.requests.append(f"{request.method} {request.url.path}")
        try:
            return await handler(request)
        except Refused as refused:
            return refused.answer

    return answer


def _route(path: str, handler: Callable[[Request], Awaitable[Response]], method: str = "POST") -> Route:
    return Route(path, _answering(handler), methods=[method])


app: Final = Starlette(
    routes=[
        _route("/session/v1/login-request", log_in),
        _route("/session", end_session),
        _route("/session/heartbeat", end_session),
        _route("/queries/v1/query-request", ask),
        _route("/queries/v1/abort-request", abort),
        _route("/queries/{id}/abort-request", abort),
        _route("/queries/{id}/result", result, "GET"),
        _route("/monitoring/queries/{id:path}", status, "GET"),
        _route("/chunks/{key}", chunk, "GET"),
        _route("/telemetry/send", ignore),
        Route("/standin/tables/{name:path}", load, methods=["PUT"]),
        Route("/standin/settings", change, methods=["PUT"]),
        Route("/standin", look, methods=["GET"]),
    ]
)

if __name__ == "__main__":
    PORT: Final = int(sys.argv[1])
    PASSWORD: Final = os.environ["STANDIN_PASSWORD"]
    PUBLIC_KEY: Final[Any] = load_pem_public_key(os.environ["STANDIN_PUBLIC_KEY"].encode())
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
