"""``/declarations`` and ``/validations``: pipelines as code, all that is declared as one document. Ours.

A document holds references to secrets, or the word ``stored``; secrets themselves are taken by ``/feeds`` and
``/connections`` only.
"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Header, Query, Response

from console.api.answering import responses, sentences
from console.api.examples import DOCUMENT as EXAMPLE
from console.api.signed_in import Admin, Viewer
from console.declarations import KINDS, read_document
from console.editor_schema import editor_schema
from console.exporting import YAML, to_yaml
from console.shapes.ground import Message
from console.shapes.plans import PlanShape, ValidationShape
from shared.errors import DeclarationInvalid, Refused
from shared.store.edits import Watermark

router = APIRouter(tags=["pipelines as code"])

_JSON: Final = "application/json"

Document = Annotated[dict[str, Any], Body(description="lists of declarations; see GET /declarations/schema")]
Prune = Annotated[bool, Query(description="delete what is declared and not in the document")]
OnWatermark = Annotated[Watermark | None, Query(description="what becomes of watermarks where edits ask")]


_LIST: Final = {"type": "array", "items": {"type": "object"}}
_SCHEMA: Final = {
    "type": "object",
    "description": "lists of declarations, as in YAML files; GET /declarations/schema tells every field",
    "properties": dict.fromkeys(KINDS, _LIST),
}
_BODY: Final = {"requestBody": {"required": True, "content": {_JSON: {"schema": _SCHEMA, "example": EXAMPLE}}}}


@router.post("/declarations/plan", responses=responses(412), openapi_extra=_BODY)
def plan_declarations(
    operations: Admin, document: Document, *, prune: Prune = False, watermark: OnWatermark = None
) -> PlanShape:
    """Say what applying a document would change, and all that would be refused; nothing is changed."""
    return PlanShape.of(operations.declarations.plan(read_document(document), prune=prune, watermark=watermark))


@router.post("/declarations", responses=responses(412), openapi_extra=_BODY)
def apply_declarations(
    operations: Admin,
    document: Document,
    *,
    prune: Prune = False,
    watermark: OnWatermark = None,
    expected: Annotated[
        str | None, Query(description="a plan's digest: refused if this would do anything else")
    ] = None,
) -> PlanShape:
    """Do all that a document says, or nothing, and give what was done; a repeat changes nothing."""
    done = operations.declarations.apply(read_document(document), prune=prune, watermark=watermark, expected=expected)
    return PlanShape.of(done)


@router.get(
    "/declarations",
    response_model=dict[str, list[dict[str, Any]]],
    responses={
        **responses(),
        200: {
            "description": "A document that declares what is declared; YAML where Accept asks for it",
            "content": {YAML: {"schema": {"type": "string"}}},
        },
    },
)
def export_declarations(
    operations: Admin,
    *,
    kind: Annotated[str | None, Query(description=f"only this list: {', '.join(KINDS)}")] = None,
    pipeline: Annotated[str | None, Query(description="only this pipeline, and all that it needs")] = None,
    accept: Annotated[str, Header(description=f"{YAML} for YAML; JSON without")] = _JSON,
) -> Any:
    """Give what is declared as a document, as people write it. Of a sealed secret it says the word stored."""
    if kind is not None and kind not in KINDS:
        raise DeclarationInvalid(f"kind: expected one of {', '.join(KINDS)}")
    found = operations.declarations.export(None if kind is None else KINDS[kind], pipeline)
    return Response(to_yaml(found), media_type=YAML) if YAML in accept.lower() else found


@router.get("/declarations/schema", responses=responses())
def show_schema(_: Viewer) -> dict[str, Any]:
    """Give the JSON Schema of a document, for editors."""
    return editor_schema()


@router.post("/validations", responses=responses(412), openapi_extra=_BODY)
def validate_declarations(
    operations: Admin, document: Document, *, prune: Prune = False, watermark: OnWatermark = None
) -> ValidationShape:
    """Say whether a document could be applied: all that applying checks, and nothing is kept."""
    try:
        plan = operations.declarations.plan(read_document(document), prune=prune, watermark=watermark)
    except Refused as error:
        return ValidationShape(is_valid=False, errors=_told(str(error), type(error).__name__), plan=None)
    errors = tuple(
        told for one in plan.refused for told in _told(f"{one.kind} {one.id}: {one.refusal}", one.error_kind)
    )
    return ValidationShape(is_valid=not errors, errors=errors, plan=PlanShape.of(plan))


def _told(sentence: str, code: str | None) -> tuple[Message, ...]:
    return tuple(Message(message=line, code=code) for line in sentences(sentence))
