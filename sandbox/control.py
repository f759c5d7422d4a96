"""What tests and operators see of the stand-in and switch in it: everything beside ``/v2``, without a sign-in.

::

    GET  /profiles?customer_id=1   the profile that an identity, of any kind, names
    GET  /received?prefix=         the ids that were taken, one JSON line each: id, times, historical, key
    GET  /counters                 what came and what became of it
    POST /counters/reset           count from zero; ids and profiles stay
    GET  /dropped                  the latest batches that vanished: id and reason
    GET  /faults                   the faults that are on
    PUT  /faults                   replace all faults
    DELETE /faults                 switch all faults off
"""

from collections.abc import Mapping
from dataclasses import asdict
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import hdrs, web
from pydantic import ValidationError

from sandbox.counters import Counters
from sandbox.faults import Faults
from sandbox.intake import Intake
from sandbox.settings import Storing

_LINES_AT_ONCE: Final = 1000


class Control:
    """The paths for tests and operators, over one intake."""

    def __init__(self, intake: Intake, storing: Storing) -> None:
        self._intake = intake
        self._storing = storing

    def add_to(self, application: web.Application) -> None:
        """Answer for these paths in an application."""
        router = application.router
        router.add_get("/profiles", self._profile)
        router.add_get("/received", self._received)
        router.add_get("/dropped", self._dropped)
        router.add_get("/counters", self._counters)
        router.add_post("/counters/reset", self._reset_counters)
        router.add_get("/faults", self._faults)
        router.add_put("/faults", self._turn_faults)
        router.add_delete("/faults", self._clear_faults)

    async def _profile(self, request: web.Request) -> web.StreamResponse:
        if self._storing is not Storing.PROFILES:
            return _not_kept("profiles")
        if len(request.query) != 1:
            return as_error(HTTPStatus.BAD_REQUEST, "Expected one identity, such as ?customer_id=1.")
        ((kind, value),) = request.query.items()
        profile = self._intake.profiles.find(kind, value)
        if profile is None:
            return as_error(HTTPStatus.NOT_FOUND, "No profile has this identity.")
        return as_json(profile.as_json())

    async def _received(self, request: web.Request) -> web.StreamResponse:
        if self._storing is Storing.OFF:
            return _not_kept("ids")
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "application/x-ndjson"})
        await response.prepare(request)
        lines: list[bytes] = []
        for key, received in self._intake.received.items():
            for one in received.starting_with(request.query.get("prefix", "")):
                lines.append(orjson.dumps({**asdict(one), "key": key}, option=orjson.OPT_APPEND_NEWLINE))
                if len(lines) == _LINES_AT_ONCE:
                    await response.write(b"".join(lines))
                    lines.clear()
        await response.write_eof(b"".join(lines))
        return response

    async def _dropped(self, _: web.Request) -> web.StreamResponse:
        return as_json([asdict(drop) for drop in self._intake.counters.drops])

    async def _counters(self, _: web.Request) -> web.StreamResponse:
        return as_json(self._intake.counters.as_json(profiles=len(self._intake.profiles)))

    async def _reset_counters(self, _: web.Request) -> web.StreamResponse:
        self._intake.counters = Counters()
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _faults(self, _: web.Request) -> web.StreamResponse:
        return as_json(self._intake.faults.as_json())

    async def _turn_faults(self, request: web.Request) -> web.StreamResponse:
        try:
            faults = Faults.model_validate_json(await request.read())
        except ValidationError as error:
            return as_error(HTTPStatus.BAD_REQUEST, str(error))
        return self._turn(faults)

    async def _clear_faults(self, _: web.Request) -> web.StreamResponse:
        return self._turn(Faults())

    def _turn(self, faults: Faults) -> web.StreamResponse:
        self._intake.faults.turn(faults)
        return as_json(self._intake.faults.as_json())


def as_json(body: object, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with a JSON body."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


def as_error(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Answer with mParticle's error body."""
    return as_json({"errors": [{"code": status.name, "message": message}]}, status, headers)


def _not_kept(what: str) -> web.Response:
    return as_error(HTTPStatus.CONFLICT, f"This stand-in was started without keeping {what}.")
