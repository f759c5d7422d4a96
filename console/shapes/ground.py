"""What all shapes stand on: instants as mParticle writes them, the error body, and what every resource has."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SerializerFunctionWrapHandler, model_serializer

from shared import moments

Instant = Annotated[datetime, PlainSerializer(moments.written, return_type=str, when_used="json")]
"""In UTC, such as ``2026-01-31T06:00:00.000Z``."""


class Shape(BaseModel):
    """A request or an answer; a reader ignores fields of later releases."""

    model_config = ConfigDict(frozen=True, extra="ignore", serialize_by_alias=True, validate_by_name=True)


class Message(Shape):
    """One sentence. Source: mParticle, Warehouse Sync API, error bodies and connections' ``errors``."""

    message: str
    code: str | None = Field(None, description="ours: the kind of the failure, as docs/errors.md lists them")

    @model_serializer(mode="wrap")
    def _without_an_empty_code(self, serialize: SerializerFunctionWrapHandler) -> dict[str, str]:
        written: dict[str, str] = serialize(self)
        return written if self.code is not None else {"message": self.message}


class ErrorBody(Shape):
    """What every refusal answers. Source: mParticle, Warehouse Sync API, "Errors"."""

    statusCode: int  # noqa: N815 - mParticle's spelling
    errors: tuple[Message, ...]


class SecretKind(StrEnum):
    """What is stored in a secret's place."""

    SEALED = "sealed"
    """The secret itself, sealed to a key that only workers hold."""
    ENV = "env"
    """The name of a variable of the workers' environment."""
    FILE = "file"
    """The path of a file on the workers' machines."""


Secrets = Annotated[
    dict[str, SecretKind | None],
    Field(description="ours: what is stored of each secret, by its path; the secrets themselves are in no answer"),
]


class Audited(Shape):
    """Who made a resource and changed it last; the last two are null until somebody does."""

    created_on: Instant
    created_by: str | None
    last_modified_on: Instant | None
    last_modified_by: str | None
    version: int = Field(description="ours: counts the changes; also the ETag, for If-Match")
    warnings: tuple[Message, ...] = Field((), description="ours: what of the request was not understood")
