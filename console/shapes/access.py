"""Shapes of who may sign in, and of who did what: ours alone."""

from uuid import UUID

from pydantic import Field

from console.shapes.ground import Instant, Shape
from shared.access import Role


class NewAccess(Shape):
    """Whom access is given: the name is what the audit log calls them, and is never given again."""

    name: str = Field(description="1 to 63 of A-Z a-z 0-9 . _ @ -, beginning with a letter or a digit")
    role: Role = Field(description="viewer sees states; operator also runs things and sees rows; admin does everything")


class NewTokenRequest(NewAccess):
    """A static token to be made."""

    days: int | None = Field(None, description="how long it lasts; until it is revoked without")


class AccessShape(Shape):
    """Somebody who may sign in, or might once."""

    name: str
    role: Role
    created_on: Instant
    created_by: str | None
    revoked_on: Instant | None
    is_valid: bool = Field(description="whether it signs anybody in now")


class TokenShape(AccessShape):
    """A static token, without its text."""

    id: UUID
    expires_on: Instant | None


class ClientShape(AccessShape):
    """A client, without its secret."""

    id: str


class NewTokenShape(Shape):
    """A static token just made; its text is told this once."""

    id: UUID
    name: str
    role: Role
    expires_on: Instant | None
    token: str = Field(repr=False, description="for Authorization: Bearer; told this once")


class NewClientShape(Shape):
    """A client just made; its secret is told this once."""

    client_id: str
    name: str
    role: Role
    client_secret: str = Field(repr=False, description="for POST /oauth/token; told this once")


class AuditShape(Shape):
    """One thing that somebody did; the system itself where ``actor`` is null. No value of a field is kept."""

    id: int
    noted_on: Instant
    actor: str | None
    action: str
    kind: str
    subject: str
    fields: tuple[str, ...] = Field(description="what changed of a declaration, by path")
