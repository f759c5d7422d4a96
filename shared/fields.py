"""Kinds of field that declarations share: names, ids, references to secrets."""

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

Slug = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,128}$")]
Name = Annotated[str, Field(min_length=1, max_length=256)]
SecretReference = Annotated[
    str,
    Field(pattern=r"^(env:[A-Za-z_][A-Za-z0-9_]*|file:/.+)$", description="env:NAME or file:/absolute/path"),
]
WEB_ADDRESS: Final = r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]*)?"
"""Nothing that two readers of an address could take for different hosts."""


class Declared(BaseModel):
    """What an operator declares: frozen, and a misspelt field is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True, validate_by_name=True)
