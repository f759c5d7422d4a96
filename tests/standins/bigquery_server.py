"""A BigQuery for Google's own clients: bqemulator, and what it lacks for ours to be proven against it.

bqemulator accepts everybody, runs a query inside of the request that asks for it (a dry run too), and cannot read a
result through the Storage API. So here

* ``/token`` gives a bearer token for an assertion that a known account signed, and nothing answers without one;
* a job runs in a thread of its own, may be cancelled, and ends at its time limit; a dry run runs nothing;
* a finished job's result is a table like BigQuery's anonymous ones, for the REST and the Storage API, with offsets.

Run with ``python -P``: modules beside this one are named like libraries. Paths under ``/standin`` are for tests.
"""

import argparse
import asyncio
import json
import secrets
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import bqemulator.server
import duckdb
import duckdb_extensions  # type: ignore[import-not-found]
import grpc  # type: ignore[import-untyped]
import jwt
import pyarrow as pa
from bqemulator.api.routes import jobs as routes
from bqemulator.config import Settings
from bqemulator.domain.errors import DomainError
from bqemulator.grpc_api import read_servicer
from bqemulator.jobs.executor import JOB_RESULTS, JOB_SCHEMAS
from bqemulator.row_access.identity import CallerIdentity
from bqemulator.storage.arrow_bridge import arrow_table_to_bq_rows
from bqemulator.storage.engine import DuckDBEngine
from bqemulator.storage.sql_identifiers import quoted_schema, quoted_table_ref
from bqemulator.streaming.read_session import serialize_arrow_record_batch
from google.cloud.bigquery_storage_v1 import types
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

_ANONYMOUS: Final = "_bqemu_anonymous"
"""The dataset that bqemulator says a query's result lies in; the table is ``anon`` and the job's id."""
_AUDIENCE: Final = "https://oauth2.googleapis.com/token"
"""Whom Google's client addresses every assertion to, wherever the key file has it sent."""
_MESSAGE_ROWS: Final = 4096
_TABLE: Final = "/bigquery/v2/projects/{project}/datasets/{dataset}/tables/{table}"


@dataclass(frozen=True, slots=True)
class Account:
    """A service account; ``may`` holds ``jobs`` and ``storage``."""

    email: str
    public_key: str
    may: tuple[str, ...]


class Accounts:
    """Who may sign in, and whose each token is."""

    def __init__(self, known: list[dict[str, Any]]) -> None:
        self._accounts = {one["email"]: Account(one["email"], one["public_key"], tuple(one["may"])) for one in known}
        self._tokens: dict[str, Account] = {}

    def token(self, assertion: str) -> dict[str, Any]:
        """Give a token; raises ``jwt.InvalidTokenError`` for whatever is wrong with the assertion."""
        claimed = jwt.decode(assertion, options={"verify_signature": False})
        account = self._accounts.get(str(claimed.get("iss")))
        if account is None:
            raise jwt.InvalidIssuerError("Invalid grant: account not found")
        jwt.decode(assertion, account.public_key, algorithms=["RS256"], audience=_AUDIENCE, leeway=10)
        if claimed.get("scope") != "https://www.googleapis.com/auth/bigquery":
            raise jwt.InvalidTokenError("Invalid scope")
        token = secrets.token_urlsafe()
        self._tokens[token] = account
        return {"access_token": token, "expires_in": 3600, "token_type": "Bearer"}

    def of(self, authorization: str) -> Account | None:
        """Give whose token this is."""
        return self._tokens.get(authorization.removeprefix("Bearer "))

    def revoke(self) -> None:
        """Make every token that was given worthless."""
        self._tokens.clear()


_cursor: ContextVar[duckdb.DuckDBPyConnection | None] = ContextVar("cursor", default=None)
_is_dry: ContextVar[bool] = ContextVar("is_dry", default=False)
_root = DuckDBEngine.connection.fget
_fetch_arrow = DuckDBEngine.fetch_arrow


def _fetch(engine: Any, sql: str, parameters: list[Any] | None = None) -> pa.Table:
    return _fetch_arrow(engine, f"SELECT * FROM (\n{sql}\n) LIMIT 0" if _is_dry.get() else sql, parameters)


@dataclass
class Job:
    """One query: running, until ``resource`` is what BigQuery would say of the finished job."""

    context: Any
    project: str
    id: str
    config: dict[str, Any]
    account: Account
    resource: dict[str, Any] = field(default_factory=dict)
    done: threading.Event = field(default_factory=threading.Event)
    stopped: dict[str, str] | None = None
    _stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.reference = {"projectId": self.project, "jobId": self.id, "location": "US"}
        self._own = _root(self.context.engine).cursor()
        self._own.execute("SET TimeZone = 'UTC'")

    def start(self) -> None:
        self.resource = {
            "jobReference": self.reference,
            "configuration": self.config,
            "status": {"state": "RUNNING"},
            "statistics": {},
        }
        threading.Thread(target=self._run, daemon=True).start()
        threading.Thread(target=self._watch, daemon=True).start()

    def cancel(self) -> None:
        if not self.done.is_set():
            self.stopped = {"reason": "stopped", "message": "Job execution was cancelled: User requested cancellation"}
            self._stop.set()

    def dry(self) -> dict[str, Any]:
        _is_dry.set(True)
        looked: dict[str, Any] = self._handled()
        return looked

    def _handled(self) -> Any:
        _cursor.set(self._own)
        caller = CallerIdentity(f"serviceAccount:{self.account.email}", is_authenticated=True)
        return asyncio.run(
            routes._handle_query_job(
                self.project,
                self.id,
                self.config,
                dry_run=_is_dry.get(),
                ctx=self.context,
                caller=caller,
                now=self.context.clock.now(),
            )
        )

    def _run(self) -> None:
        try:
            meta = self._handled()
            routes._merge_executor_config(self.config, meta.configuration)
            self.resource = routes._build_job_response(self.project, self.id, meta, self.config)
        except DomainError as error:
            self.stopped = self.stopped or {"reason": error.bq_reason, "message": error.message}
        if self.stopped is not None:
            JOB_RESULTS.pop(self.id, None)
            status = {"state": "DONE", "errorResult": self.stopped, "errors": [self.stopped]}
            self.resource = {**self.resource, "status": status}
        self.resource["jobReference"] = self.reference
        self.done.set()
        self._stop.set()

    def _watch(self) -> None:
        limit_ms = int(self.config.get("jobTimeoutMs", 6 * 3600 * 1000))
        if not self._stop.wait(limit_ms / 1000):
            words = f"Job execution was cancelled: Job timed out after {limit_ms // 1000} sec"
            self.stopped = {"reason": "stopped", "message": words}
        while not self.done.wait(0.05):  # DuckDB forgets an interruption that comes just before it starts.
            self._own.interrupt()


class Service:
    """The REST paths that are answered here, before bqemulator's own."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.jobs: dict[str, Job] = {}

    def routes(self) -> list[Route]:
        paths: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
            ("POST", "/token", self.sign_in),
            ("POST", "/bigquery/v2/projects/{project}/jobs", self.insert),
            ("GET", "/bigquery/v2/projects/{project}/jobs/{job}", self.job),
            ("POST", "/bigquery/v2/projects/{project}/jobs/{job}/cancel", self.cancel),
            ("GET", _TABLE.replace("{dataset}", _ANONYMOUS), self.result),
            ("GET", _TABLE.replace("{dataset}", _ANONYMOUS) + "/data", self.rows),
            ("POST", "/standin" + _TABLE, self.load),
            ("GET", "/standin/jobs", self.known_jobs),
            ("POST", "/standin/forget/{what}", self.forget),
        ]
        return [Route(path, answer, methods=[method]) for method, path, answer in paths]

    async def sign_in(self, request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode()))
        try:
            return JSONResponse(self.accounts.token(form["assertion"]))
        except jwt.InvalidTokenError as error:
            words = "Invalid JWT Signature." if isinstance(error, jwt.InvalidSignatureError) else str(error)
            return JSONResponse({"error": "invalid_grant", "error_description": words}, 400)

    async def insert(self, request: Request) -> Response:
        asked, account, project = await request.json(), request.scope["account"], request.path_params["project"]
        if "jobs" not in account.may:
            right = f"User does not have bigquery.jobs.create permission in project {project}."
            return _refusal(403, "accessDenied", f"Access Denied: Project {project}: {right}")
        name, config = asked["jobReference"]["jobId"], asked["configuration"]
        if name in self.jobs:
            return _refusal(409, "duplicate", f"Already Exists: Job {project}:US.{name}")
        job = Job(request.app.state.context, project, name, config, account)
        if config.get("dryRun"):
            return JSONResponse(await asyncio.to_thread(job.dry))
        self.jobs[name] = job
        job.start()
        return JSONResponse(job.resource)

    async def job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job"])
        return _not_found("Job", request) if job is None else JSONResponse(job.resource)

    async def cancel(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["job"])
        if job is None:
            return _not_found("Job", request)
        job.cancel()
        return JSONResponse({"kind": "bigquery#jobCancelResponse", "job": job.resource})

    async def result(self, request: Request) -> Response:
        project, table = request.path_params["project"], request.path_params["table"]
        job = table.removeprefix("anon")
        if job not in JOB_RESULTS:
            return _not_found("Table", request)
        reference = {"projectId": project, "datasetId": _ANONYMOUS, "tableId": table}
        rows, schema = JOB_RESULTS[job].num_rows, {"fields": JOB_SCHEMAS[job]}
        return JSONResponse({"tableReference": reference, "numRows": str(rows), "schema": schema})

    async def rows(self, request: Request) -> Response:
        found = JOB_RESULTS.get(request.path_params["table"].removeprefix("anon"))
        if found is None:
            return _not_found("Table", request)
        asked = request.query_params
        start = int(asked.get("pageToken") or asked.get("startIndex") or 0)
        count = int(asked.get("maxResults", 10_000))
        page = {"totalRows": str(found.num_rows), "rows": arrow_table_to_bq_rows(found, offset=start, limit=count)}
        return JSONResponse(page if start + count >= found.num_rows else page | {"pageToken": str(start + count)})

    async def load(self, request: Request) -> Response:
        with pa.ipc.open_stream(await request.body()) as stream:
            loaded = stream.read_all()
        project, dataset, table = (request.path_params[name] for name in ("project", "dataset", "table"))
        cursor = _root(request.app.state.context.engine).cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.register("loaded", loaded)
        cursor.execute(f"CREATE OR REPLACE TABLE {quoted_table_ref(project, dataset, table)} AS FROM loaded")
        return JSONResponse({})

    async def known_jobs(self, request: Request) -> Response:  # noqa: ARG002 - the same for everybody
        return JSONResponse([job.resource | {"isRunning": not job.done.is_set()} for job in self.jobs.values()])

    async def forget(self, request: Request) -> Response:
        match request.path_params["what"]:
            case "tokens":
                self.accounts.revoke()
            case "sessions":
                Reading.sessions.clear()
            case "results":
                JOB_RESULTS.clear()
        return JSONResponse({})


class SignedIn:
    """Lets a REST request in if it carries a token."""

    def __init__(self, app: Any, accounts: Accounts) -> None:
        self._app = app
        self._accounts = accounts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/bigquery/"):
            headers = dict(scope["headers"])
            scope["account"] = self._accounts.of(headers.get(b"authorization", b"").decode())
            if scope["account"] is None:
                words = "Request had invalid authentication credentials."
                await _refusal(401, "authError", words)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class Reading(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The Storage Read API over finished jobs' results: one stream each, none where there are no rows."""

    accounts: Accounts
    sessions: Final[dict[str, pa.Table]] = {}

    def __init__(self, context: Any) -> None:
        del context  # bqemulator's; results are module-wide there.

    def service(self, handler_call_details: Any) -> Any:
        match handler_call_details.method.rpartition("/")[2]:
            case "CreateReadSession":
                return grpc.unary_unary_rpc_method_handler(self._create)
            case "ReadRows":
                return grpc.unary_stream_rpc_method_handler(self._read)
            case _:
                return None

    async def _create(self, asked: bytes, context: Any) -> bytes:
        request = types.CreateReadSessionRequest.deserialize(asked)
        if "storage" not in (await self._account(context)).may:
            right = f"the user does not have 'bigquery.readsessions.create' permission for '{request.parent}'"
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"request failed: {right}")
        found = JOB_RESULTS.get(request.read_session.table.rpartition("/")[2].removeprefix("anon"))
        if found is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Not found: Table {request.read_session.table}")
        name = f"{request.parent}/locations/us/sessions/{secrets.token_hex(8)}"
        self.sessions[name] = found
        streams = [types.ReadStream(name=f"{name}/streams/0")] if found.num_rows else []
        schema = types.ArrowSchema(serialized_schema=found.schema.serialize().to_pybytes())
        session = types.ReadSession(name=name, table=request.read_session.table, streams=streams, arrow_schema=schema)
        return bytes(types.ReadSession.serialize(session))

    async def _read(self, asked: bytes, context: Any) -> AsyncIterator[bytes]:
        request = types.ReadRowsRequest.deserialize(asked)
        await self._account(context)
        found = self.sessions.get(request.read_stream.rpartition("/streams/")[0])
        if found is None:
            when = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
            words = f"there was an error operating on '{request.read_stream}': session expired at {when}"
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, words)
        assert found is not None  # abort raises
        schema = types.ArrowSchema(serialized_schema=found.schema.serialize().to_pybytes())
        for batch in found.slice(request.offset).to_batches(max_chunksize=_MESSAGE_ROWS):
            records = types.ArrowRecordBatch(serialized_record_batch=serialize_arrow_record_batch(batch))
            response = types.ReadRowsResponse(row_count=batch.num_rows, arrow_record_batch=records, arrow_schema=schema)
            yield types.ReadRowsResponse.serialize(response)

    async def _account(self, context: Any) -> Account:
        sent = dict(context.invocation_metadata())
        account = self.accounts.of(str(sent.get("authorization", "")))
        if account is None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Request had invalid authentication credentials.")
        assert account is not None  # abort raises
        return account


def _refusal(status: int, reason: str, words: str) -> JSONResponse:
    errors = [{"reason": reason, "message": words, "domain": "global"}]
    return JSONResponse({"error": {"code": status, "message": words, "errors": errors}}, status)


def _not_found(kind: str, request: Request) -> JSONResponse:
    name = request.path_params[kind.lower()]
    return _refusal(404, "notFound", f"Not found: {kind} {request.path_params['project']}:{name}")


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rest-port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int, required=True)
    parser.add_argument("--accounts", type=Path, required=True)
    parser.add_argument("--dataset", required=True, help="PROJECT.DATASET, made empty")
    asked = parser.parse_args()
    duckdb_extensions.import_extension("spatial")
    known = json.loads(asked.accounts.read_text())
    accounts = Accounts(known)
    create_app = bqemulator.server.create_app

    def create_signed_in_app(context: Any) -> SignedIn:
        app = create_app(context)
        context.engine.execute(f"CREATE SCHEMA {quoted_schema(*asked.dataset.split('.'))}")
        app.router.routes[:0] = Service(accounts).routes()
        return SignedIn(app, accounts)

    bqemulator.server.create_app = create_signed_in_app
    DuckDBEngine.connection = property(lambda engine: _cursor.get() or _root(engine))
    DuckDBEngine.fetch_arrow = _fetch
    Reading.accounts = accounts
    read_servicer.BigQueryReadHandler = Reading
    bqemulator.server.run_forever(
        Settings(rest_port=asked.rest_port, grpc_port=asked.grpc_port, enable_format_extensions=False)
    )


if __name__ == "__main__":
    main()
