"""From a field transformation and the columns of an event data model to a mapping plan, or to the reasons why not."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.catalog import Environment, NullPolicy
from shared.errors import DeclarationInvalid, MappingRefused
from shared.mapping.claims import Claim, claims_of
from shared.mapping.compile import shown
from shared.mapping.destinations import DELETED_USER_ATTRIBUTES, ENVIRONMENT, USER_ATTRIBUTES
from shared.mapping.event_draft import EventDraft, draft_of
from shared.mapping.plan import Constant, MappingPlan, Path
from shared.transformation import FieldTransformation

_ENVIRONMENT: Final[Path] = (ENVIRONMENT,)


def require_sound(transformation: FieldTransformation) -> None:
    """Check what a field transformation says by itself, whatever columns there will be.

    Raises:
        DeclarationInvalid: no columns can make a plan of it; the message names every mapping to correct, and the cure.
    """
    claims = claims_of(None, transformation, iterator=None)
    reasons = [
        *claims.reasons,
        *(
            _other_environment(claim)
            for claim in claims.all
            if _is_environment(claim) and claim.value not in tuple(Environment)
        ),
        *_drafted(claims.all).reasons,
    ]
    if reasons:
        raise DeclarationInvalid(
            f"field transformation {transformation.id!r} cannot make events ({len(reasons)} to correct):"
            + _listed(reasons)
        )


def compile_event_mapping(
    schema: Any,
    transformation: FieldTransformation,
    *,
    environment: Environment,
    on_null: NullPolicy,
    iterator: str | None,
) -> MappingPlan:
    """Map the columns of an event data model as a field transformation says; each row is one event.

    Args:
        schema: Arrow schema (``pa.Schema``) of the query's result.
        transformation: Which column or value goes where.
        environment: Goes into every batch.
        on_null: What a NULL in a column for a user attribute means.
        iterator: The iterator column, which need not be mapped.

    Raises:
        MappingRefused: the transformation does not fit the columns, or mParticle's batches. The message names every
            mapping and column to correct, and the cure.
    """
    claims = claims_of(schema, transformation, iterator=iterator)
    drafted = _drafted(claims.all)
    reasons = [
        *claims.reasons,
        *(
            _other_environment(claim)
            for claim in claims.all
            if _is_environment(claim) and claim.value != environment.value
        ),
        *drafted.reasons,
    ]
    tops = {mapped.claim.place.path[0] for mapped in drafted.fields}
    if on_null is NullPolicy.DELETE and {USER_ATTRIBUTES, DELETED_USER_ATTRIBUTES} <= tops:
        reasons.append(
            f"{DELETED_USER_ATTRIBUTES} is mapped, and on_null: delete fills it too; let on_null be omit or null"
        )
    if reasons:
        raise MappingRefused(
            f"field transformation {transformation.id!r} does not fit the data model's columns ({len(reasons)} to "
            "correct):" + _listed(reasons)
        )
    order = {name: place for place, name in enumerate(schema.names)}
    leaves = [mapped.leaf() for mapped in drafted.fields if mapped.claim.value is None]
    constants = [mapped.constant() for mapped in drafted.fields if mapped.claim.value is not None]
    return MappingPlan(
        leaves=tuple(sorted(leaves, key=lambda leaf: order[leaf.column])),
        constants=(Constant(_ENVIRONMENT, environment.value), *constants),
        on_null=on_null,
        needs=drafted.needs,
    )


@dataclass(frozen=True, slots=True)
class ColumnMeaning:
    """Where a column goes, in words, and why it cannot, if so: half a sentence with the cure."""

    becomes: str
    refused: str | None = None


def column_meanings(
    schema: Any, transformation: FieldTransformation, *, iterator: str | None
) -> Mapping[str, ColumnMeaning]:
    """Say what becomes of each column (of a ``pa.Schema``), by its name, whether or not all of them can be mapped."""
    claims = claims_of(schema, transformation, iterator=iterator)
    places: defaultdict[str, list[str]] = defaultdict(list)
    refused = dict(claims.lost)
    for mapped in _drafted(claims.all).fields:
        if (name := mapped.claim.name) is not None:
            places[name].append(str(mapped.claim.place))
            for reason in mapped.reasons():
                refused.setdefault(name, reason)
    found: dict[str, ColumnMeaning] = {}
    for name in schema.names:
        if name in claims.mapped:
            becomes = ", ".join(places[name]) or "ignored; it is not sent"
            found[name] = ColumnMeaning(becomes, refused.get(name))
        elif name.casefold() == (iterator or "").casefold():
            found[name] = ColumnMeaning("the iterator; it is not sent")
        else:
            found[name] = ColumnMeaning("nothing", "no mapping covers it; map it, or leave it out with ignore")
    return found


def _drafted(claims: Sequence[Claim]) -> EventDraft:
    return draft_of([claim for claim in claims if not _is_environment(claim)])


def _is_environment(claim: Claim) -> bool:
    return claim.place.path == _ENVIRONMENT


def _other_environment(claim: Claim) -> str:
    return (
        f"{claim.source} to {shown(ENVIRONMENT)}: all batches of a pipeline belong to one environment; remove the "
        "mapping and set the pipeline's environment"
    )


def _listed(reasons: Sequence[str]) -> str:
    return "".join(f"\n- {reason}" for reason in reasons)
