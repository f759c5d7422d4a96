"""Bodies that may be left out, where every field has a default."""

from typing import Annotated, Any

from fastapi import Body
from pydantic import BaseModel

from console.api.declared import documented

OptionalDocument = Annotated[
    dict[str, Any], Body(default_factory=dict, description="nothing is as good as an empty object")
]


def optionally(kind: type[BaseModel]) -> dict[str, Any]:
    """Give what documents a body that may be left out."""
    documentation = documented(kind)
    return {"requestBody": {**documentation["requestBody"], "required": False}}
