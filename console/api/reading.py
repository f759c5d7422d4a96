"""Bodies of requests to declarations: every mistake with its field's path, and what is not known told and left out."""

from collections.abc import Collection, Mapping
from functools import reduce
from itertools import islice
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from console.shapes.ground import Message
from shared.errors import DeclarationInvalid
from shared.fields import GIVEN

Kind = TypeVar("Kind", bound=BaseModel)

_UNKNOWN: Final = "extra_forbidden"
"""pydantic's word for a field that a kind does not have."""

ANSWERED: Final = frozenset(
    {
        "created_on",
        "created_by",
        "last_modified_on",
        "last_modified_by",
        "secrets",
        "version",
        "warnings",
        "workspace_id",
    }
)
"""Fields of every answer. Whoever reads an object, changes it and puts it back sends them too; they mean nothing."""
MOST_TOLD: Final = 100
"""Mistakes of one request. Nobody reads more, and a body of many thousands would keep the server busy for hours."""


def read(
    kind: type[Kind], document: Mapping[str, Any], *, answered: Collection[str] = ()
) -> tuple[Kind, tuple[Message, ...]]:
    """Give a declaration, and what of the document was not understood.

    Fields of answers (``answered``, besides those of all) are left out; so are unknown ones, which are told.

    Raises:
        DeclarationInvalid: something else is wrong with it, or too many fields are unknown; one line a mistake, each
            with its field's path, and no more than ``MOST_TOLD``.
    """
    meaningless = ANSWERED.union(answered)
    left: dict[str, Any] = {name: value for name, value in document.items() if name not in meaningless}
    try:
        return kind.model_validate(left, context=GIVEN), ()
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    unknown = [wrong for wrong in found if wrong["type"] == _UNKNOWN]
    if len(unknown) < len(found):
        others = (wrong for wrong in found if wrong["type"] != _UNKNOWN)
        raise DeclarationInvalid("\n".join(_told(wrong, left) for wrong in islice(others, MOST_TOLD)))
    if len(unknown) > MOST_TOLD:
        raise DeclarationInvalid(
            f"body: {len(unknown):,} fields are not known; up to {MOST_TOLD} are ignored. Is it the right document?"
        )
    paths = [_path(wrong["loc"], left) for wrong in unknown]
    understood, more = read(kind, reduce(_without, paths, left))
    return understood, (*(Message(message=f"{'.'.join(path)}: no such field; it is ignored") for path in paths), *more)


def require_same_id(path_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the document with the id of the path.

    Raises:
        DeclarationInvalid: it names another.
    """
    if document.get("id", path_id) != path_id:
        raise DeclarationInvalid(f"id: expected {path_id!r} as in the path, or none; ids do not change")
    return {**document, "id": path_id}


def _told(wrong: ErrorDetails, document: Any) -> str:
    return f"{'.'.join(_path(wrong['loc'], document)) or 'body'}: {wrong['msg'].removeprefix('Value error, ')}"


def _path(loc: tuple[int | str, ...], document: Any) -> tuple[str, ...]:
    """Give where a mistake is as its author wrote it: of a choice between kinds pydantic names the kind as well."""
    match loc, document:
        case (), _:
            return ()
        case (first, *rest), dict() if first in document or not rest:
            return (str(first), *_path(tuple(rest), document.get(first)))
        case (int(place), *rest), list() if place < len(document):
            return (str(place), *_path(tuple(rest), document[place]))
        case (_, *rest), _ if rest:
            return _path(tuple(rest), document)
        case _:
            return (str(loc[0]),)


def _without(document: Any, path: tuple[str, ...]) -> Any:
    first, *rest = path
    if isinstance(document, list):
        return [_without(one, tuple(rest)) if str(at) == first else one for at, one in enumerate(document)]
    if not rest:
        return {name: value for name, value in document.items() if name != first}
    return {**document, first: _without(document[first], tuple(rest))}
