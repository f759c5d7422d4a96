"""Who may ask what: every route of the app and every role, and nothing without a token."""

from typing import Any, Final

import pytest

from console.api.app import describe
from console.api.gate import OPEN
from shared.access import Role
from tests.console.api.conftest import HOST, Api

VIEWER, OPERATOR, ADMIN = Role
BASE: Final = "/platform/v2/workspaces/{workspaceId}"
TABLE: Final[dict[str, dict[str, Role | None]]] = {
    "/healthz": {"GET": None},
    "/oauth/token": {"POST": None},
    "/metrics": {"GET": VIEWER},
    **{
        f"/{kind}": {"GET": VIEWER, "POST": ADMIN}
        for kind in ("connections", "data-models", "field-transformations", "feeds")
    },
    **{
        f"/{kind}/{{id}}": {"GET": VIEWER, "PUT": ADMIN, "DELETE": ADMIN}
        for kind in ("connections", "data-models", "field-transformations", "feeds")
    },
    "/tokens": {"GET": ADMIN, "POST": ADMIN},
    "/tokens/{name}": {"DELETE": ADMIN},
    "/clients": {"GET": ADMIN, "POST": ADMIN},
    "/clients/{name}": {"DELETE": ADMIN},
    "/audit": {"GET": ADMIN},
    "/secrets": {"GET": ADMIN},
    "/secrets/rotation": {"POST": ADMIN},
    "/pipelines": {"GET": VIEWER, "POST": ADMIN},
    "/pipelines/{id}": {"GET": VIEWER, "PUT": ADMIN, "DELETE": ADMIN, "POST": OPERATOR},
    **{f"/pipelines/{{id}}/{verb}": {"POST": OPERATOR} for verb in ("activate", "pause", "resume", "trigger")},
    **{
        f"/pipelines/{{id}}/{seen}": {"GET": VIEWER}
        for seen in ("notices", "runs", "runs/{runId}", "status", "status/runs", "status/runs/{runId}")
    },
    "/runs": {"GET": VIEWER},
    "/runs/{id}": {"GET": VIEWER},
    "/runs/{id}/chunks": {"GET": VIEWER},
    "/runs/{id}/events": {"GET": VIEWER},
    **{f"/runs/{{id}}/{verb}": {"POST": OPERATOR} for verb in ("retry", "approve", "cancel", "abandon")},
    "/backfills": {"GET": VIEWER},
    "/backfills/{id}": {"GET": VIEWER},
    **{f"/backfills/{{id}}/{verb}": {"POST": OPERATOR} for verb in ("pause", "resume", "cancel")},
    "/pipelines/{id}/backfills": {"POST": OPERATOR},
    "/pipelines/{id}/backfills/window": {"GET": VIEWER},
    "/runs/{id}/rejects": {"GET": VIEWER},
    "/runs/{id}/rejects/rows": {"GET": OPERATOR},
    "/runs/{id}/rejects/download": {"GET": OPERATOR},
    "/runs/{id}/replay": {"POST": OPERATOR},
    "/rejects/purge": {"POST": ADMIN},
    "/probes": {"POST": OPERATOR},
    "/connections/{id}/test": {"POST": OPERATOR},
    "/feeds/{id}/test": {"POST": OPERATOR},
    **{
        f"/pipelines/{{id}}/{question}": {"POST": OPERATOR}
        for question in ("columns", "preview", "count", "cost", "send", "review")
    },
    "/reviews": {"POST": ADMIN},
    "/alerts": {"GET": VIEWER},
    "/alerts/{id}": {"GET": VIEWER},
    "/alerts/test": {"POST": ADMIN},
    "/doctor": {"GET": OPERATOR},
    "/declarations": {"GET": ADMIN, "POST": ADMIN},
    "/declarations/plan": {"POST": ADMIN},
    "/declarations/schema": {"GET": VIEWER},
    "/validations": {"POST": ADMIN},
}
"""The least role of every route; ``None`` where no token is needed. A new route needs an entry."""


def routes() -> list[tuple[str, str]]:
    return [
        (method.upper(), path.removeprefix(BASE))
        for path, methods in describe()["paths"].items()
        for method in methods
        if method in {"get", "post", "put", "delete", "patch"}
    ]


def test_the_table_names_every_route_and_no_other() -> None:
    named = {(method, path) for path, methods in TABLE.items() for method in methods}
    assert named == set(routes())


def test_only_these_routes_need_no_token() -> None:
    free = {(method, path) for path, methods in TABLE.items() for method, role in methods.items() if role is None}
    assert free == OPEN


@pytest.fixture
def callers(viewer: Api, operator: Api, admin: Api) -> dict[Role, Api]:
    return {VIEWER: viewer, OPERATOR: operator, ADMIN: admin}


@pytest.mark.parametrize("role", Role)
def test_each_role_may_do_what_the_table_says_and_no_more(callers: dict[Role, Api], role: Role) -> None:
    for method, path in routes():
        required = TABLE[path][method]
        if required is None:
            continue
        answer = asked(callers[role], method, path)
        code = {error.get("code") for error in answer.json()["errors"]} if answer.is_error else set()
        is_refused = (answer.status_code, "RoleTooLow" in code) == (403, True)
        assert is_refused != role.may(required), f"{role} {method} {path} answered {answer.status_code}"


def asked(caller: Api, method: str, path: str) -> Any:
    """Ask for something that is not there, with a body that says nothing: only the role decides how far it gets."""
    filled = "/".join(
        "00000000-0000-0000-0000-000000000000" if part.startswith("{") else part for part in path.split("/")
    )
    return caller.send(method, filled, json={} if method in {"POST", "PUT", "PATCH"} else None)


def test_the_description_needs_a_token_and_no_role(viewer: Api) -> None:
    assert viewer.get(f"{HOST}/openapi.json").status_code == 200
