"""A client of the HTTP API: of a server elsewhere, or of the same API in this very process (:mod:`console.here`).

Commands talk to nothing else, so that each does the same here and from afar. Nothing of the API itself is imported: a
client of a server starts in a fraction of the time.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, Final, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from console.shapes.ground import ErrorBody
from console.shapes.requests import MOST
from shared import errors
from shared.errors import DeclarationInvalid, ServerUnavailable, SignInRefused, SyncError

Answer = TypeVar("Answer")

_ONE_WORD: Final = re.compile(r"[!-~]+")
_CONNECT_TIMEOUT_S: Final = 10
_ANSWER_TIMEOUT_S: Final = 120
"""Longer than any question to a worker takes."""


class Client:
    """One command's conversation with the API; paths are those below the workspace, such as ``/pipelines``."""

    def __init__(self, http: httpx.AsyncClient, workspace: str, release: Callable[[], object] = lambda: None) -> None:
        """Take what ``elsewhere`` and ``client_here`` prepare; ``release`` is called at the end."""
        self._http = http
        self._base = f"/platform/v2/workspaces/{workspace}"
        self._release = release
        self._runner = asyncio.Runner()

    @classmethod
    def elsewhere(cls, url: str, token: str, workspace: str) -> Self:
        """Give a client of a server's API, signed in by a token.

        Raises:
            DeclarationInvalid: the address is none, or holds a password; it is not repeated.
            SignInRefused: the token cannot be one; it is not repeated.
        """
        token = token.strip()  # One that was read from a file often ends in a line end.
        _require_address(url)
        if not _ONE_WORD.fullmatch(token):
            raise SignInRefused(
                "--token: expected one word of ASCII, as `warehouse-sync tokens create` or POST /oauth/token gives it"
            )
        timeout = httpx.Timeout(_ANSWER_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S)
        headers = {"Authorization": f"Bearer {token}"}
        http = httpx.AsyncClient(base_url=url.rstrip("/"), headers=headers, timeout=timeout)
        return cls(http, quote(workspace, safe=""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, answer: type[Answer], **query: object) -> Answer:
        """Ask for something; what of the query is ``None`` is left out. Errors as of ``call``."""
        return self.call("GET", path, answer, query=query)

    def written(self, path: str, media_type: str, **query: object) -> str:
        """Ask for something in another form than JSON. Errors as of ``call``."""
        return self._answered("GET", path, query=query, headers={"Accept": media_type}).text

    def post(self, path: str, answer: type[Answer], body: object = None, **query: object) -> Answer:
        """Have something done or made. Errors as of ``call``."""
        return self.call("POST", path, answer, body=body, query=query)

    def put(self, path: str, answer: type[Answer], body: object, *, headers: Mapping[str, str] | None = None) -> Answer:
        """Replace something, whole. Errors as of ``call``."""
        return self.call("PUT", path, answer, body=body, headers=headers)

    def delete(self, path: str) -> None:
        """Have something removed. Errors as of ``call``."""
        self.call("DELETE", path, type(None))

    def text(self, method: str, path: str, *, body: object = None, **query: object) -> str:
        """Send one request and give the answer as the API wrote it, to the last digit. Errors as of ``call``."""
        return self._answered(method, path, body=body, query=query).text

    def download(self, path: str, file: BinaryIO, **query: object) -> Mapping[str, str]:
        """Have an answer written into a file while it comes, and give its headers. Errors as of ``call``."""
        return self._runner.run(self._downloaded(path, file, _given(query)))

    def newest(self, path: str, item: type[Answer], limit: int, **query: object) -> list[Answer]:
        """Give up to ``limit`` of a long list, however many pages that takes. Errors as of ``call``."""
        found: list[Answer] = []
        asked: Mapping[str, object] | None = {**query, "limit": min(limit, MOST)}
        while asked is not None and len(found) < limit:
            response = self._answered("GET", path, query=asked)
            found += _read(response, list[item])  # type: ignore[valid-type]
            following = response.links.get("next", {}).get("url")
            asked = None if following is None else dict(httpx.URL(following).params)
        return found[:limit]

    def call(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and read its answer as ``answer``.

        Raises:
            ServerUnavailable: the server does not answer, or not as this version's does.
            SyncError: what the API refused, as the kind that it names.
        """
        return _read(self._answered(method, path, body=body, query=query, headers=headers), answer)

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._http.aclose())
        self._runner.close()
        self._release()

    def _answered(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        told: Any = {name: value for name, value in (query or {}).items() if value is not None}
        request = self._http.build_request(method, f"{self._base}{path}", json=body, params=told, headers=headers)
        try:
            response = self._runner.run(self._http.send(request))
        except httpx.TransportError as error:
            raise self._silence(error) from error
        if response.is_error:
            raise _failure(response)
        return response

    async def _downloaded(self, path: str, file: BinaryIO, query: Any) -> Mapping[str, str]:
        try:
            async with self._http.stream("GET", f"{self._base}{path}", params=query) as response:
                if response.is_error:
                    await response.aread()
                    raise _failure(response)
                async for part in response.aiter_bytes():
                    file.write(part)
                return response.headers
        except httpx.TransportError as error:
            raise self._silence(error) from error

    def _silence(self, error: httpx.TransportError) -> ServerUnavailable:
        return ServerUnavailable(
            f"{self._http.base_url} does not answer ({type(error).__name__}: {error}); check --url, and that "
            "`warehouse-sync serve` runs there"
        )


def _require_address(url: str) -> None:
    """Raise ``DeclarationInvalid`` unless messages may repeat an address."""
    try:
        read = httpx.URL(url)
    except httpx.InvalidURL:
        read = httpx.URL("")
    if read.scheme not in {"http", "https"} or not read.host or read.userinfo or read.query:
        raise DeclarationInvalid(
            "--url: expected an address such as https://sync.example.com or http://127.0.0.1:8000, without a user, a "
            "password or a query; a token signs in (--token, or better WAREHOUSE_SYNC_API_TOKEN)"
        )


def _given(query: Mapping[str, object]) -> Any:
    return {name: value for name, value in query.items() if value is not None}


def _read(response: httpx.Response, answer: type[Answer]) -> Answer:
    try:
        return TypeAdapter(answer).validate_json(response.content or b"null")
    except ValidationError as error:
        asked = response.request
        raise ServerUnavailable(
            f"{asked.url.host} answered {asked.method} {asked.url.path} in a shape that this version does not know "
            f"({error.error_count()} fields differ); use the command of the server's own release"
        ) from error


def _failure(response: httpx.Response) -> SyncError:
    """Give a refusal as the error that the API had."""
    try:
        told = ErrorBody.model_validate_json(response.content)
    except ValidationError:
        return ServerUnavailable(
            f"{response.request.url.host} answered {response.status_code} and is no Warehouse Sync; check --url"
        )
    kind = next((getattr(errors, one.code, None) for one in told.errors if one.code), None)
    sentence = "\n".join(one.message for one in told.errors)
    return kind(sentence) if isinstance(kind, type) and issubclass(kind, SyncError) else SyncError(sentence)
