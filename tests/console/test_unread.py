"""Requests that no route can read are told in our words: where, with the cure, and never what stands there."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.api.app import build_api
from console.operations import Operations
from shared.access import Identity, Role
from shared.settings import Settings

HOST = "http://api.test"
FEEDS = "/platform/v2/workspaces/1/feeds"
JSON = {"Content-Type": "application/json"}
SECRET = "hunter2"

Answered = tuple[httpx.AsyncClient, asyncio.Runner]


@pytest.fixture(scope="module")
def caller() -> Iterator[Answered]:
    """The API over a database that nobody needs here: nothing of these requests gets so far."""
    nowhere = {"database_url": "postgresql+psycopg://nobody@127.0.0.1:1/none", "broker_url": "redis://127.0.0.1:1"}
    app = build_api(Operations(Settings.model_validate(nowhere)), local=Identity("anna", Role.ADMIN))
    with asyncio.Runner() as runner:
        http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HOST)
        yield http, runner
        runner.run(http.aclose())


def ask(caller: Answered, method: str, path: str, **options: Any) -> httpx.Response:
    http, runner = caller
    return runner.run(http.request(method, path, **options))


def told(caller: Answered, content: bytes, headers: dict[str, str] | None = None, path: str = FEEDS) -> str:
    answer = ask(caller, "POST", path, content=content, headers=JSON if headers is None else headers)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (400, "DeclarationInvalid")
    assert SECRET not in answer.text
    return str(error["message"])


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (b'{"id": hunter2}', "no JSON at line 1, column 8: expected a value"),
        (b'{\n  "id": "a",\n  hunter2: 1}', "no JSON at line 3, column 3: expected a field's name in double quotes"),
        (b'{"api_secret" "hunter2"}', "no JSON at line 1, column 15: expected a colon"),
        (b'{"a": 1 hunter2', "no JSON at line 1, column 9: expected a comma"),
        (b'{"a": 1} hunter2', "no JSON at line 1, column 10: expected nothing behind the end"),
        (b'{"api_secret": "hunter2', "no JSON at line 1, column 16: a text begins that has no end"),
        (b'{"api_secret": "hunter2\n"}', "no JSON at line 1, column 24: expected line breaks"),
        (b'{"api_secret": "hunter2\\x"}', "no JSON at line 1, column 24: expected an escape"),
        ('{"ä": "ö"}\n'.encode("latin-1"), "no UTF-8 at line 1, column 3"),
        ('{"ä":\n "é'.encode() + b'\xff"}', "no UTF-8 at line 2, column 4"),
        (b"[" * 100_000, "objects and lists are nested too deeply"),
        (b"1" * 5_000, "a number has more digits than are read"),
        (b"", "there is none"),
    ],
    ids=lambda part: None if isinstance(part, bytes) else part[:30],
)
def test_a_body_that_is_no_json_is_told_by_its_place_and_its_cure(caller: Answered, content: bytes, where: str) -> None:
    said = told(caller, content)
    assert said.startswith(f"body: {where}")
    assert said.endswith("; send one JSON object, in UTF-8")


@pytest.mark.parametrize("path", [FEEDS, "/platform/v2/workspaces/1/tokens", "/platform/v2/workspaces/1/runs/1/retry"])
@pytest.mark.parametrize(
    ("content", "what"), [(b'["hunter2"]', "a list"), (b'"hunter2"', "a text"), (b"7", "a number"), (b"true", "true")]
)
def test_json_that_is_no_object_is_told_by_what_it_is(caller: Answered, path: str, content: bytes, what: str) -> None:
    assert told(caller, content, path=path).startswith(f"body: expected a JSON object, got {what}")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data"}])
def test_a_body_that_is_not_sent_as_json_is_told_the_header(caller: Answered, headers: dict[str, str]) -> None:
    assert "send the header Content-Type: application/json" in told(caller, b'{"id": "hunter2"}', headers)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=st.binary(max_size=20), after=st.binary(max_size=20))
def test_no_body_however_broken_is_quoted_or_told_in_the_frameworks_words(
    caller: Answered, before: bytes, after: bytes
) -> None:
    said = told(caller, before + b'"' + SECRET.encode() + b'" ' + after)
    assert said.startswith("body: ")
    assert not any(word in said for word in ("Input should", "decode error", "parsing"))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", FEEDS, ["GET", "POST"]),
        ("PATCH", f"{FEEDS}/eu1", ["DELETE", "GET", "PUT"]),
        ("GET", "/oauth/token", ["POST"]),
        ("POST", "/healthz", ["GET"]),
        ("POST", "/openapi.json", ["GET"]),
        ("BREW", FEEDS, ["GET", "POST"]),
        ("PATCH", "/platform/v2/workspaces/1/alerts/test", ["POST"]),
    ],
)
def test_a_method_that_an_address_has_not_is_told_with_those_that_it_has(
    caller: Answered, method: str, path: str, allowed: list[str]
) -> None:
    answer = ask(caller, method, path)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (405, "MethodNotAllowed")
    assert answer.headers["Allow"] == ", ".join(allowed)
    assert error["message"] == f"this address takes {' and '.join(allowed)}, and no other method"


@pytest.mark.parametrize("path", ["/", "/nowhere", "/platform/v2/workspaces/1/nothing", f"{FEEDS}/"])
def test_an_address_that_is_none_is_told_where_all_are_listed(caller: Answered, path: str) -> None:
    answer = ask(caller, "GET", path)
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (404, "NotFound")
    assert "GET /openapi.json" in error["message"]
