"""The API as others meet it: nothing without a token, one line a request, bodies of a bounded size."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from console.api.app import build_api
from console.api.gate import MOST_BYTES, MOST_BYTES_UNKNOWN, OPEN
from console.operations import Operations
from shared.access import Role
from shared.telemetry import configure_logs
from tests.console.api.conftest import HOST, Api

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS")


@pytest.fixture(scope="session")
def served(operations: Operations) -> FastAPI:
    """The API as a server has it: whoever asks needs a token."""
    return build_api(operations)


@pytest.fixture(scope="session")
def stranger(served: FastAPI) -> Iterator[Api]:
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(served, raise_app_exceptions=False))
        yield Api(http, runner)
        runner.run(http.aclose())


@pytest.fixture
def token(operations: Operations) -> str:
    return operations.access.create_token("tester", Role.ADMIN).text


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def is_refused(answer: httpx.Response) -> bool:
    told = json.loads(answer.content) if answer.content else {"errors": [{"code": "SignInRefused"}]}
    return (
        answer.status_code == 401
        and answer.headers["WWW-Authenticate"] == "Bearer"
        and [error["code"] for error in told["errors"]] == ["SignInRefused"]
    )


def test_no_route_answers_without_a_token(stranger: Api, served: FastAPI) -> None:
    paths = [path.replace("{workspaceId}", "1").replace("{id}", "any") for path in served.openapi()["paths"]]
    for path in [*paths, "/openapi.json", "/docs", "/", "/healthz/", "/oauth/token/"]:
        for method in METHODS:
            if (method, path) not in OPEN:
                answer = stranger.send(method, f"{HOST}{path}", headers={"Content-Length": "0"})
                assert is_refused(answer), f"{method} {path} answered {answer.status_code}"


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    method=st.sampled_from(METHODS),
    path=st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=30),
    authorization=st.sampled_from([None, "", "Bearer", "Bearer ", "Basic eDp5", "Bearer ws_" + "a" * 43, "Bearer é"]),
)
def test_no_path_answers_to_a_token_that_is_none(
    stranger: Api, method: str, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    answer = stranger.send(method, f"{HOST}/{quote(path)}", headers=headers)
    assert is_refused(answer) or (method, f"/{path}") in OPEN


def test_health_needs_no_token_and_tells_nothing(stranger: Api) -> None:
    answer = stranger.get(f"{HOST}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_with_a_token_unknown_paths_and_methods_are_told(stranger: Api, token: str) -> None:
    unknown = stranger.send("GET", f"{HOST}/nowhere", headers=bearing(token))
    wrong = stranger.send("PATCH", "/connections", headers=bearing(token))
    assert (unknown.status_code, unknown.json()["statusCode"]) == (404, 404)
    assert (wrong.status_code, wrong.json()["statusCode"]) == (405, 405)
    assert stranger.send("GET", f"{HOST}/openapi.json", headers=bearing(token)).json()["openapi"].startswith("3.")


def test_a_body_that_is_nested_too_deeply_is_refused_by_its_kind(stranger: Api, token: str) -> None:
    headers = {**bearing(token), "Content-Type": "application/json"}
    answer = stranger.send("POST", "/feeds", content=b"[" * 100_000, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "DeclarationInvalid")


def test_a_revoked_token_is_refused_at_once(stranger: Api, operations: Operations, token: str) -> None:
    assert stranger.send("GET", "/feeds", headers=bearing(token)).status_code == 200
    operations.access.revoke_token("tester")
    assert is_refused(stranger.send("GET", "/feeds", headers=bearing(token)))


def test_a_client_signs_in_and_asks(stranger: Api, operations: Operations) -> None:
    client = operations.access.create_client("sync", Role.VIEWER)
    asked = {"client_id": client.id, "client_secret": client.secret, "grant_type": "client_credentials"}
    given = stranger.post(f"{HOST}/oauth/token", asked)
    assert given.status_code == 200
    assert (given.json()["token_type"], given.json()["expires_in"]) == ("Bearer", 28_800)
    assert stranger.send("GET", "/feeds", headers=bearing(given.json()["access_token"])).status_code == 200
    wrong = stranger.post(f"{HOST}/oauth/token", {**asked, "client_secret": "no"})
    assert is_refused(wrong)


def test_somebody_who_guesses_secrets_is_told_how_long_to_wait(stranger: Api, operations: Operations) -> None:
    client = operations.access.create_client("guessed", Role.VIEWER)
    asked = {"client_id": client.id, "client_secret": "guess", "grant_type": "client_credentials"}
    for _ in range(10):
        stranger.post(f"{HOST}/oauth/token", asked)
    answer = stranger.post(f"{HOST}/oauth/token", {**asked, "client_secret": client.secret})
    assert answer.status_code == 429
    assert 200 < int(answer.headers["Retry-After"]) <= 300


def test_no_answer_may_be_kept_or_taken_for_something_else(stranger: Api, token: str) -> None:
    for path, headers in (("/feeds", {}), ("/feeds", bearing(token)), (f"{HOST}/healthz", {})):
        answer = stranger.send("GET", path, headers=headers)
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("given", "is_kept"), [("abc-1.2_3", True), ("a" * 65, False), ("a b", False), ("", False), (None, False)]
)
def test_a_request_keeps_the_id_that_its_caller_gave(stranger: Api, given: str | None, *, is_kept: bool) -> None:
    headers = {} if given is None else {"X-Request-Id": given}
    told = stranger.send("GET", f"{HOST}/healthz", headers=headers).headers["X-Request-Id"]
    assert (told == given) == is_kept
    assert told


def test_a_body_beyond_the_limit_is_not_read(stranger: Api, token: str) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 65_536

    async def chunks() -> Any:
        for chunk in endless():
            yield chunk

    told = stranger.send("POST", "/feeds", headers=bearing(token), content=b" " * (MOST_BYTES + 1))
    untold = stranger.send("POST", "/feeds", headers=bearing(token), content=chunks())
    unknown = stranger.send("POST", f"{HOST}/oauth/token", content=b" " * (MOST_BYTES_UNKNOWN + 1))
    for answer in (told, untold, unknown):
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, "BodyTooLarge")
    just = stranger.send("POST", "/feeds", headers=bearing(token), content=b" " * MOST_BYTES)
    assert just.status_code == 400


async def never_ending() -> AsyncIterator[bytes]:
    yield b"{"
    await asyncio.Event().wait()


@pytest.mark.parametrize("is_signed_in", [True, False])
def test_a_body_that_does_not_come_is_not_waited_for(
    stranger: Api, token: str, monkeypatch: pytest.MonkeyPatch, *, is_signed_in: bool
) -> None:
    monkeypatch.setattr(f"console.api.gate.{'WITHIN_S' if is_signed_in else 'WITHIN_S_UNKNOWN'}", 0.05)
    path, headers = ("/feeds", bearing(token)) if is_signed_in else (f"{HOST}/oauth/token", {})
    answer = stranger.send("POST", path, headers=headers, content=never_ending())
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (408, "BodyTooSlow")
    assert answer.headers["Connection"] == "close"


def test_an_answer_that_nobody_takes_ends_and_frees_its_place(
    operations: Operations, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.api.gate.WITHIN_S", 0.05)
    monkeypatch.setattr("console.api.gate.MOST_AT_ONCE", 1)
    app = build_api(operations)
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/nowhere",
        "raw_path": b"/nowhere",
        "query_string": b"",
        "headers": [(b"authorization", bearing(token)["Authorization"].encode())],
        "server": ("api.test", 80),
        "scheme": "http",
    }

    async def never_taken(message: Any) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def asked() -> httpx.Response:
        async def body() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async with asyncio.timeout(60):
            await app(scope, body, never_taken)
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST) as http:
                return await http.get("/nowhere", headers=bearing(token))

    assert asyncio.run(asked()).status_code == 404, "the place is free again"


def test_more_requests_than_a_server_answers_at_once_are_told_to_come_later(
    operations: Operations, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("console.api.gate.MOST_AT_ONCE", 1)
    app, has_begun, may_end = build_api(operations), asyncio.Event(), asyncio.Event()

    @app.get("/slow")
    async def slow() -> str:
        has_begun.set()
        await may_end.wait()
        return "done"

    async def asked(http: httpx.AsyncClient) -> tuple[httpx.Response, ...]:
        async with http, asyncio.timeout(60):
            first = asyncio.create_task(http.get("/slow", headers=bearing(token)))
            await has_begun.wait()
            busy = await http.get("/nowhere", headers=bearing(token))
            health = await http.get("/healthz")
            may_end.set()
            return await first, busy, health, *[await http.get("/nowhere", headers=bearing(token)) for _ in range(2)]

    http = httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url=HOST)
    first, busy, health, *later = asyncio.run(asked(http))
    assert (busy.status_code, busy.json()["errors"][0]["code"]) == (503, "ServerBusy")
    assert busy.headers["Retry-After"]
    assert (first.status_code, health.status_code) == (200, 200)
    assert [answer.status_code for answer in later] == [404, 404], "a place is given back"


def test_a_failure_nobody_foresaw_is_told_by_its_place_only(
    stranger: Api, operations: Operations, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("anna@example.com")

    monkeypatch.setattr(type(operations.resources), "all", fail)
    answer = stranger.send("GET", "/feeds", headers=bearing(token))
    assert answer.status_code == 500
    assert answer.json()["errors"][0]["code"] == "Unexpected"
    assert "builtins.ValueError at" in answer.json()["errors"][0]["message"]
    assert "anna" not in answer.text


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before


@pytest.mark.usefixtures("logs_as_before")
def test_each_request_is_one_line_without_what_it_held(
    stranger: Api, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("json")
    headers = {**bearing(token), "X-Request-Id": "the-id"}
    stranger.send("GET", "/feeds/secret-id?q=secret-value", headers=headers)
    stranger.send("POST", "/feeds", headers=headers, json={"api_secret": "secret-text"})
    stranger.send("GET", "/secret-path", headers={"Authorization": "Bearer secret-token"})
    stranger.get(f"{HOST}/healthz")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    told = [line for line in lines if line["event"] == "request_answered"]
    assert [(line["method"], line["route"], line["status"], line["actor"]) for line in told] == [
        ("GET", "/feeds/{id}", 400, "tester"),
        ("POST", "/feeds", 400, "tester"),
        ("GET", "none", 401, None),
    ]
    assert [line["request_id"] for line in told[:2]] == ["the-id"] * 2
    assert all(line["took_ms"] >= 0 for line in told)
    assert "secret-" not in json.dumps(told)
    assert token not in json.dumps(told)


def test_a_store_that_does_not_answer_is_told_and_not_taken_for_a_wrong_token(operations: Operations) -> None:
    url = SecretStr("postgresql+psycopg://nobody@127.0.0.1:1/nothing")
    lost = Operations(operations.settings.model_copy(update={"database_url": url}))
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(build_api(lost)))
        answer = Api(http, runner).send("GET", "/feeds", headers=bearing("ws_" + "a" * 43))
        runner.run(http.aclose())
    lost.close()
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (503, "StoreUnavailable")
    assert answer.headers["Retry-After"]
