"""``/tokens``, ``/clients`` and ``/audit``: who may sign in, and who did what. Ours; for admins."""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from console.api import paging
from console.api.answering import responses
from console.api.paging import DEFAULT, After, Limit
from console.api.signed_in import Admin
from console.shapes.access import (
    AuditShape,
    ClientShape,
    NewAccess,
    NewClientShape,
    NewTokenRequest,
    NewTokenShape,
    TokenShape,
)
from shared.store.access import ClientRow, TokenRow
from shared.store.auditing import AuditEntry

router = APIRouter(tags=["access"])

TokenName = Annotated[str, Path(description="the name or the id of a token")]
ClientName = Annotated[str, Path(description="the name or the id of a client")]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Of the audit log: entries of a kind of thing, of one thing, by somebody; of all of them without."""

    kind: Annotated[str | None, Query(description="of this kind of thing: feed, pipeline, token ...")] = None
    subject: Annotated[str | None, Query(description="of the thing with this id")] = None
    actor: Annotated[str | None, Query(description="by whoever has this name")] = None


_MOST_ID: Final = 2**63 - 1


@router.get("/tokens", responses=responses())
def list_tokens(operations: Admin) -> list[TokenShape]:
    """List the static tokens by name, revoked ones included; what signs in is never shown."""
    return [_token(row) for row in operations.access.tokens()]


@router.post("/tokens", responses=responses(409))
def create_token(operations: Admin, asked: NewTokenRequest) -> NewTokenShape:
    """Make a static token. A repeat is refused, as the name is taken: after a lost answer, revoke it, make another."""
    made = operations.access.create_token(asked.name, asked.role, days=asked.days)
    return NewTokenShape(id=made.id, name=made.name, role=made.role, expires_on=made.expires_at, token=made.text)


@router.delete("/tokens/{name}", status_code=204, response_class=Response, responses=responses())
def revoke_token(operations: Admin, name: TokenName) -> Response:
    """Make a static token worthless at once, for good; a repeat changes nothing."""
    operations.access.revoke_token(name)
    return Response(status_code=204)


@router.get("/clients", responses=responses())
def list_clients(operations: Admin) -> list[ClientShape]:
    """List the clients by name, revoked ones included; their secrets are never shown."""
    return [_client(row) for row in operations.access.clients()]


@router.post("/clients", responses=responses(409))
def create_client(operations: Admin, asked: NewAccess) -> NewClientShape:
    """Make a client, which signs in at /oauth/token. A repeat is refused, as the name is taken."""
    made = operations.access.create_client(asked.name, asked.role)
    return NewClientShape(client_id=made.id, name=made.name, role=made.role, client_secret=made.secret)


@router.delete("/clients/{name}", status_code=204, response_class=Response, responses=responses())
def revoke_client(operations: Admin, name: ClientName) -> Response:
    """End a client and all tokens that it was given, at once and for good; a repeat changes nothing."""
    operations.access.revoke_client(name)
    return Response(status_code=204)


@router.get("/audit", responses=responses())
def list_audit(
    operations: Admin,
    request: Request,
    response: Response,
    wanted: Annotated[Wanted, Depends()],
    limit: Limit = DEFAULT,
    after: After = None,
) -> list[AuditShape]:
    """List who did what to which declaration, pipeline, token or client, newest first."""
    place = paging.read(after, int)
    before_id = None if place is None else min(int(place[0]), _MOST_ID)
    found = operations.access.audit(
        kind=wanted.kind, subject=wanted.subject, actor=wanted.actor, before_id=before_id, limit=limit + 1
    )
    return [_entry(one) for one in paging.page(request, response, found, limit, lambda one: (one.id,))]


def _token(row: TokenRow) -> TokenShape:
    return TokenShape(
        id=row.id,
        name=row.name,
        role=row.role,
        created_on=row.created_at,
        created_by=row.created_by,
        expires_on=row.expires_at,
        revoked_on=row.revoked_at,
        is_valid=row.is_valid,
    )


def _client(row: ClientRow) -> ClientShape:
    return ClientShape(
        id=row.id,
        name=row.name,
        role=row.role,
        created_on=row.created_at,
        created_by=row.created_by,
        revoked_on=row.revoked_at,
        is_valid=row.is_valid,
    )


def _entry(found: AuditEntry) -> AuditShape:
    return AuditShape(
        id=found.id,
        noted_on=found.noted_at,
        actor=found.actor,
        action=found.action,
        kind=found.kind,
        subject=found.subject,
        fields=found.fields,
    )
