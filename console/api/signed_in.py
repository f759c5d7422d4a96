"""Who asks, and what they may: every route takes the verbs from here, bound to somebody of the role that it needs."""

from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, Path, Request, Security
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from console.operations import Operations
from shared.access import Identity, Role, require
from shared.errors import DeclarationInvalid, NotFound, SignInRefused

_bearer = HTTPBearer(auto_error=False, description="POST /oauth/token gives one; a static token is one, too")


def identified(operations: Operations, header: str | None) -> Identity:
    """Give whom an ``Authorization`` header identifies now.

    Raises:
        SignInRefused: no token, or none that is valid.
    """
    scheme, _, token = (header or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise SignInRefused("sign in first: Authorization: Bearer TOKEN; POST /oauth/token gives one for 8 hours")
    found = operations.access.identify(token.strip())
    if found is None:
        raise SignInRefused("this token is not valid, or not any more; sign in again, or ask for another one")
    return found


def identity(request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]) -> Identity:
    """Give who asks, as the gate found out."""
    found: Identity = request.state.identity
    return found


def acting(role: Role) -> Callable[..., Operations]:
    """Give a dependency: the verbs, for somebody who has at least this role, in this deployment's workspace."""

    def bound(
        request: Request,
        who: Annotated[Identity, Depends(identity)],
        workspace_id: Annotated[
            str, Path(alias="workspaceId", description="this deployment's, or any where none is set")
        ],
    ) -> Operations:
        require(who, role)
        require_known_parameters(request)
        operations: Operations = request.app.state.operations
        known = operations.settings.workspace_id
        if known is not None and workspace_id != known:
            raise NotFound(f"workspace {workspace_id!r} is not this deployment's, which serves workspace {known!r}")
        return operations.acting_as(who.name)

    return bound


def require_known_parameters(request: Request) -> None:
    """Refuse a parameter that the route does not have: a mistyped filter would answer with everything.

    Raises:
        DeclarationInvalid: there is one; the message names those that there are.
    """
    route = request.scope["route"]
    if not isinstance(route, APIRoute):
        return
    known = sorted(one.alias for one in get_flat_params(route.dependant) if isinstance(one.field_info, Query))
    if unknown := sorted(request.query_params.keys() - set(known)):
        has = f"this route has {', '.join(known)}" if known else "this route has none"
        raise DeclarationInvalid(f"unknown query parameter {', '.join(map(repr, unknown))}; {has}")


Viewer = Annotated[Operations, Depends(acting(Role.VIEWER))]
Operator = Annotated[Operations, Depends(acting(Role.OPERATOR))]
Admin = Annotated[Operations, Depends(acting(Role.ADMIN))]
